//! `sla-planner frontier`: the share of good requests against GPU-hours, as one knob of a policy is
//! swept.

use clap::ValueEnum;

use super::backtest::Scenario;
use super::exit::{CliError, Exit};
use super::out::Out;
use super::progress::watched;
use super::simulate;
use super::traces::Trace;
use crate::backtest::hindsight::BestStatic;
use crate::backtest::policy::{PolicyError, PolicySpec, known};
use crate::backtest::report::{self, FrontierPoint};
use crate::backtest::{Case, play};
use crate::units::{Percentile, round_to_u32};

/// Sweeps one knob of each policy: good requests against GPU-hours.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    scenario: Scenario,
    /// A policy to sweep; ours, static, oracle and hpa-ttft without it.
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<PolicySpec>,
    /// Values of the knob, in place of the published ones; for one policy.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    values: Vec<f64>,
    /// The knob to sweep; the one that trades GPUs for good requests without it.
    #[arg(long, value_name = "KNOB")]
    knob: Option<String>,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
    #[command(flatten)]
    out: Out,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner frontier --trace week.csv.gz --format html --out frontier.html
  sla-planner frontier --policy hpa-ttft --knob target --values 0.2,0.5,1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Markdown table.
    Md,
    /// One JSON document.
    Json,
    /// A page that opens offline.
    Html,
}

/// The percentiles that ours and the searches in hindsight are swept over.
const PERCENTILES: [f64; 6] = [80.0, 90.0, 95.0, 98.0, 99.0, 99.7];

/// Static fleets, as shares of the smallest one that keeps the promise.
const SHARES: [f64; 6] = [0.5, 0.7, 0.85, 1.0, 1.25, 1.5];

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    args.out.check()?;
    let policies: Vec<PolicySpec> = if args.policies.is_empty() {
        let default = ["ours", "static", "oracle", "hpa-ttft"];
        default.iter().filter_map(|name| name.parse().ok()).collect()
    } else {
        args.policies.clone()
    };
    for policy in &policies {
        simulate::known(policy)?;
        knob_of(policy, args.knob.as_deref())?;
    }
    let trace = args.scenario.trace.open(&args.scenario.fleet.promise)?;
    args.out.spares(&[trace.files(), args.scenario.fleet.promise.files()].concat())?;
    let case = args.scenario.fleet.case(&trace)?;
    let mut points = Vec::new();
    for policy in &policies {
        points.extend(sweep(args, &case, &trace, policy)?);
    }
    let text = match args.format {
        Format::Md => report::frontier_markdown(&points),
        Format::Html => report::frontier_html(
            &format!("Good requests against GPU-hours: {}", trace.name),
            &points,
        ),
        Format::Json => {
            let mut text = serde_json::to_string_pretty(&points).map_err(anyhow::Error::new)?;
            text.push('\n');
            text
        }
    };
    args.out.tell(&text)
}

/// The knob that a policy is swept over: the one that is asked for, else the one that trades GPUs
/// for good requests.
fn knob_of(policy: &PolicySpec, asked: Option<&str>) -> Result<&'static str, CliError> {
    let (known, usual): (Vec<&'static str>, _) = match policy.name.as_str() {
        "ours" => (vec!["percentile"], "percentile"),
        "oracle" | "static-best" => (vec!["target"], "target"),
        "static" => (vec!["share"], "share"),
        name => {
            let rival = known(name)
                .ok_or_else(|| CliError::bad_input(format!("policy {name} is not known")))?;
            (rival.knobs.iter().map(|knob| knob.name).collect(), rival.frontier)
        }
    };
    let wanted = asked.unwrap_or(usual);
    known.iter().copied().find(|knob| *knob == wanted).ok_or_else(|| {
        simulate::unplayable(PolicyError::Knob {
            policy: policy.name.clone(),
            knob: wanted.to_owned(),
            known: known.join(", "),
        })
    })
}

fn sweep(
    args: &Args,
    case: &Case,
    trace: &Trace,
    policy: &PolicySpec,
) -> Result<Vec<FrontierPoint>, CliError> {
    let values = |published: &[f64]| {
        if args.values.is_empty() { published.to_vec() } else { args.values.clone() }
    };
    let name = knob_of(policy, args.knob.as_deref())?;
    let series = series(policy, name);
    let point = |knob: &str, value, score: &crate::backtest::Score| FrontierPoint {
        policy: series.clone(),
        knob: knob.to_owned(),
        value,
        attainment: score.attainment,
        gpu_hours: score.gpu_hours,
    };
    let run = |case: &Case, spec: &PolicySpec| {
        let played = watched(trace, case, |watch| play(case, spec, trace, None, watch));
        played.map(|p| p.ran.score).map_err(|e| simulate::failed(e, trace))
    };
    let mut points = Vec::new();
    match policy.name.as_str() {
        "ours" => {
            for value in values(&PERCENTILES) {
                let mut asked = case.clone();
                asked.setting.sla.percentile = Percentile::new(value).ok_or_else(|| {
                    CliError::bad_input(format!("--values: expected a percentile, found {value}"))
                })?;
                points.push(point(name, value, &run(&asked, policy)?));
            }
        }
        "oracle" | "static-best" => {
            for value in values(&PERCENTILES) {
                let mut spec = policy.clone();
                spec.knobs.insert(name.to_owned(), value);
                points.push(point(name, value, &run(case, &spec)?));
            }
        }
        "static" => {
            let best = best_fleet(case, trace)?;
            if !best.keeps {
                super::talk(
                    "note: no allowed static fleet keeps the promise; shares are of the largest",
                );
            }
            for value in values(&SHARES) {
                let counts: Vec<u32> = best
                    .fleet
                    .values()
                    .map(|n| round_to_u32(f64::from(*n) * value).max(1))
                    .collect();
                let spec = PolicySpec { counts, ..policy.clone() };
                points.push(point(name, value, &run(case, &spec)?));
            }
        }
        _ => {
            let knobs = known(&policy.name).map_or(&[][..], |rival| rival.knobs);
            for knob in knobs.iter().filter(|knob| knob.name == name) {
                for value in values(knob.sweep) {
                    let mut spec = policy.clone();
                    spec.knobs.insert(name.to_owned(), value);
                    points.push(point(name, value, &run(case, &spec)?));
                }
            }
        }
    }
    Ok(points)
}

/// What a line of the frontier is called: its policy as it was asked for, but for what is swept.
fn series(policy: &PolicySpec, swept: &str) -> String {
    let mut fixed = policy.clone();
    fixed.knobs.remove(swept);
    if policy.name == "static" {
        fixed.counts.clear();
    }
    fixed.to_string()
}

/// The smallest static fleet that keeps the promise, or the largest where none does.
pub(super) fn best_fleet(case: &Case, trace: &Trace) -> Result<BestStatic, CliError> {
    use crate::backtest::{Source as _, hindsight};
    let requests =
        trace.open().and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| trace.bad(e))?;
    let target = case.promise().percentile;
    let found =
        watched(trace, case, |watch| hindsight::best_static(case, &requests, target, watch));
    found.map_err(|e| CliError::new(Exit::BadInput, anyhow::Error::new(e)))
}
