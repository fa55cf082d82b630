//! What one run gave: the score, and its course over time for the report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sim::{End, Ended};
use crate::units::Role;

/// One policy on one trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Which run it was.
    pub run: RunKey,
    /// The promise that it was scored by.
    pub promise: Promise,
    /// How it did.
    pub score: Score,
    /// Its course; left out where only the score was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// Wall-clock seconds that the run took.
    pub wall_s: f64,
}

/// What tells one run from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunKey {
    /// The policy with its knobs, as written on the command line.
    pub policy: String,
    /// Name of the trace.
    pub trace: String,
    /// Name of the profile.
    pub profile: String,
    /// Start-up time of a replica, seconds.
    pub startup_s: f64,
    /// Seed of every draw.
    pub seed: u64,
    /// What stands for all else that the run was made from: fleet, promise, and the content of files.
    /// Empty in runs that were kept by older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scenario: String,
}

/// The promise in plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Time to first token, ms.
    pub ttft_ms: f64,
    /// Mean inter-token latency of a request, ms.
    pub itl_ms: f64,
    /// Share of requests that are to be within both, percent.
    pub percentile: f64,
}

impl Promise {
    /// To tell promises apart.
    #[must_use]
    pub fn key(&self) -> [u64; 3] {
        [self.ttft_ms, self.itl_ms, self.percentile].map(f64::to_bits)
    }

    /// Whether a request was answered in full and within both limits.
    #[must_use]
    pub fn is_kept_by(&self, ended: &Ended) -> bool {
        ended.end == End::Complete
            && ended.ttft_ms().is_some_and(|ms| ms <= self.ttft_ms)
            && ended.itl_ms().is_none_or(|ms| ms <= self.itl_ms)
    }
}

/// How a run did. A request is good when its own TTFT and its own mean ITL are within the promise;
/// lost and unfinished requests are not good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that were answered in full.
    pub completed: u64,
    /// Requests that ended without an answer: their worker was lost, or killed while it drained.
    pub lost: u64,
    /// Requests without an end when the simulation was given up.
    pub unfinished: u64,
    /// Requests within the promise.
    pub good: u64,
    /// Requests late in TTFT.
    pub late_ttft: u64,
    /// Requests slow in ITL (those late in TTFT too are in both).
    pub slow_itl: u64,
    /// `good` of `requests`, percent; 100 where there was none.
    pub attainment: f64,
    /// GPU-hours from the order of a replica, or from when it gets its GPUs where it has to wait for
    /// them, until it is gone or the run ends.
    pub gpu_hours: f64,
    /// Good requests per GPU-hour.
    pub good_per_gpu_hour: f64,
    /// Time to first token.
    pub ttft_ms: Percentiles,
    /// Mean inter-token latency of a request.
    pub itl_ms: Percentiles,
    /// Changes of a replica count.
    pub changes: u64,
    /// The same, an hour.
    pub changes_per_hour: f64,
    /// Changes against the direction of the one before in the same pool, an hour.
    pub reversals_per_hour: f64,
    /// Spells in which the promise was broken.
    pub recovery: Recovery,
    /// From the start of the trace to the last answer, seconds.
    pub duration_s: f64,
    /// Most GPUs at a time.
    pub peak_gpus: u32,
    /// Requests with a prompt longer than any that the profile measured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub beyond_profile: u64,
    /// GPU-hours over those of the perfect-foresight row of the same trace, less 1; only in a
    /// comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret_oracle: Option<f64>,
    /// GPU-hours over those of the best static fleet of the same trace, less 1; only in a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret_static: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Of one latency, ms; all zero where nothing was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Spells of ten-second buckets of arrivals in which less than the promised share was good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// How many there were.
    pub spells: u64,
    /// Their mean length, seconds.
    pub mean_s: f64,
    /// The longest, seconds.
    pub longest_s: f64,
}

/// The course of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Length of a row, seconds.
    pub step_s: f64,
    /// By time, without gaps.
    pub rows: Vec<Row>,
    /// Every change of a count, by time.
    pub decisions: Vec<Change>,
}

/// One row of a timeline: arrivals and latencies are of the requests that arrived in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its beginning, seconds from the start of the trace.
    pub t_s: f64,
    /// Arrivals a second.
    pub rps: f64,
    /// The rate that the policy planned for (low, expected, high), where it forecasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<[f64; 3]>,
    /// Replicas at the end of the row.
    pub pools: BTreeMap<Role, Counts>,
    /// 95th percentile of the TTFT, ms; `None` without a request.
    pub ttft_p95_ms: Option<f64>,
    /// 95th percentile of the mean ITL of a request, ms.
    pub itl_p95_ms: Option<f64>,
    /// Share of the requests that were good, percent.
    pub good: Option<f64>,
    /// GPUs at the end of the row.
    pub gpus: u32,
}

/// Replicas of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ordered.
    pub wanted: u32,
    /// Taking requests.
    pub serving: u32,
    /// Starting, or waiting for GPUs.
    pub starting: u32,
    /// Finishing what they have.
    pub draining: u32,
}

/// One change of a count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When, seconds from the start of the trace.
    pub t_s: f64,
    /// The pool.
    pub role: Role,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// Why, in the policy's words.
    pub why: String,
}
