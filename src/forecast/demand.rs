//! Demand: how many requests, how long, how bursty.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LastValue, Predictor};
use crate::units::{PerSecond, Timestamp, Tokens};

/// A forecast value with its band, in the unit of the series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// The value below which it falls only seldom.
    pub low: f64,
    /// The value expected.
    pub point: f64,
    /// The value that it exceeds only seldom: what a fleet is sized for.
    pub high: f64,
}

impl Band {
    /// A band without width.
    #[must_use]
    pub const fn certain(value: f64) -> Self {
        Self { low: value, point: value, high: value }
    }
}

/// Lengths of prompts or of outputs, as far as their first two moments go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// The mean.
    pub mean: Tokens,
    /// Squared coefficient of variation (variance over squared mean): 0 where all are alike.
    pub cv2: f64,
}

impl Lengths {
    /// The spread that is assumed where only means are seen: the squared coefficients of variation
    /// of public traces lie between 0.9 and 1.7 (techniques.md 3.2). Smaller, and a tail of long
    /// prompts comes unplanned; larger costs GPUs for prompts that nobody sends.
    pub const ASSUMED_CV2: f64 = 1.0;

    /// All alike.
    #[must_use]
    pub const fn fixed(mean: Tokens) -> Self {
        Self { mean, cv2: 0.0 }
    }
}

/// What the fleet must serve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Requests per second.
    pub rate: Band,
    /// Prompts.
    pub isl: Lengths,
    /// Outputs.
    pub osl: Lengths,
    /// Index of dispersion of the arrival counts at the time scale of a wait: 1 is Poisson.
    pub dispersion: f64,
}

impl Demand {
    /// A steady Poisson load of requests that are all alike.
    #[must_use]
    pub const fn steady(rate: PerSecond, isl: Tokens, osl: Tokens) -> Self {
        Self {
            rate: Band::certain(rate.get()),
            isl: Lengths::fixed(isl),
            osl: Lengths::fixed(osl),
            dispersion: 1.0,
        }
    }
}

/// Learns the demand from one window after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandForecast {
    rate: LastValue,
    isl: LastValue,
    osl: LastValue,
}

impl DemandForecast {
    /// Takes in what one window showed; `None` was not known, and teaches nothing. An idle window
    /// has a rate of 0 and no lengths, so that the lengths stay those of the last requests seen.
    pub fn learn(
        &mut self,
        at: Timestamp,
        rate: Option<PerSecond>,
        isl: Option<Tokens>,
        osl: Option<Tokens>,
    ) {
        let Self { rate: rates, isl: isls, osl: osls } = self;
        for (predictor, value) in [
            (rates, rate.map(PerSecond::get)),
            (isls, isl.map(Tokens::get)),
            (osls, osl.map(Tokens::get)),
        ] {
            if let Some(value) = value {
                predictor.learn(at, value);
            }
        }
    }

    /// The rate expected `horizon` from now; `None` before one was seen.
    #[must_use]
    pub fn rate(&self, horizon: Duration) -> Option<Band> {
        self.rate.predict(horizon)
    }

    /// The demand expected `horizon` from now; `None` before a rate and both lengths were seen. The
    /// spread of the lengths is [`Lengths::ASSUMED_CV2`], the arrivals are taken as Poisson.
    #[must_use]
    pub fn demand(&self, horizon: Duration) -> Option<Demand> {
        let length = |p: &LastValue| {
            p.predict(horizon).map(|b| Lengths {
                mean: Tokens::clamped(b.point.max(1.0)),
                cv2: Lengths::ASSUMED_CV2,
            })
        };
        Some(Demand {
            rate: self.rate(horizon)?,
            isl: length(&self.isl)?,
            osl: length(&self.osl)?,
            dispersion: 1.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_window_keeps_the_lengths_of_the_last_requests() {
        let mut f = DemandForecast::default();
        let t = Timestamp::from_millis;
        assert_eq!(f.demand(Duration::ZERO), None);
        f.learn(t(0), PerSecond::new(12.0), Tokens::new(3000.0), Tokens::new(150.0));
        f.learn(t(60_000), PerSecond::new(0.0), None, None);
        let d = f.demand(Duration::ZERO).unwrap();
        assert_eq!((d.rate.point, d.isl.mean.get(), d.osl.mean.get()), (0.0, 3000.0, 150.0));
    }

    #[test]
    fn missing_data_teaches_nothing() {
        let mut f = DemandForecast::default();
        f.learn(Timestamp::from_millis(0), PerSecond::new(12.0), None, None);
        f.learn(Timestamp::from_millis(1), None, None, None);
        assert_eq!(f.rate(Duration::ZERO), Some(Band::certain(12.0)));
        assert_eq!(f.demand(Duration::ZERO), None, "no length was ever seen");
    }
}
