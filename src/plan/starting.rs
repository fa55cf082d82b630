//! Replicas that start: how long they take, which of them count, and which hang.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Memory;
use super::input::{PlanInput, PoolInput};
use crate::forecast::StartUps;
use crate::observe::{PoolInventory, ReplicaStart, StuckReplica};
use crate::spec::format_duration;
use crate::units::{Replicas, Role, Timestamp};

/// The share of the starts that are over within the time that is planned with.
const PLANNED: f64 = 0.9;

/// What is remembered of the starts of one pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Starts {
    /// How long they took.
    times: StartUps,
    /// Replicas that were seen to start.
    begun: BTreeSet<String>,
    /// Replicas that are there and have served.
    served: BTreeSet<String>,
}

impl Starts {
    /// Takes in the starts that are over since the last look. Those that nobody saw begin are none: a
    /// replica that served before may have fallen out of service and come back.
    pub(super) fn learn(&mut self, pool: &PoolInventory) {
        for ReplicaStart { name, asked, ready } in &pool.starts {
            let Some(ready) = ready else {
                if !self.served.contains(name) {
                    self.begun.insert(name.clone());
                }
                continue;
            };
            if self.begun.remove(name) {
                self.times.learn(ready.since(*asked));
            }
            self.served.insert(name.clone());
        }
        let there = |name: &String| pool.starts.iter().any(|start| start.name == *name);
        self.begun.retain(there);
        self.served.retain(there);
    }

    /// The start-up time to plan with: p90 of those seen, `assumed` before one was.
    pub(super) fn lead(&self, assumed: Duration) -> Duration {
        self.times.quantile(assumed, PLANNED)
    }
}

/// The starts of one pool, for the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Starting {
    /// What the pool does.
    pub role: Role,
    /// How many starts were seen; with none of them the times are those of the configuration.
    pub seen: u64,
    /// Half of the starts are over within this time.
    pub median: Duration,
    /// 90 of 100 starts are: what is planned with.
    pub p90: Duration,
    /// A replica that starts for longer counts for nothing.
    pub given_up_after: Duration,
    /// Replicas that serve one p90 from now: those that do already, and the starting ones with the
    /// chance that each has.
    pub expected: f64,
    /// Replicas that hang, by name: the cluster says so, or they are past `given_up_after`.
    pub stuck: Vec<StuckReplica>,
}

/// What there is to say of the starts of a pool.
pub(super) fn starting(
    pool: &PoolInput<'_>,
    seen: &PoolInventory,
    memory: &Memory,
    now: Timestamp,
) -> Starting {
    let starts = memory.starts.get(&pool.role);
    let times = starts.map(|s| s.times).unwrap_or_default();
    let served = |name: &String| starts.is_some_and(|s| s.served.contains(name));
    let quantile = |share| times.quantile(pool.startup, share);
    let (p90, limit) = (quantile(PLANNED), times.given_up_after(pool.startup));
    let mut stuck = seen.stuck.clone();
    let mut expected = f64::from(seen.ready.get());
    let mut unnamed = seen.starting.get();
    for start in seen.starts.iter().filter(|start| start.ready.is_none()) {
        let age = now.since(start.asked);
        unnamed = unnamed.saturating_sub(1);
        // One that served before is out of service for another reason.
        if served(&start.name) || stuck.iter().any(|known| known.name == start.name) {
            continue;
        }
        expected += times.ready_within(pool.startup, age, p90);
        if age > limit {
            let why = format!("99 of 100 starts are over within {}", format_duration(limit));
            stuck.push(StuckReplica { name: start.name.clone(), why, age, no_place: false });
        }
    }
    // Of replicas without a pod nobody knows an age.
    expected += f64::from(unnamed) * times.ready_within(pool.startup, Duration::ZERO, p90);
    let median = quantile(0.5);
    Starting {
        role: pool.role,
        seen: times.seen(),
        median,
        p90,
        given_up_after: limit,
        expected,
        stuck,
    }
}

impl Starting {
    /// A replica that hangs for so long that one more is asked for beside it, where another one may
    /// fare better. One for all of them: what hangs once often hangs again, and each more would
    /// call for the next.
    pub(super) fn to_replace(&self) -> Option<&StuckReplica> {
        self.stuck.iter().find(|stuck| !stuck.no_place && stuck.age > self.given_up_after)
    }
}

/// Learns the starts that are over, and says what there is to say of every pool that is known.
pub(super) fn look(input: &PlanInput<'_>, memory: &mut Memory) -> Vec<Starting> {
    let mut all = Vec::new();
    for pool in &input.pools {
        let Some(seen) = input.observation.inventory.pool(pool.role) else { continue };
        memory.starts.entry(pool.role).or_default().learn(seen);
        all.push(starting(pool, seen, memory, input.now));
    }
    all
}

/// The longest start-up time of the pools that is planned with.
pub(super) fn lead(input: &PlanInput<'_>, memory: &Memory) -> Duration {
    let of = |pool: &PoolInput<'_>| {
        memory.starts.get(&pool.role).map_or(pool.startup, |starts| starts.lead(pool.startup))
    };
    input.pools.iter().map(of).max().unwrap_or_default()
}

/// The count that is asked for where `wanted` are to serve and `ready` do: one more beside a replica
/// that hangs, until enough serve without it. Then the pool shrinks by one, and what does not serve
/// goes first.
pub(super) fn beside_stuck(wanted: Replicas, ready: Replicas, pool: Option<&Starting>) -> Replicas {
    let hangs = pool.and_then(Starting::to_replace).is_some();
    let missing = u32::from(hangs && ready < wanted);
    Replicas::new(wanted.get().saturating_add(missing))
}
