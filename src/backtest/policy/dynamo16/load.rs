//! The load loop: one replica up when every engine is late, one down when every engine would pass
//! with one less.

use super::capacity::{Capacity, chunk_time, iteration};
use crate::backtest::PoolSetting;
use crate::sim::{EngineView, View};
use crate::units::Role;

/// What the load loop wants of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    Stay(&'static str),
}

impl Step {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "scale_up",
            Self::Down => "scale_down",
            Self::Stay(why) => why,
        }
    }
}

/// Prompt tokens that wait, those in the pass under way left out.
fn queued(engine: &EngineView) -> f64 {
    let reading = engine.last_pass.map_or(0, |p| p.prefill_tokens);
    engine.waiting_prefill_tokens.saturating_sub(reading) as f64
}

pub(super) fn step(
    role: Role,
    pool: &PoolSetting,
    capacity: &Capacity,
    sensitivity: f64,
    (isl, osl): (f64, f64),
    view: &View<'_>,
) -> Step {
    let engines: Vec<&EngineView> =
        view.engines_of(role).filter(|e| e.last_pass.is_some()).collect();
    if engines.is_empty() {
        return Step::Stay("no_fpm_data");
    }
    let ready = usize::try_from(view.pool(role).ready).unwrap_or(usize::MAX);
    if engines.len() != ready {
        return Step::Stay("worker_count_mismatch");
    }
    let n = engines.len() as f64;
    let fewer = if n > 1.0 { n / (n - 1.0) } else { f64::INFINITY };
    let own = chunk_time(pool, isl);
    let length = isl + osl / 2.0;
    let ttft = |e: &EngineView, k: f64| chunk_time(pool, queued(e) * k + isl);
    let held = |e: &EngineView| (e.kv_tokens + e.waiting_kv_tokens) as f64;
    let itl = |e: &EngineView, k: f64| {
        let batch = f64::from(e.running + e.waiting) * k + 1.0;
        iteration(pool, batch, (held(e) * k + length) / batch)
    };
    let reads = role != Role::Decode;
    let generates = role != Role::Prefill;
    let all_late = (reads && engines.iter().all(|e| ttft(e, 1.0) > capacity.ttft))
        || (generates && engines.iter().all(|e| itl(e, 1.0) > capacity.itl));
    if all_late {
        return Step::Up;
    }
    if n < 2.0 {
        return Step::Stay("no_change");
    }
    let reading_passes = |e: &&EngineView| {
        own < capacity.ttft && ttft(e, fewer) - own < (capacity.ttft - own) * sensitivity
    };
    let generating_passes = |e: &&EngineView| {
        held(e) * fewer < pool.engine.decode().max_kv_tokens().get()
            && itl(e, fewer) < capacity.itl * sensitivity
    };
    let passes = (!reads || engines.iter().all(reading_passes))
        && (!generates || engines.iter().all(generating_passes));
    if passes { Step::Down } else { Step::Stay("scale_down_refused_consolidation") }
}
