//! What a plan waits for.

use serde::{Deserialize, Serialize};

use super::Memory;
use super::decision::PoolDecision;
use super::input::PlanInput;
use super::reason::Reason;
use super::starting::Starting;
use crate::units::{Replicas, Role, Timestamp};

/// What is to come by itself, and changes the next decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Awaited {
    /// A pool may shrink, if no more is wanted of it until then.
    HoldEnds {
        /// The pool.
        role: Role,
        /// When.
        at: Timestamp,
        /// What it shrinks to.
        to: Replicas,
    },
    /// A replica that starts will serve, or count for nothing.
    ReplicaDue {
        /// The pool.
        role: Role,
        /// Name of the pod.
        name: String,
        /// The latest moment at which it still counts.
        at: Timestamp,
    },
}

impl Awaited {
    /// When it comes.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::HoldEnds { at, .. } | Self::ReplicaDue { at, .. } => *at,
        }
    }
}

/// What is awaited after a decision, the nearest first.
pub(super) fn awaited(
    input: &PlanInput<'_>,
    memory: &Memory,
    pools: &[PoolDecision],
    starting: &[Starting],
) -> Vec<Awaited> {
    let window = input.intervals.hold();
    let mut all = Vec::new();
    for pool in pools {
        let Reason::HoldStabilizing { wanted, .. } = pool.reason else { continue };
        if let Some(at) = memory.settles(pool.role, wanted, window) {
            all.push(Awaited::HoldEnds { role: pool.role, at, to: wanted });
        }
    }
    for pool in starting {
        let seen = input.observation.inventory.pool(pool.role);
        let starts = seen.map_or(&[][..], |seen| &seen.starts);
        for start in starts.iter().filter(|start| start.ready.is_none()) {
            let at = start.asked.plus(pool.given_up_after);
            if at > input.now {
                all.push(Awaited::ReplicaDue { role: pool.role, name: start.name.clone(), at });
            }
        }
    }
    all.sort_by_key(Awaited::at);
    all
}
