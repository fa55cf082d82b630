use super::*;
use crate::trace::Request;
use crate::units::Timestamp;

const PROMISE: Promise = Promise { ttft_ms: 500.0, itl_ms: 50.0, percentile: 90.0 };

/// A request that came at `s` seconds, with its latencies in ms.
fn ended(s: u64, ttft: u64, itl: u64, end: End) -> Ended {
    let arrived = SimTime::from_millis(s * 1000);
    let first = SimTime::from_millis(s * 1000 + ttft);
    let at = Timestamp::from_millis(i64::try_from(s).unwrap() * 1000);
    Ended {
        request: Request { at, isl: 100, osl: 11, prefix_hit: None },
        arrived,
        first: (end != End::Unfinished).then_some(first),
        at: SimTime::from_millis(s * 1000 + ttft + 10 * itl),
        end,
    }
}

fn summary(requests: u64) -> Summary {
    let end = SimTime::from_millis(3_600_000);
    Summary { requests, end, gpu_nanos: 2 * 3_600_000_000_000, ..Summary::default() }
}

#[test]
fn a_request_is_good_when_both_latencies_are_kept() {
    let mut scorer = Scorer::new(PROMISE, None);
    for (ttft, itl, end) in [
        (500, 50, End::Complete),
        (501, 50, End::Complete),
        (500, 51, End::Complete),
        (100, 10, End::Lost),
        (900, 10, End::Unfinished),
    ] {
        scorer.ended(&ended(1, ttft, itl, end));
    }
    let (score, timeline) = scorer.finish(&summary(5));
    assert_eq!((score.good, score.completed, score.lost, score.unfinished), (1, 3, 1, 1));
    assert_eq!((score.late_ttft, score.slow_itl), (2, 1));
    assert_eq!((score.attainment, score.gpu_hours, score.good_per_gpu_hour), (20.0, 2.0, 0.5));
    assert_eq!(timeline, None);
}

#[test]
fn changes_and_changes_back_are_counted_by_the_hour() {
    let mut scorer = Scorer::new(PROMISE, None);
    for (role, from, to) in [
        (Role::Prefill, 2, 4),
        (Role::Decode, 3, 1),
        (Role::Prefill, 4, 5),
        (Role::Prefill, 5, 2),
        (Role::Decode, 1, 2),
    ] {
        scorer.ordered(SimTime::ZERO, role, from, to, "");
    }
    let (score, _) = scorer.finish(&summary(0));
    assert_eq!((score.changes, score.changes_per_hour, score.reversals_per_hour), (5, 5.0, 2.0));
    assert_eq!(score.attainment, 100.0, "nobody came, nobody was late");
}

#[test]
fn a_spell_lasts_until_the_promise_is_kept_again() {
    let mut scorer = Scorer::new(PROMISE, None);
    // Late from 20 s to 60 s, with nobody in between at 40 s; and once more at 100 s.
    for s in [5, 15, 25, 35, 55, 65, 95, 105, 115] {
        let late = matches!(s, 25..=55 | 105);
        scorer.ended(&ended(s, if late { 900 } else { 100 }, 10, End::Complete));
    }
    let (score, _) = scorer.finish(&summary(9));
    let Recovery { spells, mean_s, longest_s } = score.recovery;
    assert_eq!((spells, mean_s, longest_s), (2, 25.0, 40.0));
}

#[test]
fn a_timeline_has_every_row_and_counts_by_arrival() {
    let mut scorer = Scorer::new(PROMISE, Some(10.0));
    let pool = PoolView { desired: 3, ready: 2, starting: 1, draining: 0, pending: 0 };
    scorer.fleet(SimTime::ZERO, Role::Decode, PoolView { desired: 2, starting: 0, ..pool }, 4);
    scorer.fleet(SimTime::from_millis(25_000), Role::Decode, pool, 4);
    scorer.forecast(SimTime::from_millis(40_000), [1.0, 2.0, 3.0]);
    // Came in the second row, was answered in the sixth.
    scorer.ended(&ended(12, 45_000, 10, End::Complete));
    scorer.ended(&ended(13, 100, 10, End::Complete));
    let end = Summary { end: SimTime::from_millis(90_000), ..summary(2) };
    let (score, timeline) = scorer.finish(&end);
    let rows = timeline.unwrap().rows;
    assert_eq!((rows.len(), score.peak_gpus), (10, 12));
    assert_eq!((rows[1].rps, rows[1].good), (0.2, Some(50.0)));
    assert_eq!((rows[0].good, rows[5].rps), (None, 0.0));
    assert_eq!(
        (rows[1].pools[&Role::Decode].starting, rows[2].pools[&Role::Decode].starting),
        (0, 1)
    );
    assert_eq!(
        (rows[2].gpus, rows[3].forecast, rows[5].forecast),
        (12, None, Some([1.0, 2.0, 3.0]))
    );
}
