//! How long replicas take to start: a log-normal law, learned from those that did.
//!
//! What a start takes is a product of what its parts take (the node, the image, the weights, warming
//! up), so that its logarithm is close to normal (techniques.md 3.5). Until a start was seen, the
//! time of the configuration stands.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::units::seconds_of;

/// What each start leaves of the weight of those before it: the last twenty count.
const KEEP: f64 = 0.95;

/// The configured time counts like so many starts, until real ones have pushed it out.
const ASSUMED: f64 = 2.0;

/// The spread of the logarithm that a replica is judged with at least. Three starts alike are no
/// proof that a fourth one that takes a third longer hangs: below this p99 is twice the median.
const LEAST_SPREAD: f64 = 0.3;

/// Start-ups are taken for no shorter and no longer than this: beyond, a clock is wrong.
const LIMITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(6 * 3600)];

/// What was learned of the start-up time of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StartUps {
    /// Starts seen, older ones counting less.
    weight: f64,
    /// Sums of the logarithms of their seconds, and of the squares of those.
    sum: f64,
    squares: f64,
    /// Starts seen.
    seen: u64,
}

impl StartUps {
    /// Takes in one start.
    pub fn learn(&mut self, took: Duration) {
        let [least, most] = LIMITS;
        let log = seconds_of(took.clamp(least, most)).ln();
        self.weight = self.weight * KEEP + 1.0;
        self.sum = self.sum * KEEP + log;
        self.squares = self.squares * KEEP + log * log;
        self.seen = self.seen.saturating_add(1);
    }

    /// How many starts were seen.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The time within which the share `share` of the starts is over, `assumed` being what is
    /// configured. That one itself, whatever the share, before any start was seen.
    #[must_use]
    pub fn quantile(&self, assumed: Duration, share: f64) -> Duration {
        if self.seen == 0 {
            return assumed;
        }
        let (mean, spread) = self.law(assumed);
        exp(mean + z(share) * spread)
    }

    /// The age beyond which a replica that still starts counts for nothing: p99, with a spread that
    /// few starts cannot talk away.
    #[must_use]
    pub fn given_up_after(&self, assumed: Duration) -> Duration {
        let (mean, spread) = self.law(assumed);
        exp(mean + z(0.99) * spread.max(LEAST_SPREAD))
    }

    /// The chance that a replica which has been starting for `age` serves within `time` from now;
    /// 0 once it is given up.
    #[must_use]
    pub fn ready_within(&self, assumed: Duration, age: Duration, time: Duration) -> f64 {
        if age > self.given_up_after(assumed) {
            return 0.0;
        }
        let (mean, spread) = self.law(assumed);
        let spread = spread.max(LEAST_SPREAD);
        let normal = Normal::standard();
        let over = |t: Duration| 1.0 - normal.cdf((seconds_of(t).max(1e-3).ln() - mean) / spread);
        let now = over(age);
        if now <= 0.0 { 0.0 } else { (1.0 - over(age.saturating_add(time)) / now).clamp(0.0, 1.0) }
    }

    /// Mean and standard deviation of the logarithm of the seconds.
    fn law(&self, assumed: Duration) -> (f64, f64) {
        let [least, most] = LIMITS;
        let log = seconds_of(assumed.clamp(least, most)).ln();
        let before = ASSUMED * KEEP.powi(i32::try_from(self.seen).unwrap_or(i32::MAX));
        let all = self.weight + before;
        let mean = (self.sum + before * log) / all;
        let square = (self.squares + before * log * log) / all;
        (mean, (square - mean * mean).max(0.0).sqrt())
    }
}

/// Standard normal quantile.
fn z(share: f64) -> f64 {
    Normal::standard().inverse_cdf(share.clamp(1e-6, 1.0 - 1e-6))
}

fn exp(log: f64) -> Duration {
    let [least, most] = LIMITS;
    Duration::try_from_secs_f64(log.exp()).unwrap_or(most).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn after(starts: impl IntoIterator<Item = u64>) -> StartUps {
        let mut all = StartUps::default();
        for s in starts {
            all.learn(Duration::from_secs(s));
        }
        all
    }

    fn near(a: Duration, seconds: f64) -> bool {
        (seconds_of(a) / seconds - 1.0).abs() < 0.05
    }

    #[test]
    fn the_configured_time_stands_until_a_start_was_seen_and_is_then_pushed_out() {
        let none = StartUps::default();
        assert_eq!(none.quantile(MINUTE, 0.9), MINUTE);
        let one = after([240]);
        let p50 = one.quantile(MINUTE, 0.5);
        assert!(p50 > MINUTE && p50 < 2 * MINUTE, "{p50:?}");
        assert!(near(after([240; 100]).quantile(MINUTE, 0.9), 240.0));
        assert!(near(after([60; 3]).quantile(MINUTE, 0.9), 60.0), "alike, and as configured");
    }

    #[test]
    fn the_quantiles_are_those_of_the_starts() {
        // Log-normal with a median of 100 s and a spread of 0.4, by its own quantiles.
        let starts = (0..400).map(|i| {
            let share = f64::from((i * 37) % 400) / 400.0 + 1.0 / 800.0;
            crate::units::round_to_u64(100.0 * (0.4 * z(share)).exp())
        });
        let seen = after(starts);
        let p = |share| seconds_of(seen.quantile(MINUTE, share));
        assert!((80.0..125.0).contains(&p(0.5)), "{}", p(0.5));
        assert!((130.0..220.0).contains(&p(0.9)), "{}", p(0.9));
        assert!(p(0.99) > p(0.9));
    }

    #[test]
    fn a_replica_past_p99_counts_for_nothing_and_a_young_one_for_nearly_one() {
        let seen = after([60; 40]);
        let chance = |age, time| {
            seen.ready_within(MINUTE, Duration::from_secs(age), Duration::from_secs(time))
        };
        assert!(chance(0, 90) > 0.85, "{}", chance(0, 90));
        assert!(chance(0, 10) < 0.01);
        assert!(chance(50, 60) > chance(0, 60), "the nearer the surer");
        assert_eq!(chance(125, 3600), 0.0);
        let limit = seconds_of(seen.given_up_after(MINUTE));
        assert!((118.0..125.0).contains(&limit), "{limit}");
    }

    #[test]
    fn a_clock_that_was_set_teaches_no_nonsense() {
        let mut seen = StartUps::default();
        seen.learn(Duration::ZERO);
        seen.learn(Duration::MAX);
        let p90 = seen.quantile(Duration::MAX, 0.9);
        assert!(p90 >= LIMITS[0] && p90 <= LIMITS[1], "{p90:?}");
        assert!((0.0..=1.0).contains(&seen.ready_within(MINUTE, Duration::MAX, Duration::MAX)));
    }
}
