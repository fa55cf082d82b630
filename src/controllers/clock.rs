//! The one place where this room reads a clock: the moments written into a status and into an Event
//! are those of the write, which no caller can know beforehand.

/// The wall clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one clock of this room")]
pub fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
