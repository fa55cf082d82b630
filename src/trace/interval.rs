//! A trace as a planner would have seen it: interval by interval.

use std::iter::Fuse;
use std::time::Duration;

use crate::units::{PerSecond, Timestamp, Tokens, seconds_of};

use super::{Request, TraceError};

/// A length over the requests of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: Tokens,
    /// Squared coefficient of variation: variance over squared mean; 0 where all are alike.
    pub cv2: f64,
    /// The longest, tokens.
    pub max: u32,
}

/// The requests that arrived from `start` on, for less than `width`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its beginning, from the start of the trace.
    pub start: Timestamp,
    /// Its length.
    pub width: Duration,
    /// How many arrived.
    pub requests: u64,
    /// The same per second, over the whole width. A trace that ends inside its last interval makes
    /// that one look idle.
    pub rate: PerSecond,
    /// Prompts; `None` where nothing arrived.
    pub isl: Option<Moments>,
    /// Outputs; `None` where nothing arrived.
    pub osl: Option<Moments>,
    /// Index of dispersion: variance over mean of the arrivals in each whole second of the
    /// interval; 1 for Poisson arrivals, more for bursts. `None` where nothing arrived or the
    /// interval has less than two whole seconds.
    pub dispersion: Option<f64>,
}

/// Sums up a sorted trace in intervals of `width` (at least 1 ms) from time 0 on. Intervals without
/// a request are kept, so that time is never compressed; the last one holds the last request.
pub fn intervals<I>(requests: I, width: Duration) -> Intervals<I::IntoIter>
where
    I: IntoIterator<Item = Result<Request, TraceError>>,
{
    let width = width.max(Duration::from_millis(1));
    let width_ms = i64::try_from(width.as_millis()).unwrap_or(i64::MAX);
    Intervals {
        requests: requests.into_iter().fuse(),
        width: Duration::from_millis(width_ms.unsigned_abs()),
        width_ms,
        start: 0,
        next: None,
        done: false,
    }
}

/// See [`intervals`].
#[derive(Debug)]
pub struct Intervals<I> {
    requests: Fuse<I>,
    width: Duration,
    width_ms: i64,
    start: i64,
    /// The first request behind the present interval.
    next: Option<Request>,
    done: bool,
}

impl<I: Iterator<Item = Result<Request, TraceError>>> Iterator for Intervals<I> {
    type Item = Result<Interval, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let start = self.start;
        let end = start.saturating_add(self.width_ms);
        let mut tally = Tally::default();
        loop {
            let request = match self.next.take().map(Ok).or_else(|| self.requests.next()) {
                Some(Ok(request)) => request,
                Some(Err(err)) => {
                    self.done = true;
                    return Some(Err(err));
                }
                None => {
                    self.done = true;
                    break;
                }
            };
            if request.at.as_millis() >= end && end > start {
                self.next = Some(request);
                break;
            }
            tally.add(&request, start);
        }
        self.start = end;
        if self.done && tally.requests == 0 {
            return None;
        }
        Some(Ok(tally.interval(Timestamp::from_millis(start), self.width)))
    }
}

/// Sums over one interval.
#[derive(Default)]
struct Tally {
    requests: u64,
    isl: LengthTally,
    osl: LengthTally,
    /// The second of the interval that the latest request fell in, and how many did.
    second: i64,
    in_second: u32,
    seconds: Vec<u32>,
}

impl Tally {
    fn add(&mut self, request: &Request, start: i64) {
        self.requests += 1;
        self.isl.add(request.isl);
        self.osl.add(request.osl);
        let second = (request.at.as_millis() - start) / 1000;
        if second != self.second {
            self.seconds_end();
            self.second = second;
        }
        self.in_second += 1;
    }

    /// Notes the count of a second that is over. Seconds without a request are not noted; they
    /// are known from the width.
    fn seconds_end(&mut self) {
        if self.in_second > 0 {
            self.seconds.push(self.in_second);
            self.in_second = 0;
        }
    }

    fn interval(mut self, start: Timestamp, width: Duration) -> Interval {
        let whole_seconds = width.as_secs();
        // A second that the interval cuts off is no whole one.
        if u64::try_from(self.second).is_ok_and(|second| second < whole_seconds) {
            self.seconds_end();
        }
        Interval {
            start,
            width,
            requests: self.requests,
            rate: PerSecond::clamped(exact(self.requests) / seconds_of(width)),
            isl: self.isl.moments(self.requests),
            osl: self.osl.moments(self.requests),
            dispersion: dispersion(&self.seconds, whole_seconds),
        }
    }
}

/// Variance (n - 1) over mean of the counts of `whole_seconds`, of which those not in `counts` are 0.
fn dispersion(counts: &[u32], whole_seconds: u64) -> Option<f64> {
    let total: u64 = counts.iter().map(|c| u64::from(*c)).sum();
    if whole_seconds < 2 || total == 0 {
        return None;
    }
    let n = exact(whole_seconds);
    let mean = exact(total) / n;
    let counted: f64 = counts.iter().map(|c| (f64::from(*c) - mean).powi(2)).sum();
    let empty = n - exact(u64::try_from(counts.len()).unwrap_or(u64::MAX));
    Some((counted + empty * mean * mean) / (n - 1.0) / mean)
}

/// Welford's sums, which do not lose the variance of long lengths.
#[derive(Default)]
struct LengthTally {
    n: f64,
    mean: f64,
    squares: f64,
    max: u32,
}

impl LengthTally {
    fn add(&mut self, length: u32) {
        let x = f64::from(length);
        self.n += 1.0;
        let delta = x - self.mean;
        self.mean += delta / self.n;
        self.squares += delta * (x - self.mean);
        self.max = self.max.max(length);
    }

    fn moments(&self, requests: u64) -> Option<Moments> {
        if requests == 0 {
            return None;
        }
        let variance = self.squares / self.n;
        let cv2 = if self.mean > 0.0 { variance / (self.mean * self.mean) } else { 0.0 };
        Some(Moments { mean: Tokens::clamped(self.mean), cv2, max: self.max })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a trace are far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[path = "interval_tests.rs"]
mod tests;
