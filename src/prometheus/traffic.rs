//! The meaning: an answer to the union query as a [`Traffic`]. Pure.
//!
//! A figure passes a [`Gate`], which gives it its state. Contradictory: requests wait while none is in
//! flight and none arrives. Frozen: requests are in flight, and for a while no counter has moved.
//! Incomplete: a frontend does not answer, the source warns that a part of it is missing, or the
//! frontends are gone and the window still remembers them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observe::{FROZEN_AFTER, Gate, LatencySignals, Missing, Traffic};
use crate::units::{Millis, PerSecond, Share, Timestamp, Tokens};

use super::query::{PART_LABEL, Part, Question};
use super::{Answer, Sample};

/// When a figure is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A newest sample older than this is late. A few scrape intervals.
    pub fresh_for: Duration,
    /// Counters that have not moved for this long, with requests in flight, are frozen.
    pub frozen_after: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        // Dynamo's monitors scrape every 5 s: six lost scrapes are more than chance.
        Self { fresh_for: Duration::from_secs(30), frozen_after: FROZEN_AFTER }
    }
}

/// What one observation hands to the next, to tell what stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Sum of the raw counters; only its equality means anything.
    pub counted: f64,
    /// The newest sample at which it had moved.
    pub moved: Timestamp,
}

/// Decodes the answer to [`super::union_query`]. `previous` is what the last call returned.
#[must_use]
pub fn decode_traffic(
    now: Timestamp,
    answer: &Answer,
    question: &Question,
    rules: &Rules,
    previous: Option<&Progress>,
) -> (Traffic, Option<Progress>) {
    let rows = Rows::new(answer);
    let progress = rows.progress(now, previous);
    let frontend = rows.frontend(now, answer, question, rules, progress.as_ref());
    let worker = Gate {
        at: rows.moment(Part::WorkerNow, now),
        incomplete: !answer.warnings.is_empty(),
        ..Gate::open(now, rules.fresh_for)
    };

    let mean = |mean, count| rows.over(mean, count);
    let seconds = |s: f64| Millis::new(believed(s)? * 1e3);
    let Question { window, percentile } = *question;
    let traffic = Traffic {
        window,
        arrivals: frontend.pass(rows.arrivals(), |x| PerSecond::new(believed(x)?)),
        isl: frontend.pass(mean(Part::IslMean, Part::IslCount), |x| Tokens::new(believed(x)?)),
        osl: frontend.pass(mean(Part::OslMean, Part::OslCount), |x| Tokens::new(believed(x)?)),
        ttft: LatencySignals {
            mean: frontend.pass(mean(Part::TtftMean, Part::TtftCount), seconds),
            quantile: frontend.pass(mean(Part::TtftQuantile, Part::TtftCount), seconds),
            percentile,
        },
        itl: LatencySignals {
            mean: frontend.pass(mean(Part::ItlMean, Part::ItlCount), seconds),
            quantile: frontend.pass(mean(Part::ItlQuantile, Part::ItlCount), seconds),
            percentile,
        },
        request_duration: frontend.pass(mean(Part::DurationMean, Part::DurationCount), seconds),
        queued: frontend.pass(rows.value(Part::Queued), count_of),
        inflight: frontend.pass(rows.value(Part::Inflight), count_of),
        kv_usage: worker.pass(rows.value(Part::KvUsage), fraction),
    };
    (traffic, progress)
}

/// The most requests or seconds, and the longest request, that are believed: as `spec` has it for a
/// stated load. Beyond, a counter is broken, and a fleet must not follow it.
const MOST: f64 = 1e9;

fn believed(x: f64) -> Option<f64> {
    (x <= MOST).then_some(x)
}

fn count_of(x: f64) -> Option<f64> {
    (x.is_finite() && x >= 0.0).then_some(x)
}

/// Engines round: a full cache may read a little above 1. What reads as a percentage is refused.
fn fraction(x: f64) -> Option<Share> {
    (0.0..=1.01).contains(&x).then(|| Share::clamped(x))
}

/// The answer by part.
struct Rows<'a>(BTreeMap<Part, &'a Sample>);

impl<'a> Rows<'a> {
    fn new(answer: &'a Answer) -> Self {
        let named = answer.samples.iter().filter_map(|sample| {
            let part = Part::from_name(sample.labels.get(PART_LABEL)?)?;
            Some((part, sample))
        });
        Self(named.collect())
    }

    fn raw(&self, part: Part) -> Option<f64> {
        self.0.get(&part).map(|sample| sample.value)
    }

    fn value(&self, part: Part) -> Result<f64, Missing> {
        self.raw(part).ok_or(Missing::NoSeries)
    }

    /// A figure from the rate of a counter. One sample in the window makes no rate: that is a
    /// window too short for the scrape interval, not a series that is not there.
    fn rated(&self, part: Part) -> Result<f64, Missing> {
        match (self.raw(part), self.raw(Part::Samples)) {
            (Some(value), _) => Ok(value),
            (None, Some(samples)) if samples < 2.0 => Err(Missing::Unusable {
                detail: "one sample in the window: make it four scrape intervals or more"
                    .to_owned(),
            }),
            (None, _) => Err(Missing::NoSeries),
        }
    }

    /// Without any request counter the growth of the requests in flight would read as arrivals: a
    /// counter that was renamed upstream would be an idle fleet.
    fn arrivals(&self) -> Result<f64, Missing> {
        match self.raw(Part::Samples) {
            Some(_) => self.rated(Part::Arrivals),
            None => Err(Missing::NoSeries),
        }
    }

    /// A mean or a quantile, which is NaN where nothing was counted.
    fn over(&self, part: Part, count: Part) -> Result<f64, Missing> {
        match (self.rated(part)?, self.raw(count)) {
            (value, Some(0.0)) if value.is_nan() => Err(Missing::NoSamples),
            (value, _) => Ok(value),
        }
    }

    /// A time of the source on our clock: its age by the clock of the source, taken from `now`, so
    /// that clocks which differ do not make a sample look old or young.
    fn moment(&self, part: Part, now: Timestamp) -> Option<Timestamp> {
        let sample = self.0.get(&part)?;
        let age = (sample.at - sample.value).max(0.0);
        Some(now.minus(Duration::try_from_secs_f64(age).ok()?))
    }

    fn progress(&self, now: Timestamp, previous: Option<&Progress>) -> Option<Progress> {
        let counted = self.raw(Part::Progress).filter(|x| x.is_finite())?;
        let at = self.moment(Part::FrontendNow, now)?;
        match previous {
            #[expect(clippy::float_cmp, reason = "a counter that has not moved is the same number")]
            Some(previous) if previous.counted == counted => Some(*previous),
            Some(_) | None => Some(Progress { counted, moved: at }),
        }
    }

    fn frontend(
        &self,
        now: Timestamp,
        answer: &Answer,
        question: &Question,
        rules: &Rules,
        progress: Option<&Progress>,
    ) -> Gate {
        let live = self.moment(Part::FrontendNow, now);
        let positive = |part| self.raw(part).is_some_and(|x| x > 0.0);
        let zero = |part| self.raw(part).is_some_and(|x| x == 0.0);

        let waiting_for_nothing =
            positive(Part::Queued) && zero(Part::Inflight) && zero(Part::Arrivals);
        let stands_still = progress
            .filter(|p| positive(Part::Inflight) && now.since(p.moved) >= rules.frozen_after);
        Gate {
            // The window outlives the frontends: what it still tells is at least as old as them.
            at: live
                .or_else(|| self.moment(Part::FrontendLast, now))
                .or_else(|| Some(now.minus(question.window))),
            frozen: stands_still.map(|p| p.moved),
            contradiction: waiting_for_nothing
                .then(|| "requests are queued while none is in flight and none arrives".to_owned()),
            incomplete: live.is_none() || positive(Part::Unscraped) || !answer.warnings.is_empty(),
            ..Gate::open(now, rules.fresh_for)
        }
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
