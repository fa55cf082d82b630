//! Inter-token latency of a decode pool.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Mean, Outcome, normal_tail};
use crate::forecast::Lengths;
use crate::plan::Correction;
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

/// Steps of the curve of throughput over batch.
const STEPS: u8 = 48;

/// Decode engines under one mix of requests.
#[derive(Clone, Debug)]
pub(crate) struct DecodeModel<'a> {
    surface: &'a DecodeSurface,
    osl: f64,
    osl_cv2: f64,
    /// Mean context of a running sequence, tokens. Sequences that stay longer are met more often,
    /// so that it is `isl + osl * (1 + cv2) / 2` (techniques.md 3.3), as far as the lengths of prompts
    /// and outputs have nothing to do with each other; what is seen of that is in the correction.
    context: f64,
    /// The same without the correction.
    expected: f64,
    /// Spread of the KV tokens of one sequence over their mean, squared.
    context_cv2: f64,
    /// Sequences that the engine admits.
    slots: f64,
    /// Sequences that its KV cache holds on average.
    kv_slots: f64,
    /// Sequences at which the latency is on target; `None` where one alone is slower. Infinite
    /// where even a full cache is faster.
    on_target: Option<f64>,
    /// Batches and the tokens per ms that an engine makes at them, from an empty engine to the
    /// largest batch that its slots and its KV cache allow.
    throughput: Vec<(f64, f64)>,
    /// The most tokens per ms that an engine makes within slots, KV cache and target.
    fastest: f64,
    /// Time besides decoding that each iteration takes is `1 / (1 - other)` of it: 0 for a decode
    /// engine.
    other: f64,
    /// Iterations take this many times what the table says.
    slower: f64,
}

/// The state of one engine under a steady load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DecodeState {
    /// Sequences running, mean.
    pub(crate) running: f64,
    /// Tokens asked of the engine per ms.
    load: f64,
    /// Variance over mean of the sequences that a load without feedback would keep running.
    dispersion: f64,
}

/// Sequences of so many tokens that the KV cache of an engine holds.
fn kv_slots_at(surface: &DecodeSurface, context: f64) -> f64 {
    surface.max_kv_tokens().get() / (context + KV_BLOCK / 2.0)
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
        correction: Correction,
    ) -> Self {
        let Correction { decode: slower, memory, prefill: _ } = correction;
        let (mean_in, mean_out) = (isl.mean.get().max(1.0), osl.mean.get().max(1.0));
        let osl_cv2 = osl.cv2.clamp(0.0, 100.0);
        let expected = mean_in + mean_out * (1.0 + osl_cv2) / 2.0;
        let context = expected * memory;
        let share = |x: f64| (x / expected).powi(2);
        // A running sequence is anywhere between its first and its last token.
        let context_cv2 = isl.cv2.clamp(0.0, 100.0) * share(mean_in)
            + (1.0 / 12.0 + osl_cv2 / 3.0) * share(mean_out);
        let kv_tokens = surface.max_kv_tokens().get();
        let target = Millis::clamped(target.get() * (1.0 - other) / (TABLE_MARGIN * slower));
        let on_target = surface.largest_batch(target, context).map(|batch| {
            if batch >= kv_tokens / context * (1.0 - 1e-9) { f64::INFINITY } else { batch }
        });
        let slots = f64::from(limits.max_num_seqs);
        // Whether one request fits is a question of its own lengths, not of what runs beside others.
        let fits_alone = kv_slots_at(surface, expected) >= 1.0;
        let kv_slots = kv_slots_at(surface, context).max(if fits_alone { 1.0 } else { 0.0 });
        let mut model = Self {
            surface,
            osl: mean_out,
            osl_cv2,
            context,
            expected,
            context_cv2,
            slots,
            kv_slots,
            on_target,
            throughput: Vec::new(),
            fastest: 0.0,
            other,
            slower,
        };
        let most = model.most();
        model.throughput = (0..=STEPS)
            .map(|k| {
                let part = f64::from(k) / f64::from(STEPS);
                let batch = most * part * part.sqrt();
                (batch, batch / model.itl(batch))
            })
            .collect();
        model.fastest = model.fastest_within(most.min(on_target.unwrap_or(f64::INFINITY)));
        model
    }

    /// The largest batch that slots and KV cache allow.
    const fn most(&self) -> f64 {
        self.slots.min(self.kv_slots)
    }

    /// Latency of a token with `running` sequences, ms.
    pub(crate) fn itl(&self, running: f64) -> f64 {
        let alone = self.surface.latency(running.max(1.0), self.context).get();
        alone * self.slower * TABLE_MARGIN / (1.0 - self.other)
    }

    /// The mean latency of a token, without the margin of the table: a slower token means a fuller
    /// batch. Where the engines are overloaded, that of their largest batch.
    pub(crate) fn mean_time(&self, engines: f64, rate: f64, idc: f64) -> Mean {
        let (running, overloaded) = self.running(engines, rate, idc);
        let mean = self.itl(running) / TABLE_MARGIN;
        Mean { mean, answer: self.answer(running), overloaded }
    }

    /// The mean share of the KV cache in use. More tokens in each sequence make each token slower, and so
    /// more sequences: their answer is that of the latency.
    pub(crate) fn mean_usage(&self, engines: f64, rate: f64, idc: f64) -> Mean {
        let (running, overloaded) = self.running(engines, rate, idc);
        Mean { mean: running / self.kv_slots, answer: self.answer(running), overloaded }
    }

    /// The sequences running on each engine, and whether that is all that it can run.
    fn running(&self, engines: f64, rate: f64, idc: f64) -> (f64, bool) {
        let state = self.state(engines, rate, idc);
        (state.map_or(self.most(), |state| state.running), state.is_none())
    }

    /// By how much a small slowing down comes back in the latency: a slower token means a fuller batch.
    fn answer(&self, running: f64) -> f64 {
        let slope = (self.itl(running * 1.02) / self.itl(running)).ln() / 1.02_f64.ln();
        1.0 / (1.0 - slope.clamp(0.0, 0.9))
    }

    /// Whether one sequence alone is within target.
    pub(crate) const fn can_meet(&self) -> bool {
        self.on_target.is_some()
    }

    /// Whether not even one sequence of these lengths fits the KV cache.
    pub(crate) fn cannot_hold_one(&self) -> bool {
        kv_slots_at(self.surface, self.expected) < 1.0
    }

    /// Mean tokens of context of a sequence of these lengths, without what was learned.
    pub(crate) const fn expected_context(&self) -> f64 {
        self.expected
    }

    /// The sequences running on each of `engines` that take `rate` requests per ms in turn, by
    /// Little's law `running = rate * osl * itl(running)`; `None` where no batch is fast enough.
    ///
    /// The dispersion: arrivals of an engine are as regular as the dealing makes them, departures
    /// as irregular as the outputs.
    pub(crate) fn state(&self, engines: f64, rate: f64, idc: f64) -> Option<DecodeState> {
        let load = rate / engines * self.osl;
        let (from, to) = self.segments().find(|(_, to)| to.1 >= load)?;
        let part = if to.1 > from.1 { (load - from.1) / (to.1 - from.1) } else { 1.0 };
        let running = from.0 + part.clamp(0.0, 1.0) * (to.0 - from.0);
        let random = self.osl_cv2 / (1.0 + self.osl_cv2);
        let dispersion = idc / engines * (1.0 - random) + random;
        Some(DecodeState { running, load, dispersion })
    }

    fn segments(&self) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
        self.throughput.iter().zip(&self.throughput[1..]).map(|(a, b)| (*a, *b))
    }

    /// How many standard deviations `batch` lies above what runs.
    ///
    /// The batch wanders as a diffusion whose drift is the throughput less the load, so that the
    /// density falls by `exp(-V)` with `V = integral of (throughput - load) / (load * dispersion)`
    /// from what runs to `batch`. Where the latency rises straight with the batch this is the normal
    /// law of variance `running * dispersion / (1 - slope)`, `slope` that of Little's law: a fuller
    /// engine is slower, which makes it fuller yet. Unlike that slope, the integral bears a kink in
    /// the latency and stays monotone in load. Where the throughput falls short of the load beyond
    /// what runs, nothing holds the batch back, and that part counts 0.
    fn deviations(&self, state: DecodeState, batch: f64) -> f64 {
        let DecodeState { running, load, dispersion } = state;
        let scale = (running * dispersion).sqrt();
        if batch <= running || scale <= 0.0 {
            let room = batch - running;
            return if scale > 0.0 { room / scale } else { f64::INFINITY };
        }
        let mut area = 0.0;
        for ((x0, y0), (x1, y1)) in self.segments() {
            if x0 >= batch {
                break;
            }
            let part = ((batch - x0) / (x1 - x0)).min(1.0);
            area += part * (x1 - x0) * mean_above(y0 - load, y0 + part * (y1 - y0) - load);
        }
        (2.0 * area / (load * dispersion)).sqrt()
    }

    /// The smallest batch so many standard deviations above what runs.
    fn batch_at(&self, state: DecodeState, deviations: f64) -> f64 {
        super::crossing(0.0, self.most(), |batch| deviations - self.deviations(state, batch))
    }

    /// The share of requests whose mean latency is over target, or which find no room.
    pub(crate) fn late(&self, engines: f64, rate: f64, idc: f64) -> (Outcome, f64) {
        let Some(on_target) = self.on_target else {
            // Every request is late whatever the size; the utilisation still tells what drowns.
            let out = self.state(engines, rate, idc).map_or(Outcome::overloaded(1.0), |state| {
                Outcome::overloaded(state.load / self.fastest)
            });
            return (out, 0.0);
        };
        let Some(state) = self.state(engines, rate, idc) else {
            let wanted = rate / engines * self.osl / self.fastest;
            return (Outcome::overloaded(wanted.max(1.0)), 1.0);
        };
        let utilisation = state.load / self.fastest;
        let slow = if on_target.is_infinite() {
            0.0
        } else {
            normal_tail(self.deviations(state, on_target - 1.0) / self.averaged())
        };
        (Outcome::by_chance(slow, utilisation), self.no_room(state))
    }

    /// The most tokens per ms that a batch of at most `most` makes.
    fn fastest_within(&self, most: f64) -> f64 {
        let alone = most / self.itl(most);
        let smaller = self.throughput.iter().take_while(|(batch, _)| *batch <= most);
        smaller.map(|(_, made)| *made).fold(alone, f64::max)
    }

    /// What remains of the spread in the mean over a request's life: it sees the mean of the
    /// sequences beside it, so that shorter fluctuations average out (2/3 of the variance remains
    /// where all live equally long).
    fn averaged(&self) -> f64 {
        ((2.0 / 3.0 + self.osl_cv2) / (1.0 + self.osl_cv2)).sqrt()
    }

    /// The share of requests that wait for a slot or for KV memory before their first token.
    fn no_room(&self, state: DecodeState) -> f64 {
        let slots = normal_tail(self.deviations(state, self.slots));
        let room = self.kv_slots - state.running;
        let deviations = self.deviations(state, self.kv_slots);
        // The tokens of what runs vary beside their number.
        let tokens = state.running * self.context_cv2;
        let kv = if room > 0.0 {
            (deviations.powi(-2) + tokens / (room * room)).powf(-0.5)
        } else {
            deviations
        };
        slots.max(normal_tail(kv))
    }

    /// The mean latency that all but `late` of the requests stay within, ms.
    pub(crate) fn quantile(&self, state: DecodeState, late: f64) -> f64 {
        let z = Normal::standard().inverse_cdf(1.0 - late.clamp(1e-12, 1.0 - 1e-12));
        self.itl(self.batch_at(state, z * self.averaged()) + 1.0)
    }
}

/// The mean of the positive part of a straight line from `a` to `b`.
fn mean_above(a: f64, b: f64) -> f64 {
    match (a > 0.0, b > 0.0) {
        (true, true) => f64::midpoint(a, b),
        (true, false) => a * a / (a - b) / 2.0,
        (false, true) => b * b / (b - a) / 2.0,
        (false, false) => 0.0,
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
