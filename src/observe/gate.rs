//! In which state a figure is, by what is known of its source.

use std::time::Duration;

use super::{Missing, Signal};
use crate::units::Timestamp;

/// Counters that have not moved for this long, with requests in flight, are frozen. A few scrape
/// intervals, and longer than the longest prefill, during which no token is counted: shorter would
/// call a long prompt a fault, longer would act on a stopped exporter.
pub const FROZEN_AFTER: Duration = Duration::from_secs(60);

/// What holds for all figures of one source.
///
/// A figure passes in this order; the first that it fails names its state:
/// 1. missing: no row, no samples behind a mean, or no number of its kind;
/// 2. contradictory: another signal of the source denies it;
/// 3. frozen: what it counts should have moved, and has not;
/// 4. late: too old, or known to be incomplete;
/// 5. fresh.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The time now.
    pub now: Timestamp,
    /// A newest sample older than this is late.
    pub fresh_for: Duration,
    /// Time of the newest sample; `None` where the source has none now.
    pub at: Option<Timestamp>,
    /// Since when no counter has moved, where that is too long.
    pub frozen: Option<Timestamp>,
    /// Which two signals disagree, for people.
    pub contradiction: Option<String>,
    /// Whether a part of the source is known not to be in it.
    pub incomplete: bool,
}

impl Gate {
    /// Of a source that has nothing yet, and against which nothing speaks.
    #[must_use]
    pub const fn open(now: Timestamp, fresh_for: Duration) -> Self {
        Self { now, fresh_for, at: None, frozen: None, contradiction: None, incomplete: false }
    }

    /// The figure with its state; `read` makes it of the number, `None` where that is none of its
    /// kind.
    #[must_use]
    pub fn pass<T>(
        &self,
        value: Result<f64, Missing>,
        read: impl FnOnce(f64) -> Option<T>,
    ) -> Signal<T> {
        let number = match value {
            Ok(number) => number,
            Err(why) => return Signal::missing(why),
        };
        let Some(value) = read(number) else {
            return Signal::missing(Missing::Unusable { detail: number.to_string() });
        };
        if let Some(detail) = &self.contradiction {
            return Signal::Contradictory { detail: detail.clone() };
        }
        if let Some(since) = self.frozen {
            return Signal::Frozen { value, since };
        }
        match self.at {
            Some(at) if !self.incomplete => Signal::aged(value, at, self.now, self.fresh_for),
            Some(at) => Signal::Late { value, at },
            None => Signal::missing(Missing::NoSeries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_a_figure_fails_names_its_state() {
        let (then, now) = (Timestamp::from_millis(0), Timestamp::from_millis(40_000));
        let positive = |x: f64| (x > 0.0).then_some(x);
        let mut gate = Gate {
            at: Some(then),
            frozen: Some(then),
            contradiction: Some("two disagree".to_owned()),
            incomplete: true,
            ..Gate::open(now, Duration::from_secs(60))
        };
        let none = gate.pass(Err(Missing::NoSamples), positive);
        assert_eq!(none, Signal::missing(Missing::NoSamples));
        let unusable = Missing::Unusable { detail: "-1".to_owned() };
        assert_eq!(gate.pass(Ok(-1.0), positive), Signal::missing(unusable));
        let denied = Signal::Contradictory { detail: "two disagree".to_owned() };
        assert_eq!(gate.pass(Ok(2.0), positive), denied);
        gate.contradiction = None;
        assert_eq!(gate.pass(Ok(2.0), positive), Signal::Frozen { value: 2.0, since: then });
        gate.frozen = None;
        assert_eq!(gate.pass(Ok(2.0), positive), Signal::Late { value: 2.0, at: then });
        gate.incomplete = false;
        assert_eq!(gate.pass(Ok(2.0), positive), Signal::Fresh { value: 2.0, at: then });
        gate.fresh_for = Duration::from_secs(30);
        assert_eq!(gate.pass(Ok(2.0), positive), Signal::Late { value: 2.0, at: then });
        gate.at = None;
        assert_eq!(gate.pass(Ok(2.0), positive), Signal::missing(Missing::NoSeries));
    }
}
