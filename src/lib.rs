//! sla-planner: an LLM-aware autoscaler for Kubernetes.
//!
//! It is told a latency promise (time to first token and inter-token latency, at a percentile) and
//! keeps it with the fewest GPUs. The folders of `src/` are rooms; the README of each is the head of
//! its `mod.rs`, and `tests/rooms.rs` holds who may use whom.
//!
//! Pure rooms (always built) know no clock, no IO and no randomness: [`units`], [`spec`],
//! [`profile`], [`observe`], [`forecast`], [`plan`], [`check`], [`trace`], [`sim`], [`backtest`],
//! [`record`].
//! Edge rooms come with the feature `cluster`: `api`, `prometheus`, `controllers`, `dashboard`,
//! `webhook`, `cli`, `run`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly"))]

/// Writes formatted text behind a `String`, which cannot fail.
#[cfg(any(test, feature = "cluster"))]
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::fmt::Write as _;
        write!($out, $($text)*).expect("writing to a String cannot fail");
    }};
}

pub mod backtest;
pub mod check;
pub mod forecast;
pub mod observe;
pub mod plan;
pub mod profile;
pub mod record;
pub mod sim;
pub mod spec;
pub mod trace;
pub mod units;

#[cfg(feature = "cluster")]
pub mod api;
#[cfg(feature = "cluster")]
pub mod cli;
#[cfg(feature = "cluster")]
pub mod controllers;
#[cfg(feature = "cluster")]
pub mod dashboard;
#[cfg(feature = "cluster")]
pub mod prometheus;
#[cfg(feature = "cluster")]
pub mod run;
#[cfg(feature = "cluster")]
pub mod webhook;
