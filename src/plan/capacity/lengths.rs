//! A length distribution as a few weighted lengths.

use std::sync::LazyLock;

use statrs::distribution::{ContinuousCDF, Normal};

use crate::forecast::Lengths;

/// Upper edges of the shares: equal steps up to 90 %, then ever finer, since promises are about
/// the tail. The last one ends at 1.
const EDGES: [f64; 15] =
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.94, 0.965, 0.98, 0.99, 0.996, 1.0];

/// The most lengths of a distribution.
pub(super) const MOST: usize = EDGES.len();

/// The weight of each share and the standard normal quantile of its middle.
static SHARES: LazyLock<[(f64, f64); EDGES.len()]> = LazyLock::new(|| {
    let normal = Normal::standard();
    let mut from = 0.0;
    EDGES.map(|to| {
        let share = (to - from, normal.inverse_cdf(f64::midpoint(from, to)));
        from = to;
        share
    })
});

/// The lengths as `(weight, tokens)`, weights summing to 1 and means kept: log-normal with the
/// given moments (prompt and output lengths of public traces are near it), one length where they
/// are all alike. Tokens are at least 1 and at most `longest`.
pub(super) fn shares(lengths: Lengths, longest: f64) -> Vec<(f64, f64)> {
    let mean = lengths.mean.get().max(1.0);
    let known = if lengths.cv2.is_nan() { Lengths::ASSUMED_CV2 } else { lengths.cv2 };
    let cv2 = known.clamp(0.0, 100.0);
    // Below a spread of 1 % the shares would differ by less than the interpolation error.
    if cv2 < 1e-4 {
        return vec![(1.0, mean)];
    }
    let sigma = cv2.ln_1p().sqrt();
    let mut out: Vec<(f64, f64)> =
        SHARES.iter().map(|&(weight, z)| (weight, (sigma * z).exp())).collect();
    // What the limit cuts off the long ones, the others have: scaled until the mean is kept.
    let longest = longest.max(mean);
    let mut scale = 1.0;
    for _ in 0..20 {
        let found: f64 = out.iter().map(|(w, x)| w * (x * scale).clamp(1.0, longest)).sum();
        if (found / mean - 1.0).abs() < 1e-6 {
            break;
        }
        scale *= mean / found;
    }
    for (_, x) in &mut out {
        *x = (*x * scale).clamp(1.0, longest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tokens;

    #[test]
    fn shares_keep_weight_mean_and_order() {
        for cv2 in [0.0, 0.3, 1.0, 3.0] {
            let s = shares(Lengths { mean: Tokens::new(1000.0).unwrap(), cv2 }, 1e9);
            assert!((s.iter().map(|x| x.0).sum::<f64>() - 1.0).abs() < 1e-9);
            assert!((s.iter().map(|x| x.0 * x.1).sum::<f64>() - 1000.0).abs() < 1e-6);
            assert!(s.windows(2).all(|w| w[0].1 < w[1].1));
        }
        assert_eq!(shares(Lengths { mean: Tokens::ZERO, cv2: 0.0 }, 10.0), vec![(1.0, 1.0)]);
    }

    #[test]
    fn a_spread_that_is_not_known_is_not_taken_for_none() {
        let of = |cv2| shares(Lengths { mean: Tokens::new(1000.0).unwrap(), cv2 }, 1e9);
        assert_eq!(of(f64::NAN), of(Lengths::ASSUMED_CV2));
        assert_eq!(of(f64::INFINITY), of(100.0));
    }
}
