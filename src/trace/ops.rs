//! What is done to a trace on its way: cut, scaled, stretched, put over or after another one.
//!
//! Everything streams, and stops at the first error.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::Request;
use crate::units::{Timestamp, round_to_u64};

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// The requests from `from` to before `to`; times count from `from`.
pub fn cut<I, E>(
    source: I,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = Result<Request, E>>
where
    I: Iterator<Item = Result<Request, E>>,
{
    let (from, to) = (millis(from), millis(to));
    source
        .take_while(move |r| r.as_ref().map_or(true, |r| r.at.as_millis() < to))
        .filter(move |r| r.as_ref().map_or(true, |r| r.at.as_millis() >= from))
        .map(move |r| r.map(|r| moved(r, -from)))
}

fn moved(request: Request, by: i64) -> Request {
    let at = request.at.as_millis().saturating_add(by).max(0);
    Request { at: Timestamp::from_millis(at), ..request }
}

/// Time runs `factor` times as slow: the rate falls by as much. Above 0.
pub fn stretched<I, E>(source: I, factor: f64) -> impl Iterator<Item = Result<Request, E>>
where
    I: Iterator<Item = Result<Request, E>>,
{
    source.map(move |r| {
        r.map(|r| {
            let ms = round_to_u64(r.at.as_millis().max(0) as f64 * factor);
            Request { at: Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)), ..r }
        })
    })
}

/// `factor` times the requests: each is kept, or copied, as often as that is on average. Copies come
/// up to `jitter` earlier or later, so that they do not arrive together.
pub fn scaled<I, E>(source: I, factor: f64, jitter: Duration, seed: u64) -> Scaled<I, E>
where
    I: Iterator<Item = Result<Request, E>>,
{
    Scaled {
        source,
        factor: factor.max(0.0),
        jitter: millis(jitter),
        rng: Pcg64Mcg::seed_from_u64(seed),
        order: 0,
        safe: i64::MIN,
        heap: BinaryHeap::new(),
        ended: None,
    }
}

/// See [`scaled`].
#[derive(Debug)]
pub struct Scaled<I, E> {
    source: I,
    factor: f64,
    jitter: i64,
    rng: Pcg64Mcg,
    order: u64,
    /// Nothing that is still to be read is before this, ms.
    safe: i64,
    /// By arrival, then by the order of drawing.
    heap: BinaryHeap<Reverse<(Timestamp, u64, Lengths)>>,
    /// The source has ended, with or without an error.
    ended: Option<Option<E>>,
}

type Lengths = (u32, u32, Option<u32>);

impl<I: Iterator<Item = Result<Request, E>>, E> Scaled<I, E> {
    fn head_is_safe(&self) -> bool {
        self.heap.peek().is_some_and(|Reverse(head)| head.0.as_millis() <= self.safe)
    }

    /// Reads until nothing that is still to come can be before the first of the heap.
    fn fill(&mut self) {
        while self.ended.is_none() && !self.head_is_safe() {
            match self.source.next() {
                None => self.ended = Some(None),
                Some(Err(error)) => self.ended = Some(Some(error)),
                Some(Ok(request)) => {
                    let whole = self.factor.floor();
                    let extra = u32::from(self.rng.random::<f64>() < self.factor - whole);
                    for copy in 0..crate::units::floor_to_u32(whole) + extra {
                        let by = if copy == 0 || self.jitter == 0 {
                            0
                        } else {
                            self.rng.random_range(-self.jitter..=self.jitter)
                        };
                        let Request { at, isl, osl, prefix_hit } = moved(request, by);
                        self.order += 1;
                        self.heap.push(Reverse((at, self.order, (isl, osl, prefix_hit))));
                    }
                    self.safe = request.at.as_millis().saturating_sub(self.jitter).max(0);
                }
            }
        }
    }
}

impl<I: Iterator<Item = Result<Request, E>>, E> Iterator for Scaled<I, E> {
    type Item = Result<Request, E>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        match self.heap.pop() {
            Some(Reverse((at, _, (isl, osl, prefix_hit)))) => {
                Some(Ok(Request { at, isl, osl, prefix_hit }))
            }
            None => self.ended.as_mut().and_then(Option::take).map(Err),
        }
    }
}

/// The requests of several traces at once, by arrival.
pub fn superposed<I, E>(sources: Vec<I>) -> impl Iterator<Item = Result<Request, E>>
where
    I: Iterator<Item = Result<Request, E>>,
{
    let mut heads: Vec<_> = sources.into_iter().map(Iterator::peekable).collect();
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let mut first: Option<(Timestamp, usize)> = None;
        for (i, head) in heads.iter_mut().enumerate() {
            match head.peek() {
                None => {}
                // An error comes before everything.
                Some(Err(_)) => {
                    failed = true;
                    return head.next();
                }
                Some(Ok(r)) if first.is_none_or(|(at, _)| r.at < at) => first = Some((r.at, i)),
                Some(Ok(_)) => {}
            }
        }
        heads[first?.1].next()
    })
}

/// One trace after the other; the n-th begins at the n-th offset, and ends what is left of the one
/// before it.
pub fn spliced<I, E>(parts: Vec<(Duration, I)>) -> impl Iterator<Item = Result<Request, E>>
where
    I: Iterator<Item = Result<Request, E>>,
{
    let mut parts: VecDeque<_> = parts.into();
    std::iter::from_fn(move || {
        loop {
            let until = parts.get(1).map_or(i64::MAX, |(at, _)| millis(*at));
            let (offset, source) = parts.front_mut()?;
            let next = source.next().map(|r| r.map(|r| moved(r, millis(*offset))));
            match next {
                Some(Ok(r)) if r.at.as_millis() >= until => {}
                Some(Err(error)) => {
                    parts.clear();
                    return Some(Err(error));
                }
                Some(request) => return Some(request),
                None => {}
            }
            parts.pop_front();
        }
    })
}

/// Shortened to fit into `most` tokens: outputs to three quarters of it at most, prompts so that both
/// fit.
#[must_use]
pub fn shortened(request: Request, most: u32) -> Request {
    let osl = request.osl.min(most / 4 * 3).max(1);
    let isl = request.isl.min(most.saturating_sub(osl + 1));
    Request { isl, osl, prefix_hit: request.prefix_hit.map(|hit| hit.min(isl)), ..request }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(ms: i64, n: i64) -> Vec<Result<Request, &'static str>> {
        (0..n)
            .map(|i| {
                Ok(Request {
                    at: Timestamp::from_millis(i * ms),
                    isl: 10,
                    osl: 1,
                    prefix_hit: None,
                })
            })
            .collect()
    }

    fn times(of: impl Iterator<Item = Result<Request, &'static str>>) -> Vec<i64> {
        of.map(|r| r.unwrap().at.as_millis()).collect()
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_cut_counts_from_its_beginning() {
        assert_eq!(times(cut(every(500, 10).into_iter(), S, 3 * S)), [0, 500, 1000, 1500]);
    }

    #[test]
    fn scaling_keeps_the_order_and_the_count() {
        for factor in [0.3, 1.0, 2.5, 4.0] {
            let got = times(scaled(every(100, 10_000).into_iter(), factor, 5 * S, 7));
            assert!(got.is_sorted(), "{factor}");
            let share = got.len() as f64 / 10_000.0;
            assert!((share - factor).abs() < 0.03, "{factor}: {share}");
            let again = times(scaled(every(100, 10_000).into_iter(), factor, 5 * S, 7));
            assert_eq!(got, again, "the seed decides");
        }
        assert_eq!(times(scaled(every(100, 5).into_iter(), 0.0, S, 1)), [0_i64; 0]);
    }

    #[test]
    fn scaling_up_holds_no_more_than_the_jitter_spans() {
        for (jitter, most) in [(5 * S, 420), (Duration::ZERO, 8)] {
            let mut scaled = scaled(every(100, 10_000).into_iter(), 4.0, jitter, 7);
            let mut held = 0;
            while scaled.next().is_some() {
                held = held.max(scaled.heap.len());
            }
            assert!(held <= most, "{held} requests held with a jitter of {jitter:?}");
        }
    }

    #[test]
    fn stretching_moves_in_proportion() {
        assert_eq!(times(stretched(every(100, 3).into_iter(), 2.5)), [0, 250, 500]);
    }

    #[test]
    fn traces_over_each_other_are_merged_by_arrival() {
        let both = superposed(vec![every(100, 3).into_iter(), every(70, 4).into_iter()]);
        assert_eq!(times(both), [0, 0, 70, 100, 140, 200, 210]);
    }

    #[test]
    fn a_splice_ends_what_was_before() {
        let parts =
            vec![(Duration::ZERO, every(400, 9).into_iter()), (S, every(300, 2).into_iter())];
        assert_eq!(times(spliced(parts)), [0, 400, 800, 1000, 1300]);
    }

    #[test]
    fn the_first_error_ends_everything() {
        let broken =
            || vec![every(100, 1).remove(0), Err("torn"), every(100, 1).remove(0)].into_iter();
        let ends = |of: Vec<Result<Request, &str>>| {
            assert_eq!(of.iter().filter(|r| r.is_err()).count(), 1, "{of:?}");
            assert!(of.last().unwrap().is_err(), "{of:?}");
        };
        ends(scaled(broken(), 2.0, S, 1).collect());
        ends(
            superposed(vec![broken(), every(100, 5).into_iter().collect::<Vec<_>>().into_iter()])
                .collect(),
        );
        ends(spliced(vec![(Duration::ZERO, broken()), (S, broken())]).collect());
    }

    #[test]
    fn long_requests_are_shortened_to_what_fits() {
        let long =
            Request { at: Timestamp::from_millis(0), isl: 9000, osl: 9000, prefix_hit: Some(9000) };
        let Request { isl, osl, prefix_hit, .. } = shortened(long, 8192);
        assert_eq!((isl, osl, prefix_hit), (2047, 6144, Some(2047)));
    }
}
