//! Percentiles of many values without keeping them.

use super::Percentiles;
use crate::units::floor_to_u32;

/// Two neighbouring cells differ by this factor, so that a percentile is within 0.5 % of its true
/// value. A finer grid takes memory in proportion.
const STEP: f64 = 1.01;

/// Everything below is in the first cell, ms: a hundredth of the shortest pass.
const LEAST: f64 = 0.01;

/// The values of one latency, in ms.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    cells: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Spread {
    /// Counts a value, ms.
    pub fn add(&mut self, ms: f64) {
        let cell = floor_to_u32((ms.max(LEAST) / LEAST).ln() / STEP.ln());
        let cell = usize::try_from(cell).unwrap_or(usize::MAX).min(5000);
        if self.cells.len() <= cell {
            self.cells.resize(cell + 1, 0);
        }
        self.cells[cell] += 1;
        self.count += 1;
        self.sum += ms;
    }

    /// The `q` quantile: the middle of its cell; `None` without a value.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.count as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        for (cell, n) in self.cells.iter().enumerate() {
            seen += n;
            if *n > 0 && seen as f64 >= rank {
                return Some(LEAST * STEP.powf(cell as f64 + 0.5));
            }
        }
        None
    }

    /// Mean and percentiles; all zero without a value.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let quantile = |q| self.quantile(q).unwrap_or(0.0);
        Percentiles {
            mean: if self.count == 0 { 0.0 } else { self.sum / self.count as f64 },
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_half_a_per_cent() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile(0.5), None);
        for i in 1..=10_000 {
            spread.add(f64::from(i) / 10.0);
        }
        for (q, want) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = spread.quantile(q).unwrap();
            assert!((got / want - 1.0).abs() < 0.0051, "{q}: {got}");
        }
        assert!((spread.percentiles().mean - 500.05).abs() < 1e-6);
    }
}
