//! The predictors: what one series will be.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::arima::Arima;
use super::kalman::Kalman;
use super::seasonal::Seasonal;
use crate::units::{Timestamp, seconds_of};

/// A predictor of one series, which takes a bounded time and a bounded memory for each value.
pub(super) trait Forecaster {
    /// Takes in the value seen at a moment, `step` seconds after the one before (0 for the first).
    fn learn(&mut self, at: Timestamp, step: f64, value: f64);

    /// Nobody knows what came since the last value: what was learned stays, what hangs on the last
    /// values goes.
    fn skip(&mut self);

    /// The value `ahead` seconds after the last one, never negative; `None` before the first.
    fn predict(&self, ahead: f64) -> Option<f64>;
}

/// The last value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Last {
    last: Option<f64>,
}

impl Forecaster for Last {
    fn learn(&mut self, _: Timestamp, _: f64, value: f64) {
        self.last = Some(value);
    }

    fn skip(&mut self) {}

    fn predict(&self, _: f64) -> Option<f64> {
        self.last
    }
}

/// A mean that forgets, with its half-life in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Smooth {
    half_life: f64,
    sum: f64,
    weight: f64,
}

impl Smooth {
    /// Nothing seen yet.
    pub(super) const fn new(half_life: f64) -> Self {
        Self { half_life, sum: 0.0, weight: 0.0 }
    }
}

impl Forecaster for Smooth {
    fn learn(&mut self, _: Timestamp, step: f64, value: f64) {
        // The mean over the time of the reading, as if it had not changed within it.
        let keep = (-step / self.half_life * std::f64::consts::LN_2).exp();
        let weight = if step > 0.0 { 1.0 - keep } else { 1e-3 };
        self.sum = self.sum * keep + value * weight;
        self.weight = self.weight * keep + weight;
    }

    fn skip(&mut self) {}

    fn predict(&self, _: f64) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// The highest value of the last minutes: what comes back after it went away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Peak {
    /// For how long a value counts, seconds.
    span: f64,
    /// Values by age, newest last; each is lower than the ones before it.
    highest: VecDeque<(f64, f64)>,
    clock: f64,
}

/// Peaks this close together, seconds, are one.
const PEAKS_APART: f64 = 10.0;

impl Peak {
    /// Nothing seen yet.
    pub(super) const fn new(span: f64) -> Self {
        Self { span, highest: VecDeque::new(), clock: 0.0 }
    }
}

impl Forecaster for Peak {
    fn learn(&mut self, _: Timestamp, step: f64, value: f64) {
        self.clock += step;
        while self.highest.back().is_some_and(|(_, v)| *v <= value) {
            self.highest.pop_back();
        }
        match self.highest.back() {
            // A lower value so soon after a higher one is remembered when that one is forgotten.
            Some((at, _)) if self.clock - at < PEAKS_APART && self.highest.len() > 1 => {}
            _ => self.highest.push_back((self.clock, value)),
        }
        while self.highest.len() > 1
            && self.highest.front().is_some_and(|(at, _)| self.clock - at > self.span)
        {
            self.highest.pop_front();
        }
    }

    fn skip(&mut self) {
        self.highest.clear();
    }

    fn predict(&self, _: f64) -> Option<f64> {
        self.highest.front().map(|(_, v)| *v)
    }
}

/// The value at the same time of the day before; the last one, before a day was seen. It is what other
/// predictors are to be compared with, and no part of `auto`: on public traces it has two to four times
/// the error of the last value (techniques.md 3.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Yesterday {
    /// Values of the last day, newest last.
    values: VecDeque<(Timestamp, f64)>,
}

/// A day, seconds.
const DAY: f64 = 86_400.0;

/// Of the values of a day one is kept for each of this many seconds, but for the newest.
const KEPT_APART: f64 = 60.0;

impl Forecaster for Yesterday {
    fn learn(&mut self, at: Timestamp, _: f64, value: f64) {
        if let [.., (before, _), (last, _)] = self.values.make_contiguous()
            && seconds_of(last.since(*before)) < KEPT_APART
        {
            self.values.pop_back();
        }
        self.values.push_back((at, value));
        while self.values.front().is_some_and(|(t, _)| seconds_of(at.since(*t)) > DAY) {
            self.values.pop_front();
        }
    }

    fn skip(&mut self) {}

    fn predict(&self, ahead: f64) -> Option<f64> {
        let (now, last) = *self.values.back()?;
        let wanted = DAY - ahead;
        let newer = self.values.partition_point(|(t, _)| seconds_of(now.since(*t)) > wanted);
        // The last one before that time; without one, no whole day was seen.
        let before = newer.checked_sub(1).map(|i| self.values[i].1);
        Some(before.filter(|_| ahead < DAY).unwrap_or(last))
    }
}

/// One of the predictors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Model {
    Last(Last),
    Smooth(Smooth),
    Peak(Peak),
    Kalman(Box<Kalman>),
    Arima(Box<Arima>),
    Seasonal(Box<Seasonal>),
    Yesterday(Yesterday),
}

impl Model {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Last(_) => "constant".to_owned(),
            Self::Smooth(smooth) => format!("ewma_{}s", smooth.half_life),
            Self::Peak(peak) => format!("peak_{}s", peak.span),
            Self::Kalman(_) => "kalman".to_owned(),
            Self::Arima(_) => "arima".to_owned(),
            Self::Seasonal(_) => "prophet".to_owned(),
            Self::Yesterday(_) => "seasonal_naive".to_owned(),
        }
    }

    fn inner(&self) -> &dyn Forecaster {
        match self {
            Self::Last(m) => m,
            Self::Smooth(m) => m,
            Self::Peak(m) => m,
            Self::Kalman(m) => m.as_ref(),
            Self::Arima(m) => m.as_ref(),
            Self::Seasonal(m) => m.as_ref(),
            Self::Yesterday(m) => m,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Forecaster {
        match self {
            Self::Last(m) => m,
            Self::Smooth(m) => m,
            Self::Peak(m) => m,
            Self::Kalman(m) => m.as_mut(),
            Self::Arima(m) => m.as_mut(),
            Self::Seasonal(m) => m.as_mut(),
            Self::Yesterday(m) => m,
        }
    }
}

impl Forecaster for Model {
    fn learn(&mut self, at: Timestamp, step: f64, value: f64) {
        self.inner_mut().learn(at, step, value);
    }

    fn skip(&mut self) {
        self.inner_mut().skip();
    }

    fn predict(&self, ahead: f64) -> Option<f64> {
        self.inner().predict(ahead).filter(|v| v.is_finite()).map(|v| v.max(0.0))
    }
}
