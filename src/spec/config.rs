//! The intent after validation: no `Option` here that validation could have settled.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::webhook::Webhook;
use crate::units::{Gpus, Millis, PerSecond, Percentile, Predictor, Replicas, Role, Tokens};

/// The promise.
///
/// A request is good when its own TTFT and its own mean ITL are both within target; `percentile`
/// of the requests must be good. A target may carry a stricter share of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sla {
    /// Time to first token.
    pub ttft: Millis,
    /// Mean inter-token latency of a request.
    pub itl: Millis,
    /// Share of requests that must be within both.
    pub percentile: Percentile,
    /// Share that must be within the TTFT target alone.
    pub ttft_percentile: Option<Percentile>,
    /// Share that must be within the ITL target alone.
    pub itl_percentile: Option<Percentile>,
}

/// What one engine may take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLimits {
    /// Prompt tokens of one forward pass.
    pub max_num_batched_tokens: u32,
    /// Sequences running at once.
    pub max_num_seqs: u32,
    /// The longest prompt and output together, tokens; `None` is not known, and no prompt is too
    /// long to be expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u32>,
}

impl Default for EngineLimits {
    /// The defaults of Dynamo's engine query (dynamo-planner.md 2.7) and of its simulator
    /// (lessons.md a.1, a.4).
    fn default() -> Self {
        Self { max_num_batched_tokens: 8192, max_num_seqs: 256, context_length: None }
    }
}

/// One pool that may be scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Key of the service in the DGD; `None` is to be found by its `subComponentType`.
    pub service: Option<String>,
    /// GPUs of one replica; `None` is to be told by the profile or the DGD.
    pub gpus_per_replica: Option<Gpus>,
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas; `None` has no limit but the budget.
    pub max: Option<Replicas>,
    /// Directory, file or shipped name of the profiling data; `None` was not given.
    pub profile: Option<String>,
    /// What one engine may take on.
    pub limits: EngineLimits,
    /// From asking for a replica until it serves.
    pub startup: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            service: None,
            gpus_per_replica: None,
            min: Replicas::new(1),
            max: None,
            profile: None,
            limits: EngineLimits::default(),
            startup: Self::STARTUP,
        }
    }
}

impl Pool {
    /// Start-up time where none is given: the middle of what is reported for a 32B model
    /// (100 to 130 s, techniques.md 3.5). Shorter risks planning for capacity that is not there.
    pub const STARTUP: Duration = Duration::from_secs(120);

    /// GPUs of one replica, away from a cluster: as configured, else what the profile was measured
    /// on, else one.
    #[must_use]
    pub fn gpus(&self, measured: Option<Gpus>) -> Gpus {
        self.gpus_per_replica.or(measured).unwrap_or(Gpus::new(1))
    }
}

/// How often to look and to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    /// Between two decisions.
    pub adjustment: Duration,
    /// The window that rates and means are taken over.
    pub window: Duration,
    /// A sample older than this takes no replica away.
    pub max_metric_age: Duration,
    /// A pool shrinks only to the largest count wanted within this time.
    pub scale_down_stabilization: Duration,
    /// The longest that capacity is held after it was last needed.
    pub longest_hold: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            // At 5 s the requests of D1 to D8 (docs/results.md) were 0.06 points better at the same
            // GPU-hours; at 15 s, with a window of 30 s, 0.7 points worse.
            adjustment: Duration::from_secs(10),
            // Four scrapes of the stock PodMonitor: longer sees a step later, shorter takes a lost
            // scrape for an idle fleet.
            window: Duration::from_secs(20),
            // Six scrapes of the stock PodMonitor's 5 s (kubernetes.md 6.7).
            max_metric_age: Duration::from_secs(30),
            // Against a change of mind: how long to hold capacity is learnt (see `longest_hold`).
            scale_down_stabilization: Duration::from_secs(60),
            longest_hold: Duration::from_secs(80 * 60),
        }
    }
}

impl Intervals {
    /// How long fewer replicas must have been enough before one is taken away: the stabilisation
    /// window, and at least a metric window and a tick. After a gap (a restart of Prometheus, of a
    /// frontend) a rate over a window that is half empty reads half of what arrives; within this
    /// time one full reading comes, and the most that was wanted counts.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.scale_down_stabilization.max(self.window.saturating_add(self.adjustment))
    }
}

/// Who predicts the demand, and from what it learns before the first tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForecastSource {
    /// Who predicts.
    pub predictor: Predictor,
    /// File of a trace; `None` begins knowing nothing.
    pub warmup_trace: Option<String>,
}

/// A bearer token: never printed.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a token.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The token itself, for the header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the metrics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusSource {
    /// Address.
    pub url: String,
    /// Bearer token.
    pub bearer_token: Option<Secret>,
    /// File with the bearer token, read anew for each request.
    pub token_file: Option<String>,
    /// PEM file with the certificate authorities to trust.
    pub ca_file: Option<String>,
    /// Parameters added to each query.
    pub extra_query_params: BTreeMap<String, String>,
    /// Longest wait for one tick's queries.
    pub timeout: Duration,
}

/// The deployment that is scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DgdTarget {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the DynamoGraphDeployment.
    pub dgd: String,
    /// Value of the metrics' label `dynamo_namespace`.
    pub dynamo_namespace: String,
    /// Value of the metrics' label `model`; `None` is to be read from the workers' arguments.
    pub model: Option<String>,
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Writes replica counts.
    #[default]
    Act,
    /// Says what it would write, and writes nothing.
    Advise,
}

/// What to do where somebody else sets the replicas of a pool too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Writes that pool no more until the other one has ended.
    #[default]
    Stop,
    /// Tells it, and goes on writing.
    Warn,
}

/// A steady load that was stated, not observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatedLoad {
    /// Requests per second.
    pub rps: PerSecond,
    /// Prompt tokens of a request.
    pub isl: Tokens,
    /// Output tokens of a request.
    pub osl: Tokens,
}

/// Everything that was asked for, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The promise.
    pub sla: Sla,
    /// The pools by role: prefill and decode, one of them, or aggregated.
    pub pools: BTreeMap<Role, Pool>,
    /// GPUs that all pools together may take; `None` is no limit.
    pub budget: Option<Gpus>,
    /// How often to look and to decide.
    pub intervals: Intervals,
    /// Who predicts the demand.
    pub forecast: ForecastSource,
    /// Where the metrics are; `None` where neither file nor environment says.
    pub prometheus: Option<PrometheusSource>,
    /// What is scaled; `None` where neither file nor environment names a DGD.
    pub target: Option<DgdTarget>,
    /// What a service of the cluster plans for in place of one target.
    pub cluster: Option<Cluster>,
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// A steady load to predict for.
    pub load: Option<StatedLoad>,
    /// Whether the embedded adapter controller runs.
    pub adapter_controller: bool,
    /// What to do where somebody else sets the replicas of a pool too.
    pub on_conflict: OnConflict,
    /// Port of the metrics; 0 is off.
    pub metrics_port: u16,
    /// File of the decision records, or `-`.
    pub record: String,
    /// The admission webhooks.
    pub webhook: Webhook,
}
