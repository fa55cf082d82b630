//! Any policy by its name, those that know the future included.

use std::collections::BTreeMap;
use std::convert::Infallible;

use thiserror::Error;

use super::hindsight::{best_static, oracle};
use super::policy::{Ours, PREDICTOR, PolicyError, PolicySpec, Recorded, Static};
use super::run::{Case, Ran};
use crate::record::{Line, Recorder};
use crate::sim::{Open, SimError, Sink};
use crate::trace::Request;
use crate::units::Role;

/// The policies that are not the rule of another autoscaler, with a line about each.
pub const OWN: [(&str, &str); 4] = [
    (
        "ours",
        "this planner, as it runs in a cluster; ours:predictor=kalman has another predictor than its \
         file says (auto, constant, arima, kalman or prophet)",
    ),
    ("static", "a fleet that never changes: static:4,3 is 4 prefill and 3 decode replicas"),
    ("static-best", "the cheapest static fleet that keeps the promise on this very trace"),
    ("oracle", "a schedule made with perfect foresight, the start-up time respected"),
];

/// Requests by growing arrival.
pub type Requests<'a, E> = Box<dyn Iterator<Item = Result<Request, E>> + 'a>;

/// A trace that can be read as often as needed.
pub trait Source {
    /// Why it cannot be read.
    type Error;

    /// From its beginning.
    fn open(&self) -> Result<Requests<'_, Self::Error>, Self::Error>;
}

/// Why a policy cannot be played. The text fits after "failed to".
#[derive(Debug, Error)]
pub enum PlayError<E> {
    /// The trace cannot be read.
    #[error("read the trace")]
    Trace(#[source] E),
    /// The simulation cannot go on.
    #[error(transparent)]
    Sim(SimError<E>),
    /// The policy cannot be made.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Played {
    /// The run.
    pub ran: Ran,
    /// The fleet at the start of the trace: that of the case, unless the policy says it.
    pub initial: BTreeMap<Role, u32>,
    /// What a reader may want to know of how it came about; empty mostly.
    pub note: String,
    /// What the referee said of the decisions of ours.
    pub objections: Vec<String>,
}

/// Plays the policy that `spec` names on a trace; rows of `step_s` seconds where a timeline is
/// wanted. `watch` is told what happens on the way, in each simulation of a search too; `()` does not
/// care.
///
/// # Errors
///
/// Where there is no such policy, the trace cannot be read, or a request fits no engine.
pub fn play<S: Source>(
    case: &Case,
    spec: &PolicySpec,
    source: &S,
    step_s: Option<f64>,
    watch: &mut dyn Sink,
) -> Result<Played, PlayError<S::Error>> {
    let stream = || source.open().map(Open).map_err(PlayError::Trace);
    let started =
        |initial, ran| Played { ran, initial, note: String::new(), objections: Vec::new() };
    let plain = |ran| started(case.initial(), ran);
    check(spec)?;
    match spec.name.as_str() {
        "ours" => {
            let mut ours = Ours::new(&case.setting);
            if let Some(predictor) = spec.predictor() {
                ours = ours.predicting(predictor);
            }
            let ran = case.run(&mut stream()?, &mut ours, step_s, watch).map_err(PlayError::Sim)?;
            Ok(Played { objections: ours.objections().to_vec(), ..plain(ran) })
        }
        "static" => {
            let counts = counts(case, spec)?;
            let case = case.starting_with(&counts);
            let ran =
                case.run(&mut stream()?, &mut Static, step_s, watch).map_err(PlayError::Sim)?;
            Ok(started(counts, ran))
        }
        "static-best" => {
            let requests = collect(source)?;
            let found = best_static(case, &requests, target(case, spec), watch).map_err(never)?;
            let ran = match step_s {
                None => found.ran,
                Some(_) => {
                    let case = case.starting_with(&found.fleet);
                    case.run(&mut stream()?, &mut Static, step_s, watch).map_err(PlayError::Sim)?
                }
            };
            let fleet = found.fleet.iter().map(|(role, n)| format!("{n} {role}"));
            let fleet = fleet.collect::<Vec<_>>().join(" + ");
            let kept =
                if found.keeps { "" } else { ", the largest allowed: none keeps the promise" };
            Ok(Played { note: format!("{fleet}{kept}"), ..started(found.fleet, ran) })
        }
        "oracle" => {
            let requests = collect(source)?;
            let found = oracle(case, &requests, target(case, spec), watch).map_err(never)?;
            let ran = match step_s {
                None => found.ran,
                Some(_) => {
                    let case = case.starting_with(&found.initial);
                    let mut schedule = found.schedule;
                    case.run(&mut stream()?, &mut schedule, step_s, watch)
                        .map_err(PlayError::Sim)?
                }
            };
            let kept = if found.keeps { "keeps the promise" } else { "none keeps the promise" };
            let note = format!("best of {} schedules: {kept}", found.tried);
            Ok(Played { note, ..started(found.initial, ran) })
        }
        _ => {
            let mut policy = super::policy::make(spec, &case.setting)?;
            let ran =
                case.run(&mut stream()?, policy.as_mut(), step_s, watch).map_err(PlayError::Sim)?;
            Ok(plain(ran))
        }
    }
}

/// Plays ours as [`play`] does; `told` gets the lines that `recorder` makes of its decisions.
///
/// # Errors
///
/// As [`play`].
pub fn play_recorded<S: Source>(
    case: &Case,
    source: &S,
    step_s: Option<f64>,
    watch: &mut dyn Sink,
    recorder: Recorder,
    told: &mut dyn FnMut(&Line),
) -> Result<Played, PlayError<S::Error>> {
    let mut ours = Recorded::new(&case.setting, recorder, told);
    let mut stream = Open(source.open().map_err(PlayError::Trace)?);
    let ran = case.run(&mut stream, &mut ours, step_s, watch).map_err(PlayError::Sim)?;
    let objections = ours.objections().to_vec();
    Ok(Played { ran, initial: case.initial(), note: String::new(), objections })
}

/// Refuses a policy that there is not, and knobs or counts that it does not take.
///
/// # Errors
///
/// As [`policy::make`](super::policy::make) of what needs no fleet to be known.
pub fn check(spec: &PolicySpec) -> Result<(), PolicyError> {
    let wrong = |expected: &str, found: String| PolicyError::Value {
        policy: spec.name.clone(),
        expected: expected.to_owned(),
        found,
    };
    match spec.name.as_str() {
        "static" => return no_knobs(spec, &[]),
        "ours" => no_knobs(spec, &[PREDICTOR])?,
        "static-best" | "oracle" => no_knobs(spec, &["target"])?,
        _ => return super::policy::check(spec),
    }
    if let Some(count) = spec.counts.first() {
        return Err(wrong("no counts (static takes them)", count.to_string()));
    }
    match spec.knobs.get("target") {
        Some(target) if !(*target > 0.0 && *target < 100.0) => {
            Err(wrong("target above 0 and below 100 percent", target.to_string()))
        }
        _ => Ok(()),
    }
}

/// The simulation of requests in memory has no load that could fail.
fn never<E>(error: SimError<Infallible>) -> PlayError<E> {
    PlayError::Sim(match error {
        SimError::Load(never) => match never {},
        SimError::TooLarge { index, isl, osl, max_kv_tokens } => {
            SimError::TooLarge { index, isl, osl, max_kv_tokens }
        }
        SimError::OutOfOrder { index } => SimError::OutOfOrder { index },
        SimError::Pools { found } => SimError::Pools { found },
    })
}

fn collect<S: Source>(source: &S) -> Result<Vec<Request>, PlayError<S::Error>> {
    source.open().map_err(PlayError::Trace)?.collect::<Result<_, _>>().map_err(PlayError::Trace)
}

/// The share that a search in hindsight must reach, percent.
fn target(case: &Case, spec: &PolicySpec) -> f64 {
    spec.knobs.get("target").copied().unwrap_or(case.setting.sla.percentile.get())
}

fn no_knobs(spec: &PolicySpec, known: &[&str]) -> Result<(), PolicyError> {
    match spec.knobs.keys().find(|knob| !known.contains(&knob.as_str())) {
        None => Ok(()),
        Some(knob) => Err(PolicyError::Knob {
            policy: spec.name.clone(),
            knob: knob.clone(),
            known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
        }),
    }
}

/// The counts of `static:4,3` by pool.
fn counts(case: &Case, spec: &PolicySpec) -> Result<BTreeMap<Role, u32>, PolicyError> {
    let roles: Vec<Role> = case.sim.pools.keys().copied().collect();
    if spec.counts.len() != roles.len() {
        let names = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        return Err(PolicyError::Value {
            policy: spec.name.clone(),
            expected: format!(
                "one count for each pool ({names}), as in static:{}",
                match roles[..] {
                    [_] => "4",
                    _ => "4,3",
                }
            ),
            found: spec.to_string(),
        });
    }
    Ok(roles.into_iter().zip(spec.counts.iter().copied()).collect())
}

#[cfg(test)]
mod tests;
