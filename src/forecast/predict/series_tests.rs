use proptest::prelude::*;

use super::*;

const OUTLOOK: Outlook =
    Outlook { lead: Duration::from_secs(130), hold: Duration::from_secs(60), quantile: 0.95 };

fn at(seconds: f64) -> Timestamp {
    Timestamp::default().plus(Duration::from_secs_f64(seconds))
}

fn learnt(kind: Predictor, values: impl IntoIterator<Item = f64>) -> Series {
    let mut series = Series::new(kind);
    for (i, value) in values.into_iter().enumerate() {
        series.learn(at(i as f64 * 10.0), value, OUTLOOK);
    }
    series
}

fn point(kind: Predictor, values: impl IntoIterator<Item = f64>) -> f64 {
    learnt(kind, values).band().unwrap().point
}

/// A number from -1 to 1 that looks drawn.
fn noise(t: f64) -> f64 {
    (t * 12.9898).sin() * 43_758.545_3 % 1.0
}

#[test]
fn a_steady_series_is_said_by_all_of_them_with_a_narrow_band() {
    for kind in Predictor::ALL {
        let band = learnt(kind, [12.0; 400]).band().unwrap();
        assert!((band.point - 12.0).abs() < 0.2, "{kind}: {band:?}");
        assert!(band.low > 11.0 && band.high < 13.0, "{kind}: {band:?}");
    }
}

#[test]
fn arima_finds_the_order_of_a_swing_that_the_last_value_misses() {
    // Of order two: a swing of 200 s.
    let swing = |i: u32| 100.0 + 50.0 * (f64::from(i) / 20.0 * std::f64::consts::TAU).sin();
    let off = |kind| {
        let mut worst: f64 = 0.0;
        for end in 400..420 {
            let said = point(kind, (0..end).map(swing));
            worst = worst.max((said - swing(end + 12)).abs());
        }
        worst
    };
    let (arima, last) = (off(Predictor::Arima), off(Predictor::Constant));
    assert!(arima < 5.0 && last > 50.0, "arima {arima}, last value {last}");
}

#[test]
fn arima_learns_another_order_when_the_series_changes() {
    let change = |i: u32| {
        let t = f64::from(i);
        // A wave at first, noise about another mean later.
        if i < 300 { 100.0 + 50.0 * (t / 20.0).sin() } else { 40.0 + 10.0 * noise(t) }
    };
    let said = point(Predictor::Arima, (0..2500).map(change));
    assert!((said - 40.0).abs() < 3.0, "{said}");
}

#[test]
fn kalman_follows_a_ramp_and_sees_through_noise() {
    let said = |values: &mut dyn Iterator<Item = f64>| {
        let mut kalman = Kalman::default();
        for (i, value) in values.enumerate() {
            kalman.learn(at(i as f64 * 10.0), if i == 0 { 0.0 } else { 10.0 }, value);
        }
        kalman.predict(130.0).unwrap()
    };
    let ramp = said(&mut (0..200).map(|i| 10.0 + f64::from(i)));
    let last = 209.0;
    // Thirteen ticks on it would be at 222; the trend is damped.
    assert!(ramp > last + 3.0 && ramp < last + 13.0, "{ramp}");
    let calm = said(&mut (0..400).map(|i| 50.0 + 20.0 * noise(f64::from(i))));
    assert!((calm - 50.0).abs() < 6.0, "{calm}");
    let fall = said(&mut (0..50).map(|i| 500.0 - 10.0 * f64::from(i)));
    assert_eq!(fall, 0.0, "a falling trend ends at nothing");
}

#[test]
fn trust_goes_to_what_costs_least_and_comes_back() {
    let trust = |series: &Series, name: &str| {
        series.trusted().into_iter().find(|(n, _)| n == name).unwrap().1
    };
    // Noise about a mean: the last value is the worst there is, a long mean the best.
    let noisy = learnt(Predictor::Auto, (0..800).map(|i| 50.0 + 30.0 * noise(f64::from(i))));
    let all: f64 = noisy.trusted().iter().map(|(_, w)| w).sum();
    assert!((all - 1.0).abs() < 1e-9);
    assert!(trust(&noisy, "constant") < 0.02, "{:?}", noisy.trusted());
    // Steps that stay for half an hour: now a long mean is wrong.
    let stepped = learnt(
        Predictor::Auto,
        (0..2400).map(|i| {
            let t = f64::from(i);
            if i < 800 { 50.0 + 30.0 * noise(t) } else { 50.0 + 40.0 * noise((t / 180.0).floor()) }
        }),
    );
    assert!(trust(&stepped, "constant") > trust(&stepped, "ewma_600s"), "{:?}", stepped.trusted());
}

#[test]
fn a_peak_is_wider_than_a_value_and_a_rarer_one_wider_still() {
    let series = learnt(Predictor::Auto, (0..800).map(|i| 50.0 + 30.0 * noise(f64::from(i))));
    let (band, peak) = (series.band().unwrap(), series.peak().unwrap());
    assert!(
        peak >= band.high && band.high > band.point && band.point > band.low,
        "{band:?} {peak}"
    );
    assert!(series.highest(0.99).unwrap() > series.highest(0.6).unwrap());
    // The highest of seven values of a uniform noise from 20 to 80.
    assert!((65.0..90.0).contains(&peak), "{peak}");
}

#[test]
fn an_idle_hour_is_learned_and_a_gap_is_not() {
    let idle = learnt(Predictor::Auto, (0..720).map(|i| if i < 360 { 20.0 } else { 0.0 }));
    assert!(idle.band().unwrap().point < 1.0, "{:?}", idle.band());
    let mut gap = learnt(Predictor::Auto, [20.0; 360]);
    let judged = gap.coverage();
    gap.learn(at(7200.0), 20.0, OUTLOOK);
    assert_eq!(gap.coverage(), judged, "nobody knows what came in this hour");
    assert!((gap.band().unwrap().point - 20.0).abs() < 1.0, "{:?}", gap.band());
}

#[test]
fn what_was_overtaken_teaches_nothing_and_a_clock_set_back_loses_nothing() {
    let mut series = learnt(Predictor::Auto, [20.0; 360]);
    let before = series.clone();
    series.learn(at(3585.0), 500.0, OUTLOOK);
    series.learn(at(3600.0), f64::NAN, OUTLOOK);
    series.learn(at(3600.0), -1.0, OUTLOOK);
    assert_eq!(series, before);
    series.learn(at(100.0), 20.0, OUTLOOK);
    series.learn(at(110.0), 20.0, OUTLOOK);
    assert!((series.band().unwrap().point - 20.0).abs() < 1.0);
    assert_eq!(series.coverage(), before.coverage());
}

#[test]
fn memory_is_bounded_at_any_tick_and_start_up_time() {
    for (tick, lead) in [(1.0, 1800), (10.0, 130), (300.0, 60)] {
        let outlook = Outlook { lead: Duration::from_secs(lead), ..OUTLOOK };
        let mut series = Series::new(Predictor::Auto);
        for i in 0..6000 {
            series.learn(at(f64::from(i) * tick), 50.0 + 30.0 * noise(f64::from(i)), outlook);
        }
        let bytes = serde_json::to_vec(&series).unwrap().len();
        assert!(series.issued.len() <= 50, "{} forecasts", series.issued.len());
        assert!(bytes < 60_000, "{bytes} bytes at a tick of {tick} s");
        assert!(series.coverage().0.is_some(), "a tick of {tick} s is judged too");
    }
}

proptest! {
    #[test]
    fn whatever_comes_bands_are_ordered_finite_and_not_negative(
        values in prop::collection::vec((0_i64..400, prop_oneof![Just(0.0), 0.0..10.0_f64, 0.0..1e9_f64]), 1..150),
        lead in 0_u64..2000,
    ) {
        let outlook = Outlook { lead: Duration::from_secs(lead), ..OUTLOOK };
        for kind in Predictor::ALL {
            let (mut series, mut now) = (Series::new(kind), 0);
            for (step, value) in &values {
                now += step * 1000;
                series.learn(Timestamp::from_millis(now), *value, outlook);
                let (band, peak) = (series.band().unwrap(), series.peak().unwrap());
                prop_assert!(band.low >= 0.0 && band.low <= band.point && band.point <= band.high, "{band:?}");
                prop_assert!(band.high <= peak && peak.is_finite(), "{band:?} {peak}");
                let rare = series.highest(0.995).unwrap();
                prop_assert!(rare.is_finite() && rare >= 0.0);
            }
            let text = serde_json::to_string(&series).unwrap();
            prop_assert_eq!(serde_json::from_str::<Series>(&text).unwrap(), series);
        }
    }

    #[test]
    fn a_series_in_another_unit_has_the_same_forecast_in_it(
        values in prop::collection::vec(0.1..100.0_f64, 40..120),
        scale in prop_oneof![Just(1.0 / 1024.0), Just(1024.0)],
    ) {
        for kind in Predictor::ALL {
            let band = learnt(kind, values.iter().copied()).band().unwrap();
            let scaled = learnt(kind, values.iter().map(|v| v * scale)).band().unwrap();
            let near = 1e-9 * band.high * scale;
            let both = [(band.low, scaled.low), (band.point, scaled.point), (band.high, scaled.high)];
            for (one, other) in both {
                prop_assert!((one * scale - other).abs() <= near, "{kind}: {one} {other}");
            }
        }
    }
}
