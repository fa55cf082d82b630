//! One figure that was asked for, and what became of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// A figure with its freshness.
///
/// `late` is a value older than the freshness limit of the configuration; `frozen` one that has
/// not moved although what it counts must have; `contradictory` one that another signal denies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Signal<T> {
    /// Known, and young enough to act on in both directions.
    Fresh {
        /// The figure.
        value: T,
        /// When the youngest sample behind it was taken.
        at: Timestamp,
    },
    /// Known, but too old to take a replica away.
    Late {
        /// The figure.
        value: T,
        /// When the youngest sample behind it was taken.
        at: Timestamp,
    },
    /// Known, but it has stood still while it should not have.
    Frozen {
        /// The figure.
        value: T,
        /// Since when it has not moved.
        since: Timestamp,
    },
    /// Denied by another signal.
    Contradictory {
        /// Which two disagree, for people.
        detail: String,
    },
    /// Not known.
    Missing {
        /// Why not.
        why: Missing,
    },
}

/// Why a figure is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Missing {
    /// The source did not answer (refused, timed out, answered with an error).
    SourceDown {
        /// What it said.
        detail: String,
    },
    /// The source answered that it has no such series.
    NoSeries,
    /// The series is there, but nothing happened in the window, so that a mean or a quantile has
    /// no samples. With a fresh arrival count of zero this is the normal state of an idle fleet.
    NoSamples,
    /// The source answered with something that is no number of this kind (NaN, negative).
    Unusable {
        /// What it answered.
        detail: String,
    },
    /// What it would be the figure of does not exist.
    NoObject {
        /// Which, and what there is instead.
        detail: String,
    },
    /// It was not asked for.
    NotAsked,
}

impl<T> Signal<T> {
    /// A value with its moment, fresh or late by the age limit.
    #[must_use]
    pub fn aged(value: T, at: Timestamp, now: Timestamp, limit: Duration) -> Self {
        if now.since(at) <= limit { Self::Fresh { value, at } } else { Self::Late { value, at } }
    }

    /// Not known, because `why`.
    #[must_use]
    pub const fn missing(why: Missing) -> Self {
        Self::Missing { why }
    }

    /// The value where it is fresh: the only reading that may take a replica away.
    #[must_use]
    pub const fn fresh(&self) -> Option<&T> {
        match self {
            Self::Fresh { value, .. } => Some(value),
            Self::Late { .. }
            | Self::Frozen { .. }
            | Self::Contradictory { .. }
            | Self::Missing { .. } => None,
        }
    }

    /// The value where one is known at all, however old.
    #[must_use]
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Fresh { value, .. } | Self::Late { value, .. } | Self::Frozen { value, .. } => {
                Some(value)
            }
            Self::Contradictory { .. } | Self::Missing { .. } => None,
        }
    }

    /// Whether it is fresh.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.fresh().is_some()
    }

    /// Whether there are no samples because nothing happened in the window.
    #[must_use]
    pub const fn has_no_samples(&self) -> bool {
        matches!(self, Self::Missing { why: Missing::NoSamples })
    }

    /// Age of the value at `now`, where one is known.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Fresh { at, .. } | Self::Late { at, .. } | Self::Frozen { since: at, .. } => {
                Some(now.since(*at))
            }
            Self::Contradictory { .. } | Self::Missing { .. } => None,
        }
    }

    /// The same freshness with another value.
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Signal<U> {
        match self {
            Self::Fresh { value, at } => Signal::Fresh { value: f(value), at },
            Self::Late { value, at } => Signal::Late { value: f(value), at },
            Self::Frozen { value, since } => Signal::Frozen { value: f(value), since },
            Self::Contradictory { detail } => Signal::Contradictory { detail },
            Self::Missing { why } => Signal::Missing { why },
        }
    }
}

impl<T> fmt::Display for Signal<T> {
    /// The state without the value, for a reason text: "missing: no such series".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh { .. } => f.write_str("fresh"),
            Self::Late { .. } => f.write_str("late"),
            Self::Frozen { .. } => f.write_str("frozen"),
            Self::Contradictory { detail } => write!(f, "contradictory: {detail}"),
            Self::Missing { why } => write!(f, "missing: {why}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceDown { detail } => write!(f, "the source did not answer ({detail})"),
            Self::NoSeries => f.write_str("no such series"),
            Self::NoSamples => f.write_str("nothing happened in the window"),
            Self::Unusable { detail } => write!(f, "not a usable number ({detail})"),
            Self::NoObject { detail } => f.write_str(detail),
            Self::NotAsked => f.write_str("not asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(100_000);

    #[test]
    fn only_a_young_value_is_fresh() {
        let limit = Duration::from_secs(30);
        let young = Signal::aged(0.0, T0, T0.plus(limit), limit);
        assert_eq!(young.fresh(), Some(&0.0));
        let old = Signal::aged(0.0, T0, T0.plus(limit + Duration::from_millis(1)), limit);
        assert_eq!(old.fresh(), None);
        assert_eq!(old.known(), Some(&0.0));
        assert_eq!(old.age(T0.plus(limit)), Some(limit));
    }

    #[test]
    fn unknown_is_not_zero() {
        let s: Signal<f64> = Signal::missing(Missing::NoSeries);
        assert_eq!(s.known(), None);
        assert_eq!(s.to_string(), "missing: no such series");
    }
}
