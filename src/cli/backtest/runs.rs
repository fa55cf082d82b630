//! Playing the runs, several at a time, and keeping what was played.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::Args;
use super::suite::Planned;
use crate::backtest::policy::PolicyError;
use crate::backtest::{PlayError, RunResult, Score, play};
use crate::cli::exit::CliError;
use crate::cli::identity::Fnv;
use crate::cli::progress::Stopwatch;
use crate::cli::{files, identity, simulate};
use crate::units::seconds_of;

/// The form of a kept or printed comparison.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    runs: Vec<RunResult>,
}

pub(super) fn json(results: &[RunResult]) -> Result<String, CliError> {
    let document = Document { version: VERSION, runs: results.to_vec() };
    let mut text = serde_json::to_string_pretty(&document).context("write the runs as JSON")?;
    text.push('\n');
    Ok(text)
}

/// What came of one run: nothing where the policy does not fit the fleet.
type Outcome = Result<Option<RunResult>, CliError>;

/// Plays what is planned for this shard, in the order of the plan whoever is first.
pub(super) fn play_all(args: &Args, planned: Vec<Planned>) -> Result<Vec<RunResult>, CliError> {
    let mine: Vec<Planned> = match args.shard {
        Some((i, n)) => planned.into_iter().skip(i).step_by(n).collect(),
        None => planned,
    };
    for run in &mine {
        simulate::known(&run.policy)?;
    }
    if let Some(keep) = &args.keep {
        files::make_dir(keep)?;
    }
    let bar = ProgressBar::new(u64::try_from(mine.len()).unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{elapsed} {bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, usize::from).min(mine.len()).max(1);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = mine.get(i) else { break };
                    let result = play_one(args, run);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    bar.set_message(run.policy.to_string());
                    bar.inc(1);
                    if let Ok(mut done) = done.lock() {
                        done.push((i, result));
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().filter_map(|(_, result)| result.transpose()).collect()
}

/// One run; `None` where the policy is not made for the fleet, which is said.
fn play_one(args: &Args, run: &Planned) -> Result<Option<RunResult>, CliError> {
    let scenario = identity::scenario(&run.scenario.trace, &run.scenario.fleet)?;
    let kept =
        args.keep.as_ref().map(|dir| Ok::<_, CliError>(dir.join(file_name(args, run, &scenario)?)));
    let kept = kept.transpose()?;
    if let Some(path) = kept.as_ref().filter(|path| path.is_file()) {
        return read_one(path).map(Some);
    }
    let trace = run.scenario.trace.open(&run.scenario.fleet.promise)?;
    let case = run.scenario.fleet.case(&trace)?;
    let watch = Stopwatch::start();
    let step_s = if args.output.wants_timelines() { Some(trace.row_s()?) } else { None };
    let played = match play(&case, &run.policy, &trace, step_s, &mut ()) {
        Err(PlayError::Policy(unfit @ PolicyError::Unfit { .. })) => {
            crate::cli::talk(&format!("left out: {unfit} ({})", trace.name));
            return Ok(None);
        }
        played => played.map_err(|e| simulate::failed(e, &trace))?,
    };
    for objection in &played.objections {
        crate::cli::talk(&format!("{}: the referee objects: {objection}", trace.name));
    }
    let name = run.name.clone().unwrap_or_else(|| trace.name.clone());
    let result = RunResult {
        run: simulate::key(&run.policy, name, &case, &run.scenario.fleet, scenario),
        promise: case.promise(),
        score: played.ran.score,
        timeline: played.ran.timeline,
        wall_s: seconds_of(watch.elapsed()),
    };
    if let Some(path) = kept {
        let text = serde_json::to_string(&result).context("write a run as JSON")?;
        files::write(&path, &text)?;
    }
    Ok(Some(result))
}

/// A name that says what it is, and differs where anything does.
fn file_name(args: &Args, run: &Planned, scenario: &str) -> Result<String, CliError> {
    let timeline = if args.output.wants_timelines() { "rows" } else { "score" };
    let (name, policy, build) = (&run.name, &run.policy, identity::build()?);
    // The flags have the resolved paths, the scenario what is in the files.
    let text = format!("{build} {timeline} {name:?} {policy} {scenario} {:?}", run.scenario);
    let hash = Fnv::of(text.as_bytes());
    let plain = |text: &str| {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect::<String>()
    };
    let name = run.name.as_deref().map(plain).unwrap_or_default();
    Ok(format!("{name}-{}-{hash}.json", plain(&run.policy.to_string())))
}

fn read_one(path: &Path) -> Result<RunResult, CliError> {
    let text = files::text(path)?;
    serde_json::from_str(&text).map_err(|e| {
        CliError::bad_input(format!("{}: expected a kept run: {e}", path.display()))
            .hint("remove the file, and it is played again")
    })
}

/// What shards kept or printed, put together; the same run twice counts once, with its course where
/// one of the two has it.
pub(super) fn read_parts(parts: &[PathBuf]) -> Result<Vec<RunResult>, CliError> {
    let mut all: Vec<RunResult> = Vec::new();
    for part in parts {
        let found = if part.is_dir() {
            files::in_dir(part, "json")?.iter().map(|p| read_one(p)).collect::<Result<_, _>>()?
        } else {
            read_document(part)?
        };
        for result in found {
            match all.iter_mut().find(|known| known.run == result.run) {
                None => all.push(result),
                Some(known) if own(&known.score) == own(&result.score) => {
                    known.timeline = known.timeline.take().or(result.timeline);
                }
                Some(_) => {
                    return Err(CliError::bad_input(format!(
                        "{}: {} on {} was played before, with another result",
                        part.display(),
                        result.run.policy,
                        result.run.trace
                    ))
                    .hint("merge runs of one version and one suite only"));
                }
            }
        }
    }
    if all.is_empty() {
        return Err(CliError::bad_input("there is no run to merge"));
    }
    Ok(all)
}

/// The score without what a comparison adds to it, which a printed run has and a kept one has not.
fn own(score: &Score) -> Score {
    Score { regret_oracle: None, regret_static: None, ..score.clone() }
}

fn read_document(path: &Path) -> Result<Vec<RunResult>, CliError> {
    let text = files::text(path)?;
    let bad = |why: String| CliError::bad_input(format!("{}: {why}", path.display()));
    let document: Document = serde_json::from_str(&text)
        .map_err(|e| bad(format!("expected a document of `backtest --format json`: {e}")))?;
    if document.version != VERSION {
        return Err(bad(format!("expected version {VERSION}, found {}", document.version)));
    }
    Ok(document.runs)
}
