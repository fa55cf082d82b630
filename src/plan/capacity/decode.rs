//! Inter-token latency of a decode pool.

use super::{MAX_UTILISATION, Outcome, normal_tail};
use crate::forecast::Lengths;
use crate::profile::DecodeSurface;
use crate::spec::EngineLimits;
use crate::units::Millis;

/// KV caches are handed out in blocks, of which the last of a sequence is half empty on average.
/// 64 tokens is the largest block in use (vLLM takes 16 to 64), so that the bound is safe.
const KV_BLOCK: f64 = 64.0;

/// What a table's latency is taken times: between the points of a coarse table (batches in steps of
/// 32) real engines are up to 4 % slower than the straight line, and near saturation a slower token
/// means a fuller batch, which makes it slower yet. Smaller broke the promise in two of three fleets
/// sized to the edge of it; larger costs as many percent of the decode GPUs.
const TABLE_MARGIN: f64 = 1.04;

/// Decode engines under one mix of requests.
#[derive(Clone, Debug)]
pub(crate) struct DecodeModel<'a> {
    surface: &'a DecodeSurface,
    osl: f64,
    osl_cv2: f64,
    /// Mean context of a running sequence, tokens. Sequences that stay longer are met more often,
    /// so that it is `isl + osl * (1 + cv2) / 2` (techniques.md 3.3).
    context: f64,
    /// Spread of the KV tokens of one sequence over their mean, squared.
    context_cv2: f64,
    /// Sequences that the engine admits.
    slots: f64,
    /// Sequences that its KV cache holds on average.
    kv_slots: f64,
    /// Sequences at which the latency is on target; `None` where one alone is slower. Infinite
    /// where even a full cache is faster.
    on_target: Option<f64>,
    /// Time besides decoding that each iteration takes is `1 / (1 - other)` of it: 0 for a decode
    /// engine.
    other: f64,
}

/// The state of one engine under a steady load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DecodeState {
    /// Sequences running, mean.
    pub(crate) running: f64,
    /// Its standard deviation.
    pub(crate) spread: f64,
}

impl<'a> DecodeModel<'a> {
    /// Engines with this surface and target; `other` is the share of the engine's time that
    /// something else takes (prefill, on an aggregated engine).
    pub(crate) fn new(
        surface: &'a DecodeSurface,
        limits: EngineLimits,
        isl: Lengths,
        osl: Lengths,
        target: Millis,
        other: f64,
    ) -> Self {
        let (mean_in, mean_out) = (isl.mean.get().max(1.0), osl.mean.get().max(1.0));
        let osl_cv2 = osl.cv2.clamp(0.0, 100.0);
        let context = mean_in + mean_out * (1.0 + osl_cv2) / 2.0;
        let share = |x: f64| (x / context).powi(2);
        // A running sequence is anywhere between its first and its last token.
        let context_cv2 = isl.cv2.clamp(0.0, 100.0) * share(mean_in)
            + (1.0 / 12.0 + osl_cv2 / 3.0) * share(mean_out);
        let kv_tokens = surface.max_kv_tokens().get();
        let target = Millis::clamped(target.get() * (1.0 - other) / TABLE_MARGIN);
        let on_target = surface.largest_batch(target, context).map(|batch| {
            if batch >= kv_tokens / context * (1.0 - 1e-9) { f64::INFINITY } else { batch }
        });
        Self {
            surface,
            osl: mean_out,
            osl_cv2,
            context,
            context_cv2,
            slots: f64::from(limits.max_num_seqs),
            kv_slots: kv_tokens / (context + KV_BLOCK / 2.0),
            on_target,
            other,
        }
    }

    /// Latency of a token with `running` sequences, ms.
    pub(crate) fn itl(&self, running: f64) -> f64 {
        let alone = self.surface.itl(running.max(1.0), self.context).value.get();
        alone * TABLE_MARGIN / (1.0 - self.other)
    }

    /// Whether one sequence alone is within target.
    pub(crate) const fn can_meet(&self) -> bool {
        self.on_target.is_some()
    }

    /// Whether not even one sequence fits the KV cache.
    pub(crate) fn cannot_hold_one(&self) -> bool {
        self.kv_slots < 1.0
    }

    /// Mean tokens of context of a running sequence.
    pub(crate) const fn context(&self) -> f64 {
        self.context
    }

    /// The sequences running on each of `engines` that take `rate` requests per ms in turn, by
    /// Little's law `running = rate * osl * itl(running)`; `None` where they are overloaded.
    ///
    /// The spread: arrivals of an engine are as regular as the dealing makes them, departures as
    /// irregular as the outputs; and a fuller engine is slower, which makes it fuller yet (the
    /// factor `1 / (1 - slope)`).
    pub(crate) fn state(&self, engines: f64, rate: f64, idc: f64) -> Option<DecodeState> {
        let load = rate / engines * self.osl;
        let most = self.slots.min(self.kv_slots);
        let excess = |n: f64| n - load * self.itl(n);
        if excess(most) < 0.0 {
            return None;
        }
        let (mut low, mut high) = (0.0, most);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if excess(middle) < 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        let running = high;
        let step = (running * 0.05).max(1.0);
        let slope = load * (self.itl(running + step) - self.itl(running)) / step;
        if slope > MAX_UTILISATION {
            return None;
        }
        let random = self.osl_cv2 / (1.0 + self.osl_cv2);
        let dispersion = idc / engines * (1.0 - random) + random;
        Some(DecodeState { running, spread: (running * dispersion / (1.0 - slope)).sqrt() })
    }

    /// The share of requests whose mean latency is over target, or which find no room.
    pub(crate) fn late(&self, engines: f64, rate: f64, idc: f64) -> (Outcome, f64) {
        let Some(on_target) = self.on_target else {
            // Every request is late whatever the size; the utilisation still tells what drowns.
            let most = self.slots.min(self.kv_slots);
            let out = self.state(engines, rate, idc).map_or(Outcome::overloaded(1.0), |state| {
                Outcome { late: 1.0, utilisation: state.running / most }
            });
            return (out, 0.0);
        };
        let most = self.slots.min(self.kv_slots);
        let Some(state) = self.state(engines, rate, idc) else {
            let wanted = rate / engines * self.osl * self.itl(most);
            return (Outcome::overloaded((wanted / most.min(on_target)).max(1.0)), 1.0);
        };
        let utilisation = state.running / most.min(on_target);
        // A request sees the mean of the sequences beside it over its life: fluctuations shorter
        // than that average out (2/3 remains of the variance where all live equally long).
        let averaged = (2.0 / 3.0 + self.osl_cv2) / (1.0 + self.osl_cv2);
        let slow = tail(on_target - state.running - 1.0, state.spread * averaged.sqrt());
        (Outcome { late: slow, utilisation }, self.no_room(state))
    }

    /// The share of requests that wait for a slot or for KV memory before their first token.
    fn no_room(&self, state: DecodeState) -> f64 {
        let slots = tail(self.slots - state.running, state.spread);
        let kv_spread = (state.spread.powi(2) + state.running * self.context_cv2).sqrt();
        slots.max(tail(self.kv_slots - state.running, kv_spread))
    }

    /// The mean latency that all but `late` of the requests stay within, ms.
    pub(crate) fn quantile(&self, state: DecodeState, late: f64) -> f64 {
        let averaged = ((2.0 / 3.0 + self.osl_cv2) / (1.0 + self.osl_cv2)).sqrt();
        let z = super::quantile(late, 8.0, normal_tail);
        self.itl(state.running + 1.0 + z * state.spread * averaged)
    }
}

/// Probability that a normal variable exceeds its mean by `room`.
pub(super) fn tail(room: f64, spread: f64) -> f64 {
    if room.is_infinite() {
        return 0.0;
    }
    if spread <= 0.0 {
        return if room > 0.0 { 0.0 } else { 1.0 };
    }
    normal_tail(room / spread)
}
