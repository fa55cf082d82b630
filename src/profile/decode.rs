//! Inter-token latency by batch and context length.

use std::ops::RangeInclusive;

use super::answer::{Answer, Assumption, Axis, Outside};
use super::curve::{Pchip, isotonic, least_squares, slope_not_falling};
use super::shape::{RowPoints, lend};
use super::table::DecodePoint;
use crate::units::{Millis, Tokens};

/// Contexts within this factor are one row: a sweep at one nominal length is measured at lengths
/// that differ by the tokens generated on the way.
const SAME_CONTEXT: f64 = 1.02;

/// No question is taken further out than this (sequences, or tokens), so that products stay finite.
const FARTHEST: f64 = 1e12;

/// Inter-token latency of an engine, by batch (sequences decoded together) and context length.
///
/// The points form rows of equal context. Within a row: isotonic regression, then a monotone cubic
/// (PCHIP) in batch; past its end a row goes on with the slope of its last third, since long contexts
/// are measured only up to the few sequences that fit in memory. Across rows: linear in context at
/// equal batch, which is exact for `itl = f(batch) + gamma * batch * context`, the cost of reading
/// weights once and each sequence's KV cache; before that, isotonic regression over the rows makes
/// the surface non-decreasing in context. Above the last context that `gamma` goes on; below the
/// first, its row is taken as an upper bound.
///
/// Where the table itself shows it to be better (`shape.rs`), contexts lend each other points at
/// batches that they were not measured at.
///
/// Why latency and not throughput: throughput is `batch / itl` (Little's law), while a throughput
/// table bends both ways and cubic surfaces through it went negative in the field.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeSurface {
    shape: Shape,
    lends: bool,
    max_kv_tokens: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Rows by growing context; `kv_slope` in ms a token of the batch, above the last one.
    /// From the batch `ordered_from` on, no row is below a shorter one.
    Rows { rows: Vec<Row>, ordered_from: f64, kv_slope: Option<f64> },
    /// Points that form no rows.
    Plane { plane: Plane, batch: (f64, f64), context: (f64, f64) },
}

/// The points of one context.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    context: f64,
    curve: Pchip,
    /// ms a sequence, past the last batch.
    last_slope: f64,
}

/// `itl = base + batch * (sequence + token * context)`, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plane {
    base: f64,
    sequence: f64,
    token: f64,
}

impl Row {
    fn at(&self, batch: f64) -> f64 {
        let (last, value) = self.curve.last();
        if batch > last { value + self.last_slope * (batch - last) } else { self.curve.at(batch) }
    }

    /// The smallest batch known from which on this row is never below `other`; infinite where it
    /// falls below in the end.
    fn above_from(&self, other: &Self) -> f64 {
        let above = |batch: f64| self.at(batch) - other.at(batch);
        let last = self.curve.last().0.max(other.curve.last().0);
        if above(last) < 0.0 || self.last_slope < other.last_slope {
            return f64::INFINITY;
        }
        let mut knots: Vec<f64> =
            self.curve.points().chain(other.curve.points()).map(|(batch, _)| batch).collect();
        knots.sort_by(f64::total_cmp);
        // Between two knots the difference is a cubic, which lies within its Bernstein coefficients.
        let is_above = |from: f64, to: f64| {
            let [v0, v1, v2, v3] =
                [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0].map(|part| above(from + part * (to - from)));
            v0 >= 0.0
                && -5.0 * v0 + 18.0 * v1 - 9.0 * v2 + 2.0 * v3 >= 0.0
                && 2.0 * v0 - 9.0 * v1 + 18.0 * v2 - 5.0 * v3 >= 0.0
                && v3 >= 0.0
        };
        knots.windows(2).rev().find(|w| !is_above(w[0], w[1])).map_or(0.0, |w| w[1])
    }
}

impl Plane {
    fn through(points: &[DecodePoint]) -> Self {
        let n = points.iter().map(|p| p.batch).fold(f64::MIN_POSITIVE, f64::max);
        let kv = points.iter().map(|p| p.batch * p.context.get()).fold(f64::MIN_POSITIVE, f64::max);
        let rows: Vec<([f64; 3], f64)> = points
            .iter()
            .map(|p| ([1.0, p.batch / n, p.batch * p.context.get() / kv], p.itl.get()))
            .collect();
        let [base, sequence, token] = least_squares(&rows, [true; 3]);
        Self { base, sequence: sequence / n, token: token / kv }
    }

    fn slope(&self, context: f64) -> f64 {
        self.sequence + self.token * context
    }
}

impl DecodeSurface {
    /// From points in any order, at least one, with no (batch, context) twice.
    pub(super) fn new(points: &[DecodePoint], max_kv_tokens: Tokens) -> Self {
        let groups = rows_of(points);
        let plane = Plane::through(points);
        let alone = groups.iter().filter(|g| g.len() == 1).count();
        // A sweep over contexts at one batch is rows of one point each, not scatter.
        let one_batch = points.iter().all(|p| (p.batch / points[0].batch - 1.0).abs() < 1e-6);
        let mut lends = false;
        let shape = if groups.len() > 2 && alone * 2 > points.len() && !one_batch {
            let span = |f: fn(&DecodePoint) -> f64| {
                points.iter().map(f).fold((f64::MAX, 0.0_f64), |(l, h), x| (l.min(x), h.max(x)))
            };
            Shape::Plane { plane, batch: span(|p| p.batch), context: span(|p| p.context.get()) }
        } else {
            let own: Vec<RowPoints> = groups.iter().map(|g| row_points(g)).collect();
            let lent = lend(&own);
            lends = lent.is_some();
            let rows: Vec<Row> = own
                .iter()
                .zip(lent.as_ref().unwrap_or(&own))
                .map(|(own, lent)| row(own, lent, &plane))
                .collect();
            let kv_slope = kv_slope(&rows);
            let ordered_from = rows.windows(2).map(|w| w[1].above_from(&w[0])).fold(0.0, f64::max);
            Shape::Rows { rows, ordered_from, kv_slope }
        };
        Self { shape, lends, max_kv_tokens: max_kv_tokens.get() }
    }

    /// Inter-token latency with `batch` sequences of `context` tokens (mean over their life:
    /// `isl + osl / 2`) decoded together. A batch below 1 is answered as the smallest measured.
    #[must_use]
    pub fn itl(&self, batch: f64, context: f64) -> Answer {
        let outside = if batch.is_nan() || context.is_nan() {
            Some(Outside::NotANumber)
        } else {
            self.outside(batch, context)
        };
        Answer { value: self.latency(batch, context), outside }
    }

    /// The value of [`itl`](Self::itl) alone.
    pub(crate) fn latency(&self, batch: f64, context: f64) -> Millis {
        let upper = |x: f64, end: fn((f64, f64)) -> f64| {
            if x.is_nan() { end(self.upper_end()) } else { x }
        };
        Millis::clamped(self.value(upper(batch, |(b, _)| b), upper(context, |(_, c)| c)))
    }

    /// The tokens that the KV cache of one engine holds.
    #[must_use]
    pub fn max_kv_tokens(&self) -> Tokens {
        Tokens::clamped(self.max_kv_tokens)
    }

    /// The context lengths measured, in tokens.
    #[must_use]
    pub fn context_range(&self) -> RangeInclusive<f64> {
        match &self.shape {
            Shape::Rows { rows, .. } => rows[0].context..=rows[rows.len() - 1].context,
            Shape::Plane { context: (low, high), plane: _, batch: _ } => *low..=*high,
        }
    }

    /// The batches answered without assumption at `context`: from the smallest measured to the
    /// largest of the row of shorter (or equal) context, and to what the KV cache holds.
    #[must_use]
    pub fn batch_range(&self, context: f64) -> RangeInclusive<f64> {
        let (low, high) = match &self.shape {
            Shape::Rows { rows, .. } => {
                let k = shorter_row(rows, context);
                let next = &rows[(k + 1).min(rows.len() - 1)];
                let low = rows[k].curve.first().0.min(next.curve.first().0);
                (low, rows[k].curve.last().0)
            }
            Shape::Plane { batch, plane: _, context: _ } => *batch,
        };
        low..=high.min(self.max_kv_tokens / context.max(1.0))
    }

    /// The largest batch at `context` whose latency is at most `itl` and whose tokens fit the KV
    /// cache; fractional, found by bisection to 1e-6 of it. `None` where even one sequence is slower.
    #[must_use]
    pub fn largest_batch(&self, itl: Millis, context: f64) -> Option<f64> {
        let context = if context.is_nan() { self.upper_end().1 } else { context.max(1.0) };
        let most = (self.max_kv_tokens / context).max(1.0);
        let fits = |batch: f64| self.value(batch, context) <= itl.get();
        if !fits(1.0) {
            return None;
        }
        if fits(most) {
            return Some(most);
        }
        let (mut good, mut bad) = (1.0, most);
        while bad - good > 1e-6 * good {
            let middle = f64::midpoint(good, bad);
            if fits(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(good)
    }

    /// Whether the points formed no rows, so that every answer is a least squares plane.
    pub(super) fn is_fitted(&self) -> bool {
        matches!(self.shape, Shape::Plane { .. })
    }

    /// Whether the rows were found to share their curve in batch, and lend each other points.
    pub(super) const fn lends(&self) -> bool {
        self.lends
    }

    fn upper_end(&self) -> (f64, f64) {
        let context = *self.context_range().end();
        (self.max_kv_tokens / context, context)
    }

    fn value(&self, batch: f64, context: f64) -> f64 {
        let (batch, context) = (batch.clamp(0.0, FARTHEST), context.clamp(0.0, FARTHEST));
        let (rows, ordered_from, kv_slope) = match &self.shape {
            Shape::Plane { plane, .. } => {
                return plane.base + batch.max(1.0) * plane.slope(context);
            }
            Shape::Rows { rows, ordered_from, kv_slope } => (rows, *ordered_from, *kv_slope),
        };
        let last = &rows[rows.len() - 1];
        if context > last.context && kv_slope.is_none() {
            // One context only: as if all of the latency above the fixed cost were tokens read.
            return last.at(batch.max(1.0) * context / last.context);
        }
        let k = shorter_row(rows, context);
        let (shorter, longer) = if batch >= ordered_from {
            (rows[k].at(batch), rows.get(k + 1).map(|row| row.at(batch)))
        } else {
            // Few tables have more rows than this; those that do pay for an allocation.
            const STACK: usize = 32;
            let mut stack = [0.0; STACK];
            let mut heap = Vec::new();
            let values = if rows.len() <= STACK {
                &mut stack[..rows.len()]
            } else {
                heap.resize(rows.len(), 0.0);
                &mut heap[..]
            };
            for (value, row) in values.iter_mut().zip(rows) {
                *value = row.at(batch);
            }
            isotonic(values);
            (values[k], values.get(k + 1).copied())
        };
        match longer {
            _ if context <= rows[0].context => shorter,
            None => shorter + kv_slope.unwrap_or(0.0) * batch.max(1.0) * (context - last.context),
            Some(longer) => {
                let t = (context - rows[k].context) / (rows[k + 1].context - rows[k].context);
                shorter + t * (longer - shorter)
            }
        }
    }

    fn outside(&self, batch: f64, context: f64) -> Option<Outside> {
        // Rounding of `kv_usage * max_kv / context * context` must not look like too much.
        if batch * context > self.max_kv_tokens * (1.0 + 1e-9) {
            return Some(Outside::BeyondMemory { limit: self.max_kv_tokens() });
        }
        if self.is_fitted() {
            return Some(Outside::Fitted);
        }
        let batches = self.batch_range(context);
        let contexts = self.context_range();
        let (low, high) = (*contexts.start(), *contexts.end());
        if batch > *batches.end() * (1.0 + 1e-9) {
            let (axis, limit, assumed) = (Axis::Batch, *batches.end(), Assumption::LastSlope);
            Some(Outside::AboveData { axis, limit, assumed })
        } else if context > high {
            let assumed = Assumption::LastSlope;
            Some(Outside::AboveData { axis: Axis::Context, limit: high, assumed })
        } else if context < low {
            let assumed = Assumption::Nearest;
            Some(Outside::BelowData { axis: Axis::Context, limit: low, assumed })
        } else if batch.max(1.0) < *batches.start() * (1.0 - 1e-9) {
            let (axis, limit, assumed) = (Axis::Batch, *batches.start(), Assumption::Nearest);
            Some(Outside::BelowData { axis, limit, assumed })
        } else {
            None
        }
    }
}

/// The row of the longest context not above `context`, or the first.
fn shorter_row(rows: &[Row], context: f64) -> usize {
    rows.partition_point(|r| r.context <= context).saturating_sub(1)
}

/// The points by context, then by batch; contexts within 2 % of a group's first are one group.
fn rows_of(points: &[DecodePoint]) -> Vec<Vec<DecodePoint>> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.context.get().total_cmp(&b.context.get()));
    let mut groups: Vec<Vec<DecodePoint>> = Vec::new();
    for p in sorted {
        match groups.last_mut() {
            Some(g) if p.context.get() <= g[0].context.get() * SAME_CONTEXT => g.push(p),
            _ => groups.push(vec![p]),
        }
    }
    for g in &mut groups {
        g.sort_by(|a, b| a.batch.total_cmp(&b.batch));
    }
    groups
}

fn row_points(points: &[DecodePoint]) -> RowPoints {
    let context = points.iter().map(|p| p.context.get()).sum::<f64>() / points.len() as f64;
    // Points of slightly different context may share a batch: their mean stands for it.
    let points = points
        .chunk_by(|a, b| b.batch - a.batch <= 1e-6 * a.batch)
        .map(|same| {
            let n = same.len() as f64;
            let batch = same.iter().map(|p| p.batch).sum::<f64>() / n;
            (batch, same.iter().map(|p| p.itl.get()).sum::<f64>() / n)
        })
        .collect();
    RowPoints { context, points }
}

fn row(own: &RowPoints, lent: &RowPoints, plane: &Plane) -> Row {
    let context = own.context;
    let all: Vec<(f64, f64)> = own.curve().points().collect();
    let tail = all.len().div_ceil(3).max(2).min(all.len());
    let last_slope = match tail {
        // Where nothing tells the cost of one more sequence, the throughput measured is the limit.
        1 if plane.slope(context) <= 0.0 => all[0].1 / all[0].0,
        1 => plane.slope(context),
        _ => slope_not_falling(&all[all.len() - tail..]),
    };
    Row { context, curve: lent.curve(), last_slope }
}

/// The cost of one more token of context in each sequence, from the last two rows at the batches of
/// the last: `(itl2 - itl1) / (batch * (context2 - context1))` by least squares, not below 0.
fn kv_slope(rows: &[Row]) -> Option<f64> {
    let [.., before, last] = rows else { return None };
    let (mut xy, mut xx) = (0.0, 0.0);
    for (batch, itl) in last.curve.points() {
        let x = batch * (last.context - before.context);
        xy += x * (itl - before.at(batch));
        xx += x * x;
    }
    Some(if xx > 0.0 { (xy / xx).max(0.0) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `itl = 5 + 0.01 * batch + 2e-5 * batch * context`.
    fn truth(batch: f64, context: f64) -> f64 {
        5.0 + 0.01 * batch + 2e-5 * batch * context
    }

    fn surface(points: &[(f64, f64, f64)]) -> DecodeSurface {
        let points: Vec<DecodePoint> = points
            .iter()
            .map(|&(batch, context, itl)| DecodePoint {
                kv_usage: batch * context / 1e6,
                batch,
                context: Tokens::clamped(context),
                itl: Millis::clamped(itl),
                throughput_per_gpu: None,
            })
            .collect();
        DecodeSurface::new(&points, Tokens::clamped(1e6))
    }

    fn exact(points: &[(f64, f64)]) -> DecodeSurface {
        surface(&points.iter().map(|&(b, c)| (b, c, truth(b, c))).collect::<Vec<_>>())
    }

    fn rows() -> DecodeSurface {
        exact(&[
            (1.0, 500.0),
            (800.0, 500.0),
            (1600.0, 500.0),
            (1.0, 4000.0),
            (100.0, 4000.0),
            (200.0, 4000.0),
            (1.0, 8000.0),
            (50.0, 8000.0),
            (100.0, 8000.0),
        ])
    }

    #[test]
    fn an_engine_that_reads_weights_and_cache_is_reproduced() {
        let s = rows();
        for (b, c) in [(1.0, 500.0), (37.0, 8000.0), (333.0, 2500.0), (150.0, 5000.0), (9.0, 777.0)]
        {
            let a = s.itl(b, c);
            assert!((a.value.get() / truth(b, c) - 1.0).abs() < 1e-9, "{b} {c} {a:?}");
            assert_eq!(a.outside, None, "{b} {c}");
        }
    }

    #[test]
    fn a_question_outside_says_how() {
        let s = rows();
        let far = s.itl(10.0, 20_000.0);
        assert!((far.value.get() / truth(10.0, 20_000.0) - 1.0).abs() < 1e-9);
        let above =
            |axis, limit| Some(Outside::AboveData { axis, limit, assumed: Assumption::LastSlope });
        assert_eq!(far.outside, above(Axis::Context, 8000.0));
        let full = s.itl(500.0, 4000.0);
        assert!((full.value.get() / truth(500.0, 4000.0) - 1.0).abs() < 1e-9);
        assert_eq!(full.outside, Some(Outside::BeyondMemory { limit: Tokens::clamped(1e6) }));
        assert_eq!(s.itl(220.0, 4100.0).outside, above(Axis::Batch, 200.0));
        let below =
            Outside::BelowData { axis: Axis::Context, limit: 500.0, assumed: Assumption::Nearest };
        assert_eq!(s.itl(10.0, 50.0).outside, Some(below));
        assert_eq!(s.itl(10.0, 50.0).value, s.itl(10.0, 500.0).value);
        assert_eq!(s.itl(0.0, 500.0), s.itl(1.0, 500.0));
        assert_eq!(s.itl(f64::NAN, 500.0).outside, Some(Outside::NotANumber));
    }

    #[test]
    fn the_batch_range_is_that_of_the_shorter_row_and_of_memory() {
        let s = rows();
        assert_eq!(s.batch_range(500.0), 1.0..=1600.0);
        assert_eq!(s.batch_range(2000.0), 1.0..=500.0);
        assert_eq!(s.batch_range(4500.0), 1.0..=200.0);
        assert_eq!(s.batch_range(50_000.0), 1.0..=20.0);
    }

    #[test]
    fn the_largest_batch_is_the_inverse() {
        let s = rows();
        let b = s.largest_batch(Millis::clamped(20.0), 4000.0).unwrap();
        assert!((s.itl(b, 4000.0).value.get() - 20.0).abs() < 1e-3, "{b}");
        assert_eq!(s.largest_batch(Millis::clamped(5.0), 4000.0), None);
        assert_eq!(s.largest_batch(Millis::clamped(1e4), 4000.0), Some(250.0));
    }

    #[test]
    fn one_row_or_one_batch_is_enough() {
        let row = exact(&[(1.0, 1000.0), (100.0, 1000.0), (200.0, 1000.0)]);
        assert!((row.itl(50.0, 1000.0).value.get() - truth(50.0, 1000.0)).abs() < 1e-9);
        assert!(row.itl(50.0, 2000.0).value.get() >= truth(50.0, 2000.0));
        let batch = exact(&[(8.0, 1000.0), (8.0, 2000.0), (8.0, 4000.0)]);
        assert!((batch.itl(8.0, 3000.0).value.get() - truth(8.0, 3000.0)).abs() < 1e-9);
        let limit = 8.0;
        let assumed = Assumption::Nearest;
        let below = Outside::BelowData { axis: Axis::Batch, limit, assumed };
        assert_eq!(batch.itl(2.0, 3000.0).outside, Some(below));
        let point = exact(&[(8.0, 1000.0)]);
        assert_eq!(point.itl(8.0, 1000.0).value.get(), truth(8.0, 1000.0));
        assert!(point.itl(16.0, 1000.0).value > point.itl(8.0, 1000.0).value);
    }

    #[test]
    fn contexts_that_differ_by_the_tokens_generated_are_one_row() {
        let s =
            exact(&[(1.0, 1000.0), (10.0, 1005.0), (20.0, 1010.0), (1.0, 2000.0), (20.0, 2010.0)]);
        assert!(!s.is_fitted());
        assert_eq!(s.context_range(), 1005.0..=2005.0);
    }

    #[test]
    fn points_without_rows_become_a_plane_that_says_so() {
        let s =
            exact(&[(1.0, 500.0), (300.0, 900.0), (20.0, 3000.0), (90.0, 5000.0), (7.0, 9000.0)]);
        let a = s.itl(50.0, 4000.0);
        assert!((a.value.get() / truth(50.0, 4000.0) - 1.0).abs() < 1e-6, "{a:?}");
        assert_eq!(a.outside, Some(Outside::Fitted));
    }

    #[test]
    fn a_row_measured_faster_than_a_shorter_one_does_not_bend_the_surface() {
        let s = surface(&[
            (1.0, 500.0, 6.0),
            (100.0, 500.0, 9.0),
            (1.0, 4000.0, 5.0),
            (100.0, 4000.0, 8.0),
        ]);
        assert_eq!(s.itl(1.0, 500.0).value.get(), 5.5);
        assert_eq!(s.itl(100.0, 4000.0).value.get(), 8.5);
    }
    #[test]
    fn what_is_known_to_be_in_order_is_what_all_rows_say() {
        let measured = crate::profile::library::get(crate::profile::library::DEFAULT).unwrap();
        let crossing = surface(&[
            (1.0, 500.0, 6.0),
            (40.0, 500.0, 7.0),
            (100.0, 500.0, 9.0),
            (1.0, 4000.0, 5.0),
            (40.0, 4000.0, 8.0),
            (100.0, 4000.0, 12.0),
        ]);
        let falling = surface(&[
            (1.0, 500.0, 6.0),
            (100.0, 500.0, 9.0),
            (1.0, 4000.0, 7.0),
            (100.0, 4000.0, 8.0),
        ]);
        let cases = [(rows(), 0.0), (crossing, 40.0), (falling, f64::INFINITY)];
        for (fast, from) in cases.into_iter().chain([(measured.decode().clone(), 29.0)]) {
            let mut slow = fast.clone();
            let Shape::Rows { ordered_from, .. } = &mut slow.shape else { panic!("no rows") };
            assert_eq!(std::mem::replace(ordered_from, f64::INFINITY), from);
            for batch in 0..3000 {
                for context in [1.0, 500.0, 700.0, 2000.0, 4000.0, 9000.0, 30_000.0] {
                    let batch = f64::from(batch) / 4.0;
                    assert_eq!(fast.value(batch, context), slow.value(batch, context), "{batch}");
                }
            }
        }
    }
}
