//! The measured points, held against what their quantities can be.

use super::error::ProfileError;
use super::fields::{DECODE, Fields, PREFILL};
use crate::units::{Millis, PerSecond, Tokens};

/// One measurement of prefill: a prompt alone on an engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefillPoint {
    /// Input length, in tokens; at least 1.
    pub isl: Tokens,
    /// Time to first token, in milliseconds; above 0.
    pub ttft: Millis,
    /// Input tokens per second and GPU as the file states it; `None` where it does not.
    pub throughput_per_gpu: Option<PerSecond>,
}

/// One measurement of decode: a full batch in steady state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodePoint {
    /// Tokens in the KV cache over its capacity, as the file states it: above 0, at most 1.01.
    pub kv_usage: f64,
    /// Sequences decoded together on the engine: `kv_usage * max_kv_tokens / context`, made whole
    /// where it is within 0.02 of a whole number, since it was one when it was measured.
    pub batch: f64,
    /// Mean tokens of context of a sequence (`isl + osl / 2` of the measurement); at least 1.
    pub context: Tokens,
    /// Inter-token latency, in milliseconds; above 0.
    pub itl: Millis,
    /// Output tokens per second and GPU as the file states it; `None` where it does not.
    pub throughput_per_gpu: Option<PerSecond>,
}

/// The range of a quantity, with the words for it. The upper ends are far above any engine and low
/// enough that squares and sums of them stay finite.
struct Limits {
    low: f64,
    high: f64,
    words: &'static str,
}

const TOKENS: Limits = Limits { low: 1.0, high: 1e9, words: "1 to 1e9 tokens" };
const MILLIS: Limits = Limits { low: 1e-6, high: 1e9, words: "above 0 and at most 1e9 ms" };
const RATE: Limits =
    Limits { low: 1e-9, high: 1e12, words: "above 0 and at most 1e12 tokens/s/GPU" };
// 1 % above full is rounding in the profiler; more means that `max_kv_tokens` is not of this sweep.
const USAGE: Limits = Limits { low: 1e-12, high: 1.01, words: "a share above 0 and at most 1.01" };

fn checked<'a>(
    fields: &'a Fields,
    field: &str,
    limits: &Limits,
    needed: Option<(&'static str, &'static str)>,
) -> Result<Option<&'a [f64]>, ProfileError> {
    let Some(values) = fields.numbers(field)? else {
        return match needed {
            None => Ok(None),
            Some((role, needed)) => Err(ProfileError::NoField {
                file: fields.file.clone(),
                field: field.to_owned(),
                role,
                needed,
            }),
        };
    };
    let legal = |x: &f64| (limits.low..=limits.high).contains(x);
    match values.iter().position(|x| !legal(x)) {
        None => Ok(Some(values)),
        Some(index) => Err(ProfileError::Value {
            file: fields.file.clone(),
            field: field.to_owned(),
            index,
            found: values[index].to_string(),
            expected: limits.words,
        }),
    }
}

fn same_length(
    fields: &Fields,
    field: &str,
    len: usize,
    other: &str,
    n: usize,
) -> Result<(), ProfileError> {
    if len == n {
        return Ok(());
    }
    Err(ProfileError::Lengths {
        file: fields.file.clone(),
        field: field.to_owned(),
        len,
        other: other.to_owned(),
        other_len: n,
    })
}

/// One column per name of `names`, the last of which may be absent, all of one length.
fn columns<'a>(
    fields: &'a Fields,
    names: &[&str],
    limits: &[&Limits],
    needed: (&'static str, &'static str),
) -> Result<Vec<Option<&'a [f64]>>, ProfileError> {
    let mut out: Vec<Option<&[f64]>> = Vec::with_capacity(names.len());
    for (k, (name, limits)) in names.iter().zip(limits).enumerate() {
        let column = checked(fields, name, limits, (k + 1 < names.len()).then_some(needed))?;
        if let (Some(column), Some(Some(first))) = (column, out.first()) {
            same_length(fields, name, column.len(), names[0], first.len())?;
        }
        out.push(column);
    }
    Ok(out)
}

/// The prefill points of a file, by growing input length.
pub(super) fn prefill_points(fields: &Fields) -> Result<Vec<PrefillPoint>, ProfileError> {
    let needed = ("prefill", "prefill_isl, prefill_ttft and prefill_thpt_per_gpu");
    let c = columns(fields, PREFILL, &[&TOKENS, &MILLIS, &RATE], needed)?;
    let (isl, ttft) = (c[0].unwrap_or(&[]), c[1].unwrap_or(&[]));
    let mut points: Vec<PrefillPoint> = isl
        .iter()
        .zip(ttft)
        .enumerate()
        .map(|(i, (&isl, &ttft))| PrefillPoint {
            isl: Tokens::clamped(isl),
            ttft: Millis::clamped(ttft),
            throughput_per_gpu: c[2].map(|t| PerSecond::clamped(t[i])),
        })
        .collect();
    points.sort_by(|a, b| a.isl.get().total_cmp(&b.isl.get()));
    Ok(points)
}

/// The decode points of a file in its own order, and the tokens its KV cache holds.
pub(super) fn decode_points(fields: &Fields) -> Result<(Vec<DecodePoint>, Tokens), ProfileError> {
    let needed =
        ("decode", "x_kv_usage, y_context_length, z_itl, z_thpt_per_gpu and max_kv_tokens");
    let c = columns(fields, &DECODE[..4], &[&USAGE, &TOKENS, &MILLIS, &RATE], needed)?;
    let max_kv = checked(fields, "max_kv_tokens", &TOKENS, Some(needed))?.unwrap_or(&[]);
    same_length(fields, "max_kv_tokens", max_kv.len(), "one engine", 1)?;
    let max_kv = max_kv[0];
    let (usage, context, itl) = (c[0].unwrap_or(&[]), c[1].unwrap_or(&[]), c[2].unwrap_or(&[]));
    let points = (0..usage.len())
        .map(|i| DecodePoint {
            kv_usage: usage[i],
            batch: whole(usage[i] * max_kv / context[i]),
            context: Tokens::clamped(context[i]),
            itl: Millis::clamped(itl[i]),
            throughput_per_gpu: c[3].map(|t| PerSecond::clamped(t[i])),
        })
        .collect();
    Ok((points, Tokens::clamped(max_kv)))
}

fn whole(batch: f64) -> f64 {
    let nearest = batch.round();
    if nearest >= 1.0 && (batch - nearest).abs() <= 0.02 { nearest } else { batch }
}
