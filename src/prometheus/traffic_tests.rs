use super::*;
use crate::observe::Signal;
use crate::units::Percentile;

/// The present by the clock of the source, which runs an hour ahead of ours.
const EVAL: f64 = 1_700_003_600.0;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn question() -> Question {
    Question { window: Duration::from_secs(180), percentile: Percentile::default() }
}

fn rules() -> Rules {
    Rules { fresh_for: Duration::from_secs(15), frozen_after: Duration::from_secs(30) }
}

/// A busy and healthy deployment, sampled 3 s ago.
fn healthy() -> Vec<(Part, f64)> {
    vec![
        (Part::Arrivals, 12.5),
        (Part::IslMean, 3000.0),
        (Part::IslCount, 12.0),
        (Part::OslMean, 150.0),
        (Part::OslCount, 12.0),
        (Part::TtftMean, 0.25),
        (Part::TtftQuantile, 0.61),
        (Part::TtftCount, 12.0),
        (Part::ItlMean, 0.02),
        (Part::ItlQuantile, 0.04),
        (Part::ItlCount, 12.0),
        (Part::DurationMean, 3.5),
        (Part::DurationCount, 12.0),
        (Part::Queued, 2.0),
        (Part::Inflight, 40.0),
        (Part::KvUsage, 0.45),
        (Part::FrontendNow, EVAL - 3.0),
        (Part::FrontendLast, EVAL - 3.0),
        (Part::WorkerNow, EVAL - 4.0),
        (Part::Samples, 36.0),
        (Part::Progress, 1e6),
    ]
}

fn with(changes: &[(Part, f64)]) -> Answer {
    let mut rows: BTreeMap<Part, f64> = healthy().into_iter().collect();
    rows.extend(changes.iter().copied());
    answer(rows)
}

fn without(gone: &[Part]) -> Answer {
    answer(healthy().into_iter().filter(|(part, _)| !gone.contains(part)))
}

fn answer(rows: impl IntoIterator<Item = (Part, f64)>) -> Answer {
    let samples = rows
        .into_iter()
        .map(|(part, value)| Sample {
            labels: BTreeMap::from([(PART_LABEL.to_owned(), part.as_str().to_owned())]),
            at: EVAL,
            value,
        })
        .collect();
    Answer { samples, ..Answer::default() }
}

fn decode(answer: &Answer) -> Traffic {
    decode_traffic(NOW, answer, &question(), &rules(), None).0
}

#[test]
fn a_healthy_answer_is_fresh_in_our_units_and_on_our_clock() {
    let traffic = decode(&with(&[]));
    let at = NOW.minus(Duration::from_secs(3));
    assert_eq!(traffic.arrivals, Signal::Fresh { value: PerSecond::new(12.5).unwrap(), at });
    assert_eq!(traffic.isl.fresh().unwrap().get(), 3000.0);
    assert_eq!(traffic.osl.fresh().unwrap().get(), 150.0);
    assert_eq!(traffic.ttft.mean.fresh().unwrap().get(), 250.0);
    assert_eq!(traffic.ttft.quantile.fresh().unwrap().get(), 610.0);
    assert_eq!(traffic.itl.mean.fresh().unwrap().get(), 20.0);
    assert_eq!(traffic.itl.quantile.fresh().unwrap().get(), 40.0);
    assert_eq!(traffic.request_duration.fresh().unwrap().get(), 3500.0);
    assert_eq!(traffic.queued.fresh(), Some(&2.0));
    assert_eq!(traffic.inflight.fresh(), Some(&40.0));
    assert_eq!(traffic.kv_usage.fresh().unwrap().get(), 0.45);
    assert_eq!(traffic.kv_usage.age(NOW), Some(Duration::from_secs(4)));
}

#[test]
fn an_empty_answer_is_missing_and_never_zero() {
    let (traffic, progress) = decode_traffic(NOW, &Answer::default(), &question(), &rules(), None);
    let all = Traffic::all_missing(question().window, question().percentile, &Missing::NoSeries);
    assert_eq!(traffic, all);
    assert_eq!(progress, None);
}

#[test]
fn idle_is_a_fresh_zero_with_no_samples_behind_the_means() {
    let nan = f64::NAN;
    let traffic = decode(&with(&[
        (Part::Arrivals, 0.0),
        (Part::IslMean, nan),
        (Part::IslCount, 0.0),
        (Part::TtftMean, nan),
        (Part::TtftQuantile, nan),
        (Part::TtftCount, 0.0),
        (Part::Queued, 0.0),
        (Part::Inflight, 0.0),
    ]));
    assert_eq!(traffic.arrivals.fresh(), Some(&PerSecond::ZERO));
    assert!(traffic.isl.has_no_samples());
    assert!(traffic.ttft.mean.has_no_samples());
    assert!(traffic.ttft.quantile.has_no_samples());
    assert!(traffic.osl.is_fresh());
}

#[test]
fn a_nan_with_samples_behind_it_is_unusable() {
    let traffic = decode(&with(&[(Part::TtftMean, f64::NAN), (Part::ItlMean, -0.5)]));
    let unusable = |detail: &str| Missing::Unusable { detail: detail.to_owned() };
    assert_eq!(traffic.ttft.mean, Signal::missing(unusable("NaN")));
    assert_eq!(traffic.itl.mean, Signal::missing(unusable("-0.5")));
    let traffic = decode(&with(&[(Part::Arrivals, f64::INFINITY), (Part::Queued, -1.0)]));
    assert_eq!(traffic.arrivals, Signal::missing(unusable("inf")));
    assert_eq!(traffic.queued, Signal::missing(unusable("-1")));
}

#[test]
fn a_kv_usage_in_percent_is_refused() {
    assert_eq!(decode(&with(&[(Part::KvUsage, 45.0)])).kv_usage.known(), None);
    let full = decode(&with(&[(Part::KvUsage, 1.004)]));
    assert_eq!(full.kv_usage.fresh(), Some(&Share::ALL));
}

#[test]
fn a_part_that_is_not_there_takes_only_its_own_signal() {
    let traffic = decode(&without(&[Part::OslMean, Part::OslCount, Part::KvUsage]));
    assert_eq!(traffic.osl, Signal::missing(Missing::NoSeries));
    assert_eq!(traffic.kv_usage, Signal::missing(Missing::NoSeries));
    assert!(traffic.isl.is_fresh());
}

#[test]
fn one_sample_in_the_window_is_not_a_missing_series() {
    let mut rows: BTreeMap<Part, f64> = healthy().into_iter().collect();
    rows.insert(Part::Samples, 1.0);
    rows.remove(&Part::Arrivals);
    let traffic = decode(&answer(rows));
    assert!(traffic.arrivals.to_string().contains("one sample"), "{}", traffic.arrivals);
}

#[test]
fn without_a_request_counter_the_growth_in_flight_is_no_arrival_rate() {
    let traffic = decode(&without(&[Part::Samples]));
    assert_eq!(traffic.arrivals, Signal::missing(Missing::NoSeries));
    assert!(traffic.inflight.is_fresh());
}

#[test]
fn a_stale_sample_is_late() {
    let traffic = decode(&with(&[(Part::FrontendNow, EVAL - 16.0)]));
    assert!(matches!(traffic.arrivals, Signal::Late { .. }));
    assert!(matches!(traffic.queued, Signal::Late { .. }));
    assert!(traffic.kv_usage.is_fresh());
}

#[test]
fn a_sample_from_the_future_is_young() {
    let traffic = decode(&with(&[(Part::FrontendNow, EVAL + 5.0)]));
    assert_eq!(traffic.arrivals.age(NOW), Some(Duration::ZERO));
}

#[test]
fn what_the_window_remembers_of_frontends_that_are_gone_is_late() {
    let mut rows: BTreeMap<Part, f64> = healthy().into_iter().collect();
    for gone in [Part::FrontendNow, Part::Queued, Part::Inflight] {
        rows.remove(&gone);
    }
    rows.insert(Part::FrontendLast, EVAL - 8.0);
    let traffic = decode(&answer(rows.clone()));
    let at = NOW.minus(Duration::from_secs(8));
    assert_eq!(traffic.arrivals, Signal::Late { value: PerSecond::new(12.5).unwrap(), at });
    assert_eq!(traffic.inflight, Signal::missing(Missing::NoSeries));

    rows.remove(&Part::FrontendLast);
    let traffic = decode(&answer(rows));
    assert_eq!(traffic.arrivals.age(NOW), Some(question().window));
    assert!(!traffic.arrivals.is_fresh());
}

#[test]
fn a_frontend_that_does_not_answer_makes_the_rest_late() {
    let traffic = decode(&with(&[(Part::Unscraped, 1.0)]));
    assert!(matches!(traffic.arrivals, Signal::Late { .. }));
    assert!(traffic.kv_usage.is_fresh());
}

#[test]
fn a_warning_of_the_source_makes_everything_late() {
    let answer = Answer { warnings: vec!["a store is down".to_owned()], ..with(&[]) };
    let traffic = decode(&answer);
    assert!(matches!(traffic.arrivals, Signal::Late { .. }));
    assert!(matches!(traffic.kv_usage, Signal::Late { .. }));
    let remarked = Answer { infos: vec!["not a counter".to_owned()], ..with(&[]) };
    assert!(decode(&remarked).arrivals.is_fresh());
}

#[test]
fn a_queue_without_requests_contradicts() {
    let traffic = decode(&with(&[(Part::Arrivals, 0.0), (Part::Inflight, 0.0)]));
    assert!(matches!(traffic.arrivals, Signal::Contradictory { .. }));
    assert!(matches!(traffic.queued, Signal::Contradictory { .. }));
    // A queue that waits longer than the window is no contradiction: the requests are in flight.
    assert!(decode(&with(&[(Part::Arrivals, 0.0)])).arrivals.is_fresh());
}

/// Ticks every 10 s with these counters; the state of the arrivals at each.
fn states(ticks: &[(f64, f64)]) -> Vec<String> {
    let mut previous = None;
    let mut states = Vec::new();
    let mut now = NOW;
    for &(progress, inflight) in ticks {
        let answer = with(&[(Part::Progress, progress), (Part::Inflight, inflight)]);
        let (traffic, next) =
            decode_traffic(now, &answer, &question(), &rules(), previous.as_ref());
        states.push(traffic.arrivals.to_string());
        previous = next;
        now = now.plus(Duration::from_secs(10));
    }
    states
}

#[test]
fn counters_that_stand_still_with_requests_in_flight_are_frozen() {
    let still = [(7.0, 3.0), (7.0, 3.0), (7.0, 3.0), (7.0, 3.0), (8.0, 3.0)];
    assert_eq!(states(&still), ["fresh", "fresh", "fresh", "frozen", "fresh"]);
}

#[test]
fn an_idle_fleet_is_not_frozen() {
    assert_eq!(states(&[(7.0, 0.0); 6]), ["fresh"; 6]);
}

#[test]
fn a_counter_reset_is_movement() {
    let reset = [(7.0, 3.0), (7.0, 3.0), (7.0, 3.0), (1.0, 3.0), (1.0, 3.0)];
    assert_eq!(states(&reset), ["fresh"; 5]);
}

#[test]
fn a_frozen_figure_says_since_when() {
    let (_, first) = decode_traffic(NOW, &with(&[]), &question(), &rules(), None);
    let later = NOW.plus(Duration::from_secs(60));
    let (traffic, second) =
        decode_traffic(later, &with(&[]), &question(), &rules(), first.as_ref());
    let since = NOW.minus(Duration::from_secs(3));
    assert_eq!(traffic.arrivals, Signal::Frozen { value: PerSecond::new(12.5).unwrap(), since });
    assert_eq!(second, first);
}
