//! An autoregressive integrated model, fitted by least squares.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::model::Forecaster;
use crate::units::{Timestamp, floor_to_u32, round_to_u32};

/// ARIMA(p, d, 0) with p up to 5 and d of 0 or 1.
///
/// What the fit needs of the past are sums of products of neighbouring values, which forget; so that
/// order and coefficients are chosen anew at each reading, in constant time. The order is the one
/// with the least Bayesian information criterion (Schwarz 1978).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Arima {
    /// The newest values, newest first; no more than a fit needs.
    lags: VecDeque<f64>,
    /// The usual time between two values, seconds.
    step: f64,
    /// Sums of products of (1, value, value before, ...), the upper half by rows.
    sums: Vec<f64>,
    fit: Fit,
    /// The highest value, which is forgotten as the sums are.
    top: f64,
}

/// Coefficients of the chosen order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fit {
    differenced: bool,
    order: usize,
    constant: f64,
    coefficients: [f64; ORDERS],
}

/// The highest order.
const ORDERS: usize = 5;
/// A value, those before it, and one more for differences.
const LAGS: usize = ORDERS + 2;
/// With the one of the constant.
const SIZE: usize = LAGS + 1;

/// After this many seconds what was seen counts for `1/e`.
const MEMORY: f64 = 7200.0;

/// Fewer values than this say nothing of an order.
const FEWEST: f64 = 12.0;

/// Steps further ahead than this bring nothing new.
const FURTHEST: u32 = 240;

/// A forecast is never more than this many times the highest value: a fit may explode.
const HIGHEST: f64 = 1.5;

fn index(i: usize, j: usize) -> usize {
    let (i, j) = (i.min(j), i.max(j));
    i * SIZE - i * (i + 1) / 2 + j
}

impl Arima {
    fn at(&self, i: usize, j: usize) -> f64 {
        self.sums[index(i, j)]
    }

    /// The sums of products of the differences of neighbours: lag `i` is value `i` less value `i + 1`.
    fn differences(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i + 1, j + 1);
        self.at(i, j) - self.at(i, j + 1) - self.at(i + 1, j) + self.at(i + 1, j + 1)
    }

    fn choose(&self) -> Fit {
        let n = self.at(0, 0);
        if n < FEWEST {
            return Fit { differenced: true, ..Fit::default() };
        }
        // Column 0 is the constant, then the lags; the target is the newest value.
        let plain = Nested::solve(
            1 + ORDERS,
            n,
            |i, j| match (i, j) {
                (0, 0) => self.at(0, 0),
                (0, j) => self.at(0, j + 1),
                (i, 0) => self.at(0, i + 1),
                (i, j) => self.at(i + 1, j + 1),
            },
            |i| if i == 0 { self.at(0, 1) } else { self.at(1, i + 1) },
            self.at(1, 1),
        );
        // Differences have no constant: a drift would run away.
        let differenced = Nested::solve(
            ORDERS,
            n,
            |i, j| self.differences(i + 1, j + 1),
            |i| self.differences(0, i + 1),
            self.differences(0, 0),
        );
        let (k, least) = plain.best(n, 1);
        let (kd, least_d) = differenced.best(n, 0);
        let mut coefficients = [0.0; ORDERS];
        if least < least_d {
            let solved = plain.coefficients(k);
            for (c, s) in coefficients.iter_mut().zip(&solved[1..]) {
                *c = *s;
            }
            Fit { differenced: false, order: k - 1, constant: solved[0], coefficients }
        } else {
            let solved = differenced.coefficients(kd);
            for (c, s) in coefficients.iter_mut().zip(&solved) {
                *c = *s;
            }
            Fit { differenced: true, order: kd, constant: 0.0, coefficients }
        }
    }
}

/// The Cholesky factor of a least-squares problem: each leading part of it is that of fewer columns.
struct Nested {
    factor: Vec<Vec<f64>>,
    rotated: Vec<f64>,
    total: f64,
}

impl Nested {
    fn solve(
        columns: usize,
        n: f64,
        gram: impl Fn(usize, usize) -> f64,
        target: impl Fn(usize) -> f64,
        total: f64,
    ) -> Self {
        let (mut factor, mut rotated): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
        for i in 0..columns {
            let mut row: Vec<f64> = Vec::with_capacity(i + 1);
            for (j, above) in factor.iter().enumerate() {
                let dot: f64 = row.iter().zip(above).map(|(a, b)| a * b).sum();
                row.push((gram(i, j) - dot) / above[j]);
            }
            // What is left of a column beside the ones before it; nothing, where they say it all.
            let left = gram(i, i) - row.iter().map(|a| a * a).sum::<f64>();
            if left <= 1e-9 * gram(i, i).max(f64::MIN_POSITIVE) + f64::MIN_POSITIVE * n {
                break;
            }
            let dot: f64 = row.iter().zip(&rotated).map(|(a, b)| a * b).sum();
            row.push(left.sqrt());
            rotated.push((target(i) - dot) / left.sqrt());
            factor.push(row);
        }
        Self { factor, rotated, total }
    }

    /// How many columns have the least information criterion, and that.
    fn best(&self, n: f64, fewest: usize) -> (usize, f64) {
        let floor = (self.total * 1e-9).max(f64::MIN_POSITIVE);
        let (mut best, mut least) = (0, f64::INFINITY);
        let mut rest = self.total;
        for k in 0..=self.rotated.len() {
            if k > 0 {
                rest -= self.rotated[k - 1] * self.rotated[k - 1];
            }
            let criterion = n * (rest.max(floor) / n).ln() + k as f64 * n.ln();
            if k >= fewest && criterion < least {
                (best, least) = (k, criterion);
            }
        }
        (best, least)
    }

    fn coefficients(&self, k: usize) -> Vec<f64> {
        let mut solved = vec![0.0; k];
        for i in (0..k).rev() {
            let known: f64 = (i + 1..k).map(|j| self.factor[j][i] * solved[j]).sum();
            solved[i] = (self.rotated[i] - known) / self.factor[i][i];
        }
        solved
    }
}

impl Forecaster for Arima {
    fn learn(&mut self, _: Timestamp, step: f64, value: f64) {
        if step > 0.0 {
            if self.step <= 0.0 {
                self.step = step;
            }
            self.step += 0.05 * (step.clamp(self.step / 2.0, self.step * 2.0) - self.step);
        }
        let whole = if self.step > 0.0 { round_to_u32(step / self.step).max(1) } else { 1 };
        if usize::try_from(whole).is_ok_and(|whole| whole > LAGS) {
            self.skip();
        }
        // A value that is missing between two is on the line between them, and teaches nothing.
        if let Some(last) = self.lags.front().copied() {
            for i in 1..whole {
                let share = f64::from(i) / f64::from(whole);
                self.lags.push_front(last + share * (value - last));
            }
        }
        self.lags.push_front(value);
        self.lags.truncate(LAGS);
        self.top = (self.top * (-step / MEMORY).exp()).max(value);
        if self.lags.len() == LAGS && whole == 1 {
            if self.sums.is_empty() {
                self.sums = vec![0.0; SIZE * (SIZE + 1) / 2];
            }
            let keep = (-step / MEMORY).exp();
            let one = |i: usize| if i == 0 { 1.0 } else { self.lags[i - 1] };
            for i in 0..SIZE {
                for j in i..SIZE {
                    let sum = &mut self.sums[index(i, j)];
                    *sum = *sum * keep + one(i) * one(j);
                }
            }
            self.fit = self.choose();
        }
    }

    fn skip(&mut self) {
        self.lags.clear();
    }

    fn predict(&self, ahead: f64) -> Option<f64> {
        let newest = *self.lags.front()?;
        let Fit { differenced, order, constant, coefficients } = self.fit;
        if self.lags.len() < LAGS || self.step <= 0.0 || (differenced && order == 0) {
            return Some(newest);
        }
        let highest = HIGHEST * self.top;
        let mut lags = [0.0; LAGS];
        for (to, from) in lags.iter_mut().zip(&self.lags) {
            *to = *from;
        }
        // The part of the last step is in proportion.
        let steps = ahead / self.step;
        let whole = floor_to_u32(steps).min(FURTHEST);
        let mut before = newest;
        for _ in 0..=whole {
            before = lags[0];
            let known = coefficients.iter().take(order).enumerate();
            let next = if differenced {
                lags[0] + known.map(|(i, c)| c * (lags[i] - lags[i + 1])).sum::<f64>()
            } else {
                constant + known.map(|(i, c)| c * lags[i]).sum::<f64>()
            };
            lags.rotate_right(1);
            lags[0] = next.clamp(0.0, highest);
        }
        let part = (steps - f64::from(whole)).clamp(0.0, 1.0);
        Some(before + part * (lags[0] - before))
    }
}
