//! Time to first token by input length.

use std::ops::RangeInclusive;

use super::answer::{Answer, Assumption, Axis, Outside};
use super::curve::{Pchip, isotonic, least_squares};
use super::table::PrefillPoint;
use crate::units::Millis;

/// Below this many tokens a prompt costs about the same whatever its length (kernel launches and
/// the weights that are read once), which would bend the quadratic of [`PrefillCurve::fit`].
const SHORT_PROMPT: f64 = 900.0;

/// No question is taken further out than this many tokens, so that its square stays finite.
const FARTHEST: f64 = 1e15;

/// Time to first token of a prompt alone on an engine, by its input length.
///
/// Inside the data: isotonic regression, then a monotone cubic (PCHIP) through it. Below: the slope
/// of the first segment goes on, but not below half of the smallest time, since a short prompt still
/// pays for one pass over the weights. Above: engines prefill in chunks over a growing context, so
/// the derivative of a quadratic fitted to the upper half of the points goes on from the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefillCurve {
    curve: Pchip,
    /// Milliseconds a token, below the first point.
    first_slope: f64,
    /// `b` (ms a token) and `c` (ms a token squared) of the continuation above the last point.
    tail: (f64, f64),
    fit: ServiceFit,
}

/// The least squares quadratic `ttft = a + b*isl + c*isl^2`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceFit {
    /// The fixed part, in ms; not negative.
    pub a: f64,
    /// Linear in the input, in ms a token; not negative.
    pub b: f64,
    /// Quadratic in the input, in ms a token squared; not negative.
    pub c: f64,
}

impl ServiceFit {
    /// The time to first token that the quadratic gives for `isl` tokens, in ms.
    #[must_use]
    pub fn at(&self, isl: f64) -> f64 {
        let Self { a, b, c } = *self;
        a + b * isl + c * isl * isl
    }
}

impl PrefillCurve {
    /// From points by growing input length, at least one, with no length twice.
    pub(super) fn new(points: &[PrefillPoint]) -> Self {
        let x: Vec<f64> = points.iter().map(|p| p.isl.get()).collect();
        let mut y: Vec<f64> = points.iter().map(|p| p.ttft.get()).collect();
        let long: Vec<(f64, f64)> =
            x.iter().copied().zip(y.iter().copied()).filter(|p| p.0 > SHORT_PROMPT).collect();
        let all: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
        let fit = fit_quadratic(if long.len() < 2 { &all } else { &long }, true);
        // Three points at least, so that the quadratic term is measured where it can be.
        let upper = all.len().div_ceil(2).max(3).min(all.len());
        let tail = fit_quadratic(&all[all.len() - upper..], all.len() == 1);
        isotonic(&mut y);
        let first_slope = match x.len() {
            1 => y[0] / x[0],
            _ => (y[1] - y[0]) / (x[1] - x[0]),
        };
        Self { curve: Pchip::new(x, y), first_slope, tail: (tail.b, tail.c), fit }
    }

    /// Time to first token of a prompt of `isl` tokens alone on the engine.
    #[must_use]
    pub fn ttft(&self, isl: f64) -> Answer {
        let (first, low) = self.curve.first();
        let (last, high) = self.curve.last();
        if isl.is_nan() {
            return Answer { value: Millis::clamped(high), outside: Some(Outside::NotANumber) };
        }
        let isl = isl.clamp(0.0, FARTHEST);
        let (value, outside) = if isl < first {
            let value = (low - self.first_slope * (first - isl)).max(low / 2.0);
            let assumed = Assumption::FixedCost;
            (value, Some(Outside::BelowData { axis: Axis::Isl, limit: first, assumed }))
        } else if isl > last {
            let (b, c) = self.tail;
            let value = high + b * (isl - last) + c * (isl - last) * (isl + last);
            let assumed = Assumption::GrowingSlope;
            (value, Some(Outside::AboveData { axis: Axis::Isl, limit: last, assumed }))
        } else {
            (self.curve.at(isl), None)
        };
        Answer { value: Millis::clamped(value), outside }
    }

    /// The input lengths measured, in tokens.
    #[must_use]
    pub fn isl_range(&self) -> RangeInclusive<f64> {
        self.curve.first().0..=self.curve.last().0
    }

    /// The least squares quadratic over the points above 900 tokens (over all of them where fewer
    /// than two are longer), no coefficient negative: the service time of the capacity model.
    #[must_use]
    pub const fn fit(&self) -> ServiceFit {
        self.fit
    }
}

/// Least squares of `a + b*x + c*x^2` with `b` and `c` not below 0, and `a` neither if `bounded`.
fn fit_quadratic(points: &[(f64, f64)], bounded: bool) -> ServiceFit {
    let scale = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let rows: Vec<([f64; 3], f64)> =
        points.iter().map(|&(x, y)| (x / scale, y)).map(|(x, y)| ([1.0, x, x * x], y)).collect();
    // One point cannot tell a fixed cost from a cost a token: take it as a cost a token, which
    // overstates longer prompts rather than understating them.
    if let [(x, y)] = points {
        return ServiceFit { a: 0.0, b: y / x, c: 0.0 };
    }
    let [a, b, c] = least_squares(&rows, [bounded, true, true]);
    ServiceFit { a, b: b / scale, c: c / (scale * scale) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tokens;

    fn curve(points: &[(f64, f64)]) -> PrefillCurve {
        let points: Vec<PrefillPoint> = points
            .iter()
            .map(|&(isl, ttft)| PrefillPoint {
                isl: Tokens::clamped(isl),
                ttft: Millis::clamped(ttft),
                throughput_per_gpu: None,
            })
            .collect();
        PrefillCurve::new(&points)
    }

    #[test]
    fn a_quadratic_engine_is_found_again_and_continued() {
        let truth = |x: f64| 10.0 + 0.02 * x + 1e-6 * x * x;
        let points: Vec<(f64, f64)> =
            (1..=16).map(|i| f64::from(i) * 1000.0).map(|x| (x, truth(x))).collect();
        let c = curve(&points);
        let fit = c.fit();
        assert!((fit.a - 10.0).abs() < 1e-3 && (fit.b - 0.02).abs() < 1e-6, "{fit:?}");
        assert!((fit.c - 1e-6).abs() < 1e-10 && (fit.at(500.0) - truth(500.0)).abs() < 1e-3);
        assert_eq!(c.ttft(4_000.0), Answer { value: Millis::clamped(truth(4e3)), outside: None });
        let far = c.ttft(64_000.0);
        assert!((far.value.get() / truth(64_000.0) - 1.0).abs() < 1e-3, "{far:?}");
        let assumed = Assumption::GrowingSlope;
        let limit = 16_000.0;
        assert_eq!(far.outside, Some(Outside::AboveData { axis: Axis::Isl, limit, assumed }));
    }

    #[test]
    fn a_short_prompt_still_pays_the_fixed_cost() {
        let c = curve(&[(1000.0, 40.0), (2000.0, 75.0)]);
        assert_eq!(c.ttft(900.0).value.get(), 36.5);
        assert_eq!(c.ttft(1.0).value.get(), 20.0);
        let assumed = Assumption::FixedCost;
        let below = Outside::BelowData { axis: Axis::Isl, limit: 1000.0, assumed };
        assert_eq!(c.ttft(1.0).outside, Some(below));
        assert_eq!(c.ttft(-5.0).value.get(), 20.0);
    }

    #[test]
    fn a_dip_is_pooled_and_the_curve_never_falls() {
        let c = curve(&[(100.0, 19.0), (2000.0, 162.0), (4000.0, 498.0), (6000.0, 321.0)]);
        let at = |x| c.ttft(x).value.get();
        assert_eq!(at(4000.0), 409.5);
        assert_eq!(at(5000.0), 409.5);
        assert!((0..200).all(|i| at(f64::from(i) * 50.0) <= at(f64::from(i + 1) * 50.0)));
    }

    #[test]
    fn one_point_is_taken_as_a_cost_a_token() {
        let c = curve(&[(1000.0, 40.0)]);
        assert_eq!(c.ttft(1000.0).value.get(), 40.0);
        assert_eq!(c.ttft(2000.0).value.get(), 80.0);
        assert_eq!(c.ttft(1.0).value.get(), 20.0);
        assert_eq!(c.fit(), ServiceFit { a: 0.0, b: 0.04, c: 0.0 });
    }

    #[test]
    fn mad_questions_get_finite_answers() {
        let c = curve(&[(100.0, 4.0), (2000.0, 75.0), (3000.0, 150.0)]);
        for q in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            assert!(c.ttft(q).value.get().is_finite());
            assert!(c.ttft(q).outside.is_some());
        }
        assert_eq!(c.ttft(f64::NAN).outside, Some(Outside::NotANumber));
    }
}
