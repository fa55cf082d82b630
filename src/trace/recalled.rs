//! Requests like those that metrics remember: rates and mean lengths, step by step.

use std::time::Duration;

use rand::SeedableRng as _;
use rand_distr::{Distribution as _, Exp1};
use rand_pcg::Pcg64Mcg;

use super::{LengthLaw, Request};
use crate::observe::TrafficStep;
use crate::units::{PerSecond, Timestamp, round_to_u64, seconds_of};

/// Draws Poisson arrivals of the rate of each step, with log-normal lengths of its means and the
/// coefficient of variation `cv`. Times count from the first step. A step that nobody counted has no
/// request: how long such steps are in all is told by [`unknown`].
///
/// Metrics say nothing of bursts inside a step, nor of how lengths spread; real traces have a `cv` of
/// about 1 (techniques.md 3.2), and more bursts than this.
pub fn recalled(steps: &[TrafficStep], cv: f64, seed: u64) -> impl Iterator<Item = Request> + '_ {
    let stream = |n: u64| Pcg64Mcg::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(n));
    let (mut gaps, mut prompts, mut outputs) = (stream(21), stream(22), stream(23));
    let zero = steps.first().map_or(0, |s| s.start.as_millis());
    let mut lengths: Option<(f64, f64)> = None;
    steps.iter().flat_map(move |step| {
        if let (Some(isl), Some(osl)) = (step.isl, step.osl) {
            lengths = Some((isl.get().max(1.0), osl.get().max(1.0)));
        }
        let rate = step.arrivals.map_or(0.0, PerSecond::get);
        let begin = (step.start.as_millis() - zero) as f64;
        let end = begin + seconds_of(step.length) * 1e3;
        let mut drawn = Vec::new();
        if let Some((isl, osl)) = lengths.filter(|_| rate > 0.0) {
            let mut at = begin;
            loop {
                let gap: f64 = Exp1.sample(&mut gaps);
                at += gap / rate * 1e3;
                if at >= end {
                    break;
                }
                let ms = i64::try_from(round_to_u64(at)).unwrap_or(i64::MAX);
                drawn.push(Request {
                    at: Timestamp::from_millis(ms),
                    isl: LengthLaw { mean: isl, cv }.draw(&mut prompts),
                    osl: LengthLaw { mean: osl, cv }.draw(&mut outputs),
                    prefix_hit: None,
                });
            }
        }
        drawn
    })
}

/// How long nothing could be drawn, for nobody counted, or arrivals came before any length was known;
/// and whether there is any load at all: `None` where no step has arrivals of known lengths.
#[must_use]
pub fn unknown(steps: &[TrafficStep]) -> Option<Duration> {
    let known = |s: &TrafficStep| s.arrivals.is_some_and(|r| r.get() > 0.0);
    let lengths = |s: &TrafficStep| s.isl.is_some() && s.osl.is_some();
    let measured = steps.iter().position(lengths)?;
    let undrawn = |(i, s): &(usize, &TrafficStep)| {
        s.arrivals.is_none_or(|rate| *i < measured && rate.get() > 0.0)
    };
    steps[measured..]
        .iter()
        .any(known)
        .then(|| steps.iter().enumerate().filter(undrawn).map(|(_, s)| s.length).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tokens;

    fn step(minute: i64, rate: Option<f64>, lengths: Option<(f64, f64)>) -> TrafficStep {
        TrafficStep {
            start: Timestamp::from_millis(1_700_000_000_000 + minute * 60_000),
            length: Duration::from_secs(60),
            arrivals: rate.and_then(PerSecond::new),
            isl: lengths.and_then(|l| Tokens::new(l.0)),
            osl: lengths.and_then(|l| Tokens::new(l.1)),
        }
    }

    #[test]
    fn each_step_has_its_rate_and_lengths_and_a_gap_has_nothing() {
        let steps = [
            step(0, Some(50.0), Some((1000.0, 100.0))),
            step(1, None, None),
            step(2, Some(20.0), None),
            step(3, Some(0.0), None),
            step(4, Some(30.0), Some((10.0, 5.0))),
        ];
        let all: Vec<Request> = recalled(&steps, 0.5, 3).collect();
        assert!(all.is_sorted_by_key(|r| r.at));
        let of = |minute: i64| {
            let span = minute * 60_000..(minute + 1) * 60_000;
            all.iter().filter(|r| span.contains(&r.at.as_millis())).collect::<Vec<_>>()
        };
        let near =
            |n: usize, want: f64| assert!((n as f64 - want).abs() < 4.0 * want.sqrt(), "{n}");
        near(of(0).len(), 3000.0);
        near(of(2).len(), 1200.0);
        near(of(4).len(), 1800.0);
        assert_eq!((of(1).len(), of(3).len()), (0, 0));
        let mean =
            |v: &[&Request]| v.iter().map(|r| f64::from(r.isl)).sum::<f64>() / v.len() as f64;
        assert!((mean(&of(2)) / 1000.0 - 1.0).abs() < 0.1, "the lengths of before");
        assert!(mean(&of(4)) < 20.0);
        assert_eq!(recalled(&steps, 0.5, 3).collect::<Vec<_>>(), all);
        assert_eq!(unknown(&steps), Some(Duration::from_secs(60)));
        assert_eq!(unknown(&steps[1..4]), None, "no lengths");
    }

    #[test]
    fn arrivals_before_any_known_length_are_unknown() {
        let steps = [
            step(0, Some(50.0), None),
            step(1, Some(0.0), None),
            step(2, None, None),
            step(3, Some(20.0), Some((1000.0, 100.0))),
            step(4, Some(20.0), None),
        ];
        assert!(recalled(&steps, 0.5, 3).all(|r| r.at.as_millis() >= 180_000));
        assert_eq!(unknown(&steps), Some(Duration::from_secs(120)), "minutes 0 and 2");
        let none_after = [step(0, Some(50.0), None), step(1, Some(0.0), Some((1000.0, 100.0)))];
        assert_eq!(unknown(&none_after), None, "nothing can be drawn");
    }
}
