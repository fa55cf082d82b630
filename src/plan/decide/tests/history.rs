//! What is learned of the time before the first tick.

use super::*;
use crate::observe::TrafficStep;

fn input(engine: &EngineProfile, observation: Observation, predictor: Predictor) -> PlanInput<'_> {
    let pool = |role| PoolInput {
        role,
        engine,
        limits: EngineLimits::default(),
        gpus_per_replica: Gpus::new(1),
        min: Replicas::new(1),
        max: None,
        startup: STEP,
        measured: true,
    };
    PlanInput {
        now: observation.at,
        sla: Sla::default(),
        pools: vec![pool(Role::Prefill), pool(Role::Decode)],
        budget: None,
        intervals: Intervals { adjustment: STEP, window: STEP, ..Intervals::default() },
        predictor,
        observation,
    }
}

/// Three hours in minutes, until one minute before `now`: ten of sixty requests a second, ten of ten.
fn on_and_off(now: Timestamp) -> Vec<TrafficStep> {
    let step = |i: u32| TrafficStep {
        start: now.minus(STEP * (181 - i)),
        length: STEP,
        arrivals: PerSecond::new(if i % 20 < 10 { 60.0 } else { 10.0 }),
        isl: Tokens::new(3000.0),
        osl: Tokens::new(150.0),
    };
    (0..180).map(step).collect()
}

#[test]
fn a_planner_that_knows_the_hours_before_holds_what_they_showed() {
    let mut bench = Bench::new();
    bench.counts = [20, 8];
    for predictor in Predictor::ALL {
        let observation = bench.observation(Seen::Load(10.0));
        let input = input(&bench.engine, observation, predictor);
        let mut memory = Memory::default();
        learn_history(&input, &mut memory, &on_and_off(input.now));
        assert_eq!((memory.since, memory.wanted.len()), (None, 0), "nothing was decided");
        let high = |memory: &Memory| {
            let outcome = plan(&input, memory.clone());
            let bands = outcome.report.bands.unwrap();
            assert_eq!(
                (bands.predictor, bands.horizon, bands.hold),
                (predictor, 2 * STEP, 2 * STEP)
            );
            let shrinks = outcome.decision.writes().iter().any(|w| w.to < w.from);
            assert!(!shrinks, "a whole hold has to be seen first: {:?}", outcome.decision);
            (outcome.report.demand.unwrap().rate.high, bands.rate.coverage)
        };
        let (knowing, coverage) = high(&memory);
        let (unknowing, none) = high(&Memory::default());
        if predictor == Predictor::Auto {
            assert!(knowing > unknowing, "{knowing} {unknowing}");
        }
        assert!(knowing > 9.9, "{predictor}: never below what comes now: {knowing}");
        assert!(coverage.is_some() && none.is_none(), "{predictor}: {coverage:?}");
    }
}

#[test]
fn steps_that_nobody_counted_teach_nothing() {
    let bench = Bench::new();
    let input = input(&bench.engine, bench.observation(Seen::Load(10.0)), Predictor::Auto);
    let mut memory = Memory::default();
    let unknown = TrafficStep { arrivals: None, ..on_and_off(input.now)[0] };
    learn_history(&input, &mut memory, &[unknown, unknown]);
    assert_eq!(memory, Memory::default());
}
