//! The saturation rule (V1) of llm-d's workload-variant-autoscaler.
//!
//! A replica is saturated at 0.80 of its KV memory or 5 waiting requests. One more is wanted when the
//! spare KV of the others is below 0.10 or their spare queue below 3, on average; one less when the
//! load, spread over one replica less, leaves both spares, and at least two are not saturated.
//! Figures are the largest of the last minute. Nothing changes while a replica starts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::PolicyError;
use super::registry::{Knob, Knobs};
use crate::backtest::Setting;
use crate::sim::{Orders, Policy, SimTime, View};
use crate::units::Role;

/// The figures are looked at this often, and the largest of a minute counts.
const LOOK: Duration = Duration::from_secs(15);
const MAXIMA: Duration = Duration::from_secs(60);

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "kv",
        default: 0.80,
        range: (0.01, 1.0),
        about: "share of the KV memory at which a replica is saturated",
        sweep: &[0.2, 0.3, 0.4, 0.6, 0.8],
    },
    Knob {
        name: "queue",
        default: 5.0,
        range: (1.0, 1e6),
        about: "waiting requests at which a replica is saturated",
        sweep: &[1.0, 2.0, 5.0, 10.0],
    },
    Knob {
        name: "interval",
        default: 60.0,
        range: (1.0, 3600.0),
        about: "between two decisions, seconds",
        sweep: &[15.0, 30.0, 60.0],
    },
];

/// The spare that must be left.
const SPARE_KV: f64 = 0.10;
const SPARE_QUEUE: f64 = 3.0;

#[derive(Debug)]
struct Wva {
    limits: BTreeMap<Role, (u32, u32)>,
    kv: f64,
    queue: f64,
    interval: Duration,
    decided: SimTime,
    /// KV share and waiting requests of each worker.
    seen: BTreeMap<u32, VecDeque<(SimTime, f64, f64)>>,
}

pub(super) fn make(k: &Knobs<'_>, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let limits = setting
        .pools
        .iter()
        .map(|(role, pool)| (*role, (pool.min.get().max(1), setting.most(*role))))
        .collect();
    Ok(Box::new(Wva {
        limits,
        kv: k.get("kv"),
        queue: k.get("queue"),
        interval: Duration::from_secs_f64(k.get("interval")),
        decided: SimTime::ZERO,
        seen: BTreeMap::new(),
    }))
}

impl Wva {
    fn look(&mut self, view: &View<'_>) {
        for e in view.engines {
            let share = e.kv_tokens as f64 / e.max_kv_tokens.max(1) as f64;
            let past = self.seen.entry(e.id).or_default();
            past.push_back((view.now, share, f64::from(e.waiting)));
            past.retain(|(at, ..)| at.plus(MAXIMA) > view.now);
        }
        self.seen.retain(|id, _| view.engines.iter().any(|e| e.id == *id));
    }

    fn step(&self, role: Role, view: &View<'_>) -> (i8, String) {
        let most = |id: u32| {
            self.seen
                .get(&id)
                .into_iter()
                .flatten()
                .fold((0.0_f64, 0.0_f64), |(kv, queue), s| (kv.max(s.1), queue.max(s.2)))
        };
        let all: Vec<(f64, f64)> = view.engines_of(role).map(|e| most(e.id)).collect();
        let free: Vec<(f64, f64)> = all
            .iter()
            .copied()
            .filter(|(kv, queue)| *kv < self.kv && *queue < self.queue)
            .collect();
        if all.is_empty() {
            return (0, "no replica reports".to_owned());
        }
        let n = free.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| free.iter().map(of).sum::<f64>() / n;
        let (kv, queue) = if free.is_empty() {
            (0.0, 0.0)
        } else {
            (self.kv - mean(|f| f.0), self.queue - mean(|f| f.1))
        };
        let why = format!("spare KV {kv:.2} and queue {queue:.1} of {} free", free.len());
        if kv < SPARE_KV || queue < SPARE_QUEUE.min(self.queue) {
            return (1, why);
        }
        if free.len() < 2 {
            return (0, why);
        }
        let fewer = all.len() as f64 - 1.0;
        let total = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).sum::<f64>();
        let spare_kv = self.kv - total(|f| f.0) / fewer;
        let spare_queue = self.queue - total(|f| f.1) / fewer;
        let safe = spare_kv >= SPARE_KV && spare_queue >= SPARE_QUEUE.min(self.queue);
        (if safe { -1 } else { 0 }, why)
    }
}

impl Policy for Wva {
    fn first_tick(&self) -> Duration {
        LOOK.min(self.interval)
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        self.look(view);
        let mut orders = Orders::none(view.now.plus(LOOK.min(self.interval)));
        if self.decided.plus(self.interval) > view.now {
            return orders;
        }
        self.decided = view.now;
        for (role, (min, max)) in &self.limits {
            let pool = view.pool(*role);
            if pool.starting > 0 {
                continue;
            }
            let (by, why) = self.step(*role, view);
            let wanted = pool.desired.saturating_add_signed(i32::from(by));
            orders.want(*role, wanted.clamp(*min, (*max).max(*min)), why);
        }
        orders
    }
}
