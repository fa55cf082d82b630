//! What looks wrong in a table that can still be used.

use std::fmt;

use super::engine::EngineProfile;
use crate::units::{Gpus, Millis, Tokens};

/// Falls smaller than this share are the noise of a measurement.
const NOISE: f64 = 0.005;

/// Throughput may stay this far below `batch / itl` before it is told: profilers divide by the whole
/// run, first tokens included, which costs some percent.
const LITTLE: f64 = 1.3;

/// How far the stated GPU count may be from the implied one: the division is exact up to rounding.
const GPU_TOLERANCE: f64 = 0.1;

/// Something in a table that looks wrong. None of them stops a load.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// An input length was measured several times; the mean is used.
    DuplicateIsl {
        /// The input length.
        isl: Tokens,
        /// How often.
        points: usize,
    },
    /// A batch and context were measured several times; the mean is used.
    DuplicateDecodePoint {
        /// The batch, in sequences.
        batch: f64,
        /// The context length.
        context: Tokens,
        /// How often.
        points: usize,
    },
    /// A longer prompt was faster than a shorter one.
    TtftFalls {
        /// The shorter input.
        from: Tokens,
        /// The longer input.
        to: Tokens,
        /// Its time to first token before the fall.
        before: Millis,
        /// And after.
        after: Millis,
    },
    /// A larger batch was faster than a smaller one of the same context.
    ItlFalls {
        /// The context length.
        context: Tokens,
        /// The smaller batch, in sequences.
        from: f64,
        /// The larger batch, in sequences.
        to: f64,
        /// The latency before the fall.
        before: Millis,
        /// And after.
        after: Millis,
    },
    /// The prefill throughput was divided by another number of GPUs than the engine has.
    GpuCount {
        /// GPUs of one engine as stated.
        stated: Gpus,
        /// The median of `isl / ttft / throughput`.
        implied: f64,
    },
    /// Decode throughput disagrees with `batch / itl / GPUs` by more than 1.3 times.
    LittlesLaw {
        /// How many points do.
        points: usize,
        /// The worst ratio, as `batch / itl / GPUs` over the stated throughput.
        worst: f64,
        /// The batch of the worst, in sequences.
        batch: f64,
        /// The context length of the worst.
        context: Tokens,
    },
    /// A role has so few points that what is between them is a guess.
    FewPoints {
        /// `prefill` or `decode`.
        role: &'static str,
        /// How many.
        points: usize,
        /// How many it takes.
        wanted: usize,
    },
    /// Decode was measured at one context length only.
    OneContext {
        /// That context length.
        context: Tokens,
    },
    /// The decode points form no rows of equal context: a least squares plane stands in.
    NoRows,
    /// The contexts share their curve in batch (a mixture of experts does), found by leaving points
    /// out: they lend each other points, and a finer sweep of short contexts would be better.
    SharedBatchCurve,
    /// Decode points whose batch is below one sequence: `max_kv_tokens` is not of this sweep.
    BatchBelowOne {
        /// How many.
        points: usize,
        /// The smallest batch, in sequences.
        smallest: f64,
    },
}

/// What looks wrong in a profile, in the order prefill, decode, both.
#[must_use]
pub fn lint(profile: &EngineProfile) -> Vec<Finding> {
    let mut found = profile.found_reading.clone();
    falling_ttft(profile, &mut found);
    falling_itl(profile, &mut found);
    few_points(profile, &mut found);
    batches(profile, &mut found);
    gpu_count(profile, &mut found);
    littles_law(profile, &mut found);
    found
}

fn falls(before: Millis, after: Millis) -> bool {
    after.get() < before.get() * (1.0 - NOISE)
}

fn falling_ttft(profile: &EngineProfile, found: &mut Vec<Finding>) {
    for pair in profile.prefill_points().windows(2) {
        if pair[0].isl < pair[1].isl && falls(pair[0].ttft, pair[1].ttft) {
            found.push(Finding::TtftFalls {
                from: pair[0].isl,
                to: pair[1].isl,
                before: pair[0].ttft,
                after: pair[1].ttft,
            });
        }
    }
}

fn falling_itl(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let mut points = profile.decode_points().to_vec();
    points.sort_by(|a, b| {
        a.context.get().total_cmp(&b.context.get()).then(a.batch.total_cmp(&b.batch))
    });
    for pair in points.windows(2) {
        let same_row = pair[0].context == pair[1].context && pair[0].batch < pair[1].batch;
        if same_row && falls(pair[0].itl, pair[1].itl) {
            found.push(Finding::ItlFalls {
                context: pair[0].context,
                from: pair[0].batch,
                to: pair[1].batch,
                before: pair[0].itl,
                after: pair[1].itl,
            });
        }
    }
}

fn few_points(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let (prefill, decode) = (profile.prefill_points().len(), profile.decode_points().len());
    // Four prefill points carry a quadratic and one to check it; nine decode points are 3 by 3.
    for (role, points, wanted) in [("prefill", prefill, 4), ("decode", decode, 9)] {
        if points < wanted {
            found.push(Finding::FewPoints { role, points, wanted });
        }
    }
    if profile.decode().is_fitted() {
        found.push(Finding::NoRows);
    }
    if profile.decode().lends() {
        found.push(Finding::SharedBatchCurve);
    }
    let contexts = profile.decode().context_range();
    if contexts.start() == contexts.end() {
        found.push(Finding::OneContext { context: Tokens::clamped(*contexts.start()) });
    }
}

fn batches(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let small = profile.decode_points().iter().map(|p| p.batch).filter(|&b| b < 0.98);
    let (points, smallest) = small.fold((0, 1.0_f64), |(n, least), b| (n + 1, least.min(b)));
    if points > 0 {
        found.push(Finding::BatchBelowOne { points, smallest });
    }
}

fn gpu_count(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let (Some(stated), Some(implied)) = (profile.gpus_stated(), profile.gpus_implied()) else {
        return;
    };
    if (implied / f64::from(stated.get()) - 1.0).abs() > GPU_TOLERANCE {
        found.push(Finding::GpuCount { stated, implied });
    }
}

fn littles_law(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let Some(gpus) = profile.gpus_per_engine() else { return };
    let (mut points, mut worst) = (0, None);
    for p in profile.decode_points() {
        let Some(stated) = p.throughput_per_gpu else { continue };
        let ratio = p.batch / p.itl.get() * 1e3 / f64::from(gpus.get()) / stated.get();
        let size = ratio.max(1.0 / ratio);
        if size > LITTLE {
            points += 1;
            if worst.is_none_or(|(s, _, _)| size > s) {
                worst = Some((size, ratio, p));
            }
        }
    }
    if let Some((_, ratio, p)) = worst {
        let (batch, context) = (p.batch, p.context);
        found.push(Finding::LittlesLaw { points, worst: ratio, batch, context });
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateIsl { isl, points } => {
                write!(f, "input length {isl:.0} was measured {points} times; the mean is used")
            }
            Self::DuplicateDecodePoint { batch, context, points } => write!(
                f,
                "batch {batch:.0} at context {context:.0} was measured {points} times; the mean is \
                 used"
            ),
            Self::TtftFalls { from, to, before, after } => write!(
                f,
                "TTFT falls from {before:.1} to {after:.1} between inputs of {from:.0} and {to:.0}"
            ),
            Self::ItlFalls { context, from, to, before, after } => write!(
                f,
                "ITL falls from {before:.1} to {after:.1} between batches of {from:.0} and {to:.0} \
                 at context {context:.0}"
            ),
            Self::GpuCount { stated, implied } => write!(
                f,
                "engines have {stated} GPUs but prefill throughput was divided by {implied:.2}"
            ),
            Self::LittlesLaw { points, worst, batch, context } => write!(
                f,
                "decode throughput disagrees with batch / ITL / GPUs at {points} points, worst \
                 {worst:.2} times at batch {batch:.0}, context {context:.0}"
            ),
            Self::FewPoints { role, points, wanted } => {
                write!(
                    f,
                    "{role} has {points} points; what is between fewer than {wanted} is a guess"
                )
            }
            Self::OneContext { context } => {
                write!(f, "decode was measured at one context length only, {context:.0}")
            }
            Self::NoRows => {
                f.write_str("decode points form no rows of equal context: a plane stands in")
            }
            Self::SharedBatchCurve => f.write_str(
                "ITL bends at small batches between the points of short contexts: taken from the \
                 longer ones; a finer sweep would be better",
            ),
            Self::BatchBelowOne { points, smallest } => write!(
                f,
                "{points} decode points are of a batch below 1 (smallest {smallest:.2}): \
                 max_kv_tokens is not of this sweep"
            ),
        }
    }
}
