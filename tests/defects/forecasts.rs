//! What comes next.

use std::time::Duration;

use sla_planner::forecast::{Demand, DemandForecast, Engine, Engines, Horizon, Reading};
use sla_planner::observe::{Missing, Signal};
use sla_planner::plan::compat::{Constant, Kalman};
use sla_planner::units::{PerSecond, Predictor, Timestamp, Tokens};

use super::fleet::{Dice, Fleet, INTERVAL, Seen, codes};

/// What a late request costs by a promise of 95 % while nothing is late.
const PRICE: f64 = 8.0;

/// Fleets of any size, with a fifth of room for chance.
const ANY: Engine = Engine { most: 0.0, used: 1.0 / 1.2 };

const HORIZON: Horizon = Horizon {
    lead: Duration::from_secs(300),
    patience: Duration::from_millis(500),
    longest_hold: Duration::from_secs(4800),
    hold: Duration::from_secs(60),
    predictor: Predictor::Auto,
    engines: Engines { prefill: ANY, decode: ANY },
};

/// A forecast, fed once an interval.
struct Fed {
    forecast: DemandForecast,
    at: Timestamp,
}

impl Fed {
    fn new() -> Self {
        Self { forecast: DemandForecast::default(), at: Timestamp::from_millis(1_000_000) }
    }

    fn learn(&mut self, rate: Option<f64>, isl: Option<f64>) {
        let reading = Reading {
            window: INTERVAL,
            rate: rate.and_then(PerSecond::new),
            isl: isl.and_then(Tokens::new),
            osl: isl.and_then(|_| Tokens::new(150.0)),
        };
        self.forecast.learn(self.at, reading, HORIZON);
        self.at = self.at.plus(INTERVAL);
    }

    /// Of these rates, of requests that are all alike.
    fn on(rates: impl IntoIterator<Item = f64>) -> Self {
        let mut fed = Self::new();
        rates.into_iter().for_each(|rate| fed.learn(Some(rate), Some(3000.0)));
        fed
    }

    fn demand(&self) -> Demand {
        self.forecast.demand(PRICE).unwrap().demand
    }
}

fn is_sane(demand: &Demand) -> bool {
    let Demand { rate, isl, osl, dispersion, work } = demand;
    let all = [
        rate.low,
        rate.point,
        rate.high,
        isl.mean.get(),
        isl.cv2,
        osl.mean.get(),
        osl.cv2,
        *dispersion,
        work.prefill,
        work.decode,
    ];
    all.iter().all(|x| x.is_finite() && *x >= 0.0) && rate.low <= rate.point
}

#[test]
fn d09_no_series_makes_the_forecast_fail() {
    // The rival: an exception in a predictor leaves its result unassigned, and ends the process.
    let odd: [&[f64]; 9] = [
        &[],
        &[0.0],
        &[7.0],
        &[0.0; 20],
        &[5.0; 50],
        &[0.0, 1e9, 0.0, 1e9, 0.0],
        &[5e-324, 1e-300, 1.0],
        &[1e9, 1.0, 1.0, 1.0],
        &[1.0, f64::NAN, -1.0, f64::INFINITY, 2.0],
    ];
    for series in odd {
        let fed = Fed::on(series.iter().copied());
        match fed.forecast.demand(PRICE) {
            None => assert!(!series.iter().any(|x| PerSecond::new(*x).is_some()), "{series:?}"),
            Some(forecast) => assert!(is_sane(&forecast.demand), "{series:?}: {forecast:?}"),
        }
    }
}

#[test]
fn d12_a_ramp_is_planned_for_beyond_its_last_value() {
    // The rival's Prophet asks for a moment long past: 102.2, 106.7 and 1005.6 a interval.
    for (first, last, step) in [(100, 490, 10), (100, 1290, 10), (1000, 1995, 5)] {
        let rates: Vec<f64> = (first..=last).step_by(step).map(f64::from).collect();
        let fed = Fed::on(rates);
        let (high, truth) =
            (fed.demand().rate.high, f64::from(last + i32::try_from(step).unwrap()));
        println!("{first} to {last}: {high:.1} for {truth}");
        assert!(high >= truth && high <= 2.0 * truth, "{high} for {truth}");
    }
}

#[test]
fn d13_a_day_is_covered_without_a_fit() {
    // A day of 480 intervals with a noise of 3 %. The rival one step ahead: ARIMA 51.2 % off on
    // average and more than a tenth too low in 25 % of the intervals, Prophet too low in 93 %.
    let mut dice = Dice(5);
    let load: Vec<f64> = (0..960)
        .map(|i| {
            let turn = f64::from(i) / 480.0 * std::f64::consts::TAU;
            100.0 * (1.0 - 0.6 * turn.cos()) * (1.0 + 0.03 * dice.normal())
        })
        .collect();
    let mut fed = Fed::on(load[..480].iter().copied());
    let (mut short, mut room) = (0_u32, 0.0);
    for &rate in &load[480..] {
        let high = fed.demand().rate.high;
        // A tenth too low, as the rival's figure counts it.
        short += u32::from(rate > 1.1 * high);
        room += high / rate / 480.0;
        fed.learn(Some(rate), Some(3000.0));
    }
    println!("{short} of 480 a tenth too low, {room:.2} times the load held");
    assert!(short <= 5 && room < 1.7, "{short} too low, {room}");
}

#[test]
fn d14_a_forecast_is_never_negative() {
    for (series, printed) in
        [(&[1000.0, 10.0][..], -477.0), (&[1000.0, 700.0, 400.0, 100.0, 0.0, 0.0], -290.0)]
    {
        let mut rival = Kalman::new(false);
        series.iter().for_each(|x| rival.add(*x));
        assert!((rival.predict() - printed).abs() < 0.6, "{}", rival.predict());
        let demand = Fed::on(series.iter().copied()).demand();
        assert!(is_sane(&demand) && demand.rate.high >= *series.last().unwrap(), "{demand:?}");
    }
}

#[test]
fn d15_an_idle_interval_teaches_no_length_of_zero() {
    // The rival after ten prompts of 3,000 tokens and an idle interval: 0, and 1401 by Kalman.
    let (mut constant, mut kalman) = (Constant::default(), Kalman::new(false));
    for isl in [3000.0; 10].into_iter().chain([0.0]) {
        constant.add(isl);
        kalman.add(isl);
    }
    assert_eq!((constant.predict(), kalman.predict().round()), (0.0, 1401.0));
    let mut fed = Fed::on([100.0; 10]);
    let before = fed.demand();
    fed.learn(Some(0.0), None);
    let demand = fed.demand();
    assert_eq!((demand.isl, demand.osl), (before.isl, before.osl));
    assert!((demand.isl.mean.get() - 3000.0).abs() < 1e-6);
}

#[test]
fn w04_a_length_that_could_not_be_asked_for_is_not_zero() {
    // 1.6.1: ten prompts of 3,000, one failed query, and the next forecast is 0 or 1401 tokens.
    let mut fleet = Fleet::new(8, 4);
    let load = Seen::load(111.0, 3000.0, 150.0);
    for _ in 0..10 {
        fleet.tick(load);
    }
    let before = fleet.asked;
    for why in [
        Missing::SourceDown { detail: "timeout".to_owned() },
        Missing::NoSeries,
        Missing::Unusable { detail: "NaN".to_owned() },
    ] {
        let mut traffic = load.traffic(fleet.now, INTERVAL);
        traffic.isl = Signal::missing(why);
        let observation = fleet.observation(traffic.clone());
        let report =
            sla_planner::plan::plan(&fleet.input(observation), fleet.memory.clone()).report;
        assert!((report.demand.unwrap().isl.mean.get() - 3000.0).abs() < 1e-6);
        let decision = fleet.tick_on(traffic);
        assert_eq!(fleet.asked, before, "{:?}", codes(&decision));
    }
}
