//! The time of one decision, of its dearest part, the sizing, and of a round over many deployments.
//!
//! `cargo bench --bench plan`; with `-- --test` every bench runs once, as a smoke test. Planners have
//! hours behind them: an empty memory has nothing to forecast from. Criterion tells means, so that
//! the tail of single decisions is printed before.
#![allow(missing_docs, reason = "criterion's macros make public items without")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may fail loudly, and prints")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sla_planner::forecast::{Demand, Lengths};
use sla_planner::observe::{Inventory, Missing, Observation, PoolInventory, Role, Signal, Traffic};
use sla_planner::plan::{Correction, Memory, PlanInput, PoolInput, SizePool, plan, size};
use sla_planner::profile::{EngineProfile, library};
use sla_planner::spec::{EngineLimits, Intervals, Sla};
use sla_planner::units::{
    Gpus, Millis, PerSecond, Percentile, Predictor, Replicas, Timestamp, Tokens,
};

const ROLES: [Role; 2] = [Role::Prefill, Role::Decode];
/// Seconds between two decisions.
const TICK: u32 = 30;
/// Decisions that a planner has behind it: six hours.
const WARM: u32 = 720;
/// Deployments of two pools each.
const DEPLOYMENTS: u32 = 500;

/// What a deployment shows at a tick: a load that goes up and down by a half within 90 minutes, with
/// faster waves on top. `phase` tells deployments apart.
fn observation(now: Timestamp, phase: f64, tick: u32) -> Observation {
    let at = now;
    let seconds = f64::from(tick * TICK);
    let wave = |period: f64| (seconds / period * std::f64::consts::TAU + phase).sin();
    let rate = 40.0 * (1.0 + 0.5 * wave(5400.0) + 0.2 * wave(97.0) + 0.1 * wave(41.3));
    let mut traffic =
        Traffic::all_missing(Duration::from_secs(60), Percentile::default(), &Missing::NoSeries);
    let tokens = |mean: f64, period| Tokens::new(mean * (1.0 + 0.05 * wave(period))).unwrap();
    traffic.arrivals = Signal::Fresh { value: PerSecond::new(rate).unwrap(), at };
    traffic.isl = Signal::Fresh { value: tokens(3000.0, 61.0), at };
    traffic.osl = Signal::Fresh { value: tokens(150.0, 53.0), at };
    traffic.ttft.quantile = Signal::Fresh { value: Millis::new(200.0).unwrap(), at };
    traffic.itl.quantile = Signal::Fresh { value: Millis::new(9.0).unwrap(), at };
    let pools = ROLES.map(|role| (role, Signal::Fresh { value: PoolInventory::steady(4), at }));
    Observation { at, traffic, inventory: Inventory { pools: pools.into() } }
}

fn input(engine: &EngineProfile, phase: f64, tick: u32) -> PlanInput<'_> {
    let now = Timestamp::from_millis(1_000_000 + i64::from(tick * TICK) * 1000);
    let pools = ROLES.map(|role| PoolInput {
        role,
        engine,
        limits: EngineLimits::default(),
        gpus_per_replica: Gpus::new(1),
        min: Replicas::new(1),
        max: None,
        startup: Duration::from_secs(120),
        measured: true,
    });
    PlanInput {
        now,
        sla: Sla::default(),
        pools: pools.into(),
        budget: Some(Gpus::new(64)),
        intervals: Intervals::default(),
        predictor: Predictor::default(),
        observation: observation(now, phase, tick),
    }
}

/// A planner that has seen so many ticks.
fn warm(engine: &EngineProfile, phase: f64, ticks: u32) -> Memory {
    (0..ticks)
        .fold(Memory::default(), |memory, tick| plan(&input(engine, phase, tick), memory).memory)
}

/// Prints the median and the tail of single decisions, each after the one before.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn tail(engine: &EngineProfile, decisions: u32) {
    let mut memory = warm(engine, 0.0, WARM);
    let mut times: Vec<Duration> = (WARM..WARM + decisions)
        .map(|tick| {
            let input = input(engine, 0.0, tick);
            let start = std::time::Instant::now();
            let outcome = black_box(plan(black_box(&input), std::mem::take(&mut memory)));
            let time = start.elapsed();
            memory = outcome.memory;
            time
        })
        .collect();
    times.sort();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
    println!(
        "one decision, {decisions} of them: p50 {:?}, p99 {:?}, largest {:?}",
        at(50),
        at(99),
        at(100)
    );
}

fn decisions(c: &mut Criterion) {
    let engine = library::get(library::DEFAULT).unwrap();
    let smoke = std::env::args_os().any(|arg| arg == "--test");
    tail(&engine, if smoke { 1 } else { 2000 });
    let first = input(&engine, 0.0, WARM);
    let memory = warm(&engine, 0.0, if smoke { 1 } else { WARM });
    c.bench_function("decision/disaggregated", |b| {
        let memory = || memory.clone();
        b.iter_batched(memory, |memory| plan(black_box(&first), memory), BatchSize::SmallInput);
    });
    // As a service goes round: what each deployment has learned takes the place of what it knew.
    let mut many: Vec<(PlanInput<'_>, Memory)> = (0..if smoke { 1 } else { DEPLOYMENTS })
        .map(|n| (input(&engine, f64::from(n), WARM), warm(&engine, f64::from(n), WARM)))
        .collect();
    let mut tick = WARM;
    c.bench_function("decision/1000_pools", |b| {
        b.iter(|| {
            for (input, memory) in &mut many {
                let outcome = plan(input, std::mem::take(memory));
                *memory = black_box(outcome).memory;
            }
            tick += 1;
            for (n, (input, _)) in (0..).zip(&mut many) {
                *input = self::input(&engine, f64::from(n), tick);
            }
        });
    });
    drop(many);
    let pools = ROLES.map(|role| SizePool {
        correction: Correction::default(),
        role,
        engine: &engine,
        limits: EngineLimits::default(),
        gpus_per_replica: Gpus::new(1),
        min: Replicas::new(1),
        max: None,
    });
    let steady = Demand::steady(
        PerSecond::new(60.0).unwrap(),
        Tokens::new(3000.0).unwrap(),
        Tokens::new(150.0).unwrap(),
    );
    c.bench_function("size/fixed_lengths", |b| {
        b.iter(|| size(black_box(&pools), &Sla::default(), black_box(&steady), None));
    });
    let spread = |l: Lengths| Lengths { cv2: 1.0, ..l };
    let mixed = Demand { isl: spread(steady.isl), osl: spread(steady.osl), ..steady };
    c.bench_function("size/mixed_lengths", |b| {
        b.iter(|| size(black_box(&pools), &Sla::default(), black_box(&mixed), None));
    });
    c.bench_function("profile/load", |b| b.iter(|| library::get(black_box(library::DEFAULT))));
}

criterion_group!(benches, decisions);
criterion_main!(benches);
