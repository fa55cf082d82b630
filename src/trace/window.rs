//! A trace as a planner's queries see it: a window that ends at each tick.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Interval, Intervals, Request, TraceError, intervals};
use crate::observe::TrafficStep;
use crate::units::{PerSecond, Timestamp, Tokens, seconds_of};

/// Sums up a sorted trace at each tick from time 0 on, over a window that ends there: the smallest
/// whole number of ticks that is at least `window`, or what of it has passed since the beginning. A
/// tick that the trace ends within is left out, since it would look idle.
pub fn windows<I>(requests: I, tick: Duration, window: Duration) -> Windows<I::IntoIter>
where
    I: IntoIterator<Item = Result<Request, TraceError>>,
{
    let tick = tick.max(Duration::from_millis(1));
    let ticks = window.as_millis().div_ceil(tick.as_millis()).max(1);
    Windows {
        intervals: intervals(requests, tick),
        ticks: usize::try_from(ticks).unwrap_or(usize::MAX),
        recent: VecDeque::new(),
        next: None,
    }
}

/// See [`windows`].
#[derive(Debug)]
pub struct Windows<I> {
    intervals: Intervals<I>,
    ticks: usize,
    /// The intervals of the present window.
    recent: VecDeque<Interval>,
    /// The one behind it: the last one of all is never summed up.
    next: Option<Interval>,
}

impl<I: Iterator<Item = Result<Request, TraceError>>> Iterator for Windows<I> {
    type Item = Result<TrafficStep, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.is_none() {
            match self.intervals.next()? {
                Ok(first) => self.next = Some(first),
                Err(error) => return Some(Err(error)),
            }
        }
        match self.intervals.next()? {
            Ok(newer) => {
                let whole = self.next.replace(newer)?;
                self.recent.push_back(whole);
                while self.recent.len() > self.ticks {
                    self.recent.pop_front();
                }
                summed(&self.recent).map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

fn summed(intervals: &VecDeque<Interval>) -> Option<TrafficStep> {
    let start = intervals.front()?.start;
    let length: Duration = intervals.iter().map(|i| i.width).sum();
    let requests: f64 = intervals.iter().map(|i| i.requests as f64).sum();
    let mean = |of: fn(&Interval) -> Option<Tokens>| {
        let tokens = intervals.iter().filter_map(|i| Some(i.requests as f64 * of(i)?.get()));
        let tokens: f64 = tokens.sum();
        (requests > 0.0).then(|| Tokens::clamped(tokens / requests))
    };
    Some(TrafficStep {
        start,
        length,
        arrivals: Some(PerSecond::clamped(requests / seconds_of(length))),
        isl: mean(|i| i.isl.map(|m| m.mean)),
        osl: mean(|i| i.osl.map(|m| m.mean)),
    })
}

const DAY_MS: i64 = 86_400_000;

/// Moves the steps of a trace so that they are history at `now`, and the last one is over by then.
///
/// Where the trace has a date (`began`, of its time 0), it moves by whole days, for its hours to be
/// those of the clock, and by whole weeks where it has a week or more; else it ends at `now`.
#[must_use]
pub fn before(
    now: Timestamp,
    mut steps: Vec<TrafficStep>,
    began: Option<Timestamp>,
) -> Vec<TrafficStep> {
    let ends = |step: &TrafficStep| step.start.plus(step.length).as_millis();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return steps };
    let (begin, end) = (first.start.as_millis(), ends(last));
    let by = match began {
        None => now.as_millis().saturating_sub(end),
        Some(began) => {
            let unit = if end - begin >= 7 * DAY_MS { 7 * DAY_MS } else { DAY_MS };
            let began = began.as_millis();
            let behind = now.as_millis().saturating_sub(end).saturating_sub(began);
            began.saturating_add(behind.div_euclid(unit).saturating_mul(unit))
        }
    };
    for step in &mut steps {
        step.start = Timestamp::from_millis(step.start.as_millis().saturating_add(by));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(10);

    fn request(at: i64, isl: u32) -> Result<Request, TraceError> {
        Ok(Request { at: Timestamp::from_millis(at), isl, osl: 10, prefix_hit: None })
    }

    #[test]
    fn a_window_slides_by_ticks_and_the_last_tick_is_left_out() {
        let requests = [
            request(0, 100),
            request(9_999, 300),
            request(10_000, 800),
            request(31_000, 50),
            request(40_000, 7),
        ];
        let steps: Vec<TrafficStep> =
            windows(requests, TICK, Duration::from_secs(15)).map(Result::unwrap).collect();
        let told = |s: &TrafficStep| {
            let isl = s.isl.map(Tokens::get);
            (s.start.as_millis(), s.length.as_secs(), s.arrivals.unwrap().get(), isl)
        };
        let told: Vec<_> = steps.iter().map(told).collect();
        assert_eq!(
            told,
            [
                (0, 10, 0.2, Some(200.0)),
                (0, 20, 0.15, Some(400.0)),
                (10_000, 20, 0.05, Some(800.0)),
                (20_000, 20, 0.05, Some(50.0)),
            ]
        );
    }

    #[test]
    fn an_idle_window_is_a_zero_without_lengths_and_an_error_is_told() {
        let steps: Vec<_> = windows([request(0, 1), request(25_000, 1)], TICK, TICK).collect();
        assert_eq!(steps.len(), 2);
        let idle = steps[1].as_ref().unwrap();
        assert_eq!((idle.arrivals.map(PerSecond::get), idle.isl), (Some(0.0), None));
        let bad = TraceError { line: 3, problem: crate::trace::Problem::NotText };
        let all: Vec<_> = windows([request(0, 1), Err(bad)], TICK, TICK).collect();
        assert!(matches!(&all[..], [Err(_)]), "{all:?}");
    }

    #[test]
    fn history_ends_at_now_or_keeps_the_hour_of_its_dates() {
        let hours = |n: i64| -> Vec<TrafficStep> {
            let requests = (0..=n * 6).map(|i| request(i * 600_000, 1));
            windows(requests, Duration::from_secs(600), Duration::ZERO)
                .map(Result::unwrap)
                .collect()
        };
        let now = Timestamp::from_millis(1_800_000_000_000);
        let end = |steps: &[TrafficStep]| steps.last().map(|s| s.start.plus(s.length)).unwrap();
        let plain = before(now, hours(3), None);
        assert_eq!(end(&plain), now);
        let began = Timestamp::from_millis(1_700_000_123_000);
        for (n, unit) in [(3, DAY_MS), (8 * 24, 7 * DAY_MS)] {
            let dated = before(now, hours(n), Some(began));
            let gap = now.as_millis() - end(&dated).as_millis();
            assert!((0..unit).contains(&gap), "{gap}");
            assert_eq!((dated[0].start.as_millis() - began.as_millis()) % unit, 0);
        }
        // A trace of days that are still to come.
        let late = before(began.minus(Duration::from_secs(86_400 * 40)), hours(3), Some(began));
        assert_eq!((late[0].start.as_millis() - began.as_millis()) % DAY_MS, 0);
        assert!(end(&late) <= began.minus(Duration::from_secs(86_400 * 40)));
        assert!(before(now, Vec::new(), None).is_empty());
    }
}
