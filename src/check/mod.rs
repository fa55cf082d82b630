//! The referee: a judge that is not the player.
//!
//! [`judge`] reads what a plan was given and what it decided, and notes every broken rule. Tests run
//! it after each tick, and the actuator runs it as the last gate before a write: a decision with a
//! [`Severity::Fatal`] note is not carried out.

use std::fmt;

use crate::observe::{Observation, Signal};
use crate::plan::{Decision, PoolInput, Write};
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

impl From<&PoolInput<'_>> for PoolLimits {
    fn from(pool: &PoolInput<'_>) -> Self {
        let PoolInput {
            role,
            min,
            max,
            gpus_per_replica,
            engine: _,
            limits: _,
            measured: _,
            startup: _,
        } = *pool;
        Self { role, min, max, gpus_per_replica }
    }
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
    /// What is written lies between `min` and `max`, or nearer to them than before.
    WithinLimits,
    /// What is asked for takes no more GPUs than the budget, unless it takes fewer than before; and
    /// nothing grows while the replicas of a pool that shares the budget are not known.
    WithinBudget,
    /// A replica is taken away on fresh signals only, or to obey `max` or the budget.
    FreshBeforeDown,
    /// A pool whose reason is to hold is not written.
    NoWriteOnHold,
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
            Self::NoWriteOnHold => "no_write_on_hold",
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
    let stale = stale(limits, observation);
    let writes = decision.writes();
    let over_budget = budget.is_some_and(|b| cuts_to(limits, b, decision, &writes));
    for write in &writes {
        let Some(pool) = limits.iter().find(|p| p.role == write.role) else { continue };
        let most = pool.max.unwrap_or(Replicas::new(u32::MAX));
        let (grows, shrinks) = (write.to > write.from, write.to < write.from);
        if write.to < pool.min && shrinks || write.to > most && grows {
            fatal(
                Rule::WithinLimits,
                format!("{} would get {}, outside {} to {most}", write.role, write.to, pool.min),
            );
        }
        let into_limits = write.from > most && write.to >= most;
        if let Some(stale) = stale.as_ref().filter(|_| shrinks && !into_limits && !over_budget) {
            fatal(Rule::FreshBeforeDown, format!("{} would shrink while {stale}", write.role));
        }
        let reason = decision.pools.iter().find(|d| d.role == write.role).map(|d| &d.reason);
        if let Some(reason) = reason.filter(|r| r.is_hold()) {
            let detail = format!("{} would change on {}", write.role, reason.code());
            fatal(Rule::NoWriteOnHold, detail);
        }
    }
    if let Some(budget) = budget {
        check_budget(limits, budget, decision, &mut fatal);
    }
    notes
}

/// The first signal that is not good enough to take a replica away.
fn stale(limits: &[PoolLimits], observation: &Observation) -> Option<String> {
    let traffic = &observation.traffic;
    let arrivals = &traffic.arrivals;
    let idle = arrivals.fresh().is_some_and(|r| r.get() <= 0.0);
    // A length that no request had, a latency that no request saw: neither is in the way.
    let lengths = [("the ISL", &traffic.isl), ("the OSL", &traffic.osl)]
        .map(|(name, s)| (name, s.is_fresh() || idle && s.has_no_samples(), s.to_string()));
    let latencies = [("the TTFT", &traffic.ttft.quantile), ("the ITL", &traffic.itl.quantile)]
        .map(|(name, s)| (name, s.is_fresh() || s.has_no_samples(), s.to_string()));
    if !arrivals.is_fresh() {
        return Some(format!("the arrival rate is {arrivals}"));
    }
    if let Some((name, _, state)) = lengths.iter().chain(&latencies).find(|(_, good, _)| !good) {
        return Some(format!("{name} is {state}"));
    }
    if idle && traffic.inflight.known().is_some_and(|n| *n > 0.0) {
        return Some("requests are in flight although none arrives".to_owned());
    }
    let pools = &observation.inventory.pools;
    limits
        .iter()
        .find(|p| !pools.get(&p.role).is_some_and(Signal::is_fresh))
        .map(|p| format!("the inventory of {} is not fresh", p.role))
}

/// GPUs of so many replicas of a pool.
fn gpus(limits: &[PoolLimits], role: Role, n: Replicas) -> Gpus {
    limits.iter().find(|p| p.role == role).map_or(Gpus::new(0), |p| n.gpus(p.gpus_per_replica))
}

/// Whether the pools take more than the budget, and give back no replica beyond that.
fn cuts_to(limits: &[PoolLimits], budget: Gpus, decision: &Decision, writes: &[Write]) -> bool {
    let sum = |count: &dyn Fn(Role, Replicas) -> Replicas| {
        let counts = decision.pools.iter().filter_map(|d| Some((d.role, d.current?)));
        counts.fold(Gpus::new(0), |sum, (role, n)| sum.plus(gpus(limits, role, count(role, n))))
    };
    let shrunk = || writes.iter().filter(|w| w.to < w.from);
    let before = sum(&|_, n| n);
    let after = sum(&|role, n| shrunk().find(|w| w.role == role).map_or(n, |w| w.to));
    let largest = shrunk().map(|w| gpus(limits, w.role, Replicas::new(1))).max();
    before > budget && after.plus(largest.unwrap_or_default()) > budget
}

/// The sum that is asked for after each write, in the order of writing.
fn check_budget(
    limits: &[PoolLimits],
    budget: Gpus,
    decision: &Decision,
    fatal: &mut impl FnMut(Rule, String),
) {
    let unknown = decision.pools.iter().find(|d| d.current.is_none());
    let mut asked: Vec<(Role, Replicas)> =
        decision.pools.iter().filter_map(|d| Some((d.role, d.current?))).collect();
    for write in decision.writes() {
        for (role, n) in &mut asked {
            if *role == write.role {
                *n = write.to;
            }
        }
        let total =
            asked.iter().fold(Gpus::new(0), |sum, (role, n)| sum.plus(gpus(limits, *role, *n)));
        let grows = write.to > write.from;
        if let Some(unknown) = unknown.filter(|_| grows) {
            let detail =
                format!("{} would grow while {}'s share is not known", write.role, unknown.role);
            fatal(Rule::WithinBudget, detail);
        } else if total > budget && grows {
            fatal(
                Rule::WithinBudget,
                format!("{total} GPUs are asked for after {} grows, of {budget}", write.role),
            );
        }
    }
}

#[cfg(test)]
mod tests;
