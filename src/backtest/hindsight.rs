//! What could have been had by knowing the trace before: the best static fleet, and a schedule made
//! with perfect foresight.

mod need;
mod oracle;
mod statics;

pub use oracle::{Foreseen, oracle};
pub use statics::{BestStatic, best_static};

use std::convert::Infallible;

use super::run::Case;
use super::{Ran, policy};
use crate::sim::{Open, Policy, SimError, Sink};
use crate::trace::Request;

/// The case with GPUs without end: a search asks what is needed first, where others that wait for
/// GPUs would hide it, and holds what it found to those that there are.
fn unlimited(case: &Case) -> Case {
    let mut case = case.clone();
    case.sim.gpus = None;
    case
}

/// Replays requests that are in memory.
fn replay(requests: &[Request]) -> Open<impl Iterator<Item = Result<Request, Infallible>> + '_> {
    Open(requests.iter().map(|request| Ok(*request)))
}

fn try_policy(
    case: &Case,
    requests: &[Request],
    policy: &mut dyn Policy,
    watch: &mut dyn Sink,
) -> Result<Ran, SimError<Infallible>> {
    case.run(&mut replay(requests), policy, None, watch)
}

fn try_static(
    case: &Case,
    requests: &[Request],
    watch: &mut dyn Sink,
) -> Result<Ran, SimError<Infallible>> {
    try_policy(case, requests, &mut policy::Static, watch)
}
