//! The one place that reads the wall clock, for this room and for `run` and `cli`: the moments written
//! into a status and into an Event are those of the write, which no caller can know beforehand.

use crate::units::Timestamp;

/// The wall clock, as the API's times are written.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one clock of this room")]
pub fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The wall clock, as the pure rooms take the time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_millis(wall_clock().as_millisecond())
}
