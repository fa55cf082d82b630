//! The load loop of Dynamo 1.6.1 for the target `sla` (`core/load_scaling.py`, dynamo-planner.md 2.9).
//!
//! Each engine's latency is estimated from what it says of itself (forward pass metrics), with the
//! passes of [`Engine`] in place of Dynamo's regression. The mean prompt length is that of the
//! frontend over 180 s and the last one seen after that: Dynamo takes it from 64 passes, but the
//! passes seen here do not carry their number of prompts. Prefix hits are 0 and one token is
//! generated a pass.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::capacity::Engine;
use crate::sim::{EngineView, Family, View};
use crate::spec::Sla;
use crate::units::Role;

/// `max_num_fpm_samples`.
const SAMPLES: usize = 64;

/// The window of the mean prompt length.
const LENGTHS: Duration = Duration::from_secs(180);

/// What the loop wants of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every engine is late.
    Up,
    /// Every engine would be on time with one fewer.
    Down,
    /// Neither.
    Stay,
    /// No engine says anything (`no_fpm_data`): this role holds.
    Silent,
    /// Some engine is not heard (`worker_count_mismatch`) or no request was seen yet
    /// (`insufficient_data`): every role holds.
    Blocked,
}

/// Means over the last passes.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadLoop {
    /// Tokens that a generating request holds.
    held: BTreeMap<Role, VecDeque<f64>>,
    /// Prompt tokens of a pass.
    read: BTreeMap<Role, VecDeque<f64>>,
    isl: Option<f64>,
}

/// The promise and how much of it a smaller fleet may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) sla: Sla,
    /// `load_scaling_down_sensitivity`, 0 to 1.
    pub(super) sensitivity: f64,
}

fn keep(samples: &mut VecDeque<f64>, value: f64) {
    if samples.len() == SAMPLES {
        samples.pop_front();
    }
    samples.push_back(value);
}

fn mean(samples: Option<&VecDeque<f64>>) -> Option<f64> {
    let samples = samples.filter(|s| !s.is_empty())?;
    Some(samples.iter().sum::<f64>() / samples.len() as f64)
}

impl LoadLoop {
    /// Takes in the passes of this tick.
    pub(super) fn listen(&mut self, view: &View<'_>) {
        self.isl = view.metrics.mean(Family::Isl, LENGTHS).or(self.isl);
        for e in view.engines.iter().filter(|e| !e.draining) {
            let Some(pass) = e.last_pass.filter(|p| p.wall_s > 0.0) else { continue };
            if pass.decode_requests > 0 {
                let held = pass.decode_kv_tokens as f64 / f64::from(pass.decode_requests);
                keep(self.held.entry(e.role).or_default(), held);
            }
            keep(self.read.entry(e.role).or_default(), pass.prefill_tokens as f64);
        }
    }

    pub(super) fn judge(
        &self,
        view: &View<'_>,
        role: Role,
        engine: &Engine,
        goal: &Goal,
    ) -> Verdict {
        let engines: Vec<&EngineView> = view.engines_of(role).collect();
        if engines.is_empty() {
            return Verdict::Silent;
        }
        if u32::try_from(engines.len()) != Ok(view.pool(role).ready) {
            return Verdict::Blocked;
        }
        let n = engines.len() as f64;
        let merged = if engines.len() > 1 { n / (n - 1.0) } else { f64::INFINITY };
        let model = Model {
            engine,
            goal,
            isl: self.isl,
            held: mean(self.held.get(&role)),
            // Of a decode engine passes read nothing.
            read: mean(self.read.get(&role)).filter(|_| role == Role::Aggregated).unwrap_or(0.0),
            aggregated: role == Role::Aggregated,
        };
        let ttft = || model.ttft(&engines, merged);
        let itl = || model.itl(&engines, merged);
        let verdict = match role {
            Role::Prefill => ttft(),
            Role::Decode => itl(),
            Role::Aggregated => ttft().zip(itl()).map(|(a, b)| match (a, b) {
                (Verdict::Up, _) | (_, Verdict::Up) => Verdict::Up,
                (Verdict::Down, Verdict::Down) => Verdict::Down,
                _ => Verdict::Stay,
            }),
        };
        match verdict {
            None => Verdict::Blocked,
            Some(Verdict::Down) if engines.len() < 2 => Verdict::Stay,
            Some(verdict) => verdict,
        }
    }
}

struct Model<'a> {
    engine: &'a Engine,
    goal: &'a Goal,
    isl: Option<f64>,
    held: Option<f64>,
    read: f64,
    aggregated: bool,
}

fn verdict(late: bool, passes: bool) -> Verdict {
    match (late, passes) {
        (true, _) => Verdict::Up,
        (false, true) => Verdict::Down,
        (false, false) => Verdict::Stay,
    }
}

impl Model<'_> {
    /// ms until an average prompt behind `k` times the queue has been read.
    fn drain(&self, e: &EngineView, queue: f64, k: f64, isl: f64) -> f64 {
        let (batch, kv) = if self.aggregated {
            (f64::from(e.running) * k, e.kv_tokens as f64 * k)
        } else {
            (0.0, 0.0)
        };
        self.engine.chunks(queue * k + isl, batch, kv)
    }

    fn ttft(&self, engines: &[&EngineView], merged: f64) -> Option<Verdict> {
        let (isl, target) = (self.isl?, self.goal.sla.ttft.get());
        let queue = |e: &EngineView| e.waiting_prefill_tokens as f64;
        let late = engines.iter().all(|e| self.drain(e, queue(e), 1.0, isl) > target);
        let passes = merged.is_finite()
            && engines.iter().all(|e| {
                let own = self.drain(e, 0.0, 1.0, isl);
                let wait = self.drain(e, queue(e), merged, isl) - own;
                own < target && wait < (target - own) * self.goal.sensitivity
            });
        Some(verdict(late, passes))
    }

    fn itl(&self, engines: &[&EngineView], merged: f64) -> Option<Verdict> {
        let (held, target) = (self.held?, self.goal.sla.itl.get());
        let load = |e: &EngineView| {
            if self.aggregated {
                (f64::from(e.running), e.kv_tokens as f64)
            } else {
                let batch = f64::from(e.running.saturating_add(e.waiting));
                (batch, (e.kv_tokens + e.waiting_kv_tokens) as f64)
            }
        };
        let pass = |e: &EngineView, k: f64| {
            let (batch, kv) = load(e);
            let reads = if self.read > 0.0 { self.engine.chunks(self.read, 0.0, 0.0) } else { 0.0 };
            self.engine.generate(batch * k + 1.0, kv * k + held) + reads
        };
        let late = engines.iter().all(|e| pass(e, 1.0) > target);
        let room = self.engine.max_kv_tokens().get();
        let passes = merged.is_finite()
            && engines.iter().all(|e| {
                let queued = if self.aggregated { e.waiting_prefill_tokens as f64 } else { 0.0 };
                let fits = ((load(e).1 + queued) * merged).floor() < room;
                fits && pass(e, merged) < target * self.goal.sensitivity
            });
        Some(verdict(late, passes))
    }
}
