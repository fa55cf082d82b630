//! Tomorrow is like today.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Band, Predictor};
use crate::units::Timestamp;

/// How far behind the last reading another one may lie and still be one that was overtaken. Readings
/// come in their order, some seconds apart, and late by no more than the deadline of a query. One
/// that lies further back was read by a clock that was set back. Larger, and the forecast stands
/// still for that long after such a step; smaller, and a late answer replaces a newer one.
const OVERTAKEN: Duration = Duration::from_secs(60);

/// Predicts the last value seen, at any horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastValue {
    last: Option<(Timestamp, f64)>,
}

impl Predictor for LastValue {
    fn learn(&mut self, at: Timestamp, value: f64) {
        let newest = |t: Timestamp| t <= at || t.since(at) > OVERTAKEN;
        if value.is_finite() && self.last.is_none_or(|(t, _)| newest(t)) {
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

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_forecast() {
        let mut p = LastValue::default();
        let t = Timestamp::from_millis;
        p.learn(t(3_600_000), 5.0);
        p.learn(t(3_590_000), 9.0);
        assert_eq!(p.predict(Duration::ZERO), Some(Band::certain(5.0)), "overtaken");
        p.learn(t(0), 7.0);
        assert_eq!(p.predict(Duration::ZERO), Some(Band::certain(7.0)), "set back by an hour");
    }
}
