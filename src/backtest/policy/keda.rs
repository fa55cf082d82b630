//! KEDA with the triggers of Dynamo's autoscaling guide.
//!
//! Source: Dynamo 0.9.0, "Autoscaling with KEDA" (`autoscaling-guide.txt`); KEDA's documentation of
//! the ScaledObject and of the Prometheus scaler (techniques.md 1.7). As built:
//!
//! * KEDA makes an HPA with the default behaviour of Kubernetes and metrics of type `AverageValue`:
//!   the count is `ceil(metric / threshold)` *whatever the count is now*. For a latency that is
//!   hardly a control law (a TTFT of four thresholds is four replicas), but it is what the guide's
//!   manifests do.
//! * Triggers: the guide's TTFT p95 over 5 min with the promise as threshold, and its queue with
//!   threshold 10. The guide scales one worker service by either; here, for prefill and one pool,
//!   both are triggers of one object. Decode is scaled by ITL p95 and by requests that generate,
//!   with the largest batch that keeps the promise as threshold: without such a trigger decode
//!   would never pass two replicas. That threshold is found from the first lengths observed, as an
//!   operator would once, and kept.
//! * The operator looks every `polling` seconds, only to switch on and off at zero: with
//!   `minReplicaCount` 0 (knob `min`) a pool goes to zero when no trigger was above its activation
//!   threshold (TTFT: the guide's 0.1 s; others 0) for `cooldown` seconds, and back to 1. Defaults
//!   are KEDA's, 30 and 300 s; the guide writes 15 and 60 s, which are in the sweeps.
//!
//! Unknown: `ignoreNullValues` is true, so no series and NaN are zero. A query that fails is a failed
//! metric of the HPA, and the operator leaves the count alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dynamo::Engine;
use super::hpa::rule::{Behavior, SYNC, Scaler, propose};
use super::hpa::{latencies, scalers, told};
use super::known::{Knob, Known};
use super::trigger::{GUIDE_WINDOW, Reading, Sensor, Target, Trigger};
use crate::backtest::PoolSetting;
use crate::sim::{Family, Gauge, Metrics, Orders, Policy, PoolView, SimTime, View};
use crate::spec::Sla;
use crate::units::Role;

pub(super) const KEDA: Known = Known {
    name: "keda",
    about: "KEDA on TTFT p95 and queue (prefill), ITL p95 and running requests (decode)",
    source: "Dynamo 0.9.0 autoscaling guide, Autoscaling with KEDA; KEDA Prometheus scaler",
    knobs: &[
        Knob {
            name: "target",
            default: 1.0,
            about: "factor on every threshold",
            sweep: &[0.1, 0.25, 0.5, 0.75, 1.0],
            range: (0.001, 100.0),
        },
        Knob {
            name: "queue",
            default: 10.0,
            about: "queued requests a replica",
            sweep: &[1.0, 2.0, 5.0, 10.0],
            range: (0.01, 1e6),
        },
        Knob {
            name: "min",
            default: 1.0,
            about: "minReplicaCount: 1 is the pool's own minimum, 0 switches off when idle",
            sweep: &[0.0, 1.0],
            range: (0.0, 1.0),
        },
        Knob {
            name: "polling",
            default: 30.0,
            about: "pollingInterval, seconds",
            sweep: &[15.0, 30.0],
            range: (1.0, 3600.0),
        },
        Knob {
            name: "cooldown",
            default: 300.0,
            about: "cooldownPeriod before zero, seconds",
            sweep: &[60.0, 300.0],
            range: (0.0, 86_400.0),
        },
    ],
    frontier: "target",
    build: |knobs, setting| {
        let share = knobs.get("target");
        let queue = Trigger {
            sensor: Sensor::Gauge(Gauge::Queued),
            target: Target::AverageValue(knobs.get("queue") * share),
        };
        let up = Behavior::default_up();
        let mut scalers = scalers(setting, &up, &Behavior::default_down());
        let object = |(role, pool): (&Role, _)| {
            let mut triggers = latencies(setting, *role, Target::AverageValue, share, 0.95);
            if *role != Role::Decode {
                triggers.push(queue);
            }
            let scaler = scalers.remove(role)?;
            let object = Object {
                scaler,
                triggers,
                running: (*role != Role::Prefill).then(|| Running::new(pool, *role, share)),
                min: pool.min.get(),
                last_active: SimTime::ZERO,
            };
            Some((*role, object))
        };
        Ok(Box::new(Keda {
            objects: setting.pools.iter().filter_map(object).collect(),
            sla: setting.sla,
            to_zero: knobs.get("min") < 1.0,
            polling: knobs.seconds("polling"),
            cooldown: knobs.seconds("cooldown"),
            next_sync: SimTime::from_start(SYNC),
            next_poll: SimTime::from_start(knobs.seconds("polling")),
        }))
    },
};

/// The guide's `activationThreshold` of its TTFT trigger, seconds.
const ACTIVATION_TTFT: f64 = 0.1;

/// Requests that generate, with a threshold that is found once.
#[derive(Debug)]
struct Running {
    engine: Engine,
    role: Role,
    share: f64,
    threshold: Option<f64>,
}

impl Running {
    fn new(pool: &PoolSetting, role: Role, share: f64) -> Self {
        Self { engine: Engine::of(pool), role, share, threshold: None }
    }

    fn trigger(&mut self, metrics: &Metrics, sla: &Sla) -> Option<Trigger> {
        if self.threshold.is_none() {
            self.threshold = concurrency(&self.engine, self.role, metrics, sla);
        }
        let target = Target::AverageValue(self.threshold? * self.share);
        let sensor = match self.role {
            Role::Decode => Sensor::Decoding,
            Role::Prefill | Role::Aggregated => Sensor::Gauge(Gauge::Inflight),
        };
        Some(Trigger { sensor, target })
    }
}

/// Requests at once on an engine that keep the promise, for the mean lengths of the last five
/// minutes; at least 1. `None` before any request has ended.
pub(super) fn concurrency(
    engine: &Engine,
    role: Role,
    metrics: &Metrics,
    sla: &Sla,
) -> Option<f64> {
    let isl = metrics.mean(Family::Isl, GUIDE_WINDOW)?;
    let osl = metrics.mean(Family::Osl, GUIDE_WINDOW)?;
    let capacity = engine.capacity(role, isl, osl, sla);
    Some(capacity.filter(|c| c.eligible).map_or(1.0, |c| f64::from(c.batch)))
}

/// One ScaledObject.
struct Object {
    scaler: Scaler,
    triggers: Vec<Trigger>,
    running: Option<Running>,
    min: u32,
    last_active: SimTime,
}

struct Keda {
    objects: BTreeMap<Role, Object>,
    sla: Sla,
    to_zero: bool,
    polling: Duration,
    cooldown: Duration,
    next_sync: SimTime,
    next_poll: SimTime,
}

impl Object {
    fn read(&mut self, metrics: &Metrics, sla: &Sla) -> Vec<(Trigger, Reading)> {
        let running = self.running.as_mut().and_then(|r| r.trigger(metrics, sla));
        self.triggers
            .iter()
            .copied()
            .chain(running)
            .map(|trigger| {
                let reading = match trigger.sensor.read(metrics) {
                    Reading::NotANumber | Reading::Empty => Reading::Value(0.0),
                    other @ (Reading::Value(_) | Reading::Down) => other,
                };
                (trigger, reading)
            })
            .collect()
    }

    /// The operator's poll: only zero and back.
    fn poll(
        &mut self,
        now: SimTime,
        pool: PoolView,
        cooldown: Duration,
        to_zero: bool,
        readings: &[(Trigger, Reading)],
    ) -> Option<(u32, &'static str)> {
        let active = readings.iter().any(|(trigger, reading)| match reading {
            Reading::Value(value) => *value > activation(trigger.sensor),
            Reading::NotANumber | Reading::Empty | Reading::Down => false,
        });
        let failed = readings.iter().any(|(_, reading)| *reading == Reading::Down);
        if active {
            self.last_active = now;
            return (pool.desired == 0).then_some((self.min.max(1), "activated"));
        }
        if failed {
            return None;
        }
        let least = if to_zero { 0 } else { self.min };
        if pool.desired < least {
            return Some((least, "below minReplicaCount"));
        }
        let idle = now >= self.last_active.plus(cooldown);
        (to_zero && pool.desired > 0 && idle).then_some((0, "idle for the cooldown"))
    }
}

fn activation(sensor: Sensor) -> f64 {
    match sensor {
        Sensor::Quantile { family: Family::Ttft, q: _, window: _ } => ACTIVATION_TTFT,
        Sensor::Quantile { .. } | Sensor::Gauge(_) | Sensor::Decoding => 0.0,
    }
}

impl Policy for Keda {
    fn first_tick(&self) -> Duration {
        SYNC.min(self.polling)
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let now = view.now;
        let (sync, poll) = (now >= self.next_sync, now >= self.next_poll);
        if sync {
            self.next_sync = now.plus(SYNC);
        }
        if poll {
            self.next_poll = now.plus(self.polling);
        }
        let mut orders = Orders::none(self.next_sync.min(self.next_poll));
        for (role, object) in &mut self.objects {
            let pool = view.pool(*role);
            let readings = object.read(view.metrics, &self.sla);
            let polled = poll
                .then(|| object.poll(now, pool, self.cooldown, self.to_zero, &readings))
                .flatten();
            if let Some((n, why)) = polled {
                orders.want(*role, n, why);
                continue;
            }
            if !sync {
                continue;
            }
            let proposals: Vec<Option<u32>> = readings
                .iter()
                .map(|(trigger, reading)| match reading {
                    Reading::Value(value) => Some(propose(*value, trigger.target, pool)),
                    Reading::NotANumber | Reading::Empty | Reading::Down => None,
                })
                .collect();
            if let Some(n) = object.scaler.step(now, pool.desired, &proposals) {
                let readings: Vec<Reading> = readings.into_iter().map(|r| r.1).collect();
                orders.want(*role, n, told(&readings));
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Fleet, aggregated, pair, policy, wanted};
    use super::*;
    use crate::sim::fixture::Load;

    fn load(ttft: f64, queued: u64, inflight: u64) -> Load {
        Load {
            rps: 20.0,
            finished: 20.0,
            ttft,
            itl: 0.02,
            isl: 3000.0,
            osl: 150.0,
            duration: 3.0,
            queued,
            inflight,
            ..Load::default()
        }
    }

    #[test]
    fn an_average_value_is_shared_out_whatever_the_count_is() {
        for count in [1, 3, 9] {
            let mut keda = policy("keda", &pair());
            let mut fleet = Fleet::new(&[(Role::Prefill, count), (Role::Decode, 2)]);
            fleet.source.run(300, &load(2.0, 35, 60));
            fleet.now = 300;
            let orders = fleet.ask(keda.as_mut());
            // p95 of the bucket (1, 2.2] is 2.14: five thresholds of 0.5; queued: four of ten.
            let want = wanted(&orders, Role::Prefill).unwrap_or(count);
            assert_eq!(want, if count == 9 { 9 } else { 5 }, "nine wait for five minutes to pass");
        }
    }

    #[test]
    fn decode_is_shared_out_by_the_batch_that_keeps_the_promise() {
        let mut keda = policy("keda", &pair());
        let mut fleet = Fleet::new(&[(Role::Prefill, 1), (Role::Decode, 1)]);
        fleet.source.run(300, &load(0.2, 0, 700));
        fleet.now = 300;
        let orders = fleet.ask(keda.as_mut());
        let pool = &pair().pools[&Role::Decode];
        let batch = Engine::of(pool).capacity(Role::Decode, 3000.0, 150.0, &pair().sla).unwrap();
        assert_eq!(wanted(&orders, Role::Decode), Some(700_u32.div_ceil(batch.batch)));
    }

    #[test]
    fn idle_pools_go_to_zero_after_the_cooldown_and_back_with_the_queue() {
        let mut keda = policy("keda:min=0,cooldown=60,polling=15", &aggregated());
        let mut fleet = Fleet::new(&[(Role::Aggregated, 1)]);
        fleet.source.run(15, &load(0.4, 1, 1));
        fleet.now = 15;
        fleet.step(keda.as_mut());
        fleet.source.run(300, &Load::default());
        for now in (330..=360).step_by(15) {
            fleet.now = now;
            fleet.step(keda.as_mut());
        }
        assert_eq!(fleet.count(Role::Aggregated), 0);
        fleet.now = 375;
        assert!(fleet.step(keda.as_mut()).targets.is_empty());
        fleet.source.run(75, &Load { queued: 3, inflight: 3, ..Load::default() });
        fleet.now = 390;
        let orders = fleet.step(keda.as_mut());
        assert_eq!(orders.targets[&Role::Aggregated].why, "activated");
        assert_eq!(fleet.count(Role::Aggregated), 1);
    }

    #[test]
    fn nothing_seen_is_zero_and_an_outage_holds() {
        let mut keda = policy("keda", &pair());
        let mut fleet = Fleet::new(&[(Role::Prefill, 4), (Role::Decode, 4)]);
        fleet.up = false;
        for now in (15..=600).step_by(15) {
            fleet.now = now;
            assert!(fleet.step(keda.as_mut()).targets.is_empty());
        }
        fleet.up = true;
        fleet.source.run(600, &Load::default());
        for now in (615..=930).step_by(15) {
            fleet.now = now;
            fleet.step(keda.as_mut());
        }
        assert_eq!((fleet.count(Role::Prefill), fleet.count(Role::Decode)), (1, 1));
    }
}
