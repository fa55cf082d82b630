//! Demand: how many requests, how long, how bursty.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fleet::Engine;
use super::predict::{Bands, Predicted, Values};
use super::standing::{Lead, Rule, Rules, SET_BACK, Standing};
use crate::units::{PerSecond, Predictor, Role, Share, Timestamp, Tokens, seconds_of};

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
    /// How much of the upper rate each kind of work is planned with.
    pub work: Work,
}

/// The work of a demand over that of the upper rate of mean requests. Prompts and outputs grow at
/// different times, so that each kind of work has its own upper end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Prompts to read.
    pub prefill: f64,
    /// Tokens to make.
    pub decode: f64,
}

impl Default for Work {
    fn default() -> Self {
        Self { prefill: 1.0, decode: 1.0 }
    }
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
            work: Work { prefill: 1.0, decode: 1.0 },
        }
    }

    /// The requests per second that a pool of this role is sized for.
    #[must_use]
    pub fn upper(&self, role: Role) -> f64 {
        let Work { prefill, decode } = self.work;
        self.rate.high
            * match role {
                Role::Prefill => prefill,
                Role::Decode => decode,
                Role::Aggregated => prefill.max(decode),
            }
    }
}

/// What one window showed; `None` was not known, and teaches nothing. An idle window has a rate of 0
/// and no lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// How long the window was.
    pub window: Duration,
    /// Arrivals.
    pub rate: Option<PerSecond>,
    /// Mean prompt.
    pub isl: Option<Tokens>,
    /// Mean output.
    pub osl: Option<Tokens>,
}

/// What surrounds the forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Horizon {
    /// From a change of the load until a replica that was asked for because of it serves.
    pub lead: Duration,
    /// The wait after which a prompt is late.
    pub patience: Duration,
    /// The longest that capacity is held after it was last needed.
    pub longest_hold: Duration,
    /// The shortest that a replica is held.
    pub hold: Duration,
    /// Who predicts.
    pub predictor: Predictor,
    /// What one engine takes.
    pub engines: Engines,
}

/// What one engine takes, by the kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Engines {
    /// Of prompts, tokens per second.
    pub prefill: Engine,
    /// Of outputs, tokens per second.
    pub decode: Engine,
}

/// The demand to plan for, and the rules that say so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The demand.
    pub demand: Demand,
    /// What is kept standing for prompts, tokens per second.
    pub prefill: Standing,
    /// What is kept standing for outputs, tokens per second.
    pub decode: Standing,
}

/// For how long a window's figures count, in the means of lengths and of their spread: long against
/// the noise of a window, short against the hours in which a service changes.
const MEANS: Duration = Duration::from_secs(300);
const SPREADS: Duration = Duration::from_secs(1800);

/// A decode pool takes in what comes above its rate for about this long before its tokens are slow:
/// a batch fills over the life of a request.
const FILLING: Duration = Duration::from_secs(4);

/// What a late request costs where it is late for want of decode engines, over where prompts are
/// read: below what its slots take a decode pool makes nothing late, where a queue does already. At 1
/// the GPU-hours were 3 % more for 0.04 points of good requests on D1 to D8 of docs/results.md, at a
/// quarter they were 1 % fewer for 0.9 points less.
const DECODE: f64 = 0.5;

/// A mean that forgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fading {
    sum: f64,
    weight: f64,
}

impl Fading {
    fn learn(&mut self, value: f64, weight: f64, keep: f64) {
        self.sum = self.sum * keep + value * weight;
        self.weight = self.weight * keep + weight;
    }

    fn mean(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// The mean with `weight` of an assumption.
    fn with(self, assumed: f64, weight: f64) -> f64 {
        (self.sum + assumed * weight) / (self.weight + weight)
    }
}

/// A series of lengths: their mean, and their spread as far as window means tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LengthSeries {
    mean: Fading,
    cv2: Fading,
    last: Option<f64>,
}

impl LengthSeries {
    /// `count` requests came in the window, `share` of which is newer than the reading before.
    fn learn(&mut self, mean: f64, count: f64, share: f64, step: f64) {
        let before = self.mean.mean();
        self.mean.learn(mean, count.max(1.0) * share, (-step / seconds_of(MEANS)).exp());
        // The mean of n has the variance sigma^2 / n; the difference of two independent means
        // twice that, of two windows that overlap the share that does not.
        if let (Some(last), Some(usual)) = (self.last, before) {
            let squared = (mean - last).powi(2) / 2.0 * count / share / (usual * usual);
            let keep = (-step / seconds_of(SPREADS)).exp();
            self.cv2.learn(squared.min(WIDEST), step, keep);
        }
        self.last = Some(mean);
    }

    fn lengths(&self) -> Option<Lengths> {
        Some(Lengths {
            mean: Tokens::clamped(self.mean.mean()?.max(1.0)),
            cv2: self.cv2.with(Lengths::ASSUMED_CV2, ASSUMED_FOR).min(WIDEST_SPREAD),
        })
    }
}

/// The squared coefficient of variation that one pair of windows is taken for at most: a change of
/// the mix is not a spread.
const WIDEST: f64 = 10.0;

/// The widest spread that is believed. Window means of bursty clients vary more than their requests
/// do; the requests of public traces lie between 0.9 and 1.7 (techniques.md 3.2).
const WIDEST_SPREAD: f64 = 2.0;

/// What is assumed of a spread counts like this many seconds of readings.
const ASSUMED_FOR: f64 = 120.0;

/// Learns the demand from one window after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandForecast {
    at: Option<Timestamp>,
    rate: Option<f64>,
    isl: LengthSeries,
    osl: LengthSeries,
    prefill: Rules,
    decode: Rules,
    #[serde(default)]
    predicted: Predicted,
}

/// The quantiles that a named predictor is asked for: below the middle no promise is meant, and a
/// rarer one than this has no experience.
const QUANTILES: (f64, f64) = (0.5, 0.995);

/// The quantile at which room costs as much as the requests that are late for want of it, which cost
/// `price` times what the fleet does: the newsvendor's.
fn quantile(price: f64) -> f64 {
    (price / (1.0 + price)).clamp(QUANTILES.0, QUANTILES.1)
}

impl DemandForecast {
    /// Takes in what one window showed. Without lengths of its own a window has those of the
    /// requests before; without any, its rate waits for them.
    pub fn learn(&mut self, at: Timestamp, seen: Reading, horizon: Horizon) {
        let Some(rate) = seen.rate.map(PerSecond::get).filter(|x| x.is_finite()) else { return };
        let window = seconds_of(seen.window).max(1e-3);
        let step = self.at.map_or(window, |t| seconds_of(at.since(t)));
        if step <= 0.0 && self.at.is_some_and(|t| t.since(at) < SET_BACK) {
            return;
        }
        let step = if step <= 0.0 { window } else { step };
        let share = (step / window).min(1.0);
        for (series, length) in [(&mut self.isl, seen.isl), (&mut self.osl, seen.osl)] {
            if let Some(mean) = length.map(Tokens::get).filter(|x| x.is_finite() && *x > 0.0) {
                series.learn(mean, rate * window, share, step);
            }
        }
        (self.at, self.rate) = (Some(at), Some(rate));
        let mean = |own: Option<Tokens>, series: &LengthSeries| {
            own.map(Tokens::get).or_else(|| series.mean.mean()).unwrap_or_default()
        };
        let lead = Lead {
            time: horizon.lead,
            patience: horizon.patience,
            longest_hold: horizon.longest_hold,
            engine: horizon.engines.prefill,
        };
        let prompts = rate * mean(seen.isl, &self.isl);
        self.prefill.learn(at, seen.window, prompts, rate, lead);
        let lead = Lead {
            patience: horizon.patience.max(FILLING),
            engine: horizon.engines.decode,
            ..lead
        };
        let outputs = rate * mean(seen.osl, &self.osl);
        self.decode.learn(at, seen.window, outputs, rate, lead);
        let length = |own: Option<Tokens>| own.map(Tokens::get).filter(|x| *x > 0.0);
        let (isl, osl) = (length(seen.isl), length(seen.osl));
        let values = Values { rate, isl, osl, prefill: prompts, decode: outputs };
        self.predicted.learn(at, values, horizon.predictor, (horizon.lead, horizon.hold));
    }

    /// Notes that this is what is asked for now.
    pub fn follow(&mut self, followed: &Forecast) {
        self.prefill.follow(followed.prefill.high);
        self.decode.follow(followed.decode.high);
    }

    /// Rate and mean lengths at the horizon, each with its band; `None` before a rate was seen.
    #[must_use]
    pub fn bands(&self) -> Option<Bands> {
        self.predicted.bands()
    }

    /// What is kept standing for prompts and for outputs: by the rules, or by the predictor that was
    /// named, whose highest work of the hold stays below it but for the share that the price leaves.
    fn standing(&self, price: f64) -> Option<(Standing, Standing)> {
        let (by_prefill, by_decode) = (quantile(price), quantile(DECODE * price));
        let Some((prefill, decode)) = self.predicted.work(by_prefill, by_decode) else {
            return Some((self.prefill.standing(price)?, self.decode.standing(DECODE * price)?));
        };
        let hold = self.predicted.hold();
        let named = |rules: &Rules, said: f64, quantile: f64, price: f64| {
            let level = rules.level()?;
            // What serves now is needed until the horizon.
            let high = said.max(level);
            let margin = if level > 0.0 { high / level } else { 1.0 };
            let late = Share::clamped(1.0 - quantile);
            Some(Standing {
                level,
                high,
                rule: Rule { hold, margin, roof: None },
                late,
                fixed: false,
                regret: rules.regret(price),
            })
        };
        Some((
            named(&self.prefill, prefill, by_prefill, price)?,
            named(&self.decode, decode, by_decode, DECODE * price)?,
        ))
    }

    /// The arrivals of the last window that taught anything, per second.
    #[must_use]
    pub const fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// The demand to plan for where a late request in a thousand costs `price` thousandths of the
    /// fleet that reads prompts, and half of that where tokens are made; `None` before a rate and both lengths were seen.
    #[must_use]
    pub fn demand(&self, price: f64) -> Option<Forecast> {
        let (isl, osl) = (self.isl.lengths()?, self.osl.lengths()?);
        let (prefill, decode) = self.standing(price)?;
        let requests = |work: f64, lengths: Lengths| work / lengths.mean.get();
        let (p, d) = (requests(prefill.high, isl), requests(decode.high, osl));
        let last = self.rate.unwrap_or_default();
        let band = self.predicted.rate().unwrap_or(Band::certain(last));
        let high = p.max(d);
        let part = |x: f64| if high > 0.0 { x / high } else { 1.0 };
        let demand = Demand {
            rate: Band { low: band.low.min(high), point: band.point.min(high), high },
            isl,
            osl,
            // Bursts longer than a level are in its upper end, and would count twice.
            dispersion: 1.0,
            work: Work { prefill: part(p), decode: part(d) },
        };
        Some(Forecast { demand, prefill, decode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const WHOLE: Engine = Engine { most: 0.0, used: 1.0 / 1.2 };
    const HORIZON: Horizon = Horizon {
        lead: Duration::from_secs(120),
        patience: MINUTE,
        longest_hold: Duration::MAX,
        engines: Engines { prefill: WHOLE, decode: WHOLE },
        hold: MINUTE,
        predictor: Predictor::Auto,
    };

    fn reading(rate: f64, isl: Option<f64>, osl: Option<f64>) -> Reading {
        Reading {
            window: MINUTE,
            rate: PerSecond::new(rate),
            isl: isl.and_then(Tokens::new),
            osl: osl.and_then(Tokens::new),
        }
    }

    #[test]
    fn an_idle_window_keeps_the_lengths_of_the_last_requests() {
        let mut f = DemandForecast::default();
        let t = Timestamp::from_millis;
        assert_eq!(f.demand(10.0), None);
        f.learn(t(0), reading(12.0, Some(3000.0), Some(150.0)), HORIZON);
        f.learn(t(60_000), reading(0.0, None, None), HORIZON);
        let d = f.demand(10.0).unwrap().demand;
        assert_eq!((d.isl.mean.get(), d.osl.mean.get()), (3000.0, 150.0));
        assert!(d.rate.low <= d.rate.point && d.rate.point < 12.0, "{d:?}");
        assert_eq!(f.rate(), Some(0.0));
    }

    /// Three hours of a load with steps of a half, one reading a minute.
    fn after_steps(predictor: Predictor) -> DemandForecast {
        let mut f = DemandForecast::default();
        for i in 0..180_i64 {
            let rate = if i % 20 < 4 { 18.0 } else { 12.0 };
            let at = Timestamp::from_millis(i * 60_000);
            f.learn(at, reading(rate, Some(3000.0), Some(150.0)), Horizon { predictor, ..HORIZON });
        }
        f
    }

    #[test]
    fn a_named_predictor_holds_the_upper_end_of_its_own_forecast() {
        let by_rules = after_steps(Predictor::Auto).demand(40.0).unwrap();
        let mut highs = Vec::new();
        for predictor in
            [Predictor::Constant, Predictor::Arima, Predictor::Kalman, Predictor::Prophet]
        {
            let f = after_steps(predictor);
            let (dear, cheap) = (f.demand(40.0).unwrap(), f.demand(1.0).unwrap());
            assert!(dear.prefill.high >= 17.0 * 3000.0, "{predictor}: {dear:?}");
            assert!(cheap.prefill.high < dear.prefill.high, "{predictor}: {cheap:?}");
            assert!(cheap.prefill.high >= cheap.prefill.level, "{predictor}: {cheap:?}");
            let missed = dear.prefill.late.get();
            assert!((missed - 1.0 / 41.0).abs() < 1e-9, "{predictor}: {missed}");
            let bands = f.bands().unwrap();
            assert_eq!((bands.predictor, bands.rate.weights.len()), (predictor, 1));
            highs.push(dear.prefill.high);
        }
        highs.push(by_rules.prefill.high);
        highs.sort_by(f64::total_cmp);
        highs.dedup();
        assert!(highs.len() >= 4, "each says its own: {highs:?}");
    }

    #[test]
    fn the_bands_are_there_whoever_decides_and_another_predictor_begins_anew() {
        let mut f = after_steps(Predictor::Auto);
        let bands = f.bands().unwrap();
        let weights: f64 = bands.rate.weights.values().sum();
        assert!(bands.rate.weights.len() > 5 && (weights - 1.0).abs() < 1e-9, "{bands:?}");
        let isl = bands.isl.unwrap().band;
        assert!(isl.low > 2900.0 && isl.high < 3100.0, "all prompts are alike: {isl:?}");
        let at = Timestamp::from_millis(180 * 60_000);
        let horizon = Horizon { predictor: Predictor::Kalman, ..HORIZON };
        f.learn(at, reading(12.0, Some(3000.0), Some(150.0)), horizon);
        assert_eq!(f.bands().unwrap().rate.coverage, None);
        let text = serde_json::to_string(&f).unwrap();
        assert_eq!(serde_json::from_str::<DemandForecast>(&text).unwrap(), f);
    }

    #[test]
    fn what_was_learned_before_there_were_bands_can_be_read() {
        let f = after_steps(Predictor::Auto);
        let mut old = serde_json::to_value(&f).unwrap();
        old.as_object_mut().unwrap().remove("predicted");
        let old: DemandForecast = serde_json::from_value(old).unwrap();
        let (old, new) = (old.demand(40.0).unwrap(), f.demand(40.0).unwrap());
        assert_eq!((old.prefill, old.decode), (new.prefill, new.decode));
        assert_eq!(old.demand.rate.point, 12.0, "the last rate");
    }

    #[test]
    fn missing_data_teaches_nothing() {
        let mut f = DemandForecast::default();
        f.learn(Timestamp::from_millis(0), reading(12.0, Some(3000.0), Some(150.0)), HORIZON);
        let before = f.clone();
        f.learn(Timestamp::from_millis(60_000), Reading::default(), HORIZON);
        assert_eq!(f, before);
        let mut blind = DemandForecast::default();
        blind.learn(Timestamp::from_millis(0), reading(12.0, None, None), HORIZON);
        assert_eq!(blind.demand(10.0), None, "no length was ever seen");
    }
}
