//! `sla-planner backtest`: policies on traces, side by side; and `merge`, for what was run in shards.

mod measured;
mod runs;
mod suite;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use self::suite::Planned;
use super::exit::CliError;
use super::files::Input;
use super::fleet::Fleet;
use super::out::Out;
use super::promise::positive;
use super::simulate;
use super::traces::TraceArgs;
use crate::backtest::policy::PolicySpec;
use crate::backtest::{RunResult, fill_regrets, report};

/// The flags of one scenario, which a suite has in its file. The group of a struct that takes in
/// another one holds none of its own flags, so that those of the fleet are named.
const OF_ONE_SCENARIO: [&str; 19] = [
    "TraceArgs",
    "Promise",
    "startup",
    "startup_cv",
    "startup_failing",
    "startup_stuck",
    "initial",
    "seed",
    "router",
    "kv_transfer",
    "drain_limit",
    "prefill_factor",
    "decode_factor",
    "attention_share",
    "max_kv_tokens",
    "resume_last",
    "scrape_interval",
    "scrape_delay",
    "faults",
];

/// Plays policies on traces in simulated fleets and compares them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    scenario: Scenario,
    /// A file with policies and scenarios, in place of the flags of one.
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_ONE_SCENARIO)]
    suite: Option<PathBuf>,
    /// The directory that `{dir}` stands for in a suite; the suite's own without it.
    #[arg(long, value_name = "DIR", requires = "suite")]
    dir: Option<PathBuf>,
    /// A policy to play, with its knobs; all known ones without it (docs/policies.md).
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<PolicySpec>,
    /// Play the fixed fleets of this CSV, and set what came beside what was measured of them.
    #[arg(long, value_name = "FILE", requires = "suite", conflicts_with_all = ["policies", "shard", "format"])]
    measured: Option<PathBuf>,
    /// Start-up times to play.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', value_parser = positive)]
    startups: Vec<Duration>,
    /// Seeds to play.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    seeds: Vec<u64>,
    /// Only scenarios whose name begins so.
    #[arg(long, value_name = "NAME", requires = "suite")]
    only: Vec<String>,
    /// Runs at a time; as many as there are cores without it.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Keep each run in this directory, and take what is there already instead of playing it again.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Play only every n-th run, beginning with the i-th (from 0): 2/8. Needs --keep.
    #[arg(long, value_name = "I/N", value_parser = shard, requires = "keep")]
    shard: Option<(usize, usize)>,
    #[command(flatten)]
    output: Output,
}

/// What one scenario is: a trace and a fleet.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Scenario {
    #[command(flatten)]
    pub(super) trace: TraceArgs,
    #[command(flatten)]
    pub(super) fleet: Fleet,
}

/// How results are told.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Output {
    /// Form of the comparison.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
    #[command(flatten)]
    out: Out,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner backtest --trace week.csv.gz --policy ours --policy static-best --policy oracle
  sla-planner backtest --trace week.csv.gz --startups 60s,120s --format html --out report.html
  sla-planner backtest --suite suite.yaml --startups 60s --measured fleets.csv
  sla-planner backtest --suite suite.yaml --keep runs --shard 0/4
  sla-planner merge runs --format md";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Markdown tables.
    Md,
    /// One JSON document.
    Json,
    /// One page that opens offline, with the course of each run.
    Html,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    text.split_once('/')
        .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)))
        .filter(|(i, n)| i < n)
        .ok_or_else(|| "expected which shard of how many, from 0: 2/8".to_owned())
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    args.output.out.check()?;
    let measured = args.measured.as_deref().map(measured::read).transpose()?;
    let plan = suite::plan(args, measured.as_deref())?;
    args.output.out.spares(&files_of(args, &plan))?;
    let mut notes = Vec::new();
    for run in &plan {
        notes.extend(run.scenario.fleet.not_scored()?.filter(|note| !notes.contains(note)));
    }
    notes.iter().for_each(|note| super::talk(note));
    let results = runs::play_all(args, plan)?;
    tell_beyond_profile(&results);
    if let Some(measured) = measured {
        return args.output.out.tell(&measured::tell(&measured, &results));
    }
    if args.shard.is_some() && args.output.out.is_printed() {
        super::talk(&format!("{} runs of this shard are kept", results.len()));
        return Ok(());
    }
    args.output.tell("Back-test", results)
}

/// The files that runs are read from.
fn files_of(args: &Args, plan: &[Planned]) -> Vec<Input> {
    let own = [(&args.suite, "the suite"), (&args.measured, "the file of --measured")];
    let mut files: Vec<Input> =
        own.into_iter().filter_map(|(path, what)| Some((path.clone()?, what))).collect();
    for Planned { scenario, .. } in plan {
        files.extend(scenario.fleet.promise.files());
        files.extend(scenario.trace.traces.iter().map(|text| (PathBuf::from(text), "a trace")));
    }
    files
}

impl Output {
    pub(super) fn wants_timelines(&self) -> bool {
        self.format == Format::Html
    }

    fn tell(&self, title: &str, mut results: Vec<RunResult>) -> Result<(), CliError> {
        fill_regrets(&mut results);
        if self.wants_timelines() {
            told_without_course(&results);
        }
        let text = match self.format {
            Format::Md => report::markdown(&results),
            Format::Html => report::html(title, &results),
            Format::Json => runs::json(&results)?,
        };
        self.out.tell(&text)
    }
}

/// Says once for each scenario that prompts were longer than what the profile knows of.
fn tell_beyond_profile(results: &[RunResult]) {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for result in results.iter().filter(|r| r.score.beyond_profile > 0) {
        let scenario = (result.run.trace.as_str(), result.run.scenario.as_str());
        if !told.contains(&scenario) {
            told.push(scenario);
            simulate::beyond_profile(&result.run.trace, result.score.beyond_profile);
        }
    }
}

/// Says that a page has less than it could, and how to get the rest.
fn told_without_course(results: &[RunResult]) {
    let without = results.iter().filter(|r| r.timeline.is_none()).count();
    if without > 0 {
        super::talk(&format!(
            "note: {without} of {} runs have no course over time, which the page lacks\n\
             hint: play them with `backtest --keep DIR --format html`, and merge that DIR",
            results.len()
        ));
    }
}

/// Puts together what was played in shards.
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// Directories of --keep, or JSON documents of `backtest --format json`.
    #[arg(required = true, value_name = "DIR|FILE")]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn merge(args: &MergeArgs) -> Result<(), CliError> {
    args.output.out.check()?;
    let parts: Vec<Input> = args.parts.iter().map(|path| (path.clone(), "a part")).collect();
    args.output.out.spares(&parts)?;
    let results = runs::read_parts(&args.parts)?;
    tell_beyond_profile(&results);
    args.output.tell("Back-test", results)
}
