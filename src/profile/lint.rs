//! What looks wrong in a table that can still be used.

use super::engine::EngineProfile;
use super::finding::{Finding, Table};
use super::table::DecodePoint;
use crate::units::{Gpus, Millis, Tokens};

/// Falls smaller than this share are the noise of a measurement.
const NOISE: f64 = 0.005;

/// Throughput may stay this far below `batch / itl` before it is told: profilers divide by the whole
/// run, first tokens included, which costs some percent.
const LITTLE: f64 = 1.3;

/// How far the stated GPU count may be from the implied one: the division is exact up to rounding.
const GPU_TOLERANCE: f64 = 0.1;

/// What looks wrong in a profile, in the order prefill, decode, both.
#[must_use]
pub fn lint(profile: &EngineProfile) -> Vec<Finding> {
    let mut found = profile.found_reading.clone();
    falling_ttft(profile, &mut found);
    prefill_throughput(profile, &mut found);
    falling_itl(profile, &mut found);
    falling_with_context(profile, &mut found);
    few_points(profile, &mut found);
    batches(profile, &mut found);
    gpu_count(profile, &mut found);
    littles_law(profile, &mut found);
    found
}

/// What looks wrong between the profiles of one model, or of one file: engines of different size
/// with the same KV cache.
#[must_use]
pub fn lint_together(profiles: &[&EngineProfile]) -> Vec<Finding> {
    let mut sizes: Vec<(Tokens, Gpus)> = profiles
        .iter()
        .filter_map(|p| Some((p.decode().max_kv_tokens(), p.gpus_stated()?)))
        .collect();
    sizes.sort_by(|a, b| a.0.get().total_cmp(&b.0.get()).then(a.1.cmp(&b.1)));
    sizes
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|same| {
            let ((max_kv_tokens, few), (_, many)) = (same.first()?, same.last()?);
            let (gpus, max_kv_tokens) = ([*few, *many], *max_kv_tokens);
            (few < many).then_some(Finding::SharedKvTokens { gpus, max_kv_tokens })
        })
        .collect()
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

/// A larger batch of one context cannot be faster: there is more to compute.
fn falling_itl(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let fall = |a: &DecodePoint, b: &DecodePoint| Finding::ItlFalls {
        context: a.context,
        from: a.batch,
        to: b.batch,
        before: a.itl,
        after: b.itl,
    };
    found.extend(falls_along(profile, |p| p.context.get(), |p| p.batch, fall));
}

/// A longer context at one batch cannot be faster: there is more of the KV cache to read.
fn falling_with_context(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let fall = |a: &DecodePoint, b: &DecodePoint| Finding::ItlFallsWithContext {
        batch: a.batch,
        from: a.context,
        to: b.context,
        before: a.itl,
        after: b.itl,
    };
    found.extend(falls_along(profile, |p| p.batch, |p| p.context.get(), fall));
}

/// Where the ITL falls from one decode point to the next one `along` an axis, `at` one value of the
/// other axis.
fn falls_along(
    profile: &EngineProfile,
    at: fn(&DecodePoint) -> f64,
    along: fn(&DecodePoint) -> f64,
    fall: impl Fn(&DecodePoint, &DecodePoint) -> Finding,
) -> Vec<Finding> {
    let mut points = profile.decode_points().to_vec();
    points.sort_by(|a, b| at(a).total_cmp(&at(b)).then(along(a).total_cmp(&along(b))));
    // Batches are quotients, so that those of one batch differ in their last digits.
    let same = |a: &DecodePoint, b: &DecodePoint| (at(b) - at(a)).abs() <= 1e-6 * at(a);
    let falls =
        |a: &DecodePoint, b: &DecodePoint| same(a, b) && along(a) < along(b) && falls(a.itl, b.itl);
    let pairs = points.windows(2).filter(|pair| falls(&pair[0], &pair[1]));
    pairs.map(|pair| fall(&pair[0], &pair[1])).collect()
}

/// Points at which the division of `isl / ttft` by the GPUs is another than at the middle one.
fn prefill_throughput(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let Some(gpus) = profile.gpus_implied() else { return };
    let off = profile.prefill_points().iter().filter_map(|p| {
        let ratio = p.isl.get() / p.ttft.get() * 1e3 / gpus / p.throughput_per_gpu?.get();
        (ratio.max(1.0 / ratio) > 1.0 + GPU_TOLERANCE).then_some((ratio, p.isl))
    });
    let off: Vec<(f64, Tokens)> = off.collect();
    let size = |ratio: f64| ratio.max(1.0 / ratio);
    if let Some(&(worst, isl)) = off.iter().max_by(|a, b| size(a.0).total_cmp(&size(b.0))) {
        found.push(Finding::PrefillThroughput { points: off.len(), worst, isl });
    }
}

fn few_points(profile: &EngineProfile, found: &mut Vec<Finding>) {
    let (prefill, decode) = (profile.prefill_points().len(), profile.decode_points().len());
    // Four prefill points carry a quadratic and one to check it; nine decode points are 3 by 3.
    for (table, points, wanted) in [(Table::Prefill, prefill, 4), (Table::Decode, decode, 9)] {
        if points < wanted {
            found.push(Finding::FewPoints { table, points, wanted });
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
    // Prefill and decode may have been measured on engines of different sizes: what the prefill table
    // implies says nothing of decode.
    let Some(gpus) = profile.gpus_stated() else { return };
    let (mut points, mut of, mut worst) = (0, 0, None);
    for p in profile.decode_points() {
        let Some(stated) = p.throughput_per_gpu else { continue };
        of += 1;
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
        found.push(Finding::LittlesLaw { points, of, worst: ratio, batch, context });
    }
}
