//! What one engine takes on, as Dynamo 1.6.1 searches it (`core/perf_model/engine_query.py`,
//! dynamo-planner.md 2.7).
//!
//! Dynamo asks its AISimulate estimator how long a forward pass takes; by default that is a
//! regression trained on the profile's own rows and on live passes. Here the interpolated profile
//! answers in its place, which is closer to the engine than the regression is (W1: its error on its
//! own training rows is 13 % in the mean and up to 40 %). A pass that reads and generates takes as
//! long as both would one after the other (lessons.md a.10). Prefix hits and speculative decoding
//! are left out: nothing in a trace carries them.

use crate::backtest::PoolSetting;
use crate::profile::EngineProfile;
use crate::spec::{EngineLimits, Sla};
use crate::units::{Role, Tokens, ceil_to_u32, floor_to_u32, round_to_u32};

/// Most batches that are tried; more are spread evenly.
const CANDIDATES: u32 = 128;

/// What one engine does at its best batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::backtest::policy) struct Capacity {
    /// Requests a second.
    pub(in crate::backtest::policy) rps: f64,
    /// Requests in the engine at once.
    pub(in crate::backtest::policy) batch: u32,
    /// Whether the promise is kept at that batch. Where no batch keeps it, the fastest is answered
    /// all the same (W1).
    pub(in crate::backtest::policy) eligible: bool,
}

/// Forward passes of one engine.
#[derive(Clone, Debug)]
pub(in crate::backtest::policy) struct Engine {
    profile: EngineProfile,
    limits: EngineLimits,
}

impl Engine {
    pub(in crate::backtest::policy) fn of(pool: &PoolSetting) -> Self {
        Self { profile: pool.engine.clone(), limits: pool.limits }
    }

    pub(super) fn max_kv_tokens(&self) -> Tokens {
        self.profile.decode().max_kv_tokens()
    }

    /// A pass over `tokens` of prompts, ms; none for no token.
    fn read(&self, tokens: f64) -> f64 {
        if tokens > 0.0 { self.profile.prefill().ttft(tokens).value.get() } else { 0.0 }
    }

    /// A pass that generates for `batch` requests holding `kv` tokens in all, ms.
    pub(super) fn generate(&self, batch: f64, kv: f64) -> f64 {
        if batch <= 0.0 {
            return 0.0;
        }
        self.profile.decode().itl(batch, kv / batch).value.get()
    }

    /// `tokens` of prompts in chunks of the batch limit, each pass generating as well; ms.
    pub(super) fn chunks(&self, tokens: f64, batch: f64, kv: f64) -> f64 {
        let most = f64::from(self.limits.max_num_batched_tokens.max(1));
        let full = (tokens / most).floor();
        let rest = tokens - full * most;
        let decode = self.generate(batch, kv);
        let last = if rest > 0.0 { self.read(rest) + decode } else { 0.0 };
        full * (self.read(most) + decode) + last
    }

    /// The capacity for requests of those mean lengths.
    pub(in crate::backtest::policy) fn capacity(
        &self,
        role: Role,
        isl: f64,
        osl: f64,
        sla: &Sla,
    ) -> Option<Capacity> {
        let isl = isl.ceil().max(1.0);
        let osl = osl.ceil().max(1.0);
        let tokens = self.limits.max_num_batched_tokens;
        let seqs = self.limits.max_num_seqs;
        let context = (isl + (osl / 2.0).floor()).max(1.0);
        let of_kv = floor_to_u32(self.max_kv_tokens().get() / context);
        let most = match role {
            Role::Prefill if isl > f64::from(tokens) => 1,
            Role::Prefill => seqs.min(tokens / ceil_to_u32(isl)),
            Role::Decode => seqs.min(of_kv),
            Role::Aggregated => seqs.min(of_kv).min(tokens.saturating_sub(1)),
        };
        let point = |batch: u32| {
            let b = f64::from(batch);
            let (rps, eligible) = match role {
                Role::Prefill => {
                    let ttft = self.chunks(b * isl, 0.0, 0.0);
                    (b / ttft * 1e3, ttft <= sla.ttft.get())
                }
                Role::Decode => {
                    let itl = self.generate(b, b * context);
                    (b / (osl * itl) * 1e3, itl <= sla.itl.get())
                }
                Role::Aggregated => {
                    let read = (b * isl / osl).ceil();
                    if read > f64::from(tokens) - b {
                        return None;
                    }
                    let kv = b * context;
                    let itl = self.read(read) + self.generate(b, kv);
                    let ttft = self.chunks(read + isl, b, kv);
                    let good = itl <= sla.itl.get() && ttft <= sla.ttft.get();
                    (b / (osl * itl) * 1e3, good)
                }
            };
            Some(Capacity { rps, batch, eligible })
        };
        let better = |best: Capacity, next: Capacity| {
            let gains = (next.eligible, next.rps) > (best.eligible, best.rps);
            if gains { next } else { best }
        };
        candidates(most).filter_map(point).reduce(better)
    }
}

fn candidates(most: u32) -> impl Iterator<Item = u32> {
    let n = most.min(CANDIDATES);
    let spread = f64::from(most.saturating_sub(1)) / f64::from(CANDIDATES - 1);
    (0..n).map(
        move |i| {
            if most <= CANDIDATES { i + 1 } else { round_to_u32(1.0 + f64::from(i) * spread) }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::policy::bench::pair;
    use crate::units::Millis;

    fn engine() -> (Engine, Sla) {
        let setting = pair();
        (Engine::of(&setting.pools[&Role::Prefill]), setting.sla)
    }

    #[test]
    fn the_batches_tried_are_all_or_a_hundred_and_twenty_eight() {
        assert_eq!(candidates(3).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(candidates(0).count(), 0);
        let many: Vec<u32> = candidates(512).collect();
        assert_eq!((many.len(), many[0], many[1], many[127]), (128, 1, 5, 512));
    }

    #[test]
    fn prefill_reads_in_chunks_and_takes_what_the_promise_allows() {
        let (e, sla) = engine();
        let one = e.read(3000.0);
        let c = e.capacity(Role::Prefill, 3000.0, 150.0, &sla).unwrap();
        assert_eq!((c.batch, c.eligible), (2, true), "8192 tokens hold two prompts");
        assert!(c.rps >= 1e3 / one, "{c:?}");
        let long = e.capacity(Role::Prefill, 10_000.0, 150.0, &sla).unwrap();
        assert_eq!(long.batch, 1);
        let passes = e.read(8192.0) + e.read(1808.0);
        assert!((long.rps - 1e3 / passes).abs() < 1e-9);
    }

    #[test]
    fn an_unreachable_target_is_answered_by_the_fastest_batch() {
        let (e, mut sla) = engine();
        let good = e.capacity(Role::Decode, 3000.0, 150.0, &sla).unwrap();
        assert!(good.eligible);
        sla.itl = Millis::clamped(10.0);
        let tight = e.capacity(Role::Decode, 3000.0, 150.0, &sla).unwrap();
        assert!(tight.eligible && tight.rps < good.rps, "{tight:?} {good:?}");
        sla.itl = Millis::clamped(2.0);
        let none = e.capacity(Role::Decode, 3000.0, 150.0, &sla).unwrap();
        assert!(!none.eligible && none.rps > tight.rps, "the cliff of W1: {none:?}");
    }

    #[test]
    fn an_aggregated_engine_reads_between_its_tokens() {
        let (e, sla) = engine();
        let both = e.capacity(Role::Aggregated, 2048.0, 150.0, &sla).unwrap();
        let apart = e.capacity(Role::Decode, 2048.0, 150.0, &sla).unwrap();
        assert!(both.eligible && both.rps > 0.0 && both.rps < apart.rps, "{both:?} {apart:?}");
        let mut tiny = e;
        tiny.limits.max_num_batched_tokens = 1;
        assert_eq!(tiny.capacity(Role::Aggregated, 2048.0, 1.0, &sla), None);
    }
}
