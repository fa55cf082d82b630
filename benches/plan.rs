//! The time of one decision, and of its dearest part, the sizing.
//!
//! `cargo bench --bench plan`; with `-- --test` every bench runs once, as a smoke test.
#![allow(missing_docs, reason = "criterion's macros make public items without")]
#![allow(clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sla_planner::forecast::{Demand, Lengths};
use sla_planner::observe::{Inventory, Missing, Observation, PoolInventory, Role, Signal, Traffic};
use sla_planner::plan::{Correction, Memory, PlanInput, PoolInput, SizePool, plan, size};
use sla_planner::profile::{EngineProfile, library};
use sla_planner::spec::{EngineLimits, Intervals, Sla};
use sla_planner::units::{Gpus, Millis, PerSecond, Percentile, Replicas, Timestamp, Tokens};

const ROLES: [Role; 2] = [Role::Prefill, Role::Decode];

fn observation(now: Timestamp) -> Observation {
    let at = now;
    let mut traffic =
        Traffic::all_missing(Duration::from_secs(60), Percentile::default(), &Missing::NoSeries);
    traffic.arrivals = Signal::Fresh { value: PerSecond::new(60.0).unwrap(), at };
    traffic.isl = Signal::Fresh { value: Tokens::new(3000.0).unwrap(), at };
    traffic.osl = Signal::Fresh { value: Tokens::new(150.0).unwrap(), at };
    traffic.ttft.quantile = Signal::Fresh { value: Millis::new(200.0).unwrap(), at };
    traffic.itl.quantile = Signal::Fresh { value: Millis::new(9.0).unwrap(), at };
    let pools = ROLES.map(|role| (role, Signal::Fresh { value: PoolInventory::steady(4), at }));
    Observation { at, traffic, inventory: Inventory { pools: pools.into() } }
}

fn input(engine: &EngineProfile) -> PlanInput<'_> {
    let now = Timestamp::from_millis(1_000_000);
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
        observation: observation(now),
    }
}

fn decisions(c: &mut Criterion) {
    let engine = library::get(library::DEFAULT).unwrap();
    let input = input(&engine);
    let memory = Memory::default();
    c.bench_function("decision/disaggregated", |b| {
        b.iter(|| plan(black_box(&input), black_box(&memory)));
    });
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
