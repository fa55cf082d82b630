//! A Kalman filter of a level and its trend.

use serde::{Deserialize, Serialize};

use super::model::Forecaster;
use crate::units::Timestamp;

/// A level and a damped trend, filtered.
///
/// The noises of the process are in units of that of a reading, so that the filter does the same at
/// any scale, and several pairs of them run side by side: the one whose steps were the most likely so
/// far predicts. (With fixed noises a filter of requests a minute is none of requests a second.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kalman {
    filters: Vec<Filter>,
}

/// Variance a second of the level and of its trend, over the variance of a reading.
const NOISES: [(f64, f64); 5] = [(1e-3, 0.0), (1e-2, 0.0), (1e-1, 0.0), (1e-3, 1e-6), (1e-2, 1e-5)];

/// A trend falls to `1/e` in this time, seconds: after a step it would run away.
const DAMPED: f64 = 120.0;

/// After this many seconds the likelihood of a step counts for `1/e`.
const MEMORY: f64 = 1800.0;

/// Two likelihoods that differ by less are alike, and the calmer filter (the earlier of [`NOISES`])
/// predicts: after the first step all of them are, but for the rounding, which is another in another unit.
const ALIKE: f64 = 1e-9;

/// A first guess of anything is not worth more than this many readings.
const VAGUE: f64 = 100.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Filter {
    noise: (f64, f64),
    level: f64,
    trend: f64,
    /// Covariance: of the level, of both, of the trend.
    p: [f64; 3],
    /// Decayed sums: weight, logarithms of the relative variances, squared errors over them.
    weight: f64,
    logs: f64,
    squares: f64,
}

/// How long a trend runs in `t` seconds, and what is left of it.
fn damped(t: f64) -> (f64, f64) {
    let left = (-t / DAMPED).exp();
    (DAMPED * (1.0 - left), left)
}

impl Filter {
    fn learn(&mut self, step: f64, value: f64) {
        let (run, left) = damped(step);
        self.level += self.trend * run;
        self.trend *= left;
        let [a, b, d] = self.p;
        let (q_level, q_trend) = self.noise;
        let [a, b, d] = [
            a + 2.0 * run * b + run * run * d + q_level * step,
            left * (b + run * d),
            left * left * d + q_trend * step,
        ];
        let variance = a + 1.0;
        let error = value - self.level;
        let keep = (-step / MEMORY).exp();
        self.weight = self.weight * keep + step;
        self.logs = self.logs * keep + step * variance.ln();
        self.squares = self.squares * keep + step * error * error / variance;
        let (gain_level, gain_trend) = (a / variance, b / variance);
        self.level += gain_level * error;
        self.trend += gain_trend * error;
        self.p = [(1.0 - gain_level) * a, (1.0 - gain_level) * b, d - gain_trend * b];
    }

    /// Minus the logarithm of the likelihood of a step, the variance of a reading at its best.
    fn unlikely(&self) -> f64 {
        if self.weight <= 0.0 {
            return 0.0;
        }
        self.logs / self.weight + (self.squares / self.weight).max(f64::MIN_POSITIVE).ln()
    }
}

impl Forecaster for Kalman {
    fn learn(&mut self, _: Timestamp, step: f64, value: f64) {
        if self.filters.is_empty() {
            let start = |noise| Filter {
                noise,
                level: value,
                trend: 0.0,
                p: [VAGUE, 0.0, 0.0],
                weight: 0.0,
                logs: 0.0,
                squares: 0.0,
            };
            self.filters = NOISES.map(start).into();
            return;
        }
        for filter in &mut self.filters {
            filter.learn(step, value);
        }
    }

    fn skip(&mut self) {
        for filter in &mut self.filters {
            filter.trend = 0.0;
            filter.p = [VAGUE, 0.0, 0.0];
        }
    }

    fn predict(&self, ahead: f64) -> Option<f64> {
        let best = self.filters.iter().reduce(|best, other| {
            if other.unlikely() < best.unlikely() - ALIKE { other } else { best }
        })?;
        Some((best.level + best.trend * damped(ahead).0).max(0.0))
    }
}
