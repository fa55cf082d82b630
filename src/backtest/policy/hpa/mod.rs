//! The Horizontal Pod Autoscaler with the manifests of Dynamo's autoscaling guide.
//!
//! Source: NVIDIA Dynamo 0.9.0, "Autoscaling" (`autoscaling-guide.txt`), sections "Autoscaling with
//! Kubernetes HPA" and "Best Practices"; the controller's rule is in `rule.rs`. As built:
//!
//! * `hpa-ttft` is "Example: Scale Decode Service Based on TTFT": p95 over 5 min, type `Value`,
//!   target the promise (the guide's `500m`), up 2 pods in 30 s at once, down 1 pod in 30 s after
//!   60 s. The guide's deployment is aggregated; of a pair, prefill is scaled by TTFT and decode by
//!   ITL (the guide's own table of recommended metrics), one pool by both: the larger count.
//! * `hpa-queue` is the guide's queue manifest: queued requests, type `Value`, target 10, no
//!   behaviour block. Of a pair it scales prefill; decode is scaled by KV cache utilisation, which
//!   the guide's table recommends without a number: 0.7, as a knob. With `kv=0` the queue alone
//!   scales every pool, which is the manifest to the letter.
//! * `hpa-cpu` is "Basic HPA (CPU-based)": 70 % utilisation, down after 300 s. The guide scales a
//!   frontend by it. Here it scales engines by the share of time in which they had work, averaged
//!   over the ready replicas: the utilisation of a GPU engine as its CPU shows it.
//!
//! Unknown: a query that fails or finds no series is a failed metric, with which a pool does not
//! shrink, and without any other does nothing. A quantile of no observations is NaN, which
//! prometheus-adapter turns into a very negative quantity: the least count, after stabilisation.

pub(super) mod rule;

use std::collections::BTreeMap;
use std::time::Duration;

use self::rule::{Behavior, SYNC, Scaler, Step, propose, propose_resource};
use super::known::{Knob, Knobs, Known};
use super::trigger::{GUIDE_WINDOW, Reading, Sensor, Target, Trigger};
use crate::backtest::{PoolSetting, Setting};
use crate::sim::{Counter, Family, Gauge, Orders, Policy, PoolView, View};
use crate::units::Role;

const DOWN: Knob = Knob {
    name: "down",
    default: 300.0,
    about: "stabilisation of a scale-down, seconds",
    sweep: &[60.0, 300.0, 600.0],
    range: (0.0, 3600.0),
};

/// How fast a pool shrinks, stabilised as the knob says.
fn down(knobs: &Knobs, behavior: Behavior) -> Behavior {
    Behavior { stabilization: knobs.seconds(DOWN.name), ..behavior }
}

pub(super) const TTFT: Known = Known {
    name: "hpa-ttft",
    about: "HPA on TTFT p95 (prefill) and ITL p95 (decode), the guide's behaviour block",
    source: "Dynamo 0.9.0 autoscaling guide, HPA with Dynamo metrics; Kubernetes HPA v2",
    knobs: &[
        Knob {
            name: "target",
            default: 1.0,
            about: "target as a share of the promise",
            sweep: &[0.25, 0.5, 0.75, 1.0],
            range: (0.01, 10.0),
        },
        Knob { name: "down", default: 60.0, sweep: &[60.0, 300.0], ..DOWN },
    ],
    frontier: "target",
    build: |knobs, setting| {
        let up = Behavior::new(0, &[(Step::Pods(2), 30)]);
        let down = down(knobs, Behavior::new(0, &[(Step::Pods(1), 30)]));
        let share = knobs.get("target");
        Ok(by_triggers(setting, &up, &down, |role| {
            latencies(setting, role, Target::Value, share, 0.95)
        }))
    },
};

pub(super) const QUEUE: Known = Known {
    name: "hpa-queue",
    about: "HPA on queued requests (prefill) and KV cache use (decode)",
    source: "Dynamo 0.9.0 autoscaling guide, HPA based on queue depth; Kubernetes HPA v2",
    knobs: &[
        Knob {
            name: "target",
            default: 10.0,
            about: "queued requests in all",
            sweep: &[1.0, 2.0, 5.0, 10.0, 20.0],
            range: (0.01, 1e6),
        },
        Knob {
            name: "kv",
            default: 0.7,
            about: "KV cache use of a decode replica, 0 to 1; 0 scales by the queue alone",
            sweep: &[0.0, 0.5, 0.7, 0.9],
            range: (0.0, 1.0),
        },
        DOWN,
    ],
    frontier: "target",
    build: |knobs, setting| {
        let up = Behavior::default_up();
        let down = down(knobs, Behavior::default_down());
        let queue = Trigger {
            sensor: Sensor::Gauge(Gauge::Queued),
            target: Target::Value(knobs.get("target")),
        };
        let kv = Trigger {
            sensor: Sensor::Gauge(Gauge::KvUsage),
            target: Target::Value(knobs.get("kv")),
        };
        let with_kv = knobs.on("kv");
        Ok(by_triggers(setting, &up, &down, |role| match role {
            Role::Decode if with_kv => vec![kv],
            Role::Aggregated if with_kv => vec![queue, kv],
            Role::Prefill | Role::Decode | Role::Aggregated => vec![queue],
        }))
    },
};

pub(super) const CPU: Known = Known {
    name: "hpa-cpu",
    about: "HPA on the utilisation of the engines",
    source: "Dynamo 0.9.0 autoscaling guide, basic HPA (CPU-based); Kubernetes HPA v2",
    knobs: &[
        Knob {
            name: "target",
            default: 70.0,
            about: "mean utilisation of a ready replica, percent",
            sweep: &[30.0, 50.0, 70.0, 90.0],
            range: (1.0, 100.0),
        },
        DOWN,
    ],
    frontier: "target",
    build: |knobs, setting| {
        let down = down(knobs, Behavior::default_down());
        let scalers = scalers(setting, &Behavior::default_up(), &down);
        Ok(Box::new(Cpu { scalers, target: knobs.get("target") / 100.0 }))
    },
};

/// The promise's latencies of a role, as triggers: TTFT where prompts are read, ITL where answers
/// are made.
pub(super) fn latencies(
    setting: &Setting,
    role: Role,
    target: fn(f64) -> Target,
    share: f64,
    q: f64,
) -> Vec<Trigger> {
    let trigger = |family, millis: f64| Trigger {
        sensor: Sensor::Quantile { family, q, window: GUIDE_WINDOW },
        target: target(millis / 1e3 * share),
    };
    let ttft = trigger(Family::Ttft, setting.sla.ttft.get());
    let itl = trigger(Family::Itl, setting.sla.itl.get());
    match role {
        Role::Prefill => vec![ttft],
        Role::Decode => vec![itl],
        Role::Aggregated => vec![ttft, itl],
    }
}

/// One scaler a pool.
pub(super) fn scalers(setting: &Setting, up: &Behavior, down: &Behavior) -> BTreeMap<Role, Scaler> {
    let scaler = |(role, pool): (&Role, &PoolSetting)| {
        let (min, max) = (pool.min.get(), setting.most(*role));
        (*role, Scaler::new(up.clone(), down.clone(), min, max))
    };
    setting.pools.iter().map(scaler).collect()
}

fn by_triggers(
    setting: &Setting,
    up: &Behavior,
    down: &Behavior,
    triggers: impl Fn(Role) -> Vec<Trigger>,
) -> Box<dyn Policy> {
    let pools = scalers(setting, up, down)
        .into_iter()
        .map(|(role, scaler)| (role, (scaler, triggers(role))))
        .collect();
    Box::new(External { pools })
}

/// External metrics through prometheus-adapter.
struct External {
    pools: BTreeMap<Role, (Scaler, Vec<Trigger>)>,
}

impl Policy for External {
    fn first_tick(&self) -> Duration {
        SYNC
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(SYNC));
        for (role, (scaler, triggers)) in &mut self.pools {
            let pool = view.pool(*role);
            let readings: Vec<Reading> =
                triggers.iter().map(|t| t.sensor.read(view.metrics)).collect();
            let proposals: Vec<Option<u32>> = triggers
                .iter()
                .zip(&readings)
                .map(|(trigger, reading)| match reading {
                    Reading::Value(value) => Some(propose(*value, trigger.target, pool)),
                    Reading::NotANumber => Some(0),
                    Reading::Empty | Reading::Down => None,
                })
                .collect();
            if let Some(n) = scaler.step(view.now, pool.desired, &proposals) {
                orders.want(*role, n, told(&readings));
            }
        }
        orders
    }
}

/// The readings in words.
pub(super) fn told(readings: &[Reading]) -> String {
    let one = |reading: &Reading| match reading {
        Reading::Value(value) => format!("{value:.3}"),
        Reading::NotANumber => "NaN".to_owned(),
        Reading::Empty => "no series".to_owned(),
        Reading::Down => "no answer".to_owned(),
    };
    let all: Vec<String> = readings.iter().map(one).collect();
    format!("metric at {}", all.join(" and "))
}

/// A resource metric through metrics-server.
struct Cpu {
    scalers: BTreeMap<Role, Scaler>,
    /// 0 to 1.
    target: f64,
}

/// What a CPU rate is taken over: metrics-server looks every 15 s (`--metric-resolution`) and takes
/// the rate between its last two looks; twice that holds two samples whatever the scrape.
const CPU_WINDOW: Duration = Duration::from_secs(30);

impl Cpu {
    fn usage(view: &View<'_>, role: Role, pool: PoolView) -> Option<f64> {
        let busy = view.metrics.rate(Counter::Busy(role), CPU_WINDOW)?;
        (pool.ready > 0).then(|| busy / f64::from(pool.ready))
    }
}

impl Policy for Cpu {
    fn first_tick(&self) -> Duration {
        SYNC
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(SYNC));
        for (role, scaler) in &mut self.scalers {
            let pool = view.pool(*role);
            let usage = Self::usage(view, *role, pool);
            let proposal = usage.and_then(|u| propose_resource(u / self.target, pool));
            if let Some(n) = scaler.step(view.now, pool.desired, &[proposal]) {
                let percent = usage.unwrap_or_default() * 100.0;
                orders.want(*role, n, format!("utilisation at {percent:.0} %"));
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests;
