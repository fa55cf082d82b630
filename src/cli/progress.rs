//! What people see while something runs: never on standard output, and nothing at all where
//! standard error is no terminal.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::traces::Trace;
use crate::backtest::Source;
use crate::trace::{Request, TraceError};

/// Wall-clock time of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "how long a simulation took is for people only")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "how long a simulation took is for people only")]
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A trace whose replay is shown.
pub(super) struct Watched<'a> {
    trace: &'a Trace,
    bar: ProgressBar,
    replays: Cell<u32>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Self { trace, bar, replays: Cell::new(0) }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Source for Watched<'_> {
    type Error = TraceError;

    fn open(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<Request, TraceError>> + '_>, TraceError> {
        /// Requests between two looks at the bar: often enough for the eye.
        const EVERY: u64 = 20_000;
        self.replays.set(self.replays.get() + 1);
        let mut seen = 0_u64;
        let requests = self.trace.open()?;
        Ok(Box::new(requests.inspect(move |request| {
            seen += 1;
            if seen.is_multiple_of(EVERY)
                && let Ok(request) = request
            {
                let hours = request.at.as_millis() as f64 / 3.6e6;
                let name = &self.trace.name;
                self.bar.set_message(format!("{name}: {seen} requests, {hours:.2} h of the trace"));
                self.bar.tick();
            }
        })))
    }
}
