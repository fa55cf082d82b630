//! What Prometheus would have: samples of the frontends' and workers' metrics, and the answers to
//! the queries that autoscalers make.
//!
//! A policy never sees the simulation itself, only samples that were scraped, no newer than the
//! last scrape, with latencies in the buckets of Dynamo's histograms, and rates extrapolated to the
//! edges of the window the way Prometheus does it.

#[cfg(test)]
pub(crate) mod fixture;
mod histogram;

pub use histogram::Histogram;
pub(super) use histogram::{DURATION, ISL, ITL, OSL, TTFT};

use std::collections::VecDeque;
use std::time::Duration;

use super::SimTime;
use crate::units::Role;

/// A counter of the frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Requests that arrived (`requests_started_total`).
    Started,
    /// Requests that ended, lost ones included (`requests_total`).
    Finished,
    /// Seconds in which a worker of the role had work, added over the workers: what a CPU counter
    /// shows of a GPU engine.
    Busy(Role),
}

/// A histogram of the frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Time to first token, seconds; observed at the first token.
    Ttft,
    /// Time between two tokens, seconds; observed at each token but the first.
    Itl,
    /// Whole request, seconds; observed at its end.
    Duration,
    /// Prompt tokens; observed at the first token.
    Isl,
    /// Output tokens; observed at the end.
    Osl,
}

/// A gauge at the moment of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Requests without their first token (`queued_requests`).
    Queued,
    /// Requests not ended (`inflight_requests`).
    Inflight,
    /// KV cache in use, a share; mean over the serving workers that hold a cache of running
    /// requests (decode or aggregated).
    KvUsage,
    /// The largest of those shares over the workers.
    KvUsageMax,
}

/// Everything that is counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Totals {
    pub(super) started: u64,
    pub(super) finished: u64,
    /// Nanoseconds by [`role_index`].
    pub(super) busy: [u64; 3],
    pub(super) ttft: Histogram<{ TTFT.len() + 1 }>,
    pub(super) itl: Histogram<{ ITL.len() + 1 }>,
    pub(super) duration: Histogram<{ DURATION.len() + 1 }>,
    pub(super) isl: Histogram<{ ISL.len() + 1 }>,
    pub(super) osl: Histogram<{ OSL.len() + 1 }>,
    pub(super) queued: u64,
    pub(super) inflight: u64,
    pub(super) kv_usage: f64,
    pub(super) kv_usage_max: f64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            started: 0,
            finished: 0,
            busy: [0; 3],
            ttft: Histogram::new(&TTFT),
            itl: Histogram::new(&ITL),
            duration: Histogram::new(&DURATION),
            isl: Histogram::new(&ISL),
            osl: Histogram::new(&OSL),
            queued: 0,
            inflight: 0,
            kv_usage: 0.0,
            kv_usage_max: 0.0,
        }
    }
}

pub(super) const fn role_index(role: Role) -> usize {
    match role {
        Role::Prefill => 0,
        Role::Decode => 1,
        Role::Aggregated => 2,
    }
}

#[derive(Clone, Debug)]
struct Sample {
    at: SimTime,
    totals: Totals,
}

/// The samples of the last while, and the queries over them.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: VecDeque<Sample>,
    retention: Duration,
    /// A sample can be asked for this long after it was taken.
    delay: Duration,
    now: SimTime,
    up: bool,
}

impl Metrics {
    pub(super) fn new(retention: Duration, delay: Duration) -> Self {
        Self { samples: VecDeque::new(), retention, delay, now: SimTime::ZERO, up: true }
    }

    pub(super) fn scrape(&mut self, at: SimTime, totals: &Totals) {
        let oldest = at.minus(self.retention);
        // The sample before the window stays, so that a window is never cut short by the cleaning.
        while self.samples.len() > 1 && self.samples[1].at < oldest {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, totals: totals.clone() });
    }

    /// The moment for which queries are answered, and whether there is an answer.
    pub(super) fn look(&mut self, now: SimTime, up: bool) {
        self.now = now;
        self.up = up;
    }

    /// Whether the source answers at all. When it does not, every query answers `None`.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// The moment for which queries are answered, by the source's own clock.
    pub(super) const fn now(&self) -> SimTime {
        self.now
    }

    /// When the newest sample was taken that can be seen.
    #[must_use]
    pub fn newest(&self) -> Option<SimTime> {
        self.last().map(|s| s.at)
    }

    fn visible(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        let until = self.now.minus(self.delay);
        self.samples.iter().filter(move |s| self.up && s.at <= until)
    }

    /// The samples of a window, which may begin before the simulation.
    fn within(&self, window: Duration) -> impl Iterator<Item = &Sample> {
        self.visible().filter(move |s| s.at.plus(window) > self.now)
    }

    /// The newest sample, as long as Prometheus would still give it: five minutes.
    fn last(&self) -> Option<&Sample> {
        const LOOKBACK: Duration = Duration::from_secs(300);
        self.visible().next_back().filter(|s| s.at.plus(LOOKBACK) > self.now)
    }

    /// First and last sample of the window, and the factor by which Prometheus' `increase` stretches
    /// the difference of a counter that read `value` at the first.
    fn window(&self, window: Duration) -> Option<(&Sample, &Sample, usize)> {
        let mut inside = self.within(window);
        let first = inside.next()?;
        let (mut last, mut n) = (first, 1);
        for sample in inside {
            last = sample;
            n += 1;
        }
        (n > 1).then_some((first, last, n))
    }

    fn stretched(&self, window: Duration, value: impl Fn(&Totals) -> f64) -> Option<f64> {
        let (first, last, n) = self.window(window)?;
        let (v0, v1) = (value(&first.totals), value(&last.totals));
        let increase = v1 - v0;
        let sampled = last.at.since(first.at) as f64;
        let between = sampled / (n - 1) as f64;
        let limit = between * 1.1;
        let mut before = first.at.plus(window).since(self.now) as f64;
        if before >= limit {
            before = between / 2.0;
        }
        if increase > 0.0 {
            // A counter is not extrapolated below zero.
            before = before.min(sampled * (v0 / increase));
        }
        let mut after = self.now.since(last.at) as f64;
        if after >= limit {
            after = between / 2.0;
        }
        Some(increase * (sampled + before + after) / sampled)
    }

    /// `increase(counter[window])`; `None` with fewer than two samples in it.
    #[must_use]
    pub fn increase(&self, counter: Counter, window: Duration) -> Option<f64> {
        self.stretched(window, |t| match counter {
            Counter::Started => t.started as f64,
            Counter::Finished => t.finished as f64,
            Counter::Busy(role) => t.busy[role_index(role)] as f64 / 1e9,
        })
    }

    /// `rate(counter[window])`, a second.
    #[must_use]
    pub fn rate(&self, counter: Counter, window: Duration) -> Option<f64> {
        Some(self.increase(counter, window)? / window.as_secs_f64())
    }

    /// `increase(family_count[window])`: observations in the window.
    #[must_use]
    pub fn observations(&self, family: Family, window: Duration) -> Option<f64> {
        self.stretched(window, |t| t.count(family) as f64)
    }

    /// `increase(family_sum[window]) / increase(family_count[window])`; `None` where nothing was
    /// observed (Prometheus answers NaN).
    #[must_use]
    pub fn mean(&self, family: Family, window: Duration) -> Option<f64> {
        let (first, last, _) = self.window(window)?;
        let n = last.totals.count(family) - first.totals.count(family);
        (n > 0).then(|| (last.totals.sum(family) - first.totals.sum(family)) / n as f64)
    }

    /// `histogram_quantile(q, rate(family_bucket[window]))`; `None` where nothing was observed.
    #[must_use]
    pub fn quantile(&self, family: Family, q: f64, window: Duration) -> Option<f64> {
        let (first, last, _) = self.window(window)?;
        match family {
            Family::Ttft => last.totals.ttft.quantile_since(&first.totals.ttft, q),
            Family::Itl => last.totals.itl.quantile_since(&first.totals.itl, q),
            Family::Duration => last.totals.duration.quantile_since(&first.totals.duration, q),
            Family::Isl => last.totals.isl.quantile_since(&first.totals.isl, q),
            Family::Osl => last.totals.osl.quantile_since(&first.totals.osl, q),
        }
    }

    /// The newest value of a gauge.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> Option<f64> {
        self.last().map(|s| s.totals.gauge(gauge))
    }

    /// `avg_over_time(gauge[window])`.
    #[must_use]
    pub fn gauge_mean(&self, gauge: Gauge, window: Duration) -> Option<f64> {
        let (sum, n) = self
            .within(window)
            .fold((0.0, 0_u32), |(sum, n), s| (sum + s.totals.gauge(gauge), n + 1));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// `max_over_time(gauge[window])`.
    #[must_use]
    pub fn gauge_max(&self, gauge: Gauge, window: Duration) -> Option<f64> {
        self.within(window).map(|s| s.totals.gauge(gauge)).max_by(f64::total_cmp)
    }

    /// Whether anything was counted between the last two samples although requests are in flight.
    pub(super) fn frozen_since(&self) -> Option<SimTime> {
        let mut newest = self.visible().rev();
        let last = newest.next()?;
        let same = |t: &Totals| {
            t.started == last.totals.started
                && t.ttft.count() == last.totals.ttft.count()
                && t.itl.count() == last.totals.itl.count()
                && t.finished == last.totals.finished
        };
        let since = newest.take_while(|s| same(&s.totals)).last()?;
        (last.totals.inflight > 0).then_some(since.at)
    }
}

impl Totals {
    fn count(&self, family: Family) -> u64 {
        match family {
            Family::Ttft => self.ttft.count(),
            Family::Itl => self.itl.count(),
            Family::Duration => self.duration.count(),
            Family::Isl => self.isl.count(),
            Family::Osl => self.osl.count(),
        }
    }

    fn sum(&self, family: Family) -> f64 {
        match family {
            Family::Ttft => self.ttft.sum(),
            Family::Itl => self.itl.sum(),
            Family::Duration => self.duration.sum(),
            Family::Isl => self.isl.sum(),
            Family::Osl => self.osl.sum(),
        }
    }

    fn gauge(&self, gauge: Gauge) -> f64 {
        match gauge {
            Gauge::Queued => self.queued as f64,
            Gauge::Inflight => self.inflight as f64,
            Gauge::KvUsage => self.kv_usage,
            Gauge::KvUsageMax => self.kv_usage_max,
        }
    }
}

#[cfg(test)]
mod tests;
