//! The answer of a plan: what to write, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::account::ErrorBudget;
use super::{Alternative, Awaited, IfOnly, Memory, Reason, Sizing, Starting, Trust};
use crate::forecast::{Bands, Demand, Standing};
use crate::units::{Gpus, Replicas, Role, Timestamp};

/// What one pool is to have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolDecision {
    /// What the pool does.
    pub role: Role,
    /// What it has been asked to have so far; `None` where that is not known.
    pub current: Option<Replicas>,
    /// What it is to have; `None` leaves it alone.
    pub target: Option<Replicas>,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for PoolDecision {
    /// The pool, its count or the change of it, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, current, target, reason } = self;
        match (current, target) {
            (Some(from), Some(to)) if from != to => write!(f, "{role} {from} → {to}: {reason}"),
            (Some(at), _) => write!(f, "{role} {at}: {reason}"),
            (None, _) => write!(f, "{role}: {reason}"),
        }
    }
}

/// One count to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The pool.
    pub role: Role,
    /// What it was asked to have so far.
    pub from: Replicas,
    /// What it is to have.
    pub to: Replicas,
}

/// The decision of one tick: a value that leaves the actor no choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When it was made.
    pub at: Timestamp,
    /// One entry for each pool, in the order of the input.
    pub pools: Vec<PoolDecision>,
    /// When to look again.
    pub next_tick: Timestamp,
}

impl Decision {
    /// The counts that change, in the order in which to write them: first what shrinks, so that no
    /// state in between takes more GPUs than the budget.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        let mut writes: Vec<Write> = self
            .pools
            .iter()
            .filter_map(|p| match (p.current, p.target) {
                (Some(from), Some(to)) if from != to => Some(Write { role: p.role, from, to }),
                _ => None,
            })
            .collect();
        writes.sort_by_key(|w| (w.to > w.from, w.role));
        writes
    }
}

/// What the decision rests on, for people and for a replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The demand that was planned for; `None` where it was not known.
    pub demand: Option<Demand>,
    /// The rules that the upper end of the demand follows, for prompts and for outputs.
    pub standing: Vec<Standing>,
    /// Rate and mean lengths at the horizon, with their bands; `None` before a rate was seen.
    #[serde(default)]
    pub bands: Option<Bands>,
    /// The sizes that keep the promise, before limits of time; `None` where nothing was sized.
    pub sizing: Option<Sizing>,
    /// GPUs of what was asked for so far, where all of it is known.
    pub current_gpus: Option<Gpus>,
    /// What the promise allows to be late, and what was.
    #[serde(default)]
    pub error_budget: ErrorBudget,
    /// Inputs that were not fresh, with their state, for people.
    pub not_fresh: Vec<String>,
    /// The other fleets that were looked at, under the same demand.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// What would have to be different for one replica fewer.
    #[serde(default)]
    pub if_only: Vec<IfOnly>,
    /// Requests that wait beyond what the promise allows, where replicas are asked for to serve
    /// them.
    #[serde(default)]
    pub backlog: Option<f64>,
    /// The model beside what was seen.
    #[serde(default)]
    pub trust: Trust,
    /// The starts of each pool whose replicas are known.
    #[serde(default)]
    pub starting: Vec<Starting>,
    /// What is awaited, the nearest first: the next look is at
    /// [`Decision::next_tick`], since load is looked at in equal steps.
    #[serde(default)]
    pub awaited: Vec<Awaited>,
}

/// Decision, report, and the memory for the next tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What to write.
    pub decision: Decision,
    /// Why, at length.
    pub report: Report,
    /// What to carry on.
    pub memory: Memory,
}
