//! Knative's pod autoscaler.
//!
//! Every 2 s: replicas for the concurrency of the last 60 s (stable) and of the last 6 s (panic). When
//! the panic figure is twice what is ready it panics for a stable window: it never shrinks then, and
//! takes the larger answer. At most 1000 times up and to a half down in one step. Knative is told a
//! concurrency target; here it is the one that the profile allows within the promise: for decode the
//! largest batch at the ITL, for prefill the prompts that are read within the TTFT.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::PolicyError;
use super::registry::{Knob, Knobs};
use crate::backtest::{PoolSetting, Setting};
use crate::sim::{Family, Orders, Policy, SimTime, View};
use crate::units::{Millis, Role, ceil_to_u32};

const TICK: Duration = Duration::from_secs(2);
const STABLE: Duration = Duration::from_secs(60);
/// A tenth of the stable window.
const PANIC: Duration = Duration::from_secs(6);
/// Panic begins at this many times of what is ready.
const PANIC_AT: f64 = 2.0;

pub(super) const KNOBS: &[Knob] = &[Knob {
    name: "utilisation",
    default: 0.7,
    range: (0.01, 1.0),
    about: "share of the concurrency target that is aimed for (target-utilization-percentage)",
    sweep: &[0.2, 0.3, 0.5, 0.7, 0.9],
}];

#[derive(Debug)]
struct Pool {
    setting: PoolSetting,
    max: u32,
    seen: VecDeque<(SimTime, f64)>,
    panicking: Option<SimTime>,
    most: u32,
}

#[derive(Debug)]
struct Kpa {
    pools: BTreeMap<Role, Pool>,
    ttft: Millis,
    itl: Millis,
    utilisation: f64,
}

pub(super) fn make(k: &Knobs<'_>, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let pools = setting
        .pools
        .iter()
        .map(|(role, pool)| {
            let max = setting.most(*role);
            let pool = Pool {
                setting: pool.clone(),
                max,
                seen: VecDeque::new(),
                panicking: None,
                most: 0,
            };
            (*role, pool)
        })
        .collect();
    let (ttft, itl) = (setting.sla.ttft, setting.sla.itl);
    Ok(Box::new(Kpa { pools, ttft, itl, utilisation: k.get("utilisation") }))
}

/// Requests that one replica holds within the promise.
fn concurrency(
    role: Role,
    pool: &PoolSetting,
    ttft: Millis,
    itl: Millis,
    lengths: (f64, f64),
) -> f64 {
    let (isl, osl) = lengths;
    let context = isl + osl / 2.0;
    let batch = || {
        let slots = f64::from(pool.limits.max_num_seqs);
        pool.engine.decode().largest_batch(itl, context).unwrap_or(1.0).min(slots)
    };
    let prompts = || (ttft.get() / pool.engine.prefill().ttft(isl).value.get().max(1e-9)).floor();
    match role {
        Role::Prefill => prompts(),
        Role::Decode | Role::Aggregated => batch(),
    }
    .max(1.0)
}

impl Policy for Kpa {
    fn first_tick(&self) -> Duration {
        TICK
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(TICK));
        let lengths = match (
            view.metrics.mean(Family::Isl, STABLE),
            view.metrics.mean(Family::Osl, STABLE),
        ) {
            (Some(isl), Some(osl)) => (isl, osl),
            _ => return orders,
        };
        for (role, pool) in &mut self.pools {
            let now: f64 = view
                .engines_of(*role)
                .map(|e| {
                    f64::from(e.running + e.waiting)
                        + f64::from(u8::from(e.running == 0 && e.waiting_prefill_tokens > 0))
                })
                .sum();
            pool.seen.push_back((view.now, now));
            pool.seen.retain(|(at, _)| at.plus(STABLE) > view.now);
            let mean = |window: Duration| {
                let within: Vec<f64> =
                    pool.seen.iter().filter(|s| s.0.plus(window) > view.now).map(|s| s.1).collect();
                within.iter().sum::<f64>() / within.len().max(1) as f64
            };
            let each = concurrency(*role, &pool.setting, self.ttft, self.itl, lengths);
            let target = each * self.utilisation;
            let counts = view.pool(*role);
            let ready = f64::from(counts.ready.max(1));
            let within = |n: f64| ceil_to_u32(n.min(ready * 1000.0).max((ready / 2.0).floor()));
            let (stable, panic) = (within(mean(STABLE) / target), within(mean(PANIC) / target));
            if f64::from(panic) / ready >= PANIC_AT {
                pool.panicking = Some(view.now);
            }
            if pool.panicking.is_some_and(|since| since.plus(STABLE) <= view.now) {
                (pool.panicking, pool.most) = (None, 0);
            }
            let wanted = if pool.panicking.is_some() {
                pool.most = pool.most.max(panic).max(stable).max(counts.desired);
                pool.most
            } else {
                stable
            };
            let mode = if pool.panicking.is_some() { "panic" } else { "stable" };
            let min = pool.setting.min.get().max(1);
            orders.want(
                *role,
                wanted.clamp(min, pool.max.max(min)),
                format!("{mode}: {:.1} requests at a time, {target:.1} a replica", mean(STABLE)),
            );
        }
        orders
    }
}
