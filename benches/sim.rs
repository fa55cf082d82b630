//! Simulated requests a second: two hours of a load like `synthetic-2h` (23 requests/s, 3,000 prompt
//! and 357 output tokens), static, on the shipped profile.
//!
//! `cargo bench --bench sim`; with `-- --test` every bench runs once, as a smoke test.
#![allow(missing_docs, reason = "criterion's macros make public items without")]
#![allow(clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sla_planner::backtest::policy::Static;
use sla_planner::backtest::{Promise, Scorer};
use sla_planner::profile::library;
use sla_planner::sim::{EngineTruth, Open, SimConfig, SimPool, Startup, TruthOptions, simulate};
use sla_planner::spec::EngineLimits;
use sla_planner::trace::{Request, Synthetic};
use sla_planner::units::Role;

fn fleet() -> SimConfig {
    let profile = library::get(library::DEFAULT).unwrap();
    let truth =
        Arc::new(EngineTruth::new(&profile, EngineLimits::default(), TruthOptions::default()));
    let pool = || SimPool {
        truth: truth.clone(),
        gpus: 1,
        initial: 4,
        startup: Startup::fixed(Duration::from_secs(60)),
        drain_limit: None,
    };
    SimConfig::new([(Role::Prefill, pool()), (Role::Decode, pool())].into())
}

fn requests(text: &str) -> Vec<Request> {
    text.parse::<Synthetic>().unwrap().requests().collect()
}

fn run(config: &SimConfig, requests: &[Request]) -> f64 {
    let promise = Promise { ttft_ms: 500.0, itl_ms: 50.0, percentile: 95.0 };
    let mut scorer = Scorer::new(promise, None);
    let mut load = Open(requests.iter().map(|r| Ok::<_, Infallible>(*r)));
    let summary = simulate(config, &mut load, &mut Static, &mut scorer).unwrap();
    scorer.finish(&summary).0.attainment
}

fn bench(c: &mut Criterion) {
    let config = fleet();
    let two_hours = requests(
        "diurnal:rps=23,amplitude=0.6,period=1h,isl=3000,isl-cv=0.2,osl=357,osl-cv=0.4,for=2h",
    );
    let mut group = c.benchmark_group("simulate");
    group.sample_size(10).throughput(Throughput::Elements(two_hours.len() as u64));
    group.bench_function("two hours, static 4+4", |b| b.iter(|| run(&config, &two_hours)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
