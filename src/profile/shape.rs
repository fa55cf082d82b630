//! What the contexts of a decode table tell each other about the effect of batch.
//!
//! Profilers step the batch of each context up to what memory holds, so a short context has its
//! points hundreds of sequences apart and a long one has them close together at small batches. For
//! engines whose latency bends at small batches (mixtures of experts: each further sequence wakes
//! further experts) the curve between the first two points of a short context is then a guess that
//! the other contexts could settle. They can where latency is `shape(batch) + gamma * batch *
//! context`, which is tried out on the table itself before it is believed.

use super::curve::{Pchip, isotonic};

/// The points of one context: (batch, ms) by growing batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowPoints {
    pub(super) context: f64,
    pub(super) points: Vec<(f64, f64)>,
}

impl RowPoints {
    pub(super) fn curve(&self) -> Pchip {
        let (x, mut y): (Vec<f64>, Vec<f64>) = self.points.iter().copied().unzip();
        isotonic(&mut y);
        Pchip::new(x, y)
    }
}

/// Tables of more points are not sparse, and trying them out takes the cube of their number.
const MOST_POINTS: usize = 256;

/// The shared shape is believed where it at least halves the error at points left out. On fourteen
/// tables with a finer sweep to hold against, it did so for the two mixtures of experts (0.44 and
/// 0.13 of the error) and for no dense model (0.54 and more), some of which it would make worse: a
/// small gain at a handful of points is no reason to take it.
const BELIEVED: f64 = 0.5;

/// Where the error at points left out is below this share already, there is little to be won and
/// what is won may be chance.
const GOOD_ENOUGH: f64 = 0.03;

/// The rows with points lent to each other, where the table itself shows that this is better.
pub(super) fn lend(rows: &[RowPoints]) -> Option<Vec<RowPoints>> {
    let count: usize = rows.iter().map(|r| r.points.len()).sum();
    if rows.len() < 2 || count > MOST_POINTS {
        return None;
    }
    let alone = error_left_out(rows, |rows, k| rows[k].curve())?;
    if alone < GOOD_ENOUGH {
        return None;
    }
    let lent = error_left_out(rows, |rows, k| Shape::of(rows).lent_to(rows, k).curve())?;
    (lent < BELIEVED * alone).then(|| {
        let shape = Shape::of(rows);
        (0..rows.len()).map(|k| shape.lent_to(rows, k)).collect()
    })
}

/// The relative error (root of the mean square) over the inner points of the rows, each left out; `None`
/// without one.
fn error_left_out(rows: &[RowPoints], curve: impl Fn(&[RowPoints], usize) -> Pchip) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_u32);
    for k in 0..rows.len() {
        for i in 1..rows[k].points.len().saturating_sub(1) {
            let mut rest = rows.to_vec();
            let (batch, itl) = rest[k].points.remove(i);
            sum += (curve(&rest, k).at(batch) / itl - 1.0).powi(2);
            count += 1;
        }
    }
    (count > 0).then(|| (sum / f64::from(count)).sqrt())
}

/// `shape(batch) + gamma * batch * context`.
struct Shape {
    /// (batch, ms) by growing batch, not falling.
    points: Vec<(f64, f64)>,
    gamma: f64,
}

impl Shape {
    /// Least squares with a shape that does not fall and a gamma that is not negative, by fitting
    /// one to what the other leaves in turn. Both sets are convex, so this settles.
    fn of(rows: &[RowPoints]) -> Self {
        let mut all: Vec<(f64, f64, f64)> = rows
            .iter()
            .flat_map(|r| r.points.iter().map(|&(batch, itl)| (batch, batch * r.context, itl)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let squares: f64 = all.iter().map(|p| p.1 * p.1).sum();
        let mut shape = vec![0.0; all.len()];
        let mut gamma = 0.0;
        for _ in 0..200 {
            for (s, &(_, tokens, itl)) in shape.iter_mut().zip(&all) {
                *s = itl - gamma * tokens;
            }
            isotonic(&mut shape);
            let product: f64 =
                all.iter().zip(&shape).map(|(&(_, tokens, itl), s)| tokens * (itl - s)).sum();
            let new = (product / squares).max(0.0);
            let settled = (new - gamma).abs() <= 1e-6 * new;
            gamma = new;
            if settled {
                break;
            }
        }
        let mut points: Vec<(f64, f64)> = Vec::new();
        for same in all.iter().zip(&shape).collect::<Vec<_>>().chunk_by(|a, b| a.0.0 == b.0.0) {
            let mean = same.iter().map(|(_, s)| **s).sum::<f64>() / same.len() as f64;
            points.push((same[0].0.0, mean));
        }
        Self { points, gamma }
    }

    fn at(&self, batch: f64, context: f64) -> f64 {
        linear(&self.points, batch) + self.gamma * batch * context
    }

    /// Row `k` with a point at each batch of the other rows inside its range that is a fifth or more
    /// from those it has: the shape, moved to go through the row's own points.
    fn lent_to(&self, rows: &[RowPoints], k: usize) -> RowPoints {
        let row = &rows[k];
        let left: Vec<(f64, f64)> =
            row.points.iter().map(|&(b, itl)| (b, itl - self.at(b, row.context))).collect();
        let (first, last) = (left[0].0, left[left.len() - 1].0);
        let mut points = row.points.clone();
        for &(batch, _) in &self.points {
            let apart = |&(b, _): &(f64, f64)| (batch / b).max(b / batch) > 1.2;
            if batch > first && batch < last && points.iter().all(apart) {
                points.push((batch, self.at(batch, row.context) + linear(&left, batch)));
            }
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        RowPoints { context: row.context, points }
    }
}

/// Piecewise linear through points by growing abscissa; outside, the value of the nearest.
fn linear(points: &[(f64, f64)], q: f64) -> f64 {
    let above = points.partition_point(|p| p.0 <= q);
    let Some(k) = above.checked_sub(1) else { return points[0].1 };
    let Some(&(x1, y1)) = points.get(above) else { return points[k].1 };
    let (x0, y0) = points[k];
    y0 + (y1 - y0) * (q - x0) / (x1 - x0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(truth: impl Fn(f64, f64) -> f64) -> Vec<RowPoints> {
        let batches: [&[f64]; 3] = [
            &[1.0, 250.0, 500.0, 1000.0],
            &[1.0, 30.0, 60.0, 120.0, 240.0],
            &[1.0, 15.0, 30.0, 60.0, 100.0],
        ];
        batches
            .into_iter()
            .zip([350.0, 5000.0, 10_000.0])
            .map(|(batches, context)| RowPoints {
                context,
                points: batches.iter().map(|&b| (b, truth(b, context))).collect(),
            })
            .collect()
    }

    #[test]
    fn experts_that_wake_one_by_one_are_learned_from_the_long_contexts() {
        let truth =
            |b: f64, c: f64| 4.0 + 6.0 * (1.0 - (-b / 20.0).exp()) + 0.01 * b + 2e-6 * b * c;
        let rows = rows(truth);
        let lent = lend(&rows).expect("this is the engine that lending is for");
        for b in [15.0, 30.0, 60.0, 120.0] {
            let (before, after) = (rows[0].curve().at(b), lent[0].curve().at(b));
            let want = truth(b, 350.0);
            assert!((after / want - 1.0).abs() < 0.02, "{b}: {after} not {want}");
            assert!(before < want * 0.9);
        }
        for (row, lent) in rows.iter().zip(&lent) {
            assert!(row.points.iter().all(|p| lent.points.contains(p)));
        }
    }

    #[test]
    fn an_engine_without_a_bend_keeps_its_own_points() {
        assert_eq!(lend(&rows(|b, c| 5.0 + 0.01 * b + 2e-5 * b * c)), None);
    }
}
