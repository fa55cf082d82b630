//! KEDA with the ScaledObject of Dynamo's autoscaling guide.
//!
//! KEDA makes an HPA over an external metric of type `AverageValue` for each trigger, and by itself
//! only switches between zero and one replica: on when a trigger is above its activation threshold,
//! off when none has been for the cooldown. A metric without a value counts as 0
//! (`ignoreNullValues`, default true). Both triggers of the guide are used, and each pool has a
//! ScaledObject: for decode the ITL takes the place of the TTFT.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PolicyError;
use super::hpa::promise_s;
use super::registry::{Knob, Knobs};
use super::scaler::{DEFAULT, SYNC, Scaler, by_average};
use crate::backtest::Setting;
use crate::sim::{Family, Gauge, Orders, Policy, SimTime, View};
use crate::units::{Role, round_to_u32};

/// The window of the guide's query.
const WINDOW: Duration = Duration::from_secs(300);

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "threshold",
        default: 1.0,
        range: (0.001, 10.0),
        about: "the latency threshold, as a share of the promise; the metric is divided by it",
        sweep: &[0.05, 0.1, 0.2, 0.3, 0.5, 1.0],
    },
    Knob {
        name: "queue",
        default: 10.0,
        range: (0.01, 1e6),
        about: "queued requests a replica",
        sweep: &[1.0, 2.0, 5.0, 10.0, 20.0],
    },
    Knob {
        name: "min",
        default: 1.0,
        range: (0.0, 1000.0),
        about: "minReplicaCount; 0 scales to zero",
        sweep: &[0.0, 1.0],
    },
    Knob {
        name: "polling",
        default: 15.0,
        range: (1.0, 3600.0),
        about: "pollingInterval, seconds (the guide's; KEDA's own default is 30)",
        sweep: &[15.0, 30.0],
    },
    Knob {
        name: "cooldown",
        default: 60.0,
        range: (0.0, 86_400.0),
        about: "cooldownPeriod before zero, seconds (the guide's; KEDA's own default is 300)",
        sweep: &[60.0, 300.0],
    },
];

#[derive(Debug)]
struct Keda {
    pools: BTreeMap<Role, Scaler>,
    ttft: f64,
    itl: f64,
    queue: f64,
    to_zero: bool,
    polling: Duration,
    cooldown: Duration,
    active: SimTime,
}

pub(super) fn make(k: &Knobs<'_>, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let min = round_to_u32(k.get("min"));
    let pools = setting
        .pools
        .iter()
        .map(|(role, pool)| {
            let min = min.max(pool.min.get()).max(1);
            (*role, Scaler::new(DEFAULT, min, setting.most(*role)))
        })
        .collect();
    let (ttft, itl) = promise_s(setting);
    let threshold = k.get("threshold");
    Ok(Box::new(Keda {
        pools,
        ttft: ttft * threshold,
        itl: itl * threshold,
        queue: k.get("queue"),
        to_zero: min == 0 && setting.pools.values().all(|p| p.min.get() == 0),
        polling: Duration::from_secs_f64(k.get("polling")),
        cooldown: Duration::from_secs_f64(k.get("cooldown")),
        active: SimTime::ZERO,
    }))
}

impl Policy for Keda {
    fn first_tick(&self) -> Duration {
        SYNC.min(self.polling)
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(SYNC.min(self.polling)));
        let m = view.metrics;
        let zero = |value: Option<f64>| value.unwrap_or(0.0);
        let queued = zero(m.gauge(Gauge::Queued));
        let ttft = zero(m.quantile(Family::Ttft, 0.95, WINDOW));
        let itl = zero(m.quantile(Family::Itl, 0.95, WINDOW));
        // The guide activates at a fifth of the threshold.
        if ttft > self.ttft / 5.0 || queued > 0.0 {
            self.active = view.now;
        }
        let asleep = self.to_zero && view.now.since(self.active) > nanos(self.cooldown);
        for (role, scaler) in &mut self.pools {
            let current = view.pool(*role).desired;
            if asleep {
                orders.want(*role, 0, "nothing above the activation threshold for the cooldown");
                continue;
            }
            if current == 0 {
                if self.active == view.now {
                    orders.want(*role, 1, "a trigger is active");
                }
                continue;
            }
            let (value, threshold, name) = match role {
                Role::Decode => (itl, self.itl, "ITL"),
                Role::Prefill | Role::Aggregated => (ttft, self.ttft, "TTFT"),
            };
            let latency = by_average(current, value, threshold);
            let queue = by_average(current, queued, self.queue);
            let why = if latency >= queue {
                format!("{name} {value:.3} over {threshold:.3}")
            } else {
                format!("{queued:.0} queued over {:.0}", self.queue)
            };
            orders.want(*role, scaler.decide(view.now, current, latency.max(queue)), why);
        }
        orders
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
