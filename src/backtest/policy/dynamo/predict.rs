//! The predictors of Dynamo's planners.

use super::super::known::{Knob, Knobs};
use crate::plan::compat::{Constant, Kalman};

/// Which predictor.
///
/// The shipped default is pmdarima's `auto_arima`, whose order is chosen on the first five points and
/// kept. On the eight development scenarios it chose order (0, 0, 0) of the logarithms in 19 of 24
/// series (requests, ISL and OSL in steps of 180 s; pmdarima 2.1.1), which predicts the mean of all
/// logarithms so far; that is what 2 does. The other five are of order 1 and stay near the last value.
pub(super) const PREDICTOR: Knob = Knob {
    name: "predictor",
    default: 1.0,
    about: "0 predicts by the last value, 1 by its Kalman filter, 2 by what its ARIMA mostly is",
    sweep: &[0.0, 1.0, 2.0],
    range: (0.0, 2.0),
};

/// What [`PREDICTOR`] chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Last,
    Kalman,
    Arima,
}

impl Kind {
    pub(super) fn of(knobs: &Knobs) -> Self {
        match knobs.count(PREDICTOR.name) {
            0 => Self::Last,
            1 => Self::Kalman,
            _ => Self::Arima,
        }
    }
}

/// One series: requests an interval, mean ISL or mean OSL.
#[derive(Clone, Debug)]
pub(super) enum Predictor {
    /// The last value.
    Last(Constant),
    /// 0.9.0: raw, may be negative.
    Raw(Kalman),
    /// 1.6.1: the last value until five points have been seen (`kalman_min_points`), then the
    /// filter, not below 0 (dynamo-planner.md 2.5).
    Clamped { filter: Kalman, last: Constant, points: u32 },
    /// ARIMA of order (0, 0, 0) on `ln(1 + x)`; the last value until five points have been seen.
    Mean { last: Constant, points: u32, logs: f64 },
}

/// `kalman_min_points`, and the points that ARIMA waits for.
const MIN_POINTS: u32 = 5;

impl Predictor {
    pub(super) fn v09(kind: Kind) -> Self {
        Self::of(kind, Self::Raw(Kalman::new(false)))
    }

    pub(super) fn v16(kind: Kind) -> Self {
        let (filter, last) = (Kalman::new(false), Constant::default());
        Self::of(kind, Self::Clamped { filter, last, points: 0 })
    }

    fn of(kind: Kind, kalman: Self) -> Self {
        match kind {
            Kind::Last => Self::Last(Constant::default()),
            Kind::Kalman => kalman,
            Kind::Arima => Self::Mean { last: Constant::default(), points: 0, logs: 0.0 },
        }
    }

    pub(super) fn add(&mut self, value: f64) {
        match self {
            Self::Last(last) => last.add(value),
            Self::Raw(filter) => filter.add(value),
            Self::Clamped { filter, last, points } => {
                filter.add(value);
                last.add(value);
                // Zeros before the first value are not points.
                if *points > 0 || value > 0.0 {
                    *points += 1;
                }
            }
            Self::Mean { last, points, logs } => {
                last.add(value);
                if *points > 0 || value > 0.0 {
                    *points += 1;
                    *logs += value.max(0.0).ln_1p();
                }
            }
        }
    }

    pub(super) fn predict(&mut self) -> f64 {
        match self {
            Self::Last(last) => last.predict(),
            Self::Raw(filter) => filter.predict(),
            Self::Clamped { filter, last, points } => {
                if *points < MIN_POINTS {
                    last.predict()
                } else {
                    filter.predict().max(0.0)
                }
            }
            Self::Mean { last, points, logs } => {
                if *points < MIN_POINTS {
                    last.predict()
                } else {
                    (*logs / f64::from(*points)).exp_m1()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_points_come_before_the_filter_and_no_forecast_is_negative() {
        let mut p = Predictor::v16(Kind::Kalman);
        assert_eq!(p.predict(), 0.0, "LP21");
        for z in [0.0, 1000.0, 10.0] {
            p.add(z);
        }
        assert_eq!(p.predict(), 10.0, "LP24");
        for z in [0.0, 0.0, 0.0] {
            p.add(z);
            assert!(p.predict() >= 0.0, "LP23");
        }
        assert_eq!(p.predict(), p.predict(), "LP25");
        let mut old = Predictor::v09(Kind::Kalman);
        for z in [1000.0, 10.0] {
            old.add(z);
        }
        assert!(old.predict() < -400.0, "1.8 #14");
    }

    #[test]
    fn the_last_value_is_the_last_value() {
        let mut p = Predictor::v16(Kind::Last);
        for z in [10.0, 20.0, 30.0] {
            p.add(z);
        }
        assert_eq!(p.predict(), 30.0, "LP02");
    }

    #[test]
    fn arima_of_order_zero_is_the_mean_of_the_logarithms() {
        let mut p = Predictor::v16(Kind::Arima);
        for z in [0.0, 99.0, 399.0, 99.0, 399.0] {
            p.add(z);
        }
        assert_eq!(p.predict(), 399.0, "four points: the last value");
        p.add(199.0);
        // (100 · 400 · 100 · 400 · 200)^(1/5) = 200.
        assert!((p.predict() - 199.0).abs() < 1e-9, "{}", p.predict());
        for _ in 0..5 {
            p.add(0.0);
        }
        assert!((p.predict() - (200.0_f64.sqrt() - 1.0)).abs() < 1e-9, "zeros are points");
    }
}
