//! Tests against a real control plane, a real Prometheus and a real kubectl: the
//! processes of `tests/bench`.

#[path = "../bench/mod.rs"]
mod bench;

mod adapter;
mod bench_works;
mod frontend_double;
mod metrics;
mod operator_double;
