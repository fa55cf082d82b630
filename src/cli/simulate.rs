//! `sla-planner simulate`: one policy on one trace in a simulated fleet.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};

use super::exit::{CliError, Exit};
use super::fleet::Fleet;
use super::out::Out;
use super::progress::{Stopwatch, watched};
use super::promise::positive;
use super::traces::{self, Trace};
use super::{files, identity};
use crate::backtest::policy::{PolicyError, PolicySpec};
use crate::backtest::{Case, PlayError, Played, RunKey, RunResult, play, play_recorded, report};
use crate::record::{Line, Recorder};
use crate::sim::SimError;
use crate::trace::TraceError;
use crate::units::seconds_of;

/// Plays one policy on a trace in a simulated fleet; needs no cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    trace: traces::TraceArgs,
    /// Who decides: ours, static:4,3, static-best, oracle, or another autoscaler by its name
    /// (docs/policies.md lists them with their knobs).
    #[arg(long, value_name = "POLICY", default_value = "ours")]
    policy: PolicySpec,
    #[command(flatten)]
    fleet: Fleet,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Length of a row of the timeline, which is in the JSON and the page; a page has one without it.
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    step: Option<Duration>,
    /// Write each decision of ours to this file, as `run` does: for `why` and `replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    out: Out,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner simulate
  sla-planner simulate --trace week.csv.gz --policy ours --startup 120s --format html --out week.html
  sla-planner simulate --trace week.csv.gz --policy static-best --percentile 99
  sla-planner simulate --policy hpa-ttft:target=0.4 --fault metrics-gap:3m..5m
  sla-planner simulate --record decisions.jsonl && sla-planner why --at 5m decisions.jsonl";

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// A page that opens offline, with the course of the run.
    Html,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    args.out.check()?;
    known(&args.policy)?;
    if args.record.is_some() && args.policy.name != "ours" {
        return Err(CliError::bad_input(format!(
            "--record writes what our planner decides, and the policy is {}",
            args.policy
        ))
        .hint("leave out --policy or --record"));
    }
    if args.record.as_deref() == Some(std::path::Path::new("-")) {
        return Err(CliError::bad_input("--record - : the record needs a file of its own")
            .hint("standard output has the figures; name a file"));
    }
    let trace = args.trace.open(&args.fleet.promise)?;
    spare_inputs(args, &trace)?;
    let mut case = args.fleet.case(&trace)?;
    if let Some(predictor) = args.policy.predictor() {
        case.setting.predictor = predictor;
    }
    if let Some(note) = args.fleet.not_scored()? {
        super::talk(&note);
    }
    let watch = Stopwatch::start();
    let step_s = match (args.format, args.step) {
        (_, Some(step)) => Some(seconds_of(step)),
        (Format::Html, None) => Some(trace.row_s()?),
        (Format::Text | Format::Json, None) => None,
    };
    let mut record = args.record.as_deref().map(RecordFile::create).transpose()?;
    let played = watched(&trace, &case, |watch| match &mut record {
        None => play(&case, &args.policy, &trace, step_s, watch),
        Some(file) => {
            play_recorded(&case, &trace, step_s, watch, recorder(&trace, args), &mut |line| {
                file.write(line);
            })
        }
    })
    .map_err(|e| failed(e, &trace))?;
    if let Some(file) = record {
        file.close()?;
    }
    warn(&played, &trace);
    let scenario = identity::scenario(&args.trace, &args.fleet)?;
    let run = key(&args.policy, trace.name.clone(), &case, &args.fleet, scenario);
    let result = RunResult {
        run,
        promise: case.promise(),
        score: played.ran.score.clone(),
        timeline: played.ran.timeline.clone(),
        wall_s: seconds_of(watch.elapsed()),
    };
    let text = match args.format {
        Format::Text => render(&case, &played, &result),
        Format::Json => json(&result)?,
        Format::Html => report::html(&format!("{} on {}", args.policy, trace.name), &[result]),
    };
    args.out.tell(&text)
}

/// Refuses to write over what is read.
fn spare_inputs(args: &Args, trace: &Trace) -> Result<(), CliError> {
    let written = [("--record", args.record.as_deref()), ("--out", args.out.file())];
    let written: Vec<(&str, &Path)> =
        written.into_iter().filter_map(|(flag, path)| Some((flag, path?))).collect();
    files::spare(&written, &[trace.files(), args.fleet.promise.files()].concat())?;
    match written.as_slice() {
        [(_, record), (_, out)] if record == out || files::is_same(record, out) => {
            Err(CliError::bad_input(format!(
                "--record and --out name the same file, {}: one would be written over the other",
                out.display()
            ))
            .hint("name two files"))
        }
        _ => Ok(()),
    }
}

/// Numbers the decisions of a simulated run. Two runs of the same arguments write the same file.
fn recorder(trace: &Trace, args: &Args) -> Recorder {
    let run = format!("simulated-{}", args.fleet.seed);
    Recorder::new(run, env!("CARGO_PKG_VERSION"), format!("simulated/{}", trace.name))
}

/// A record file that is being written.
struct RecordFile {
    name: String,
    file: BufWriter<File>,
    failed: Option<anyhow::Error>,
}

impl RecordFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let file = BufWriter::new(files::create(path)?);
        Ok(Self { name: path.display().to_string(), file, failed: None })
    }

    /// Writes a line; that the disk is full is said at the end, by [`RecordFile::close`].
    fn write(&mut self, line: &Line) {
        if self.failed.is_none() {
            let written = line
                .to_text()
                .map_err(anyhow::Error::new)
                .and_then(|text| writeln!(self.file, "{text}").map_err(anyhow::Error::new));
            self.failed = written.err();
        }
    }

    fn close(mut self) -> Result<(), CliError> {
        let failed = self.failed.or_else(|| self.file.flush().err().map(anyhow::Error::new));
        match failed {
            None => Ok(()),
            Some(error) => Err(error.context(format!("cannot write {}", self.name)).into()),
        }
    }
}

/// What tells a run from others.
pub(super) fn key(
    policy: &PolicySpec,
    trace: String,
    case: &Case,
    fleet: &Fleet,
    scenario: String,
) -> RunKey {
    // Of pools that differ, the slowest: a fleet is up when all of it is.
    let startups = case.setting.pools.values().map(|pool| pool.startup);
    RunKey {
        policy: policy.to_string(),
        trace,
        profile: engines(case),
        startup_s: seconds_of(startups.max().unwrap_or_default()),
        seed: fleet.seed,
        scenario,
    }
}

/// The engines of a case, by the name of their profile.
fn engines(case: &Case) -> String {
    let mut places: Vec<&str> = case.setting.pools.values().map(|p| p.engine.place()).collect();
    places.dedup();
    places.join("; ")
}

/// What a run that failed tells a user.
pub(super) fn failed(error: PlayError<TraceError>, trace: &Trace) -> CliError {
    match error {
        PlayError::Trace(error) | PlayError::Sim(SimError::Load(error)) => trace.bad(error),
        PlayError::Sim(SimError::TooLarge { index, isl, osl, max_kv_tokens }) => {
            CliError::bad_input(format!(
                "{}: request {index}: {isl} prompt and {osl} output tokens do not fit the \
                 {max_kv_tokens} tokens of KV cache that the profile gives one engine",
                trace.name
            ))
            .hint("take a profile of a larger engine, or shorten requests with --context-length")
        }
        PlayError::Sim(SimError::OutOfOrder { index }) => CliError::bad_input(format!(
            "{}: request {index} arrives before the one that precedes it",
            trace.name
        ))
        .hint("sort the trace by its time"),
        PlayError::Sim(SimError::Pools { found }) => CliError::bad_input(format!(
            "a simulated fleet needs the pools prefill and decode, or aggregated; found {found}"
        )),
        PlayError::Policy(error) => unplayable(error),
    }
}

pub(super) fn unplayable(error: PolicyError) -> CliError {
    CliError::new(Exit::BadInput, error)
        .hint("docs/policies.md lists the policies with their knobs")
}

/// Refuses a policy that there is not, or a knob that it has not, before anything is played.
pub(super) fn known(policy: &PolicySpec) -> Result<(), CliError> {
    crate::backtest::check(policy).map_err(unplayable)
}

/// Says what a reader of the result must know.
pub(super) fn warn(played: &Played, trace: &Trace) {
    beyond_profile(&trace.name, played.ran.score.beyond_profile);
    for objection in &played.objections {
        super::talk(&format!("the referee objects: {objection}"));
    }
}

/// Says how many prompts were longer than what the profile knows of, where any was.
pub(super) fn beyond_profile(trace: &str, prompts: u64) {
    if prompts > 0 {
        super::talk(&format!(
            "note: {trace}: {prompts} prompts are longer than any that the profile measured: their \
             time is extrapolated"
        ));
    }
}

#[derive(serde::Serialize)]
struct Answer<'a> {
    attainment: f64,
    gpu_hours: f64,
    requests: u64,
    ttft_ms: crate::backtest::Percentiles,
    itl_ms: crate::backtest::Percentiles,
    #[serde(flatten)]
    whole: &'a RunResult,
}

fn json(result: &RunResult) -> Result<String, CliError> {
    let score = &result.score;
    let answer = Answer {
        attainment: score.attainment,
        gpu_hours: score.gpu_hours,
        requests: score.requests,
        ttft_ms: score.ttft_ms,
        itl_ms: score.itl_ms,
        whole: result,
    };
    let mut text = serde_json::to_string(&answer).context("write the answer as JSON")?;
    text.push('\n');
    Ok(text)
}

/// The start-up time of a replica in words, by pool where they differ.
fn startups(case: &Case) -> String {
    let pools = &case.setting.pools;
    let all = || pools.iter().map(|(role, pool)| (role, seconds_of(pool.startup)));
    match all().next() {
        Some((_, first)) if all().all(|(_, s)| s.total_cmp(&first).is_eq()) => {
            format!("{first:.0} s")
        }
        _ => all().map(|(role, s)| format!("{role} {s:.0} s")).collect::<Vec<_>>().join(", "),
    }
}

fn render(case: &Case, played: &Played, result: &RunResult) -> String {
    let RunResult { run, score, .. } = result;
    let fleet: Vec<String> = played.initial.iter().map(|(role, n)| format!("{n} {role}")).collect();
    let note = if played.note.is_empty() { String::new() } else { format!(" ({})", played.note) };
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["", "mean", "p50", "p95", "p99"]);
    for (name, p) in [("TTFT ms", score.ttft_ms), ("ITL ms", score.itl_ms)] {
        let figures = [p.mean, p.p50, p.p95, p.p99].map(|ms| format!("{ms:.1}"));
        table.add_row(std::iter::once(name.to_owned()).chain(figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let hours = score.duration_s / 3600.0;
    let verdict = if score.attainment >= result.promise.percentile { "kept" } else { "NOT KEPT" };
    let mut out = format!(
        "Promise  {}\nTrace    {}: {} requests in {hours:.2} h\nEngine   {}\n\
         Fleet    {} at the start, start-up {}\nPolicy   {}{note}\n\n{table}\n\n\
         {:.2} % of requests good, promise {verdict}, at {:.2} GPU-hours \
         ({:.0} good requests each)\n",
        Fleet::described(case),
        run.trace,
        score.requests,
        run.profile,
        fleet.join(" + "),
        startups(case),
        run.policy,
        score.attainment,
        score.gpu_hours,
        score.good_per_gpu_hour,
    );
    let spells = score.recovery;
    put!(
        out,
        "{} changes of a count ({:.1} an hour, {:.1} of them back), at most {} GPUs\n",
        score.changes,
        score.changes_per_hour,
        score.reversals_per_hour,
        score.peak_gpus
    );
    if spells.spells > 0 {
        put!(
            out,
            "promise broken in {} spells, {:.0} s on average, {:.0} s the longest\n",
            spells.spells,
            spells.mean_s,
            spells.longest_s
        );
    }
    if score.lost + score.unfinished > 0 {
        put!(
            out,
            "{} requests lost, {} without an answer at the end\n",
            score.lost,
            score.unfinished
        );
    }
    out
}
