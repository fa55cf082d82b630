//! The pod autoscaler of Knative, on concurrency.
//!
//! Source: Knative Serving, `pkg/autoscaler/scaling/autoscaler.go` and the documentation of
//! "Autoscaling concepts" and its ConfigMap (techniques.md 1.9). As built:
//!
//! * Every 2 s: requests at once, averaged over 60 s (stable) and over a tenth of it (panic), over
//!   the target of a replica, rounded up; at most 1000 times and at least half of the ready.
//! * Panic begins when the panic count is twice the ready ones, holds for a stable window after the
//!   last such moment, and never shrinks. A fleet of more than one starts in panic (`#4795`).
//! * The target: what a replica takes at the promise by the profile, for the first lengths observed,
//!   times the target utilisation of 70 %. Knative's own default of 100 says nothing about an
//!   engine; an operator who measured once would set this number. Before a request has ended there
//!   is no target, and nothing is done.
//! * Of a pair, prefill is scaled by requests without their first token and decode by those past it.
//! * Knative's sidecars are scraped every second; here concurrency is that of Prometheus' last
//!   scrapes. Requests are not held back at a sidecar or activator, and scale to zero is off.
//!
//! Unknown: no data leaves the count as it is (`ErrNoData`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::dynamo::Engine;
use super::keda::concurrency;
use super::known::{Knob, Known};
use crate::sim::{Gauge, Metrics, Orders, Policy, PoolView, SimTime, View};
use crate::spec::Sla;
use crate::units::{Role, ceil_to_u32};

pub(super) const KPA: Known = Known {
    name: "kpa",
    about: "Knative's autoscaler on requests at once, with its panic mode",
    source: "Knative Serving, pod autoscaler (KPA)",
    knobs: &[
        Knob {
            name: "utilisation",
            default: 70.0,
            about: "target utilisation, percent of what a replica takes at the promise",
            sweep: &[20.0, 35.0, 50.0, 70.0, 90.0],
            range: (1.0, 100.0),
        },
        Knob {
            name: "target",
            default: 0.0,
            about: "requests at once of a replica, prefill and decode alike; 0 asks the profile",
            sweep: &[0.0],
            range: (0.0, 1e6),
        },
        Knob {
            name: "stable",
            default: 60.0,
            about: "stable window, seconds",
            sweep: &[60.0, 120.0, 300.0],
            range: (6.0, 3600.0),
        },
    ],
    frontier: "utilisation",
    build: |knobs, setting| {
        let stable = knobs.seconds("stable");
        let fixed = Some(knobs.get("target")).filter(|target| *target > 0.0);
        let pool = |(role, pool): (&Role, &crate::backtest::PoolSetting)| {
            let pod = Pod {
                engine: Engine::of(pool),
                target: fixed,
                min: pool.min.get().max(1),
                max: setting.most(*role),
                // A fleet of more than one begins as if it had just panicked.
                panic: (pool.initial.get() > 1).then_some((SimTime::ZERO, pool.initial.get())),
            };
            (*role, pod)
        };
        Ok(Box::new(Kpa {
            pods: setting.pools.iter().map(pool).collect(),
            sla: setting.sla,
            utilisation: knobs.get("utilisation") / 100.0,
            stable,
        }))
    },
};

/// `tick-interval`.
const TICK: Duration = Duration::from_secs(2);
/// `panic-window-percentage` 10, as a divisor.
const PANIC_PART: u32 = 10;
/// `panic-threshold-percentage` 200.
const PANIC_AT: f64 = 2.0;
/// `max-scale-up-rate`.
const UP: f64 = 1000.0;
/// `max-scale-down-rate`.
const DOWN: f64 = 2.0;

struct Pod {
    engine: Engine,
    /// Requests at once of a replica.
    target: Option<f64>,
    min: u32,
    max: u32,
    /// Since when, and the most wanted in it.
    panic: Option<(SimTime, u32)>,
}

struct Kpa {
    pods: BTreeMap<Role, Pod>,
    sla: Sla,
    utilisation: f64,
    stable: Duration,
}

/// Mean requests at once of a role.
fn at_once(metrics: &Metrics, role: Role, window: Duration) -> Option<f64> {
    let mean = |gauge| metrics.gauge_mean(gauge, window);
    match role {
        Role::Prefill => mean(Gauge::Queued),
        Role::Decode => Some((mean(Gauge::Inflight)? - mean(Gauge::Queued)?).max(0.0)),
        Role::Aggregated => mean(Gauge::Inflight),
    }
}

impl Pod {
    /// `Scale` of the autoscaler, from the two averages over the target.
    fn wanted(&mut self, now: SimTime, pool: PoolView, loads: [f64; 2], stable: Duration) -> u32 {
        let ready = f64::from(pool.ready.max(1));
        let (least, most) = ((ready / DOWN).floor(), (ready * UP).ceil());
        let [calm, panic] = loads.map(|load| ceil_to_u32(load.ceil().max(least).min(most)));
        if loads[1].ceil() / ready >= PANIC_AT {
            self.panic = Some((now, self.panic.map_or(0, |p| p.1)));
        } else if self.panic.is_some_and(|(since, _)| since.plus(stable) < now) {
            self.panic = None;
        }
        let wanted = match &mut self.panic {
            None => calm,
            Some((_, highest)) => {
                *highest = (*highest).max(calm).max(panic);
                *highest
            }
        };
        wanted.clamp(self.min, self.max.max(self.min))
    }
}

impl Policy for Kpa {
    fn first_tick(&self) -> Duration {
        TICK
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(TICK));
        for (role, pod) in &mut self.pods {
            if pod.target.is_none() {
                pod.target = concurrency(&pod.engine, *role, view.metrics, &self.sla);
            }
            let Some(target) = pod.target.map(|t| t * self.utilisation) else { continue };
            let calm = at_once(view.metrics, *role, self.stable);
            let panic = at_once(view.metrics, *role, self.stable / PANIC_PART);
            let (Some(calm), Some(panic)) = (calm, panic) else { continue };
            let pool = view.pool(*role);
            let n = pod.wanted(view.now, pool, [calm / target, panic / target], self.stable);
            if n != pool.desired {
                let mode = if pod.panic.is_some() { "panic" } else { "stable" };
                orders.want(*role, n, format!("{mode}: {calm:.1} at once, {panic:.1} of late"));
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Fleet, aggregated, pair, policy, ready, wanted};
    use super::*;
    use crate::sim::fixture::Load;

    fn at(s: u64) -> SimTime {
        SimTime::from_millis(s * 1000)
    }

    fn pod() -> Pod {
        let engine = Engine::of(&aggregated().pools[&Role::Aggregated]);
        Pod { engine, target: Some(1.0), min: 1, max: 100, panic: None }
    }

    const STABLE: Duration = Duration::from_secs(60);

    #[test]
    fn panic_begins_at_twice_the_ready_and_never_shrinks() {
        let mut p = pod();
        assert_eq!(p.wanted(at(10), ready(4), [4.0, 7.0], STABLE), 4, "7 are not twice 4");
        assert_eq!(p.wanted(at(12), ready(4), [5.0, 7.5], STABLE), 8);
        assert_eq!(p.wanted(at(14), ready(4), [5.0, 2.0], STABLE), 8);
        assert_eq!(p.wanted(at(72), ready(8), [5.0, 2.0], STABLE), 8, "a stable window after");
        assert_eq!(p.wanted(at(74), ready(8), [5.0, 2.0], STABLE), 5);
    }

    #[test]
    fn a_tick_halves_at_most() {
        let mut p = pod();
        assert_eq!(p.wanted(at(10), ready(9), [1.0, 1.0], STABLE), 4);
        assert_eq!(p.wanted(at(12), ready(4), [0.0, 0.0], STABLE), 2);
        assert_eq!(p.wanted(at(14), ready(1), [0.0, 0.0], STABLE), 1);
    }

    #[test]
    fn a_fleet_of_two_starts_in_panic_and_shrinks_after_the_window() {
        let mut kpa = policy("kpa:target=10", &aggregated());
        let mut fleet = Fleet::new(&[(Role::Aggregated, 2)]);
        fleet.source.run(60, &Load { inflight: 6, ..Load::default() });
        fleet.now = 60;
        assert_eq!(wanted(&fleet.ask(kpa.as_mut()), Role::Aggregated), None);
        fleet.now = 62;
        assert_eq!(wanted(&fleet.ask(kpa.as_mut()), Role::Aggregated), Some(1), "6 of 7 at once");
    }

    #[test]
    fn a_pair_is_scaled_by_what_waits_and_what_generates() {
        let mut kpa = policy("kpa", &pair());
        let mut fleet = Fleet::new(&[(Role::Prefill, 2), (Role::Decode, 2)]);
        fleet.now = 2;
        assert!(fleet.ask(kpa.as_mut()).targets.is_empty(), "no lengths, no target");
        let load = Load {
            rps: 20.0,
            finished: 20.0,
            isl: 3000.0,
            osl: 150.0,
            queued: 7,
            inflight: 1007,
            ..Load::default()
        };
        fleet.source.run(60, &load);
        fleet.now = 60;
        let orders = fleet.ask(kpa.as_mut());
        // Two prompts of 3000 tokens a pass, 70 % of that.
        assert_eq!(wanted(&orders, Role::Prefill), Some(5));
        let pool = &pair().pools[&Role::Decode];
        let most = Engine::of(pool).capacity(Role::Decode, 3000.0, 150.0, &pair().sla).unwrap();
        let target = f64::from(most.batch) * 0.7;
        assert_eq!(wanted(&orders, Role::Decode), Some(ceil_to_u32(1000.0 / target)));
        fleet.up = false;
        fleet.now = 62;
        assert!(fleet.ask(kpa.as_mut()).targets.is_empty());
    }
}
