//! The one clock of this room: how long an answer took, and how old a certificate is.

use std::time::Instant;

use crate::units::Timestamp;

/// The moment, for durations.
#[expect(clippy::disallowed_methods, reason = "the one clock of this room")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// The wall clock, which certificates go by.
#[expect(clippy::disallowed_methods, reason = "the one clock of this room")]
pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
