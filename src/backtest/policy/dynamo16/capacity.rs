//! What one engine does within the promise, by its own compute time alone.

use crate::backtest::PoolSetting;
use crate::units::{Role, floor_to_u32};

/// Batches that are looked at: all of them up to here, else this many evenly spaced.
const CANDIDATES: u32 = 128;

/// The targets, ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) ttft: f64,
    pub(super) itl: f64,
}

/// Time to read `tokens` in passes of the token limit, ms.
pub(super) fn chunk_time(pool: &PoolSetting, tokens: f64) -> f64 {
    let most = f64::from(pool.limits.max_num_batched_tokens.max(1));
    let curve = pool.engine.prefill();
    let full = (tokens / most).floor();
    let rest = tokens - full * most;
    let rest = if rest > 0.0 { curve.ttft(rest).value.get() } else { 0.0 };
    full * curve.ttft(most).value.get() + rest
}

pub(super) fn iteration(pool: &PoolSetting, batch: f64, context: f64) -> f64 {
    pool.engine.decode().itl(batch.max(1.0), context.max(1.0)).value.get()
}

fn candidates(most: u32) -> impl Iterator<Item = f64> {
    let count = most.min(CANDIDATES);
    (1..=count).map(move |i| {
        if most <= CANDIDATES {
            f64::from(i)
        } else {
            // Whole numbers, evenly spaced from 1 to the most.
            (1.0 + f64::from(i - 1) * f64::from(most - 1) / f64::from(CANDIDATES - 1)).floor()
        }
    })
}

impl Capacity {
    /// Requests a second of one engine: of the batches that fit the target the one with the highest
    /// rate; where none fits, the fastest of all, target or not.
    pub(super) fn rate(&self, role: Role, pool: &PoolSetting, isl: f64, osl: f64) -> f64 {
        let (isl, osl) = (isl.ceil().max(1.0), osl.ceil().max(1.0));
        let tokens = f64::from(pool.limits.max_num_batched_tokens);
        let seqs = pool.limits.max_num_seqs;
        let context = (isl + (osl / 2.0).floor()).max(1.0);
        let held = floor_to_u32(pool.engine.decode().max_kv_tokens().get() / context);
        let most = match role {
            Role::Prefill if isl > tokens => 1,
            Role::Prefill => seqs.min(floor_to_u32(tokens / isl)),
            Role::Decode => seqs.min(held),
            Role::Aggregated => seqs.min(held).min(floor_to_u32(tokens) - 1),
        };
        let mut best: Option<(bool, f64)> = None;
        for batch in candidates(most.max(1)) {
            let (fits, rate) = match role {
                Role::Prefill => {
                    let ttft = chunk_time(pool, batch * isl);
                    (ttft <= self.ttft, batch / ttft * 1e3)
                }
                Role::Decode => {
                    let itl = iteration(pool, batch, context);
                    (itl <= self.itl, batch / (osl * itl) * 1e3)
                }
                Role::Aggregated => {
                    let per_pass = (batch * isl / osl).ceil();
                    if per_pass > tokens - batch {
                        continue;
                    }
                    let itl = chunk_time(pool, per_pass) + iteration(pool, batch, context);
                    let ttft = chunk_time(pool, per_pass + isl) + iteration(pool, batch, context);
                    (ttft <= self.ttft && itl <= self.itl, batch / (osl * itl) * 1e3)
                }
            };
            if best.is_none_or(|(ok, most)| (fits, rate) > (ok, most)) {
                best = Some((fits, rate));
            }
        }
        best.map_or(0.0, |(_, rate)| rate)
    }
}
