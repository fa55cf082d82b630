//! Virtual time: whole nanoseconds.

use std::time::Duration;

use crate::units::{Timestamp, round_to_u64};

/// A moment of a simulation: nanoseconds from the start of the trace. An integer, so that the order
/// of events never hangs on rounding; `u64` reaches 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(u64);

impl SimTime {
    /// The start of the trace.
    pub const ZERO: Self = Self(0);

    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// `nanos` nanoseconds from the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `millis` milliseconds from the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// `d` from the start, saturating.
    #[must_use]
    pub fn from_start(d: Duration) -> Self {
        Self::ZERO.plus(d)
    }

    /// An arrival of a trace; before the start counts as the start.
    #[must_use]
    pub fn from_timestamp(at: Timestamp) -> Self {
        Self::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
    }

    /// Nanoseconds from the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds from the start.
    #[must_use]
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// As milliseconds from the start, rounded down: what a record or a planner is told.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Nanoseconds since `earlier`; 0 where that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `nanos` later, saturating.
    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// `d` later, saturating.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        self.plus_nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }

    /// `d` earlier, but not before the start.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Milliseconds as nanoseconds, at least 1: nothing that an engine does takes no time, or a
/// simulation could stand still.
pub(super) fn nanos_of_millis(ms: f64) -> u64 {
    round_to_u64(ms * 1e6).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_and_round_down() {
        assert_eq!(SimTime::from_millis(1_500).as_secs(), 1.5);
        assert_eq!(SimTime::from_nanos(1_999_999).timestamp().as_millis(), 1);
        assert_eq!(SimTime::from_timestamp(Timestamp::from_millis(-5)), SimTime::ZERO);
        assert_eq!(SimTime::NEVER.plus_nanos(1), SimTime::NEVER);
        assert_eq!(SimTime::from_millis(1).since(SimTime::from_millis(3)), 0);
        assert_eq!(nanos_of_millis(0.0), 1);
    }
}
