//! The test bench: a real Kubernetes cluster and a real Prometheus as processes
//! on the loopback, for tests of what only they can answer.
//!
//! Reading order: [`Bench`] is the cluster of this test binary, [`Namespace`] a
//! test's own part of it (its nodes, its users), [`Prometheus`] and [`Exporter`]
//! the metrics, [`Autoscalers`] what HPAs and KEDA need of them, [`Guarded`] any other process (the planner under test), and
//! [`eventually`] the one way to wait. `README.md` says what the cluster can do.
//!
//! Every process is held by a pipe: when this binary ends, however it ends, the
//! kernel closes the pipe and the process goes (see `supervisor/`).
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of the bench")]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "the bench is test code: it reads the machine, and a failure is a panic that says why"
)]

mod autoscalers;
mod control_plane;
mod exporter;
mod guard;
mod kubectl;
mod namespace;
mod node;
mod ports;
mod programs;
mod prometheus;
mod user;
mod wait;

pub(crate) use autoscalers::Autoscalers;
pub(crate) use control_plane::{Bench, ReadyLine, up_command};
pub(crate) use exporter::Exporter;
pub(crate) use guard::Guarded;
pub(crate) use kubectl::Output;
pub(crate) use namespace::Namespace;
pub(crate) use ports::free_port;
pub(crate) use programs::Programs;
pub(crate) use prometheus::{Prometheus, Sample, Target};
pub(crate) use user::{User, rule};
pub(crate) use wait::{eventually, eventually_blocking};
