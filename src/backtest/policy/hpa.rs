//! The Kubernetes HPA with the manifests of Dynamo's autoscaling guide.
//!
//! The guide scales one service on a metric of the whole deployment. Here each pool has an HPA of
//! its own on the latency that it makes: TTFT for prefill, ITL for decode, the larger answer for
//! aggregated engines. A metric that is absent leaves the count alone, as an HPA does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PolicyError;
use super::registry::{Knob, Knobs};
use super::scaler::{Behaviour, DEFAULT, Limit, Rules, SYNC, Scaler, by_value};
use crate::backtest::Setting;
use crate::sim::{Counter, Family, Gauge, Orders, Policy, View};
use crate::units::Role;

/// The window of the guide's queries.
const WINDOW: Duration = Duration::from_secs(300);

/// The window over which the metrics server rates CPU time.
const CPU_WINDOW: Duration = Duration::from_secs(60);

/// The behaviour block of the guide's TTFT example.
const GUIDE: Behaviour = Behaviour {
    up: Rules { window: Duration::ZERO, limits: &[Limit::Pods(2, Duration::from_secs(30))] },
    down: Rules {
        window: Duration::from_secs(60),
        limits: &[Limit::Pods(1, Duration::from_secs(30))],
    },
};

pub(super) const TTFT_KNOBS: &[Knob] = &[
    Knob {
        name: "target",
        default: 1.0,
        range: (0.01, 10.0),
        about: "the target of the HPA, as a share of the promise",
        sweep: &[0.1, 0.2, 0.3, 0.5, 0.7, 1.0],
    },
    Knob {
        name: "quantile",
        default: 0.95,
        range: (0.0, 1.0),
        about: "the quantile of the latency",
        sweep: &[0.5, 0.9, 0.95, 0.99],
    },
];

pub(super) const QUEUE_KNOBS: &[Knob] = &[Knob {
    name: "target",
    default: 10.0,
    range: (0.01, 1e6),
    about: "queued requests of the whole deployment",
    sweep: &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0],
}];

pub(super) const CPU_KNOBS: &[Knob] = &[Knob {
    name: "target",
    default: 0.7,
    range: (0.01, 1.0),
    about: "share of the time in which a worker has work",
    sweep: &[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
}];

/// What an HPA looks at.
#[derive(Clone, Copy, Debug)]
enum Metric {
    Latency { share: f64, quantile: f64 },
    Queue { target: f64 },
    Busy { target: f64 },
}

#[derive(Debug)]
struct Hpa {
    metric: Metric,
    pools: BTreeMap<Role, Scaler>,
    /// The promise, seconds.
    ttft: f64,
    itl: f64,
}

fn build(metric: Metric, behaviour: Behaviour, setting: &Setting) -> Box<dyn Policy> {
    let pools = setting
        .pools
        .iter()
        .map(|(role, pool)| {
            let min = pool.min.get().max(1);
            (*role, Scaler::new(behaviour, min, setting.most(*role)))
        })
        .collect();
    let (ttft, itl) = promise_s(setting);
    Box::new(Hpa { metric, pools, ttft, itl })
}

pub(super) fn make_ttft(k: &Knobs<'_>, s: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let metric = Metric::Latency { share: k.get("target"), quantile: k.get("quantile") };
    Ok(build(metric, GUIDE, s))
}

pub(super) fn make_queue(k: &Knobs<'_>, s: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    Ok(build(Metric::Queue { target: k.get("target") }, DEFAULT, s))
}

pub(super) fn make_cpu(k: &Knobs<'_>, s: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    // The guide's CPU example waits 300 s before it takes a replica away, which is the default.
    Ok(build(Metric::Busy { target: k.get("target") }, DEFAULT, s))
}

impl Hpa {
    /// Name, value and target of what is looked at for a pool.
    fn readings(&self, role: Role, view: &View<'_>) -> Vec<(&'static str, Option<f64>, f64)> {
        let m = view.metrics;
        match self.metric {
            Metric::Latency { share, quantile } => {
                let ttft = ("TTFT", m.quantile(Family::Ttft, quantile, WINDOW), share * self.ttft);
                let itl = ("ITL", m.quantile(Family::Itl, quantile, WINDOW), share * self.itl);
                match role {
                    Role::Prefill => vec![ttft],
                    Role::Decode => vec![itl],
                    Role::Aggregated => vec![ttft, itl],
                }
            }
            Metric::Queue { target } => vec![("queue", m.gauge(Gauge::Queued), target)],
            Metric::Busy { target } => {
                let ready = f64::from(view.pool(role).ready.max(1));
                let busy = m.rate(Counter::Busy(role), CPU_WINDOW).map(|rate| rate / ready);
                vec![("busy", busy, target)]
            }
        }
    }
}

impl Policy for Hpa {
    fn first_tick(&self) -> Duration {
        SYNC
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(SYNC));
        let roles: Vec<Role> = self.pools.keys().copied().collect();
        for role in roles {
            let pool = view.pool(role);
            let mut best: Option<(u32, String)> = None;
            for (name, value, target) in self.readings(role, view) {
                let Some(value) = value else { continue };
                let n = by_value(pool.desired, pool.ready, value, target);
                if best.as_ref().is_none_or(|(most, _)| n > *most) {
                    best = Some((n, format!("{name} {value:.3} where {target:.3} is wanted")));
                }
            }
            let Some((recommended, why)) = best else { continue };
            if let Some(scaler) = self.pools.get_mut(&role) {
                orders.want(role, scaler.decide(view.now, pool.desired, recommended), why);
            }
        }
        orders
    }
}

/// TTFT and ITL of the promise, seconds.
pub(super) fn promise_s(setting: &Setting) -> (f64, f64) {
    (setting.sla.ttft.get() / 1e3, setting.sla.itl.get() / 1e3)
}
