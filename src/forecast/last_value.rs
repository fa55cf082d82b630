//! Tomorrow is like today.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Band, Predictor};
use crate::units::Timestamp;

/// Predicts the last value seen, at any horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastValue {
    last: Option<(Timestamp, f64)>,
}

impl Predictor for LastValue {
    fn learn(&mut self, at: Timestamp, value: f64) {
        if value.is_finite() && self.last.is_none_or(|(t, _)| t <= at) {
            self.last = Some((at, value));
        }
    }

    fn predict(&self, _: Duration) -> Option<Band> {
        self.last.map(|(_, value)| Band::certain(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_stays_until_a_newer_one_comes() {
        let mut p = LastValue::default();
        let t = Timestamp::from_millis;
        assert_eq!(p.predict(Duration::ZERO), None);
        p.learn(t(1000), 5.0);
        p.learn(t(500), 9.0);
        p.learn(t(2000), f64::NAN);
        assert_eq!(p.predict(Duration::from_secs(60)), Some(Band::certain(5.0)));
    }
}
