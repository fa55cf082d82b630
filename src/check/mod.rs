//! The referee: a judge that is not the player.
//!
//! [`judge`] reads what a plan was given and what it decided, and notes every broken rule. Tests run
//! it after each tick, and the actuator runs it as the last gate before a write: a decision with a
//! [`Severity::Fatal`] note is not carried out.

use std::fmt;

use crate::observe::Observation;
use crate::plan::{Decision, Reason};
use crate::units::{Gpus, Replicas, Role};

/// The limits of one pool, as the referee knows them: from the configuration, not from the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// What the pool does.
    pub role: Role,
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas, where there is a limit.
    pub max: Option<Replicas>,
    /// GPUs of one replica.
    pub gpus_per_replica: Gpus,
}

/// How bad a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look; the decision may be carried out.
    Warning,
    /// A broken invariant: the decision must not be carried out.
    Fatal,
}

/// The rule that a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every configured pool has exactly one decision, and no other has one.
    EveryPoolOnce,
    /// What is written lies between `min` and `max`.
    WithinLimits,
    /// What is asked for takes no more GPUs than the budget, unless it takes fewer than before.
    WithinBudget,
    /// A replica is taken away on fresh signals only, or to obey `max`.
    FreshBeforeDown,
    /// The replicas that the decision started from are those that were seen.
    SeenBeforeChanged,
}

impl Rule {
    /// The stable name, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EveryPoolOnce => "every_pool_once",
            Self::WithinLimits => "within_limits",
            Self::WithinBudget => "within_budget",
            Self::FreshBeforeDown => "fresh_before_down",
            Self::SeenBeforeChanged => "seen_before_changed",
        }
    }
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// What was broken.
    pub rule: Rule,
    /// The particulars, for people.
    pub detail: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.as_str(), self.detail)
    }
}

/// Whether a decision may be carried out.
#[must_use]
pub fn may_act(notes: &[Note]) -> bool {
    notes.iter().all(|n| n.severity < Severity::Fatal)
}

/// Notes every rule that `decision` breaks.
#[must_use]
pub fn judge(
    limits: &[PoolLimits],
    budget: Option<Gpus>,
    observation: &Observation,
    decision: &Decision,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut fatal =
        |rule, detail: String| notes.push(Note { severity: Severity::Fatal, rule, detail });
    for pool in limits {
        let n = decision.pools.iter().filter(|d| d.role == pool.role).count();
        if n != 1 {
            fatal(Rule::EveryPoolOnce, format!("{} has {n} decisions", pool.role));
        }
    }
    for d in &decision.pools {
        if !limits.iter().any(|p| p.role == d.role) {
            fatal(Rule::EveryPoolOnce, format!("{} is not configured", d.role));
        }
        let seen = observation.inventory.pool(d.role).map(|i| i.desired);
        if d.target.is_some() && d.current != seen {
            fatal(Rule::SeenBeforeChanged, format!("{} started from a count never seen", d.role));
        }
    }
    for write in decision.writes() {
        let Some(pool) = limits.iter().find(|p| p.role == write.role) else { continue };
        let most = pool.max.unwrap_or(Replicas::new(u32::MAX));
        if write.to < pool.min || write.to > most {
            fatal(
                Rule::WithinLimits,
                format!("{} would get {}, outside {} to {most}", write.role, write.to, pool.min),
            );
        }
        let into_limits = write.from > most && write.to >= most;
        if write.to < write.from && !into_limits && !observation.traffic.arrivals.is_fresh() {
            fatal(
                Rule::FreshBeforeDown,
                format!(
                    "{} would shrink while the arrival rate is {}",
                    write.role, observation.traffic.arrivals
                ),
            );
        }
        let reason = decision.pools.iter().find(|d| d.role == write.role).map(|d| &d.reason);
        if let Some(Reason::HoldNoMetrics { .. } | Reason::HoldNoInventory { .. }) = reason {
            fatal(Rule::FreshBeforeDown, format!("{} would change on a hold", write.role));
        }
    }
    if let Some(budget) = budget {
        check_budget(limits, budget, decision, &mut fatal);
    }
    notes
}

/// The sum that is asked for after each write, in the order of writing.
fn check_budget(
    limits: &[PoolLimits],
    budget: Gpus,
    decision: &Decision,
    fatal: &mut impl FnMut(Rule, String),
) {
    let gpus = |role: Role, n: Replicas| {
        limits.iter().find(|p| p.role == role).map_or(Gpus::new(0), |p| n.gpus(p.gpus_per_replica))
    };
    let mut asked: Vec<(Role, Replicas)> =
        decision.pools.iter().filter_map(|d| Some((d.role, d.current?))).collect();
    for write in decision.writes() {
        for (role, n) in &mut asked {
            if *role == write.role {
                *n = write.to;
            }
        }
        let total = asked.iter().fold(Gpus::new(0), |sum, (role, n)| sum.plus(gpus(*role, *n)));
        if total > budget && write.to > write.from {
            fatal(
                Rule::WithinBudget,
                format!("{total} GPUs are asked for after {} grows, of {budget}", write.role),
            );
        }
    }
}

#[cfg(test)]
mod tests;
