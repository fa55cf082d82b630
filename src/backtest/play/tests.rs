use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::backtest::{PoolSetting, Setting};
use crate::profile::library;
use crate::sim::{EngineTruth, SimConfig, SimPool, Startup, TruthOptions};
use crate::spec::{EngineLimits, Intervals, Sla};
use crate::trace::Synthetic;
use crate::units::{Gpus, Millis, Percentile, Predictor, Replicas};

struct Drawn(Synthetic);

impl Source for Drawn {
    type Error = Infallible;

    fn open(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<Request, Infallible>> + '_>, Infallible> {
        Ok(Box::new(self.0.requests().map(Ok)))
    }
}

fn case(startup: u64, percentile: f64) -> Case {
    let engine = library::get(library::DEFAULT).unwrap();
    let limits = EngineLimits::default();
    let truth = Arc::new(EngineTruth::new(&engine, limits, TruthOptions::default()));
    let startup = Duration::from_secs(startup);
    let pool = |initial| SimPool {
        truth: truth.clone(),
        gpus: 1,
        initial,
        startup: Startup::fixed(startup),
        drain_limit: None,
    };
    let setting = || PoolSetting {
        engine: engine.clone(),
        limits,
        measured: true,
        gpus: Gpus::new(1),
        min: Replicas::new(1),
        max: None,
        startup,
        initial: Replicas::new(1),
    };
    let sla = Sla {
        ttft: Millis::clamped(500.0),
        itl: Millis::clamped(50.0),
        percentile: Percentile::new(percentile).unwrap(),
        ttft_percentile: None,
        itl_percentile: None,
    };
    Case {
        setting: Setting {
            sla,
            pools: [(Role::Prefill, setting()), (Role::Decode, setting())].into(),
            budget: None,
            intervals: Intervals::default(),
            predictor: Predictor::default(),
        },
        sim: SimConfig::new([(Role::Prefill, pool(2)), (Role::Decode, pool(1))].into()),
    }
}

fn played(case: &Case, policy: &str, load: &str) -> Played {
    play(case, &policy.parse().unwrap(), &Drawn(load.parse().unwrap()), None, &mut ()).unwrap()
}

/// Long enough for two swings between one engine and five.
const SWINGS: &str = "diurnal:rps=30,amplitude=0.9,period=20m,isl=3000,osl=100,for=30m";

#[test]
fn ours_plays_with_the_predictor_that_is_named() {
    let case = case(60, 99.0);
    let ran = |policy| {
        let played = played(&case, policy, SWINGS);
        assert_eq!(played.objections, [] as [&str; 0], "{policy}");
        played.ran.score
    };
    let auto = ran("ours");
    assert_eq!(ran("ours:predictor=auto"), auto);
    for policy in ["ours:predictor=kalman", "ours:predictor=arima"] {
        let score = ran(policy);
        assert!(score != auto && score.attainment > 80.0, "{policy}: {score:?}");
    }
}

#[test]
fn the_best_static_fleet_keeps_the_promise_and_one_engine_less_does_not() {
    let case = case(60, 99.0);
    let best = played(&case, "static-best", SWINGS);
    assert!(best.ran.score.attainment >= 99.0, "{}", best.note);
    let counts: Vec<u32> =
        best.note.split(" + ").map(|p| p.split(' ').next().unwrap().parse().unwrap()).collect();
    // Decode first, as the roles are ordered, or prefill: the note says which.
    for i in 0..counts.len() {
        let mut fewer = counts.clone();
        fewer[i] -= 1;
        if fewer[i] > 0 {
            let policy = format!("static:{},{}", fewer[0], fewer[1]);
            assert!(played(&case, &policy, SWINGS).ran.score.attainment < 99.0, "{policy}");
        }
    }
}

#[test]
fn foresight_is_cheaper_than_the_best_static_fleet_and_the_longer_a_start_the_less() {
    let hours = |startup, policy| {
        let ran = played(&case(startup, 99.0), policy, SWINGS).ran;
        assert!(ran.score.attainment >= 99.0);
        ran.score.gpu_hours
    };
    let (fixed, quick, slow) = (hours(60, "static-best"), hours(1, "oracle"), hours(300, "oracle"));
    assert!(quick < 0.8 * fixed, "{quick} {fixed}");
    assert!(quick < slow && slow < fixed, "{quick} {slow} {fixed}");
}

#[test]
fn hindsight_takes_no_more_gpus_than_there_are() {
    let scarce = |gpus| {
        let mut case = case(60, 99.0);
        (case.sim.gpus, case.setting.budget) = (Some(gpus), Some(Gpus::new(gpus)));
        case
    };
    for (gpus, kept) in [(2, false), (40, true)] {
        for policy in ["static-best", "oracle"] {
            let best = played(&scarce(gpus), policy, SWINGS);
            let score = best.ran.score;
            assert!(score.peak_gpus <= gpus, "{policy}: {score:?}");
            assert_eq!(score.attainment >= 99.0, kept, "{policy}: {score:?}");
            assert_eq!(!best.note.contains("none keeps"), kept, "{policy}: {}", best.note);
        }
    }
}

#[test]
fn hindsight_keeps_to_the_limits_of_the_pools() {
    let mut case = case(60, 99.0);
    case.setting.pools.get_mut(&Role::Prefill).unwrap().min = Replicas::new(9);
    case.setting.pools.get_mut(&Role::Decode).unwrap().max = Some(Replicas::new(4));
    let best = played(&case, "static-best", SWINGS);
    assert!(best.initial[&Role::Prefill] >= 9, "{}", best.note);
    assert!(best.initial[&Role::Decode] <= 4, "{}", best.note);
    let (budget, few) = (Some(Gpus::new(12)), Some(12));
    (case.setting.budget, case.sim.gpus) = (budget, few);
    assert!(played(&case, "static-best", SWINGS).initial[&Role::Prefill] >= 9);
}

#[test]
fn foresight_is_never_dearer_than_the_best_static_fleet() {
    // A steady load that stops: starts of half an hour come too late for any other schedule.
    for load in [SWINGS, "poisson:rps=20,isl=3000,osl=100,for=6m"] {
        for startup in [60, 1800] {
            let case = case(startup, 99.0);
            let hours = |policy| {
                let ran = played(&case, policy, load).ran;
                assert!(ran.score.attainment >= 99.0, "{policy} {load}");
                ran.score.gpu_hours
            };
            let (fixed, foreseen) = (hours("static-best"), hours("oracle"));
            assert!(foreseen <= fixed, "{load} {startup}: {foreseen} {fixed}");
        }
    }
}

#[test]
fn ours_is_never_objected_to_and_never_below_the_minimum() {
    for load in [SWINGS, "square:rps=30,on=5m,off=5m,isl=3000,osl=100,for=20m", "silence:for=1h"] {
        let ours = played(&case(60, 95.0), "ours", load);
        assert_eq!(ours.objections, [""; 0], "{load}");
        assert_eq!(ours.ran.score.lost + ours.ran.score.unfinished, 0, "{load}");
    }
}

#[test]
fn what_cannot_be_played_is_refused() {
    let refused = |policy: &str| {
        let spec = policy.parse().unwrap();
        let drawn = Drawn("poisson:for=1m".parse().unwrap());
        play(&case(60, 95.0), &spec, &drawn, None, &mut ()).unwrap_err().to_string()
    };
    assert!(refused("static:4").contains("static:4,3"), "{}", refused("static:4"));
    assert!(refused("ours:x=1").contains("no knob"));
    assert!(refused("ours:4,3").contains("no counts"));
    assert!(refused("static-best:target=100").contains("below 100"));
    assert!(refused("oracle:x=1").contains("target"));
    assert!(refused("orcale").contains("did you mean oracle"));
}

#[test]
fn the_names_of_our_own_are_kept_from_the_rivals() {
    let own: Vec<&str> = OWN.iter().map(|(name, _)| *name).collect();
    assert_eq!(own, crate::backtest::policy::RESERVED);
}

/// A day of an hour: one swing, and noise.
const HOUR: &str = "diurnal:rps=20,amplitude=0.6,period=60m,isl=2000,osl=150,for=90m";

#[test]
fn engines_slower_than_their_profile_are_found_out_and_paid_for() {
    let mut case = case(60, 95.0);
    let slower = TruthOptions { prefill_factor: 2.2, decode_factor: 1.6, ..Default::default() };
    let engine = library::get(library::DEFAULT).unwrap();
    let truth = Arc::new(EngineTruth::new(&engine, EngineLimits::default(), slower));
    for pool in case.sim.pools.values_mut() {
        pool.truth = truth.clone();
    }
    let ran = played(&case, "ours", HOUR).ran;
    assert!(ran.score.attainment > 95.0, "{:?}", ran.score);
    let best = played(&case, "static-best", HOUR).ran;
    assert!(ran.score.gpu_hours < 1.6 * best.score.gpu_hours, "{:?} {:?}", ran.score, best.score);
}

#[test]
fn without_a_profile_the_promise_is_kept_after_some_minutes_of_traffic() {
    let mut case = case(60, 95.0);
    let other = library::get("aic_qwen3-32b_h200_vllm_tp2").unwrap();
    let truth =
        Arc::new(EngineTruth::new(&other, EngineLimits::default(), TruthOptions::default()));
    for pool in case.sim.pools.values_mut() {
        pool.truth = truth.clone();
    }
    case.setting.pools.values_mut().for_each(|pool| pool.measured = false);
    let ran = played(&case, "ours", HOUR).ran;
    assert!(ran.score.attainment > 90.0, "{:?}", ran.score);
    let best = played(&case, "static-best", HOUR).ran;
    assert!(ran.score.gpu_hours < 2.0 * best.score.gpu_hours, "{:?} {:?}", ran.score, best.score);
}
