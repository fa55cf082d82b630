use super::*;

const EVERY: Duration = Duration::from_secs(5);

fn filled(until_s: u64, per_scrape: u64) -> Metrics {
    let mut metrics = Metrics::new(Duration::from_secs(600), Duration::ZERO);
    let mut totals = Totals::default();
    for s in (0..=until_s).step_by(5) {
        metrics.scrape(SimTime::from_millis(s * 1000), &totals);
        totals.started += per_scrape;
        totals.ttft.observe(0.1, per_scrape);
    }
    metrics.look(SimTime::from_millis(until_s * 1000), true);
    metrics
}

#[test]
fn a_steady_counter_has_its_rate() {
    let metrics = filled(300, 50);
    let rate = metrics.rate(Counter::Started, Duration::from_secs(60)).unwrap();
    assert!((rate - 10.0).abs() < 1e-9, "{rate}");
    let mean = metrics.mean(Family::Ttft, Duration::from_secs(60)).unwrap();
    assert!((mean - 0.1).abs() < 1e-9, "{mean}");
}

#[test]
fn a_window_that_is_half_empty_reads_half() {
    let mut metrics = filled(300, 50);
    metrics.look(SimTime::from_millis(330_000), true);
    let rate = metrics.rate(Counter::Started, Duration::from_secs(60)).unwrap();
    // 25 s sampled, stretched by half an interval where the samples end early.
    assert!((4.5..=5.8).contains(&rate), "{rate}");
}

#[test]
fn a_source_that_is_down_answers_nothing() {
    let mut metrics = filled(300, 50);
    metrics.look(SimTime::from_millis(300_000), false);
    assert_eq!(metrics.rate(Counter::Started, Duration::from_secs(60)), None);
    assert_eq!(metrics.gauge(Gauge::Queued), None);
    assert_eq!(metrics.newest(), None);
}

#[test]
fn a_sample_cannot_be_seen_before_its_delay_is_over() {
    let mut metrics = Metrics::new(Duration::from_secs(600), Duration::from_secs(2));
    metrics.scrape(SimTime::from_millis(5_000), &Totals::default());
    metrics.look(SimTime::from_millis(6_000), true);
    assert_eq!(metrics.newest(), None);
    metrics.look(SimTime::from_millis(7_000), true);
    assert_eq!(metrics.newest(), Some(SimTime::from_millis(5_000)));
}

#[test]
fn an_old_gauge_is_no_gauge() {
    let mut metrics = filled(300, 50);
    metrics.look(SimTime::from_millis(300_000 + 299_000), true);
    assert_eq!(metrics.gauge(Gauge::Queued), Some(0.0));
    metrics.look(SimTime::from_millis(300_000 + 301_000), true);
    assert_eq!(metrics.gauge(Gauge::Queued), None);
}

#[test]
fn old_samples_are_forgotten_and_a_whole_window_stays() {
    let mut metrics = Metrics::new(Duration::from_secs(60), Duration::ZERO);
    for s in 0..100 {
        metrics.scrape(SimTime::from_start(EVERY * s), &Totals::default());
    }
    assert!((13..=15).contains(&metrics.samples.len()), "{}", metrics.samples.len());
}

#[test]
fn a_window_longer_than_all_time_holds_the_first_sample() {
    let metrics = filled(30, 50);
    let window = Duration::from_secs(60);
    // Nothing was counted before the first sample, so that nothing is added for it.
    assert_eq!(metrics.increase(Counter::Started, window), Some(300.0));
    assert_eq!(metrics.window(window).map(|w| (w.0.at, w.2)), Some((SimTime::ZERO, 7)));
    // A window is open at its beginning, as that of Prometheus.
    assert_eq!(metrics.window(Duration::from_secs(30)).map(|w| w.2), Some(6));
}
