//! The planner of Dynamo 1.6.1 with the optimisation target `sla`.
//!
//! Source: wheel `ai_dynamo-1.6.1`, `dynamo/planner` (dynamo-planner.md 2.1 to 2.10, checklist in 3).
//! As built:
//!
//! * Throughput loop, every 180 s: requests *started* and mean lengths, predicted one interval ahead
//!   (Kalman, the last value, or what the shipped default, ARIMA with an order chosen on five points,
//!   mostly comes down to), over what one engine takes on; at most 8 replicas a step; floors; budget.
//! * Load loop, every 5 s: one replica more when *every* engine is late, one fewer when every engine
//!   passes the check of consolidation.
//! * Both: the throughput result is the least that the load loop asks for.
//! * While replicas start, no more are ordered and a loop may only cancel: targets that the ready
//!   ones fill, recommended again unchanged after a load interval.
//! * The shipped default target is `throughput`, static thresholds without a promise; `sla` is its
//!   planner for a promise, and the one to compare with.
//! * Left out: power budget, global planner, plugins, the final joint clamp (only other plugins'
//!   proposals reach it), prefix hits, speculative decoding, and W9 (a failed write ends all writes).
//! * Dynamo knows no maximum of a pool; where one is set, the order is capped by it at the end.
//!
//! Unknown: without an answer of Prometheus the throughput loop neither learns nor decides, its last
//! bounds stay. The load loop goes on: engines report to it directly.

use std::time::Duration;

use super::super::known::{Knob, Knobs, Known};
use super::super::spec::PolicyError;
use super::budget::{Band, Guard, Lane};
use super::capacity::Engine;
use super::load::{Goal, LoadLoop, Verdict};
use super::predict::{Kind, PREDICTOR};
use super::throughput::{Demand, Forecast, Lanes};
use crate::backtest::Setting;
use crate::sim::{Orders, Policy, PoolView, SimTime, View};
use crate::spec::Sla;
use crate::units::{Millis, Role};

const TARGET: Knob = Knob {
    name: "target",
    default: 1.0,
    about: "TTFT and ITL target as a share of the promise",
    sweep: &[0.2, 0.4, 0.6, 0.8, 1.0],
    range: (0.01, 10.0),
};
const INTERVAL: Knob = Knob {
    name: "interval",
    default: 180.0,
    about: "throughput_adjustment_interval_seconds",
    sweep: &[60.0, 180.0, 600.0],
    range: (10.0, 3600.0),
};
const CAP: Knob = Knob {
    name: "cap",
    default: 8.0,
    about: "max_throughput_scaling_replicas",
    sweep: &[4.0, 8.0, 16.0],
    range: (1.0, 1000.0),
};
const EVERY: Knob = Knob {
    name: "load-interval",
    default: 5.0,
    about: "load_adjustment_interval_seconds",
    sweep: &[5.0, 10.0],
    range: (1.0, 3600.0),
};
const SENSITIVITY: Knob = Knob {
    name: "sensitivity",
    default: 80.0,
    about: "load_scaling_down_sensitivity, percent",
    sweep: &[70.0, 80.0, 90.0],
    range: (0.0, 100.0),
};

pub(in crate::backtest::policy) const THROUGHPUT: Known = Known {
    name: "dynamo-1.6-throughput",
    about: "the planner of Dynamo 1.6.1, throughput loop alone",
    source: "NVIDIA Dynamo 1.6.1, dynamo/planner/core/throughput_scaling.py",
    knobs: &[TARGET, INTERVAL, PREDICTOR, CAP],
    frontier: "target",
    build: |knobs, setting| build(knobs, setting, true, false),
};

pub(in crate::backtest::policy) const LOAD: Known = Known {
    name: "dynamo-1.6-load",
    about: "the planner of Dynamo 1.6.1, load loop alone, SLA target",
    source: "NVIDIA Dynamo 1.6.1, dynamo/planner/core/load_scaling.py",
    knobs: &[TARGET, EVERY, SENSITIVITY],
    frontier: "target",
    build: |knobs, setting| build(knobs, setting, false, true),
};

pub(in crate::backtest::policy) const MIXED: Known = Known {
    name: "dynamo-1.6",
    about: "the planner of Dynamo 1.6.1, both loops, SLA target",
    source: "NVIDIA Dynamo 1.6.1, dynamo/planner/core",
    knobs: &[TARGET, INTERVAL, EVERY, PREDICTOR, CAP, SENSITIVITY],
    frontier: "target",
    build: |knobs, setting| build(knobs, setting, true, true),
};

fn build(
    knobs: &Knobs,
    setting: &Setting,
    throughput: bool,
    load: bool,
) -> Result<Box<dyn Policy>, PolicyError> {
    let share = |millis: Millis| Millis::clamped(millis.get() * knobs.get("target"));
    let sla = Sla { ttft: share(setting.sla.ttft), itl: share(setting.sla.itl), ..setting.sla };
    let interval = knobs.seconds("interval");
    // A single loop has no knob of the other; a cancelled start still waits a load interval.
    let every = if load { knobs.seconds("load-interval") } else { Duration::from_secs(5) };
    let lanes = Lanes {
        lanes: setting
            .pools
            .values()
            .map(|p| Lane { gpus: p.gpus.get().into(), floor: p.min.get().max(1).into() })
            .collect(),
        band: Band::at_most(setting.budget.map(|b| b.get().into())),
        cap: knobs.count("cap").max(1).into(),
    };
    Ok(Box::new(Planner {
        roles: setting
            .pools
            .iter()
            .map(|(role, p)| (*role, Engine::of(p), setting.own_max(*role)))
            .collect(),
        bounds: vec![1; lanes.lanes.len()],
        lanes,
        sla,
        throughput: throughput.then(|| Every {
            interval,
            next: SimTime::from_start(interval),
            state: Forecast::new(interval, Kind::of(knobs)),
        }),
        load: load.then(|| Every {
            interval: every,
            next: SimTime::from_start(every),
            state: LoadLoop::default(),
        }),
        goal: Goal { sla, sensitivity: knobs.get("sensitivity") / 100.0 },
        cancel: Cancel { every, asked: None },
        rate: None,
    }))
}

/// A loop with its clock.
struct Every<T> {
    interval: Duration,
    next: SimTime,
    state: T,
}

impl<T> Every<T> {
    fn due(&mut self, now: SimTime) -> Option<&mut T> {
        if now < self.next {
            return None;
        }
        self.next = now.plus(self.interval);
        Some(&mut self.state)
    }
}

/// The wait before replicas that start are cancelled.
struct Cancel {
    every: Duration,
    asked: Option<(SimTime, Vec<i64>, Vec<PoolView>)>,
}

impl Cancel {
    /// Whether the same was recommended a load interval ago for the same inventory.
    fn persists(&mut self, now: SimTime, wanted: &[i64], pools: &[PoolView]) -> bool {
        match &self.asked {
            Some((since, before, seen)) if before == wanted && seen == pools => {
                now >= since.plus(self.every)
            }
            _ => {
                self.asked = Some((now, wanted.to_vec(), pools.to_vec()));
                false
            }
        }
    }
}

struct Planner {
    /// With the pool's own maximum.
    roles: Vec<(Role, Engine, Option<u32>)>,
    lanes: Lanes,
    sla: Sla,
    throughput: Option<Every<Forecast>>,
    load: Option<Every<LoadLoop>>,
    goal: Goal,
    /// The least that the load loop may ask for, by role.
    bounds: Vec<i64>,
    cancel: Cancel,
    /// Requests a second expected.
    rate: Option<f64>,
}

impl Planner {
    /// What each role needs for the demand; `None` has no estimate.
    fn raw(&self, demand: &Demand) -> Vec<Option<i64>> {
        let need = |(i, (role, engine, _)): (usize, &(Role, Engine, Option<u32>))| {
            let capacity = engine.capacity(*role, demand.isl, demand.osl, &self.sla);
            self.lanes.need(i, demand.rps, capacity.map(|c| c.rps))
        };
        self.roles.iter().enumerate().map(need).collect()
    }

    /// What the load loop wants before bounds and budget, or why it wants nothing.
    fn by_load(&self, view: &View<'_>, state: &LoadLoop, pools: &[PoolView]) -> Option<Vec<i64>> {
        let judge = |(role, engine, _): &(Role, Engine, Option<u32>)| {
            state.judge(view, *role, engine, &self.goal)
        };
        let verdicts: Vec<Verdict> = self.roles.iter().map(judge).collect();
        let silent = verdicts.iter().all(|v| *v == Verdict::Silent);
        if silent || verdicts.contains(&Verdict::Blocked) {
            return None;
        }
        let starting = in_progress(pools);
        let one = |(i, verdict): (usize, &Verdict)| {
            let (pool, floor) = (&pools[i], self.lanes.lanes[i].floor.max(self.bounds[i]));
            let n = i64::from(if starting { pool.ready } else { pool.desired });
            match verdict {
                Verdict::Up => (n + 1).max(floor),
                Verdict::Down => (n - 1).max(floor),
                // Nobody asked to cancel what starts.
                Verdict::Stay | Verdict::Silent | Verdict::Blocked => {
                    i64::from(pool.desired).max(floor)
                }
            }
        };
        Some(verdicts.iter().enumerate().map(one).collect())
    }

    /// What is left of a proposal while replicas start.
    fn only_cancel(&mut self, now: SimTime, pools: &[PoolView], new: &[i64]) -> Option<Vec<i64>> {
        let kept: Vec<i64> = pools
            .iter()
            .zip(new)
            .map(|(pool, n)| {
                let desired = i64::from(pool.desired);
                let fills = *n <= i64::from(pool.ready) && *n < desired;
                if fills { *n } else { desired }
            })
            .collect();
        self.cancel.persists(now, &kept, pools).then_some(kept)
    }

    /// Budget, caps and the gate of replicas that start.
    fn order(&mut self, orders: &mut Orders, view: &View<'_>, new: &[i64], why: &str) {
        let pools: Vec<PoolView> = self.roles.iter().map(|r| view.pool(r.0)).collect();
        let cur: Vec<i64> = pools.iter().map(|p| i64::from(p.desired)).collect();
        let new = if in_progress(&pools) {
            let Some(kept) = self.only_cancel(view.now, &pools, new) else { return };
            kept
        } else {
            self.cancel.asked = None;
            new.to_vec()
        };
        let (settled, guard) = self.lanes.settled(&cur, &new);
        let why = match guard {
            Guard::Hold => return,
            Guard::Reconcile => "gpu_budget_reconcile",
            Guard::Pass => why,
        };
        for ((role, _, max), (n, cur)) in self.roles.iter().zip(settled.into_iter().zip(cur)) {
            let n = u32::try_from(n.max(0)).unwrap_or(u32::MAX);
            let n = max.map_or(n, |max| n.min(max));
            if i64::from(n) != cur {
                orders.want(*role, n, why);
            }
        }
    }
}

fn in_progress(pools: &[PoolView]) -> bool {
    pools.iter().any(|p| p.starting > 0 || p.ready != p.desired)
}

impl Policy for Planner {
    fn first_tick(&self) -> Duration {
        let throughput = self.throughput.as_ref().map(|t| t.interval);
        let load = self.load.as_ref().map(|l| l.interval);
        throughput.into_iter().chain(load).min().unwrap_or(Duration::MAX)
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::default();
        let pools: Vec<PoolView> = self.roles.iter().map(|r| view.pool(r.0)).collect();
        let cur: Vec<i64> = pools.iter().map(|p| i64::from(p.desired)).collect();
        let forecast = self.throughput.as_mut().and_then(|t| t.due(view.now));
        if let Some(demand) = forecast.and_then(|state| state.observe(view.metrics)) {
            self.rate = Some(demand.rps);
            let raw = self.raw(&demand);
            let ready = raw.iter().all(Option::is_some);
            let new = self.lanes.proposed(&cur, &raw);
            if self.load.is_some() {
                self.bounds = new;
            } else if ready || !in_progress(&pools) {
                self.order(&mut orders, view, &new, "throughput");
            }
        }
        if let Some(mut load) = self.load.take() {
            if let Some(state) = load.due(view.now) {
                state.listen(view);
                if let Some(new) = self.by_load(view, state, &pools) {
                    self.order(&mut orders, view, &new, "load");
                }
            }
            self.load = Some(load);
        }
        let next = [self.throughput.as_ref().map(|t| t.next), self.load.as_ref().map(|l| l.next)];
        orders.next = next.into_iter().flatten().min();
        orders.forecast = self.rate.map(|rate| [rate; 3]);
        orders
    }
}

#[cfg(test)]
mod tests;
