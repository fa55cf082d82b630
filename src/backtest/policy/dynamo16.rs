//! The planner of NVIDIA Dynamo 1.6.1 with its SLA target (dynamo-planner.md 2.4 to 2.9).
//!
//! Two loops. The *throughput* loop (180 s) predicts the requests of the next interval and divides
//! by the rate of one engine whose own compute time fits the promise; queues are not in it. The
//! *load* loop (5 s) moves by one replica: up when every engine is late, down when every engine would
//! do with one less. Together, the first is a floor for the second.
//!
//! Its capacity model is a regression fitted to forward passes; here the profile that every policy
//! of the comparison is given stands in its place. Its ARIMA is not here: the predictor is its Kalman
//! filter, which it names for SLA work, clamped at 0 and with the last value for the first five
//! points.

mod budget;
mod capacity;
mod load;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::PolicyError;
use super::registry::{Knob, Knobs};
use crate::backtest::{PoolSetting, Setting};
use crate::plan::compat::Kalman;
use crate::sim::{Counter, Family, Orders, Policy, SimTime, View};
use crate::units::{Role, ceil_to_u32, round_to_u32};

use budget::Limits;
use capacity::Capacity;
use load::Step;

/// The most that a count changes in one throughput decision (`max_throughput_scaling_replicas`).
const STEP_CAP: u32 = 8;

/// Points before the filter is believed (`kalman_min_points`).
const MIN_POINTS: u32 = 5;

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "interval",
        default: 180.0,
        range: (5.0, 86_400.0),
        about: "throughput_adjustment_interval_seconds",
        sweep: &[30.0, 60.0, 120.0, 180.0, 600.0],
    },
    Knob {
        name: "load",
        default: 5.0,
        range: (1.0, 3600.0),
        about: "load_adjustment_interval_seconds",
        sweep: &[5.0, 10.0],
    },
    Knob {
        name: "sensitivity",
        default: 80.0,
        range: (0.0, 100.0),
        about: "load_scaling_down_sensitivity",
        sweep: &[70.0, 80.0, 90.0],
    },
    Knob {
        name: "min",
        default: 1.0,
        range: (1.0, 1000.0),
        about: "min_endpoint",
        sweep: &[1.0, 2.0, 3.0],
    },
    Knob {
        name: "ttft",
        default: 1.0,
        range: (0.01, 10.0),
        about: "ttft_ms, as a share of the promise",
        sweep: &[0.25, 0.5, 1.0],
    },
    Knob {
        name: "itl",
        default: 1.0,
        range: (0.01, 10.0),
        about: "itl_ms, as a share of the promise",
        sweep: &[0.25, 0.5, 1.0],
    },
];

/// A predictor of 1.6.1: never below 0, and the last value until it has seen enough.
#[derive(Clone, Copy, Debug)]
struct Predictor {
    kalman: Kalman,
    last: f64,
    points: u32,
}

impl Predictor {
    fn new() -> Self {
        Self { kalman: Kalman::new(false), last: 0.0, points: 0 }
    }

    fn next(&mut self, value: f64) -> f64 {
        self.kalman.add(value);
        self.last = value;
        self.points = self.points.saturating_add(1);
        let predicted = self.kalman.predict();
        if self.points < MIN_POINTS { self.last } else { predicted.max(0.0) }
    }
}

#[derive(Debug)]
struct Dynamo16 {
    pools: BTreeMap<Role, PoolSetting>,
    capacity: Capacity,
    limits: Limits,
    throughput: Option<Duration>,
    load: Option<Duration>,
    sensitivity: f64,
    predictors: [Predictor; 3],
    /// Mean lengths of the last interval in which there were any.
    lengths: Option<(f64, f64)>,
    next_throughput: SimTime,
    floors: BTreeMap<Role, u32>,
}

fn build(k: &Knobs<'_>, setting: &Setting, throughput: bool, load: bool) -> Box<dyn Policy> {
    let min = round_to_u32(k.get("min"));
    let interval = Duration::from_secs_f64(k.get("interval"));
    Box::new(Dynamo16 {
        pools: setting.pools.clone(),
        capacity: Capacity {
            ttft: setting.sla.ttft.get() * k.get("ttft"),
            itl: setting.sla.itl.get() * k.get("itl"),
        },
        limits: Limits { floor: min, min: None, max: setting.budget.map(|b| b.get()) },
        throughput: throughput.then_some(interval),
        load: load.then(|| Duration::from_secs_f64(k.get("load"))),
        sensitivity: k.get("sensitivity") / 100.0,
        predictors: [Predictor::new(); 3],
        lengths: None,
        next_throughput: SimTime::from_start(interval),
        floors: BTreeMap::new(),
    })
}

pub(super) fn make_both(k: &Knobs<'_>, s: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    Ok(build(k, s, true, true))
}

pub(super) fn make_throughput(k: &Knobs<'_>, s: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    Ok(build(k, s, true, false))
}

pub(super) fn make_load(k: &Knobs<'_>, s: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    Ok(build(k, s, false, true))
}

impl Dynamo16 {
    /// The counts that the predicted demand takes, and the demand; `None` where it is not known.
    fn demand(
        &mut self,
        view: &View<'_>,
        interval: Duration,
    ) -> Option<(BTreeMap<Role, u32>, f64)> {
        let m = view.metrics;
        let started = m.increase(Counter::Started, interval)?;
        match (m.mean(Family::Isl, interval), m.mean(Family::Osl, interval)) {
            (Some(isl), Some(osl)) => self.lengths = Some((isl, osl)),
            // A confirmed idle window repeats the last shape; half an answer is none.
            _ if started > 0.0 => return None,
            _ => {}
        }
        let (isl, osl) = self.lengths?;
        let [n, i, o] = &mut self.predictors;
        let (started, isl, osl) = (n.next(started), i.next(isl), o.next(osl));
        let rate = started / interval.as_secs_f64();
        let mut wanted = BTreeMap::new();
        for (role, pool) in &self.pools {
            let one = self.capacity.rate(*role, pool, isl, osl);
            if one <= 0.0 {
                return None;
            }
            wanted.insert(*role, ceil_to_u32(rate / one).max(self.limits.floor));
        }
        Some((wanted, rate))
    }

    fn throughput_tick(&mut self, view: &View<'_>, interval: Duration, orders: &mut Orders) {
        let Some((wanted, rate)) = self.demand(view, interval) else {
            return;
        };
        orders.forecast = Some([rate; 3]);
        let capped: BTreeMap<Role, u32> = wanted
            .iter()
            .map(|(role, n)| {
                let now = view.pool(*role).desired;
                let n = *n.clamp(&now.saturating_sub(STEP_CAP), &(now + STEP_CAP));
                (*role, n.max(self.limits.floor))
            })
            .collect();
        let now = self.current(view);
        let fitted = self.limits.fit(&self.gpus(), &now, &capped);
        if self.load.is_some() {
            self.floors = fitted;
            return;
        }
        let starting = view.pools.values().any(|p| p.starting > 0);
        let decided = self.limits.guard(&self.gpus(), &now, &fitted);
        for (role, n) in decided {
            // While replicas start only less is asked for.
            if starting && n > now[&role] {
                continue;
            }
            orders.want(role, n, format!("scale: {rate:.1} requests/s predicted"));
        }
    }

    fn load_tick(&mut self, view: &View<'_>, orders: &mut Orders) {
        let Some(lengths) = self.lengths_now(view) else { return };
        if view.pools.values().any(|p| p.starting + p.draining > 0) {
            return;
        }
        let now = self.current(view);
        let mut proposed = now.clone();
        let mut why = BTreeMap::new();
        for (role, pool) in &self.pools {
            let step = load::step(*role, pool, &self.capacity, self.sensitivity, lengths, view);
            let n = now[role];
            let moved = match step {
                Step::Up => n + 1,
                Step::Down => n.saturating_sub(1),
                Step::Stay(_) => n,
            };
            let floor = self.floors.get(role).copied().unwrap_or(1).max(self.limits.floor);
            proposed.insert(*role, moved.max(floor));
            why.insert(*role, step.as_str());
        }
        for (role, n) in self.limits.guard(&self.gpus(), &now, &proposed) {
            orders.want(role, n, why[&role]);
        }
    }

    fn lengths_now(&self, view: &View<'_>) -> Option<(f64, f64)> {
        let minute = Duration::from_secs(60);
        let m = view.metrics;
        match (m.mean(Family::Isl, minute), m.mean(Family::Osl, minute)) {
            (Some(isl), Some(osl)) => Some((isl, osl)),
            _ => self.lengths,
        }
    }

    fn current(&self, view: &View<'_>) -> BTreeMap<Role, u32> {
        self.pools.keys().map(|role| (*role, view.pool(*role).desired)).collect()
    }

    fn gpus(&self) -> BTreeMap<Role, u32> {
        self.pools.iter().map(|(role, pool)| (*role, pool.gpus.get())).collect()
    }
}

impl Policy for Dynamo16 {
    fn first_tick(&self) -> Duration {
        self.load.or(self.throughput).unwrap_or(Duration::MAX)
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::default();
        if let Some(interval) = self.throughput
            && view.now >= self.next_throughput
        {
            self.next_throughput = view.now.plus(interval);
            self.throughput_tick(view, interval, &mut orders);
        }
        if self.load.is_some() {
            self.load_tick(view, &mut orders);
        }
        orders.next = Some(match self.load {
            Some(load) => view.now.plus(load),
            None => self.next_throughput,
        });
        orders
    }
}
