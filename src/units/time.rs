//! Time as an argument: integer milliseconds, never read from a clock in the pure rooms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch, or since the start of a trace where that is said.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `ms` milliseconds after the epoch; negative is before it.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after (clocks may step back).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment and `d` more, saturating.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment and `d` less, saturating.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A duration in seconds.
#[must_use]
pub fn seconds_of(d: Duration) -> f64 {
    d.as_secs_f64()
}

/// A duration in milliseconds.
#[must_use]
pub fn millis_of(d: Duration) -> f64 {
    // Divided, for 78.1 ms to be 78.1 and not 78.10000000000001.
    d.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_gives_no_negative_span() {
        let t = Timestamp::from_millis(5_000);
        assert_eq!(t.since(Timestamp::from_millis(2_000)), Duration::from_secs(3));
        assert_eq!(t.since(Timestamp::from_millis(9_000)), Duration::ZERO);
        assert_eq!(t.plus(Duration::MAX).as_millis(), i64::MAX);
        assert_eq!(t.minus(Duration::from_secs(1)).as_millis(), 4_000);
    }
}
