//! What goes wrong in a simulation.

use std::time::Duration;

use super::SimTime;
use crate::units::Role;

/// One fault. Times are from the start of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Prometheus does not answer and does not scrape.
    MetricsGap {
        /// Beginning.
        from: SimTime,
        /// End.
        to: SimTime,
    },
    /// Scrapes bring the values of before, as from a frontend that hangs.
    StaleMetrics {
        /// Beginning.
        from: SimTime,
        /// End.
        to: SimTime,
    },
    /// The oldest serving worker of a pool, by its order, works slower.
    SlowEngine {
        /// The pool.
        role: Role,
        /// Everything takes this many times as long; above 0.
        factor: f64,
        /// Beginning.
        from: SimTime,
        /// End.
        to: SimTime,
    },
    /// The oldest serving worker of a pool, by its order, is gone with the requests it had; a new one
    /// starts in its place.
    LostWorker {
        /// The pool.
        role: Role,
        /// When.
        at: SimTime,
    },
    /// Workers of a pool are lost at random.
    LosingWorkers {
        /// The pool.
        role: Role,
        /// Mean time between two losses of the pool.
        every: Duration,
    },
    /// The policy's clock is set.
    ClockJump {
        /// When.
        at: SimTime,
        /// By how many seconds; negative is back.
        seconds: i64,
    },
}

impl Fault {
    /// The pool that it is of, where it is of one.
    #[must_use]
    pub const fn role(&self) -> Option<Role> {
        match self {
            Self::SlowEngine { role, .. }
            | Self::LostWorker { role, .. }
            | Self::LosingWorkers { role, .. } => Some(*role),
            Self::MetricsGap { .. } | Self::StaleMetrics { .. } | Self::ClockJump { .. } => None,
        }
    }
}
