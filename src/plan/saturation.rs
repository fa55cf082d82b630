//! Sizes by what is full, for engines of which no model is to be trusted.
//!
//! What needs no model: a latency over its target and memory that is full call for more, in proportion
//! to how much (techniques.md 1.2 and 1.3: KV memory at 0.8, a signal clamped at 2); spare room in all
//! of them lets one replica go at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::input::PlanInput;
use crate::observe::{LatencySignals, PoolInventory};
use crate::units::{Millis, Replicas, Role, Timestamp, round_to_u32};

/// KV memory above this share is full: beyond, sequences are put back.
const FULL: f64 = 0.8;

/// The most that a pool grows at once.
const MOST: f64 = 2.0;

/// With one replica fewer every signal must stay below this for it to go.
const SPARE: f64 = 0.6;

/// More replicas have helped where the signal has fallen to this share of what it was, and are too few
/// where it has risen to this many times that: a queue that grows.
const HELPED: f64 = 0.85;
const WORSE: f64 = 1.2;

/// A fleet must have stood still for so long before one goes: only a fleet that stands still teaches
/// what its engines do.
const LEARNS_FIRST: Duration = Duration::from_secs(180);

/// Growth that does not serve after so many start-up times is asked for anew.
const GIVEN_UP: u32 = 3;

/// A count that was too few is not gone back to for so long: without a model the load alone does not
/// say whether it would do now.
const NOT_AGAIN: Duration = Duration::from_secs(1800);

/// The last growth of a pool for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// When it was asked for.
    at: Timestamp,
    /// As many were to serve.
    asked: Replicas,
    /// How full it was: above 1 is full.
    signal: f64,
    /// As many served then: too few.
    #[serde(default)]
    too_few: Replicas,
    /// Whether it was enough: nothing has been full since.
    #[serde(default)]
    enough: bool,
}

/// The replicas that a pool is to have by what is full; `None` where nothing says.
///
/// It grows again only where those that it last grew by serve and have helped, or are too few: a
/// latency that does not come from the load goes with no number of replicas. `lead` is the time until a
/// replica that is asked for now serves, `stood` for how long all pools have stood still.
pub(super) fn by_saturation(
    input: &PlanInput<'_>,
    role: Role,
    seen: &PoolInventory,
    lead: Duration,
    stood: Duration,
    tried: &mut BTreeMap<Role, Tried>,
) -> Option<Replicas> {
    let traffic = &input.observation.traffic;
    let over = |signals: &LatencySignals, target: Millis| {
        let share = |q: &Millis| q.get() / target.get();
        (signals.quantile.known().map(share), signals.quantile.is_fresh())
    };
    let ttft = over(&traffic.ttft, input.sla.ttft);
    let itl = over(&traffic.itl, input.sla.itl);
    let kv = &traffic.kv_usage;
    let kv = (kv.known().map(|share| share.get() / FULL), kv.is_fresh());
    let signals = match role {
        Role::Prefill => &[ttft][..],
        Role::Decode => &[itl, kv],
        Role::Aggregated => &[ttft, itl, kv],
    };
    let signal = signals.iter().filter_map(|(signal, _)| *signal).reduce(f64::max)?;
    let (ready, desired) = (f64::from(seen.ready.get()), seen.desired);
    if signal > 1.0 {
        let last = tried.get(&role).copied();
        if let Some(last) = last.filter(|last| input.now >= last.at && !last.enough) {
            let age = input.now.since(last.at);
            // Before a window has passed nobody has seen what they did.
            let too_early = age <= input.intervals.window;
            if too_early || seen.ready < last.asked && age < lead.saturating_mul(GIVEN_UP) {
                return Some(last.asked.max(desired));
            }
            // Memory cannot be fuller than full, so that it says nothing of how much is missing.
            let full = kv.0.is_some_and(|share| share >= signal && share * FULL >= 0.99);
            let moved = signal <= HELPED * last.signal || signal >= WORSE * last.signal;
            if seen.ready >= last.asked && !moved && !full {
                return Some(desired);
            }
        }
        let wanted = Replicas::new(round_to_u32((ready * signal.min(MOST)).ceil()));
        if wanted > desired {
            let (at, too_few) = (input.now, seen.ready);
            tried.insert(role, Tried { at, asked: wanted, signal, too_few, enough: false });
        }
        return Some(wanted.max(desired));
    }
    let fewer = desired.get().saturating_sub(1);
    if let Some(last) = tried.get_mut(&role) {
        last.enough = true;
        let recent = input.now >= last.at && input.now.since(last.at) < NOT_AGAIN;
        if recent && fewer <= last.too_few.get() {
            return Some(desired);
        }
    }
    // A latency does not go with one over the replicas, but well below its target it has room.
    let fits = fewer > 0 && signal * f64::from(desired.get()) / f64::from(fewer) <= SPARE;
    let all_fresh = signals.iter().all(|(_, fresh)| *fresh);
    Some(if fits && all_fresh && stood >= LEARNS_FIRST { Replicas::new(fewer) } else { desired })
}
