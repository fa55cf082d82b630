//! One series: its predictors, what they are trusted with, and the band around what they say.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arima::Arima;
use super::kalman::Kalman;
use super::model::{Forecaster, Last, Model, Peak, Smooth};
use super::residuals::{Aim, Residuals};
use super::seasonal::Seasonal;
use crate::forecast::{Band, SET_BACK};
use crate::units::{Predictor, Timestamp, seconds_of};

/// What a forecast is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// How far ahead.
    pub lead: Duration,
    /// From there on, for how long what is asked for is held.
    pub hold: Duration,
    /// The quantile that the upper end of the band is, and one less this its lower end: above 0.5,
    /// below 1.
    pub quantile: f64,
}

/// After this many seconds an experience counts for `1/e`: shorter forgets the steps that a band is
/// for, longer is slow to see another kind of day.
const MEMORY: f64 = 3600.0;

/// The same for what a predictor's forecasts would have cost.
const COSTS: f64 = 3600.0;

/// How sharply a predictor that costs more loses trust: at a tenth more cost than the best it has
/// `1/e` of its trust.
const SHARP: f64 = 10.0;

/// The share of trust that is the same for all, so that one that was bad comes back when times change.
const SHARED: f64 = 0.02;

/// An upper end is never more than this many times the highest value of the day: what a series does while
/// it begins (outputs are short until the first long ones are done) is no ratio to multiply by.
const HIGHEST: f64 = 2.0;

/// After this many seconds the highest value counts for `1/e`.
const TOP: f64 = 86_400.0;

/// What is added to values and forecasts before their ratio is taken, in parts of the usual value:
/// from nothing to a little is no infinite miss.
const FLOOR: f64 = 0.05;

/// After this many seconds a value counts for `1/e` of what is usual.
const USUAL: f64 = 7200.0;

/// Forecasts under way at a time, at most: they are made less often where more would be.
const MOST: f64 = 48.0;

/// The most predictors of a series.
const MODELS: usize = 8;

/// A value of more than this is none: tokens per second of a thousand times any fleet.
const MOST_VALUE: f64 = 1e15;

/// A gap between two values of more than this many of their usual steps, and more than a minute, is
/// no experience: nobody knows what came.
const GAP: f64 = 3.0;

/// One predictor with its account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    model: Model,
    residuals: Residuals,
    /// Decayed cost of its upper ends, and of its forecasts.
    cost: f64,
    error: f64,
}

/// A forecast that is not due yet, or whose time is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Issued {
    at: Timestamp,
    due: Timestamp,
    until: Timestamp,
    /// Of each predictor: its forecast and its upper end.
    points: [f64; MODELS],
    uppers: [f64; MODELS],
    said: Said,
    judged: bool,
    highest: f64,
}

/// What was said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    /// The forecasts, mixed by trust.
    point: f64,
    /// The band around it, and the upper end of the highest value until the end of the hold.
    band: Band,
    peak: f64,
}

/// A series and its forecasts.
///
/// Each predictor says a value at the horizon, and keeps the ratios of what came to what it said; with
/// them it says an upper end, whose cost (pinball loss: falling short by one costs as much as `q / (1 - q)`
/// too many) decides what it is trusted with. The upper end of the band is theirs, mixed by trust, at the
/// quantile that an [`Aim`] chooses for the coverage; the highest value of the hold has the ratios to
/// the mixed forecast, and an aim of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    kind: Predictor,
    /// When the last value was seen.
    at: Option<Timestamp>,
    /// Usual time between two values, seconds.
    step: f64,
    /// Decayed sums of the values and of their weights.
    usual: (f64, f64),
    members: Vec<Member>,
    issued: VecDeque<Issued>,
    said: Option<Said>,
    /// The highest value so far, decayed, which bounds what is said.
    top: f64,
    /// Over the mixed forecast: of the value at the horizon, and of the highest one of the hold.
    points: Residuals,
    peaks: Residuals,
    low: Aim,
    high: Aim,
    peak: Aim,
}

impl Series {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(kind: Predictor) -> Self {
        Self { kind, ..Self::default() }
    }

    /// A series that one predictor says alone.
    pub(super) fn of(model: Model) -> Self {
        Self { members: members(vec![model]), ..Self::default() }
    }

    /// Who predicts.
    #[must_use]
    pub const fn kind(&self) -> Predictor {
        self.kind
    }

    /// Takes in the value seen at a moment. One that is no number, or is older than the last one,
    /// teaches nothing.
    pub fn learn(&mut self, at: Timestamp, value: f64, outlook: Outlook) {
        if !(0.0..MOST_VALUE).contains(&value) {
            return;
        }
        if self.members.is_empty() {
            self.members = members(models(self.kind));
        }
        let mut step = 0.0;
        if let Some(last) = self.at {
            if at <= last {
                if last.since(at) < SET_BACK {
                    return;
                }
                // The clock was set back: what was learned stays, what has a date goes.
                self.issued.clear();
            } else {
                step = seconds_of(at.since(last));
            }
        }
        if step > 0.0 {
            if self.step <= 0.0 {
                self.step = step;
            }
            if step > (GAP * self.step).max(60.0) {
                self.issued.clear();
                for member in &mut self.members {
                    member.model.skip();
                }
            }
            self.step += 0.05 * (step.clamp(self.step / 2.0, self.step * 2.0) - self.step);
        }
        self.at = Some(at);
        let keep = (-step / USUAL).exp();
        let weight = step.max(1e-3);
        self.usual = (self.usual.0 * keep + value * weight, self.usual.1 * keep + weight);
        self.top = (self.top * (-step / TOP).exp()).max(value);
        self.judge(at, value, outlook.quantile);
        for member in &mut self.members {
            member.model.learn(at, step, value);
        }
        self.say(at, outlook);
    }

    fn floor(&self) -> f64 {
        (FLOOR * self.usual.0 / self.usual.1.max(1e-9)).max(1e-9)
    }

    /// The logarithm of what came over what was said.
    fn ratio(&self, came: f64, said: f64) -> f64 {
        let floor = self.floor();
        ((came + floor) / (said + floor)).ln()
    }

    /// A forecast times the exponential of a residual.
    fn scaled(&self, said: f64, log: f64) -> f64 {
        let floor = self.floor();
        ((said + floor) * log.exp() - floor).max(0.0)
    }

    /// Lets what came judge the forecasts of it.
    fn judge(&mut self, at: Timestamp, value: f64, quantile: f64) {
        let mut issued = std::mem::take(&mut self.issued);
        let every = self.step.max(1e-3);
        for forecast in &mut issued {
            if forecast.due > at {
                break;
            }
            if !forecast.judged {
                forecast.judged = true;
                self.judge_due(forecast, value, quantile, every);
            }
            if at <= forecast.until {
                forecast.highest = forecast.highest.max(value);
            }
        }
        while issued.front().is_some_and(|f| f.judged && f.until <= at) {
            if let Some(forecast) = issued.pop_front() {
                let Said { point, peak, band: _ } = forecast.said;
                let log = self.ratio(forecast.highest, point);
                self.peaks.learn(log, every, (-every / MEMORY).exp());
                self.peak.learn(forecast.highest > peak, 1.0 - quantile);
            }
        }
        self.issued = issued;
    }

    fn judge_due(&mut self, forecast: &Issued, value: f64, quantile: f64, every: f64) {
        let keep = (-every / MEMORY).exp();
        let keep_cost = (-every / COSTS).exp();
        let mut members = std::mem::take(&mut self.members);
        for ((member, point), upper) in members.iter_mut().zip(forecast.points).zip(forecast.uppers)
        {
            member.residuals.learn(self.ratio(value, point), every, keep);
            let cost = pinball(value, upper, quantile);
            member.cost = member.cost * keep_cost + cost * every;
            member.error = member.error * keep_cost + (value - point).abs() * every;
        }
        self.members = members;
        let Said { point, band, peak: _ } = forecast.said;
        self.points.learn(self.ratio(value, point), every, keep);
        self.low.learn(value < band.low, 1.0 - quantile);
        self.high.learn(value > band.high, 1.0 - quantile);
    }

    /// What each predictor is trusted with by what it cost; together 1.
    fn trust(&self, cost: impl Fn(&Member) -> f64) -> [f64; MODELS] {
        let mut trust = [0.0; MODELS];
        let least = self.members.iter().map(&cost).fold(f64::INFINITY, f64::min);
        for (t, member) in trust.iter_mut().zip(&self.members) {
            let over = (cost(member) - least) / least.max(f64::MIN_POSITIVE);
            *t = (-SHARP * over.min(50.0)).exp();
        }
        let sum: f64 = trust.iter().sum();
        let n = self.members.len();
        for t in trust.iter_mut().take(n) {
            *t = (1.0 - SHARED) * *t / sum + SHARED / n as f64;
        }
        trust
    }

    /// Says what will be.
    fn say(&mut self, at: Timestamp, outlook: Outlook) {
        let Outlook { lead, hold, quantile } = outlook;
        let ahead = seconds_of(lead);
        let (by_error, by_cost) = (self.trust(|m| m.error), self.trust(|m| m.cost));
        let (mut points, mut uppers) = ([0.0; MODELS], [0.0; MODELS]);
        let (mut point, mut high) = (0.0, 0.0);
        let missed = 1.0 - quantile;
        for (i, member) in self.members.iter().enumerate() {
            let Some(said) = member.model.predict(ahead) else { return };
            points[i] = said;
            uppers[i] = self.scaled(said, member.residuals.quantile(quantile));
            point += by_error[i] * points[i];
            high += by_cost[i] * self.scaled(said, self.high.above(&member.residuals, missed));
        }
        let most = HIGHEST * self.top;
        let middle = self.scaled(point, self.points.quantile(0.5)).min(most);
        let low = self.scaled(point, self.low.below(&self.points, missed)).min(middle);
        let high = high.min(most).max(middle);
        let band = Band { low, point: middle, high };
        let peak = self.scaled(point, self.peak.above(&self.peaks, missed)).min(most).max(high);
        let said = Said { point, band, peak };
        self.said = Some(said);
        let apart = ((ahead + seconds_of(hold)) / MOST).max(0.0);
        let last = self.issued.back().map(|f| f.at);
        if last.is_none_or(|last| seconds_of(at.since(last)) + 1e-3 >= apart) {
            let due = at.plus(lead);
            let until = due.plus(hold);
            let highest = 0.0;
            self.issued.push_back(Issued {
                at,
                due,
                until,
                points,
                uppers,
                said,
                judged: false,
                highest,
            });
        }
    }

    /// The band at the horizon; `None` before the first value.
    #[must_use]
    pub fn band(&self) -> Option<Band> {
        self.said.map(|said| said.band)
    }

    /// The upper end of the highest value from the horizon until the end of the hold.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        self.said.map(|said| said.peak)
    }

    /// The value that the highest one of the hold stays below with probability `quantile`.
    #[must_use]
    pub fn highest(&self, quantile: f64) -> Option<f64> {
        let said = self.said?;
        let highest = self.scaled(said.point, self.peak.above(&self.peaks, 1.0 - quantile));
        Some(highest.min(HIGHEST * self.top))
    }

    /// The share of values so far that were below the upper end said of them at the horizon, and of
    /// the highest ones of the hold.
    #[must_use]
    pub fn coverage(&self) -> (Option<f64>, Option<f64>) {
        (self.high.coverage(), self.peak.coverage())
    }

    /// The predictors by name, with what each is trusted with.
    #[must_use]
    pub fn trusted(&self) -> Vec<(String, f64)> {
        self.members.iter().map(|m| m.model.name()).zip(self.trust(|m| m.cost)).collect()
    }
}

/// What an upper end costs at this quantile: too little and too much, both at their price.
#[must_use]
pub fn pinball(came: f64, said: f64, quantile: f64) -> f64 {
    if came > said { quantile * (came - said) } else { (1.0 - quantile) * (said - came) }
}

fn models(kind: Predictor) -> Vec<Model> {
    let last = || Model::Last(Last::default());
    let kalman = || Model::Kalman(Box::<Kalman>::default());
    let arima = || Model::Arima(Box::<Arima>::default());
    let seasonal = || Model::Seasonal(Box::<Seasonal>::default());
    match kind {
        Predictor::Auto => vec![
            last(),
            Model::Smooth(Smooth::new(30.0)),
            Model::Smooth(Smooth::new(120.0)),
            Model::Smooth(Smooth::new(600.0)),
            Model::Peak(Peak::new(300.0)),
            kalman(),
            arima(),
            seasonal(),
        ],
        Predictor::Constant => vec![last()],
        Predictor::Arima => vec![arima()],
        Predictor::Kalman => vec![kalman()],
        Predictor::Prophet => vec![seasonal()],
    }
}

fn members(models: Vec<Model>) -> Vec<Member> {
    let member = |model| Member { model, residuals: Residuals::default(), cost: 0.0, error: 0.0 };
    models.into_iter().take(MODELS).map(member).collect()
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
