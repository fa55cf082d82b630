//! Tests against a real control plane, a real Prometheus and a real kubectl: the
//! processes of `tests/bench`.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests look at the machine, and say with a panic what they found"
)]

#[path = "../bench/mod.rs"]
mod bench;

mod adapter;
mod bench_works;
mod deploy;
mod frontend_double;
mod gitops;
mod guide;
mod lease;
mod metrics;
mod operator_double;
mod planner;
mod process;
mod restricted_double;
mod scale;
mod service;
mod serving;
mod v1beta1;
mod webhook;
