//! Where requests come from.

use std::convert::Infallible;
use std::time::Duration;

use super::SimTime;
use crate::trace::Request;
use crate::units::Timestamp;

/// A source of requests by growing arrival.
pub trait Load {
    /// Why the next request cannot be had.
    type Error;

    /// The next request; `None` at the end.
    fn next(&mut self) -> Option<Result<Request, Self::Error>>;

    /// A request that a client sends because another one ended at `now`.
    fn after(&mut self, now: SimTime) -> Option<Request> {
        let _ = now;
        None
    }
}

/// Requests that come whatever happens to those before: a trace.
#[derive(Clone, Debug)]
pub struct Open<I>(pub I);

impl<I: Iterator<Item = Result<Request, E>>, E> Load for Open<I> {
    type Error = E;

    fn next(&mut self) -> Option<Result<Request, E>> {
        self.0.next()
    }
}

/// Clients that each send the next request when the one before is answered: a benchmark with a
/// fixed concurrency. All requests are alike.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    clients: u32,
    begun: u32,
    ramp: Duration,
    left: u64,
    isl: u32,
    osl: u32,
}

impl Closed {
    /// `clients` at a time, which begin evenly over `ramp`; `requests` in all, of `isl` prompt and
    /// `osl` output tokens.
    ///
    /// Without a ramp all prompts are read together, time and again, since all answers take the same
    /// time. Real answers drift apart.
    #[must_use]
    pub fn new(clients: u32, ramp: Duration, requests: u64, isl: u32, osl: u32) -> Self {
        Self { clients, begun: 0, ramp, left: requests, isl, osl: osl.max(1) }
    }

    fn request(&mut self, at: Timestamp) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        Some(Request { at, isl: self.isl, osl: self.osl, prefix_hit: None })
    }
}

impl Load for Closed {
    type Error = Infallible;

    fn next(&mut self) -> Option<Result<Request, Infallible>> {
        if self.begun >= self.clients {
            return None;
        }
        let at = Timestamp::from_millis(0).plus(self.ramp * self.begun / self.clients);
        self.begun += 1;
        self.request(at).map(Ok)
    }

    fn after(&mut self, now: SimTime) -> Option<Request> {
        // Rounded up: a client cannot send before its answer has come.
        let millis = now.as_nanos().div_ceil(1_000_000);
        self.request(Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
    }
}
