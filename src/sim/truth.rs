//! How long an engine really takes: a profile as tables that can be asked a million times a second.

use crate::profile::EngineProfile;
use crate::spec::EngineLimits;
use crate::units::{Millis, floor_to_u32};

/// Columns of the iteration table: contexts from 0 on. 128 columns over a context of 32 k are 256
/// tokens apart, which a surface that is linear between its measured contexts does not notice.
const COLUMNS: u32 = 128;

/// The largest batch that is tabulated; a larger one asks the surface itself.
const MOST_BATCH: u32 = 2048;

/// The largest pass that is tabulated, tokens.
const MOST_TOKENS: u32 = 65_536;

/// What one engine takes, and how long it works on it. Times in ms.
#[derive(Clone, Debug)]
pub struct EngineTruth {
    profile: EngineProfile,
    limits: EngineLimits,
    /// Milliseconds per squared token that a pass of one prompt spends on attention to itself.
    attention: f64,
    prefill_factor: f64,
    decode_factor: f64,
    /// Time of a pass over one prompt, by its tokens.
    pass: Vec<f64>,
    /// Time of an iteration, by batch (rows) and context (columns).
    iteration: Vec<f64>,
    /// Tokens between two columns.
    step: f64,
    rows: u32,
    max_kv_tokens: u64,
    /// Tokens of a block of the KV cache.
    block: u32,
    resume: Resume,
}

/// How the truth differs from the profile, and what a profile does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TruthOptions {
    /// Prefill takes this many times what the profile says.
    pub prefill_factor: f64,
    /// A decode iteration takes this many times what the profile says.
    pub decode_factor: f64,
    /// The part of the quadratic term of the single-prompt curve that is attention of the prompt to
    /// itself, and so not paid between prompts that share a pass; 0 to 1.
    pub attention_share: f64,
    /// Tokens of a KV block: a sequence holds whole blocks.
    pub block: u32,
    /// KV tokens of one engine, where it is to differ from the profile's.
    pub max_kv_tokens: Option<u64>,
    /// When a sequence that was put back for want of KV memory goes on.
    pub resume: Resume,
}

/// When a sequence that was put back for want of KV memory goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Before anything that waits, as vLLM's scheduler has it.
    #[default]
    First,
    /// When nothing else waits: what the rival's simulator does. Under overload few requests then
    /// stand still for very long, where with [`Resume::First`] all wait a little longer for their
    /// first token.
    Last,
}

impl Default for TruthOptions {
    /// `attention_share`: the 0.68 and 0.69 of two engines in the rival's simulator, in the middle
    /// of the 0.28 and 1.08 of two others. `block`: 64 tokens, as that simulator has it; vLLM's own 16 changes
    /// the room by less than a tenth of a per cent of a long context.
    fn default() -> Self {
        Self {
            prefill_factor: 1.0,
            decode_factor: 1.0,
            attention_share: 0.7,
            block: 64,
            max_kv_tokens: None,
            resume: Resume::First,
        }
    }
}

/// A part of a prompt that one pass reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Tokens read.
    pub(super) tokens: u32,
    /// Tokens of the same prompt that were there before.
    pub(super) before: u32,
}

impl EngineTruth {
    /// Tabulates a profile.
    #[must_use]
    pub fn new(profile: &EngineProfile, limits: EngineLimits, options: TruthOptions) -> Self {
        let TruthOptions {
            prefill_factor,
            decode_factor,
            attention_share,
            block,
            max_kv_tokens,
            resume,
        } = options;
        let curve = profile.prefill();
        let most = limits.max_num_batched_tokens.clamp(1, MOST_TOKENS);
        let pass: Vec<f64> = (0..=most).map(|n| curve.ttft(f64::from(n)).value.get()).collect();
        let surface = profile.decode();
        let rows = limits.max_num_seqs.clamp(1, MOST_BATCH);
        let reach = surface.context_range().end().max(4096.0);
        let step = (reach / f64::from(COLUMNS - 1)).ceil();
        let mut iteration = Vec::new();
        for batch in 1..=rows {
            for column in 0..COLUMNS {
                let context = (f64::from(column) * step).max(1.0);
                iteration.push(surface.itl(f64::from(batch), context).value.get());
            }
        }
        Self {
            attention: attention_share * curve.fit().c,
            prefill_factor,
            decode_factor,
            pass,
            iteration,
            step,
            rows,
            max_kv_tokens: max_kv_tokens
                .unwrap_or_else(|| u64::from(floor_to_u32(surface.max_kv_tokens().get()))),
            block: block.max(1),
            resume,
            profile: profile.clone(),
            limits,
        }
    }

    pub(super) const fn resume(&self) -> Resume {
        self.resume
    }

    /// What one engine may take on.
    #[must_use]
    pub const fn limits(&self) -> EngineLimits {
        self.limits
    }

    /// The tokens that the KV cache of one engine holds.
    #[must_use]
    pub const fn max_kv_tokens(&self) -> u64 {
        self.max_kv_tokens
    }

    /// KV tokens that a sequence of `tokens` takes up, in whole blocks.
    #[must_use]
    pub fn kv_of(&self, tokens: u64) -> u64 {
        tokens.div_ceil(u64::from(self.block)) * u64::from(self.block)
    }

    /// KV tokens that half-filled last blocks waste for each sequence, on average.
    #[must_use]
    pub fn kv_slack(&self) -> u64 {
        u64::from(self.block / 2)
    }

    /// The longest prompt that was measured, tokens.
    #[must_use]
    pub fn measured_isl(&self) -> u32 {
        floor_to_u32(*self.profile.prefill().isl_range().end())
    }

    /// The time of one pass over one prompt of `tokens`, before any factor.
    fn single(&self, tokens: u32) -> f64 {
        match usize::try_from(tokens).ok().and_then(|n| self.pass.get(n)) {
            Some(time) => *time,
            None => self.profile.prefill().ttft(f64::from(tokens)).value.get(),
        }
    }

    /// The time of one pass over several parts of prompts.
    ///
    /// `t1(sum) - c*sum^2 + c*sum(n*(n + 2*before))`: everything but attention costs as much as for
    /// one prompt of that many tokens, and attention pairs a token with those of its own prompt
    /// only. Measured in the rival's simulator within 1 % for whole prompts and 3 % for later
    /// chunks (lessons.md a.2).
    pub(super) fn prefill(&self, chunks: impl Iterator<Item = Chunk>) -> f64 {
        let (mut sum, mut pairs) = (0_u32, 0.0);
        for Chunk { tokens, before } in chunks {
            sum = sum.saturating_add(tokens);
            let n = f64::from(tokens);
            pairs += n * (n + 2.0 * f64::from(before));
        }
        if sum == 0 {
            return 0.0;
        }
        (self.linear(sum) + self.attention * pairs) * self.prefill_factor
    }

    /// The time of a pass over `tokens` without attention, before any factor. Where the fit of the
    /// attention term leaves less, a tenth of the single prompt's time.
    fn linear(&self, tokens: u32) -> f64 {
        let (n, single) = (f64::from(tokens), self.single(tokens));
        (single - self.attention * n * n).max(single / 10.0)
    }

    /// The time of one decode iteration over `batch` sequences of `kv` tokens together.
    pub(super) fn iteration(&self, batch: u32, kv: u64) -> f64 {
        if batch == 0 {
            return 0.0;
        }
        let context = kv as f64 / f64::from(batch);
        let column = context / self.step;
        let low = floor_to_u32(column);
        let time = if batch <= self.rows && low + 1 < COLUMNS {
            let at = (batch - 1) * COLUMNS + low;
            let (a, b) = (self.cell(at), self.cell(at + 1));
            a + (b - a) * (column - f64::from(low))
        } else {
            self.profile.decode().itl(f64::from(batch), context).value.get()
        };
        time * self.decode_factor
    }

    /// Engine-milliseconds of reading `tokens` of a prompt behind `before` cached ones, in passes
    /// that are full: what a prompt costs where many wait.
    #[must_use]
    pub fn share_of_full_passes(&self, tokens: u32, before: u32) -> f64 {
        let full = self.limits.max_num_batched_tokens;
        let linear = self.linear(full) / f64::from(full);
        let (n, before) = (f64::from(tokens), f64::from(before));
        (linear * n + self.attention * n * (n + 2.0 * before)) * self.prefill_factor
    }

    /// The time of an iteration over `batch` sequences of `context` tokens each, ms.
    #[must_use]
    pub fn iteration_at(&self, batch: f64, context: f64) -> f64 {
        self.profile.decode().itl(batch, context).value.get() * self.decode_factor
    }

    /// The largest batch of which an iteration takes at most `itl` ms; 0 where none does.
    #[must_use]
    pub fn largest_batch(&self, itl: f64, context: f64) -> f64 {
        let target = Millis::clamped(itl / self.decode_factor);
        self.profile.decode().largest_batch(target, context).unwrap_or(0.0)
    }

    fn cell(&self, at: u32) -> f64 {
        usize::try_from(at).ok().and_then(|i| self.iteration.get(i)).copied().unwrap_or(0.0)
    }

    /// Iterations of `batch` sequences that fit beside `kv` before one has to be put back; at least 1.
    pub(super) fn iterations_to_full(&self, batch: u32, kv: u64) -> u32 {
        let room = self.max_kv_tokens.saturating_sub(kv + u64::from(batch) * self.kv_slack());
        floor_to_u32(room as f64 / f64::from(batch.max(1))).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::library;

    fn truth() -> EngineTruth {
        let profile = library::get(library::DEFAULT).unwrap();
        EngineTruth::new(&profile, EngineLimits::default(), TruthOptions::default())
    }

    #[test]
    fn the_tables_say_what_the_profile_says() {
        let truth = truth();
        let profile = library::get(library::DEFAULT).unwrap();
        for isl in [100, 777, 3000, 8192] {
            let chunk = Chunk { tokens: isl, before: 0 };
            let want = profile.prefill().ttft(f64::from(isl)).value.get();
            let got = truth.prefill([chunk].into_iter());
            assert!((got / want - 1.0).abs() < 1e-9, "{isl}: {got} {want}");
        }
        for (batch, context) in [(1, 500), (40, 3075), (256, 1200), (256, 15_000)] {
            let want = profile.decode().itl(f64::from(batch), context as f64).value;
            let got = truth.iteration(batch, u64::from(batch) * context);
            assert!((got / want.get() - 1.0).abs() < 0.01, "{batch} {context}: {got} {want:?}");
        }
        assert!(Millis::new(truth.iteration(4000, 4_000_000)).is_some(), "beyond the table");
    }

    #[test]
    fn prompts_that_share_a_pass_do_not_attend_to_each_other() {
        let truth = truth();
        let one = truth.prefill([Chunk { tokens: 8000, before: 0 }].into_iter());
        let eight = truth.prefill((0..8).map(|_| Chunk { tokens: 1000, before: 0 }));
        let late = truth.prefill([Chunk { tokens: 1000, before: 15_000 }].into_iter());
        let early = truth.prefill([Chunk { tokens: 1000, before: 0 }].into_iter());
        assert!(eight < one && late > early, "{eight} {one} {late} {early}");
        assert_eq!(truth.prefill(std::iter::empty()), 0.0);
    }
}
