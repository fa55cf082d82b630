//! The predictors of Dynamo's planners, of which two are reproduced.

use crate::plan::compat::{Constant, Kalman};

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
}

/// `kalman_min_points`.
const MIN_POINTS: u32 = 5;

impl Predictor {
    pub(super) fn v09(kalman: bool) -> Self {
        if kalman { Self::Raw(Kalman::new(false)) } else { Self::Last(Constant::default()) }
    }

    pub(super) fn v16(kalman: bool) -> Self {
        if kalman {
            let (filter, last) = (Kalman::new(false), Constant::default());
            Self::Clamped { filter, last, points: 0 }
        } else {
            Self::Last(Constant::default())
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_points_come_before_the_filter_and_no_forecast_is_negative() {
        let mut p = Predictor::v16(true);
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
        let mut old = Predictor::v09(true);
        for z in [1000.0, 10.0] {
            old.add(z);
        }
        assert!(old.predict() < -400.0, "1.8 #14");
    }

    #[test]
    fn the_last_value_is_the_last_value() {
        let mut p = Predictor::v16(false);
        for z in [10.0, 20.0, 30.0] {
            p.add(z);
        }
        assert_eq!(p.predict(), 30.0, "LP02");
    }
}
