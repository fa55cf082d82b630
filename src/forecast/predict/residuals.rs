//! How far forecasts were off: a histogram that forgets, and an aim that keeps its own coverage.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Logarithms of ratios (seen over forecast) below this are told apart by their difference, those
/// above by their ratio: a hundredth matters where forecasts are good, a tenth where they are not.
const GRAIN: f64 = 0.02;

/// Bins on each side of a forecast that came true.
const SIDE: usize = 40;

/// The logarithm that the outermost bins end at: a factor of about 30.
const WIDEST: f64 = 3.4;

/// The spread assumed before anything was seen: 95 % within a factor of 1.4. Of readings of 20 s on
/// public traces, 95 % come within 1.1 to 1.6 times the last one two minutes before.
const ASSUMED: f64 = 0.2;

/// What is assumed counts for this many seconds of experience.
const ASSUMED_FOR: f64 = 60.0;

/// A histogram of the logarithms of ratios, in which older ones count less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(super) struct Residuals {
    weights: [f64; 2 * SIDE],
    total: f64,
}

/// The form of [`Residuals`] in records.
#[derive(Serialize, Deserialize)]
struct Written {
    weights: Vec<f64>,
    total: f64,
}

impl From<Residuals> for Written {
    fn from(Residuals { weights, total }: Residuals) -> Self {
        Self { weights: weights.to_vec(), total }
    }
}

impl TryFrom<Written> for Residuals {
    type Error = String;

    fn try_from(Written { weights, total }: Written) -> Result<Self, String> {
        let found = weights.len();
        let weights = weights
            .try_into()
            .map_err(|_| format!("{found} weights of residuals, and {} were expected", 2 * SIDE))?;
        Ok(Self { weights, total })
    }
}

impl Default for Residuals {
    fn default() -> Self {
        let mut weights: [f64; 2 * SIDE] = std::array::from_fn(|i| {
            let (from, to) = (edge(i), edge(i + 1));
            let middle = f64::midpoint(from, to) / ASSUMED;
            (to - from) * (-middle * middle / 2.0).exp()
        });
        let sum: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight *= ASSUMED_FOR / sum;
        }
        Self { weights, total: ASSUMED_FOR }
    }
}

/// The ends of the bins.
static EDGES: LazyLock<[f64; 2 * SIDE + 1]> = LazyLock::new(|| std::array::from_fn(edge_at));

/// The lower end of a bin.
fn edge(i: usize) -> f64 {
    EDGES[i]
}

fn edge_at(i: usize) -> f64 {
    let from_middle = i as f64 - SIDE as f64;
    let share = from_middle.abs() / SIDE as f64;
    from_middle.signum() * GRAIN * ((share * (1.0 + WIDEST / GRAIN).ln()).exp() - 1.0)
}

/// The bin of a logarithm.
fn bin(log: f64) -> usize {
    let share = (1.0 + log.abs().min(WIDEST) / GRAIN).ln() / (1.0 + WIDEST / GRAIN).ln();
    let from_middle = share.copysign(log) * SIDE as f64;
    let i = crate::units::floor_to_u32(from_middle + SIDE as f64);
    usize::try_from(i).map_or(0, |i| i.min(2 * SIDE - 1))
}

impl Residuals {
    /// Takes in one logarithm, which counts for `weight` seconds; what was known before counts for
    /// the share `keep`.
    pub(super) fn learn(&mut self, log: f64, weight: f64, keep: f64) {
        if !log.is_finite() {
            return;
        }
        for w in &mut self.weights {
            *w *= keep;
        }
        self.weights[bin(log)] += weight;
        self.total = self.total * keep + weight;
    }

    /// The logarithm below which the share `tau` of them is.
    pub(super) fn quantile(&self, tau: f64) -> f64 {
        let wanted = tau.clamp(0.0, 1.0) * self.total;
        let mut below = 0.0;
        for (i, weight) in self.weights.iter().enumerate() {
            if below + weight >= wanted && *weight > 0.0 {
                let share = ((wanted - below) / weight).clamp(0.0, 1.0);
                return edge(i) + share * (edge(i + 1) - edge(i));
            }
            below += weight;
        }
        WIDEST
    }
}

/// Which quantile to ask of the residuals for a wanted share of misses: adaptive conformal inference
/// (Gibbs and Candès, arXiv 2106.00170). Each miss lowers the share that is aimed at, each hit raises
/// it a little, so that in the long run just the wanted share is missed whatever the series does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Aim {
    /// The share of misses aimed at, over the wanted one.
    factor: f64,
    hits: f64,
    seen: f64,
}

impl Default for Aim {
    fn default() -> Self {
        Self { factor: 1.0, hits: 0.0, seen: 0.0 }
    }
}

/// The n-th value moves the aim by this over n, in wanted shares: so that the misses of any stretch
/// from its beginning differ from the wanted ones by at most a fiftieth of its length for each whole
/// share that the aim moves. On the traces of docs/results.md half of it left a series of two hours at
/// 91.5 % for 95.
const STRIDE: f64 = 50.0;

/// It moves by at least and at most this: a band of a long series must still follow its times, and
/// the first misses come in rows, since forecasts overlap.
const STRIDES: (f64, f64) = (0.02, 0.2);

/// The aim never leaves these, in wanted shares: beyond them a quantile says nothing new.
const AIMS: (f64, f64) = (-2.0, 4.0);

/// The quantile asked for misses at least this part of the wanted share: the few largest residuals
/// say too little. At a fiftieth bands were 3 % dearer (pinball loss) for the same coverage.
const LEAST: f64 = 0.1;

/// For each wanted share that is still missing then, this is added to the logarithm.
const BEYOND: f64 = 0.03;

/// No more than this share of misses is aimed at: that is where the other end of the band begins.
const HALF: f64 = 0.5;

impl Aim {
    /// Takes in whether a value fell outside, where the share `wanted` may.
    pub(super) fn learn(&mut self, missed: bool, wanted: f64) {
        let err = if missed { 1.0 } else { 0.0 };
        let stride = (STRIDE / (self.seen + 1.0)).clamp(STRIDES.0, STRIDES.1);
        self.factor = (self.factor + stride * (wanted - err)).clamp(AIMS.0, AIMS.1);
        self.hits += 1.0 - err;
        self.seen += 1.0;
    }

    /// The logarithm to add to a forecast for the share `missed` to come above it.
    pub(super) fn above(&self, residuals: &Residuals, missed: f64) -> f64 {
        residuals.quantile(1.0 - self.share(missed)) + self.beyond()
    }

    /// The same for the share `missed` to come below.
    pub(super) fn below(&self, residuals: &Residuals, missed: f64) -> f64 {
        residuals.quantile(self.share(missed)) - self.beyond()
    }

    fn share(&self, missed: f64) -> f64 {
        (missed * self.factor.max(LEAST)).min(HALF)
    }

    fn beyond(&self) -> f64 {
        BEYOND * (-self.factor).max(0.0)
    }

    /// The share of values within, of those seen; `None` before the first.
    pub(super) fn coverage(&self) -> Option<f64> {
        (self.seen > 0.0).then(|| self.hits / self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_logarithm_has_its_bin_and_every_bin_its_edges() {
        for i in 0..2 * SIDE {
            assert!(edge(i) < edge(i + 1), "{i}");
            assert_eq!(bin(f64::midpoint(edge(i), edge(i + 1))), i);
        }
        assert_eq!((bin(-100.0), bin(100.0)), (0, 2 * SIDE - 1));
        assert!((edge(2 * SIDE) - WIDEST).abs() < 1e-9 && edge(SIDE) == 0.0);
    }

    #[test]
    fn a_quantile_is_that_of_what_was_seen_and_forgets_what_was_assumed() {
        let mut seen = Residuals::default();
        assert!((seen.quantile(0.95) - 1.645 * ASSUMED).abs() < 0.02, "{}", seen.quantile(0.95));
        for i in 0..10_000 {
            seen.learn(f64::from(i % 100) / 100.0, 10.0, 0.999);
        }
        for tau in [0.05, 0.5, 0.95] {
            assert!((seen.quantile(tau) - tau).abs() < 0.05, "{tau}: {}", seen.quantile(tau));
        }
        for _ in 0..2000 {
            seen.learn(-1.0, 10.0, 0.99);
        }
        assert!(seen.quantile(0.99) < -0.9);
        let before = seen.clone();
        seen.learn(f64::NAN, 1.0, 0.5);
        assert_eq!(seen, before);
    }

    #[test]
    fn the_aim_keeps_the_coverage_of_a_series_that_no_residual_foresees() {
        // Residuals that grow all the time: the quantile of the past is always too low.
        let (mut aim, mut seen) = (Aim::default(), Residuals::default());
        let mut blind = 0;
        for i in 0..2000 {
            let log = 0.3 + f64::from(i) / 4000.0 + 0.1 * f64::from(i * 7919 % 100) / 100.0;
            if log > seen.quantile(0.95) {
                blind += 1;
            }
            aim.learn(log > aim.above(&seen, 0.05), 0.05);
            seen.learn(log, 10.0, 0.997);
        }
        let coverage = aim.coverage().unwrap();
        assert!(blind > 150 && (0.94..0.97).contains(&coverage), "{blind} {coverage}");
    }
}
