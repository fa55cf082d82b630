//! Sizes by what is full, for engines of which no model is to be trusted.
//!
//! What needs no model: a latency over its target and memory that is full call for more, in proportion
//! to how much (techniques.md 1.2 and 1.3: KV memory at 0.8, a signal clamped at 2); spare room in all
//! of them lets one replica go at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::input::PlanInput;
use crate::observe::{LatencySignals, PoolInventory};
use crate::units::{Millis, Replicas, Role, round_to_u32};

/// KV memory above this share is full: beyond, sequences are put back.
const FULL: f64 = 0.8;

/// The most that a pool grows at once.
const MOST: f64 = 2.0;

/// With one replica fewer the signal must stay below this for it to go.
const SPARE: f64 = 0.6;

/// More replicas have helped where the signal has fallen to this share of what it was.
const HELPED: f64 = 0.85;

/// The last growth of a pool for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// As many served.
    ready: Replicas,
    /// How full it was: above 1 is full.
    signal: f64,
}

/// The replicas that a pool is to have by what is full; `None` where nothing says.
///
/// It grows again only where those that it last grew by serve and have helped: a latency that does not
/// come from the load goes with no number of replicas.
pub(super) fn by_saturation(
    input: &PlanInput<'_>,
    role: Role,
    seen: &PoolInventory,
    tried: &mut BTreeMap<Role, Tried>,
) -> Option<Replicas> {
    let traffic = &input.observation.traffic;
    let over = |signals: &LatencySignals, target: Millis| {
        signals.quantile.known().map(|q| q.get() / target.get())
    };
    let ttft = over(&traffic.ttft, input.sla.ttft);
    let itl = over(&traffic.itl, input.sla.itl);
    let kv = traffic.kv_usage.known().map(|share| share.get() / FULL);
    let signals = match role {
        Role::Prefill => [ttft, None, None],
        Role::Decode => [itl, kv, None],
        Role::Aggregated => [ttft, itl, kv],
    };
    let signal = signals.into_iter().flatten().reduce(f64::max)?;
    let (ready, desired) = (f64::from(seen.ready.get()), seen.desired.get());
    if signal > 1.0 {
        let helps = match tried.get(&role) {
            Some(last) => seen.ready > last.ready && signal <= HELPED * last.signal,
            None => true,
        };
        if !helps {
            return Some(Replicas::new(desired));
        }
        // Those that start are on their way: what is full is full for want of those that serve.
        let wanted = round_to_u32((ready * signal.min(MOST)).ceil());
        if wanted > desired {
            tried.insert(role, Tried { ready: seen.ready, signal });
        }
        return Some(Replicas::new(wanted.max(desired)));
    }
    tried.remove(&role);
    let fewer = desired.saturating_sub(1);
    // A latency does not go with one over the replicas, but at half of the target it has room.
    let fits = fewer > 0 && signal * f64::from(desired) / f64::from(fewer) <= SPARE;
    Some(Replicas::new(if fits { fewer } else { desired }))
}
