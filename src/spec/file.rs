//! The configuration file as its user writes it. Every key is optional here; a command asks for
//! what it needs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::text::DurationText;
use super::{ClusterFile, Mode, OnConflict, Secret, WebhookFile};
use crate::units::Predictor;

/// The configuration of sla-planner: one schema for all commands.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The promise to keep.
    #[serde(default)]
    pub sla: SlaFile,
    /// The pools that may be scaled: `prefill` and `decode`, or `aggregated`.
    #[serde(default)]
    pub pools: PoolsFile,
    /// GPUs that all pools together may take; -1 or absent is no limit.
    pub max_gpu_budget: Option<i64>,
    /// How often to look and to decide.
    #[serde(default)]
    pub intervals: IntervalsFile,
    /// Who predicts the demand.
    #[serde(default)]
    pub forecast: ForecastFile,
    /// Where the metrics are.
    #[serde(default)]
    pub prometheus: PrometheusFile,
    /// What is scaled.
    #[serde(default)]
    pub target: TargetFile,
    /// Plans for every DGD that asks for it, in place of one `target`.
    pub cluster: Option<ClusterFile>,
    /// `act` writes replica counts; `advise` only says what it would write. Default: `act`.
    pub mode: Option<Mode>,
    /// A steady load to predict for (`predict` only).
    pub load: Option<LoadFile>,
    /// Runs the embedded adapter controller, in one process of a namespace at a time (by the Lease
    /// `sla-planner-adapters`). Default: false, since NVIDIA's operator brings one, and two adapter
    /// controllers must never write at once.
    pub adapter_controller: Option<bool>,
    /// What to do where somebody else sets the replicas of a pool too (an HPA or a ScaledObject on its
    /// adapter, or one who takes three of our writes back within five minutes, or within four decisions
    /// where that is longer): `stop` writes no more until the autoscaler is gone, or the other one has
    /// rested for as long; `warn` goes on writing. Both are told. Default: `stop`.
    pub on_conflict: Option<OnConflict>,
    /// Port of `/metrics`, `/healthz` and `/readyz`; 0 turns them off. Default: the environment
    /// variable `PLANNER_PROMETHEUS_PORT`, else 9085.
    pub metrics_port: Option<u16>,
    /// Where decision records go, one JSON object a line: a file, or `-` for standard output.
    /// Default: `-`.
    pub record: Option<String>,
    /// The admission webhooks.
    #[serde(default)]
    pub webhook: WebhookFile,
}

/// The promise: the share of requests whose own TTFT and own mean ITL are both within target.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlaFile {
    /// Time to first token: `500ms`, or `{target: 500ms, percentile: 99}`.
    pub ttft: Option<LatencyFile>,
    /// Inter-token latency: `50ms`, or `{target: 50ms, percentile: 99}`.
    pub itl: Option<LatencyFile>,
    /// The share of requests, in percent, that must be within both targets. Default: 95.
    pub percentile: Option<f64>,
}

/// One latency target.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum LatencyFile {
    /// The target alone; the percentile is that of the promise.
    Target(DurationText),
    /// The target with a percentile of its own, kept beside the common one.
    Own(OwnLatencyFile),
}

/// A latency target with its own percentile.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnLatencyFile {
    /// The target.
    pub target: DurationText,
    /// The share of requests, in percent, that must be within this one target.
    pub percentile: Option<f64>,
}

impl LatencyFile {
    /// The target.
    #[must_use]
    pub const fn target(&self) -> DurationText {
        match self {
            Self::Target(d) => *d,
            Self::Own(own) => own.target,
        }
    }

    /// The percentile of its own, where it has one.
    #[must_use]
    pub const fn percentile(&self) -> Option<f64> {
        match self {
            Self::Target(_) => None,
            Self::Own(own) => own.percentile,
        }
    }
}

impl<'de> Deserialize<'de> for LatencyFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = LatencyFile;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as 500ms, or a mapping with `target`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<LatencyFile, E> {
                super::parse_duration(text)
                    .map(|d| LatencyFile::Target(DurationText(d)))
                    .map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<LatencyFile, E> {
                self.visit_str(&n.to_string())
            }

            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<LatencyFile, E> {
                self.visit_str(&n.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<LatencyFile, E> {
                self.visit_str(&n.to_string())
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<LatencyFile, A::Error> {
                OwnLatencyFile::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(LatencyFile::Own)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The pools.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolsFile {
    /// Engines that read prompts.
    pub prefill: Option<PoolFile>,
    /// Engines that generate.
    pub decode: Option<PoolFile>,
    /// Engines that do both.
    pub aggregated: Option<PoolFile>,
}

/// One pool.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolFile {
    /// Key of the service in the DGD's `spec.services`. Default: found by its `subComponentType`.
    pub service: Option<String>,
    /// GPUs of one replica. Default: what the DGD says, else the profile, else 1.
    pub gpus_per_replica: Option<u32>,
    /// Fewest replicas. Default: 1.
    pub min: Option<u32>,
    /// Most replicas. Default: no limit but the budget.
    pub max: Option<u32>,
    /// Profiling data: a directory, a file, or the name of a shipped profile.
    pub profile: Option<String>,
    /// Prompt tokens that an engine takes into one forward pass. Default: 8192.
    pub max_num_batched_tokens: Option<u32>,
    /// Sequences that an engine runs at once. Default: 256.
    pub max_num_seqs: Option<u32>,
    /// The longest prompt and output together, tokens (the engine's `--max-model-len`). Without it
    /// prompts of any length are expected.
    pub context_length: Option<u32>,
    /// From asking for a replica until it serves. Default: 120s.
    pub startup: Option<DurationText>,
}

/// How often to look and to decide.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntervalsFile {
    /// Between two decisions. Default: 10s.
    pub adjustment: Option<DurationText>,
    /// The window that rates and means are taken over: at least four scrapes of the Prometheus asked.
    /// Default: 20s, or the adjustment interval where that is longer.
    pub window: Option<DurationText>,
    /// A sample older than this takes no replica away. Default: 30s.
    pub max_metric_age: Option<DurationText>,
    /// A pool shrinks only to the largest count wanted within this time, and within `window` plus
    /// `adjustment` where that is longer. Default: 60s.
    pub scale_down_stabilization: Option<DurationText>,
    /// The longest that capacity is held after it was last needed; how long within it is learnt.
    /// Default: 80m.
    pub longest_hold: Option<DurationText>,
}

/// Who predicts the demand.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForecastFile {
    /// With `auto`, how much to hold is learnt from what each of many rules would have cost; with
    /// another one it is the upper end of that predictor's forecast. Default: `auto`.
    pub predictor: Option<Predictor>,
    /// A trace to learn from before the first tick (`run` only): Mooncake JSONL, CSV or Azure's CSV,
    /// plain or gzip. It is taken to end at the start of the planner; one with dates keeps its
    /// hours of the day (UTC).
    pub warmup_trace: Option<String>,
}

/// Where the metrics are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusFile {
    /// Address, such as `http://prometheus.monitoring.svc:9090`. Default: the environment variable
    /// `PROMETHEUS_ENDPOINT`.
    pub url: Option<String>,
    /// Bearer token; better kept in a file.
    pub bearer_token: Option<Secret>,
    /// File that holds the bearer token, read anew for each request.
    pub token_file: Option<String>,
    /// PEM file with the certificate authorities to trust.
    pub ca_file: Option<String>,
    /// Parameters added to each query, such as a tenant.
    #[serde(default)]
    pub extra_query_params: BTreeMap<String, String>,
    /// Longest wait for one tick's queries. Default: 10s.
    pub timeout: Option<DurationText>,
}

/// What is scaled.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetFile {
    /// Kubernetes namespace of the DGD. Default: the environment variables
    /// `DYN_PARENT_DGD_K8S_NAMESPACE`, `POD_NAMESPACE`, else `default`.
    pub namespace: Option<String>,
    /// Name of the DynamoGraphDeployment. Default: the environment variable
    /// `DYN_PARENT_DGD_K8S_NAME`.
    pub dgd: Option<String>,
    /// Value of the metrics' label `dynamo_namespace`. Default: the environment variable
    /// `DYN_NAMESPACE`, else `<namespace>-<dgd>`.
    pub dynamo_namespace: Option<String>,
    /// Value of the metrics' label `model`, whatever its case. Default: read from the workers'
    /// arguments.
    pub model: Option<String>,
}

/// A steady load.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadFile {
    /// Requests per second (Poisson).
    pub rps: f64,
    /// Prompt tokens of a request.
    pub isl: f64,
    /// Output tokens of a request.
    pub osl: f64,
}
