//! I12: what the types let through, however mad, gives a reason, and never a panic.

use std::time::Duration;

use proptest::prelude::*;
use sla_planner::check::{PoolLimits, judge};
use sla_planner::plan::{Memory, PlanInput, Reason, plan};
use sla_planner::spec::{EngineLimits, Intervals, Sla};
use sla_planner::units::{Gpus, Millis, Percentile, Replicas, Timestamp};

use super::cases::{Figure, State, Tick, Window, history};
use super::rules::Play;

/// Numbers that no measurement is, and some that one is.
fn number() -> BoxedStrategy<f64> {
    prop_oneof![
        Just(0.0),
        Just(5e-324),
        Just(1e-300),
        Just(1e9),
        Just(1e300),
        Just(f64::MAX),
        Just(-1.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        1e-6..1e6_f64,
        any::<f64>(),
    ]
    .boxed()
}

fn figure() -> impl Strategy<Value = Figure> {
    let state = prop_oneof![
        6 => Just(State::Fresh),
        1 => Just(State::Late),
        1 => Just(State::Frozen),
        1 => Just(State::Contradictory),
        1 => Just(State::NoSamples),
    ];
    (number(), state).prop_map(|(value, state)| Figure { value, state })
}

fn window() -> impl Strategy<Value = Window> {
    [figure(), figure(), figure(), figure(), figure(), figure()].prop_map(
        |[rate, isl, osl, ttft, itl, inflight]| Window { rate, isl, osl, ttft, itl, inflight },
    )
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        (0..100_000_u64).prop_map(Duration::from_secs),
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), 0..50_u32]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>()]
        .prop_map(Timestamp::from_millis)
}

/// Changes a sound input into one that no configuration gives.
#[derive(Clone, Debug)]
enum Bent {
    Ttft(f64),
    Itl(f64),
    Percentile(f64),
    Limits(EngineLimits),
    Gpus(u32),
    Min(u32),
    Max(u32),
    Budget(u32),
    Startup(Duration),
    Intervals(Intervals),
    Window(Duration),
    Now(Timestamp),
    At(Timestamp),
    NoPool,
    NoInventory,
}

fn bent() -> impl Strategy<Value = Bent> {
    let limits = (count(), count(), proptest::option::of(count())).prop_map(
        |(max_num_batched_tokens, max_num_seqs, context_length)| {
            Bent::Limits(EngineLimits { max_num_batched_tokens, max_num_seqs, context_length })
        },
    );
    let intervals = [duration(), duration(), duration(), duration(), duration()].prop_map(
        |[adjustment, window, max_metric_age, scale_down_stabilization, longest_hold]| {
            Bent::Intervals(Intervals {
                adjustment,
                window,
                max_metric_age,
                scale_down_stabilization,
                longest_hold,
            })
        },
    );
    prop_oneof![
        number().prop_map(Bent::Ttft),
        number().prop_map(Bent::Itl),
        prop_oneof![Just(1e-300), Just(99.999_999_999_999), 0.0..100.0_f64]
            .prop_map(Bent::Percentile),
        limits,
        count().prop_map(Bent::Gpus),
        count().prop_map(Bent::Min),
        count().prop_map(Bent::Max),
        count().prop_map(Bent::Budget),
        duration().prop_map(Bent::Startup),
        intervals,
        duration().prop_map(Bent::Window),
        timestamp().prop_map(Bent::Now),
        timestamp().prop_map(Bent::At),
        Just(Bent::NoPool),
        Just(Bent::NoInventory),
    ]
}

fn bend(input: &mut PlanInput<'_>, bent: &Bent) {
    let millis = |x: f64, else_: Millis| Millis::new(x).unwrap_or(else_);
    let Sla { ttft, itl, percentile, .. } = input.sla;
    match bent.clone() {
        Bent::Ttft(x) => input.sla.ttft = millis(x, ttft),
        Bent::Itl(x) => input.sla.itl = millis(x, itl),
        Bent::Percentile(x) => input.sla.percentile = Percentile::new(x).unwrap_or(percentile),
        Bent::Limits(limits) => input.pools.iter_mut().for_each(|p| p.limits = limits),
        Bent::Gpus(n) => input.pools.iter_mut().for_each(|p| p.gpus_per_replica = Gpus::new(n)),
        Bent::Min(n) => input.pools.iter_mut().for_each(|p| p.min = Replicas::new(n)),
        Bent::Max(n) => input.pools.iter_mut().for_each(|p| p.max = Some(Replicas::new(n))),
        Bent::Budget(n) => input.budget = Some(Gpus::new(n)),
        Bent::Startup(d) => input.pools.iter_mut().for_each(|p| p.startup = d),
        Bent::Intervals(intervals) => input.intervals = intervals,
        Bent::Window(d) => input.observation.traffic.window = d,
        Bent::Now(t) => input.now = t,
        Bent::At(t) => input.observation.at = t,
        Bent::NoPool => input.pools.clear(),
        Bent::NoInventory => input.observation.inventory.pools.clear(),
    }
}

/// Whether any counts keep these limits; where none do, there is nothing to judge by.
fn is_possible(input: &PlanInput<'_>) -> bool {
    let least: u128 = input
        .pools
        .iter()
        .map(|p| u128::from(p.min.get()) * u128::from(p.gpus_per_replica.get()))
        .sum();
    input.pools.iter().all(|p| p.max.is_none_or(|max| p.min <= max))
        && input.budget.is_none_or(|b| least <= u128::from(b.get()))
}

proptest! {
    #![proptest_config(super::cases(300))]

    #[test]
    fn i12_figures_that_no_measurement_is_give_a_reason(
        (setup, ticks) in history(1..4),
        windows in prop::collection::vec(window(), 1..4),
    ) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            play.step(tick);
        }
        for window in windows {
            // Every rule of a tick is checked on the way.
            play.step(&Tick { window, step: 10_000, ..ticks[0].clone() });
        }
    }

    #[test]
    fn i12_one_figure_that_is_none_holds_the_counts(
        (setup, ticks) in history(1..4),
        which in 0..3_usize,
        x in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(-1e300)],
    ) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            play.step(tick);
        }
        // The limits of the user are obeyed first.
        let mut tick = super::histories::calm(&play, super::cases::clear_window(3.0, 500.0, 50.0));
        play.step(&tick);
        play.step(&tick);
        let figure = match which {
            0 => &mut tick.window.rate,
            1 => &mut tick.window.ttft,
            _ => &mut tick.window.itl,
        };
        figure.value = x;
        let decision = play.step(&tick).decision;
        for write in decision.writes() {
            prop_assert!(which > 0 && write.to > write.from, "{decision:?}");
        }
        if which == 0 {
            // A pool below its minimum that the budget has no room for stays there, and says so.
            let waits = |r: &Reason| r.is_hold() || matches!(r, Reason::WaitsForRoom { .. });
            prop_assert!(decision.pools.iter().all(|p| waits(&p.reason)), "{decision:?}");
        }
    }

    #[test]
    fn i12_configurations_that_nobody_checked_give_a_reason(
        (setup, ticks) in history(2..4),
        window in window(),
        bents in prop::collection::vec(bent(), 1..5),
    ) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            play.step(tick);
        }
        let tick = Tick { window, ..ticks[0].clone() };
        for memory in [Memory::default(), play.memory.clone()] {
            let mut input = play.input(&tick);
            bents.iter().for_each(|bent| bend(&mut input, bent));
            let first = plan(&input, memory.clone());
            let limits: Vec<PoolLimits> = input.pools.iter().map(PoolLimits::from).collect();
            let notes = judge(&limits, input.budget, &input.observation, &first.decision);
            if is_possible(&input) {
                prop_assert_eq!(notes, vec![], "{:?}", first.decision);
            }
            prop_assert!(first.decision.pools.iter().all(|p| !p.reason.code().is_empty()));
            // And what it remembers of it can be planned with.
            let after = plan(&play.input(&tick), first.memory.clone());
            prop_assert_eq!(after.decision.pools.len(), play.setup.pools.len());
        }
    }
}
