//! Level, trend, and the seasons of the day and the week.

use serde::{Deserialize, Serialize};

use super::model::Forecaster;
use crate::units::{Timestamp, floor_to_u32};

/// The level now, its damped trend, and what the day and the week do to it from here.
///
/// Seasons are factors, learned as means of logarithms over a part of the day (half an hour) and of
/// the week (three hours), and shrunk towards none by how much they vary from one day to the next
/// (from one week to the next): on services whose days differ they vanish. Before a part of the day
/// was seen on two days there is no season.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seasonal {
    /// Decayed means of the values: of a minute, of ten minutes, of a day.
    fast: Decayed,
    slow: Decayed,
    day: Decayed,
    daily: Season,
    weekly: Season,
    at: Option<Timestamp>,
}

/// A mean that forgets, as a number and the weight of what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Decayed {
    sum: f64,
    weight: f64,
}

impl Decayed {
    fn learn(&mut self, value: f64, step: f64, memory: f64) {
        let keep = (-step / memory).exp();
        let weight = (1.0 - keep).max(1e-9);
        self.sum = self.sum * keep + value * weight;
        self.weight = self.weight * keep + weight;
    }

    fn mean(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// Times after which a value counts for `1/e`, seconds.
const FAST: f64 = 60.0;
const SLOW: f64 = 600.0;
const DAY: f64 = 86_400.0;
const WEEK: f64 = 7.0 * DAY;

/// A trend is what the minute is over the ten minutes, and is followed for this share: the means lag
/// behind by their memories, and a step is no trend (lessons.md c).
const TREND: f64 = 0.25;

/// Part of the mean of a day that is added before logarithms are taken, for zeros.
const FLOOR: f64 = 0.05;

/// The means of the parts of a cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Season {
    /// Mean logarithm, and in how many cycles the part was seen.
    parts: Vec<(f64, f64)>,
    /// The part that is being seen, with the sum and the count of its values.
    now: Option<(usize, f64, f64)>,
    /// Squared difference of a part from its mean of the cycles before, decayed, and its weight.
    noise: Decayed,
}

/// A part counts the newest cycles in full, and older ones less.
const CYCLES: f64 = 10.0;

impl Season {
    fn learn(&mut self, parts: usize, part: usize, log: f64) {
        if self.parts.len() != parts {
            self.parts = vec![(0.0, 0.0); parts];
        }
        match &mut self.now {
            Some((now, sum, count)) if *now == part => {
                *sum += log;
                *count += 1.0;
            }
            now => {
                if let Some((past, sum, count)) = now.replace((part, log, 1.0))
                    && let Some((mean, seen)) = self.parts.get_mut(past)
                {
                    let off = sum / count - *mean;
                    if *seen > 0.0 {
                        // The difference of one from the mean of n others has n + 1 n-ths of the variance.
                        self.noise.learn(
                            off * off * *seen / (*seen + 1.0),
                            1.0,
                            2.0 * parts as f64,
                        );
                    }
                    *seen = (*seen + 1.0).min(CYCLES);
                    *mean += off / *seen;
                }
            }
        }
    }

    /// The season at a place in the cycle (0 to 1), between the middles of two parts.
    fn at(&self, place: f64) -> f64 {
        let n = self.parts.len();
        if n == 0 {
            return 0.0;
        }
        let from_middle = (place.rem_euclid(1.0)) * n as f64 + n as f64 - 0.5;
        let whole = floor_to_u32(from_middle);
        let first = usize::try_from(whole).unwrap_or_default() % n;
        let share = from_middle - f64::from(whole);
        (1.0 - share) * self.shrunk(first) + share * self.shrunk((first + 1) % n)
    }

    /// The mean of a part, shrunk by the noise that is in it.
    fn shrunk(&self, part: usize) -> f64 {
        let (mean, seen) = self.parts[part];
        let Some(noise) = self.noise.mean().filter(|_| seen >= 2.0) else { return 0.0 };
        let known = self.parts.iter().filter(|(_, seen)| *seen > 0.0);
        let (n, sum, squares) = known
            .fold((0.0, 0.0, 0.0), |(n, s, q), (mean, _)| (n + 1.0, s + mean, q + mean * mean));
        let middle = sum / n;
        // What the means vary by more than their noise does is the season.
        let season = (squares / n - middle * middle - noise / seen).max(0.0);
        let whole = season + noise / seen;
        if whole > 0.0 { (mean - middle) * season / whole } else { 0.0 }
    }
}

const DAILY_PARTS: usize = 48;
const WEEKLY_PARTS: usize = 56;

fn place(at: Timestamp, ahead: f64, cycle: f64) -> f64 {
    ((at.as_millis() as f64 / 1e3 + ahead) / cycle).rem_euclid(1.0)
}

fn part(place: f64, parts: usize) -> usize {
    usize::try_from(floor_to_u32(place * parts as f64)).map_or(0, |i| i.min(parts - 1))
}

impl Seasonal {
    fn season(&self, at: Timestamp, ahead: f64) -> f64 {
        self.daily.at(place(at, ahead, DAY)) + self.weekly.at(place(at, ahead, WEEK))
    }
}

impl Forecaster for Seasonal {
    fn learn(&mut self, at: Timestamp, step: f64, value: f64) {
        self.at = Some(at);
        self.fast.learn(value, step, FAST);
        self.slow.learn(value, step, SLOW);
        self.day.learn(value, step, DAY);
        let Some(day) = self.day.mean().filter(|day| *day > 0.0) else { return };
        let log = (value / day + FLOOR).ln();
        let daily = place(at, 0.0, DAY);
        self.daily.learn(DAILY_PARTS, part(daily, DAILY_PARTS), log);
        let rest = log - self.daily.at(daily);
        self.weekly.learn(WEEKLY_PARTS, part(place(at, 0.0, WEEK), WEEKLY_PARTS), rest);
    }

    fn skip(&mut self) {
        (self.fast, self.slow) = (Decayed::default(), Decayed::default());
        (self.daily.now, self.weekly.now) = (None, None);
    }

    fn predict(&self, ahead: f64) -> Option<f64> {
        let at = self.at?;
        let fast = self.fast.mean()?;
        let slow = self.slow.mean().unwrap_or(fast);
        let floor = FLOOR * self.day.mean().unwrap_or_default();
        let change = self.season(at, ahead) - self.season(at, 0.0);
        let trend = TREND * (fast - slow) * (ahead / SLOW).min(1.0);
        Some(((fast + floor) * change.clamp(-2.0, 2.0).exp() - floor + trend).max(0.0))
    }
}
