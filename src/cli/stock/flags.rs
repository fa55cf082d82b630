//! The options of Dynamo's planner 0.9, by which a stock manifest starts it.

use serde_json::{Value, json};

use super::Said;

/// What a manifest that was written for Dynamo's planner says on the command line.
///
/// Values are text: what is wrong with one is said with the name of its option.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of Dynamo's planner 0.9, in place of --config")]
pub(in crate::cli) struct Flags {
    /// Where it runs: only `kubernetes` is supported.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    environment: Option<String>,
    /// The metrics' label `dynamo_namespace` [env: DYN_NAMESPACE]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    namespace: Option<String>,
    /// The engines' framework, which makes no difference here.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    backend: Option<String>,
    /// The pools: `disagg`, `prefill`, `decode` or `agg` [default: disagg]
    #[arg(long, value_name = "MODE", conflicts_with = "config")]
    mode: Option<String>,
    /// Only says what it would write, as --advise.
    #[arg(long, conflicts_with = "config")]
    no_operation: bool,
    /// No counterpart: the log goes to standard error.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    log_dir: Option<String>,
    /// Seconds between two decisions.
    #[arg(long, value_name = "SECONDS", conflicts_with = "config")]
    adjustment_interval: Option<String>,
    /// GPUs that all pools together may take, -1 for no limit [default: 8]
    #[arg(long, value_name = "GPUS", allow_hyphen_values = true, conflicts_with = "config")]
    max_gpu_budget: Option<String>,
    /// Fewest replicas of each pool [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "config")]
    min_endpoint: Option<String>,
    /// GPUs of one prefill replica.
    #[arg(long, value_name = "GPUS", conflicts_with = "config")]
    prefill_engine_num_gpu: Option<String>,
    /// GPUs of one decode replica.
    #[arg(long, value_name = "GPUS", conflicts_with = "config")]
    decode_engine_num_gpu: Option<String>,
    /// Directory of the profiling data [default: profiling_results, where it is there]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    profile_results_dir: Option<String>,
    /// Target of the time to first token, milliseconds [default: 500]
    #[arg(long, value_name = "MS", conflicts_with = "config")]
    ttft: Option<String>,
    /// Target of the inter-token latency, milliseconds [default: 50]
    #[arg(long, value_name = "MS", conflicts_with = "config")]
    itl: Option<String>,
    /// Who predicts: `constant`, `arima`, `kalman` or `prophet` [default: auto]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    load_predictor: Option<String>,
    /// No counterpart.
    #[arg(long, conflicts_with = "config")]
    load_predictor_log1p: bool,
    /// A trace to learn from before the first decision.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    load_predictor_warmup_trace: Option<String>,
    /// No counterpart.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    prophet_window_size: Option<String>,
    /// No counterpart.
    #[arg(long, value_name = "X", conflicts_with = "config")]
    kalman_q_level: Option<String>,
    /// No counterpart.
    #[arg(long, value_name = "X", conflicts_with = "config")]
    kalman_q_trend: Option<String>,
    /// No counterpart.
    #[arg(long, value_name = "X", conflicts_with = "config")]
    kalman_r: Option<String>,
    /// No counterpart.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    kalman_min_points: Option<String>,
    /// Address of the Prometheus [env: PROMETHEUS_ENDPOINT]
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    metric_pulling_prometheus_endpoint: Option<String>,
    /// Port of /metrics, 0 for none [env: PLANNER_PROMETHEUS_PORT]
    #[arg(long, value_name = "PORT", conflicts_with = "config")]
    metric_reporting_prometheus_port: Option<String>,
    /// The same, as some manifests of 0.7 have it.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["config", "metric_reporting_prometheus_port"])]
    prometheus_port: Option<String>,
    /// No counterpart: the profile is always held against what is seen.
    #[arg(long, conflicts_with = "config")]
    no_correction: bool,
    /// The model, where the workers' arguments do not say.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    model_name: Option<String>,
}

impl Flags {
    /// What was said, by the key of a 1.x configuration that means the same.
    pub(in crate::cli) fn said(&self) -> Vec<Said> {
        let text = |key: &'static str, flag: &str, value: &Option<String>| {
            value.as_ref().map(|v| Said { key: key.into(), shown: flag.into(), value: json!(v) })
        };
        let set = |key: &'static str, flag: &str, value: bool| {
            value.then(|| Said { key: key.into(), shown: flag.into(), value: Value::Bool(true) })
        };
        let port = self.metric_reporting_prometheus_port.as_ref();
        let all = [
            text("environment", "--environment", &self.environment),
            text("namespace", "--namespace", &self.namespace),
            text("backend", "--backend", &self.backend),
            text("mode", "--mode", &self.mode),
            set("advisory", "--no-operation", self.no_operation),
            text("log_dir", "--log-dir", &self.log_dir),
            text(
                "throughput_adjustment_interval_seconds",
                "--adjustment-interval",
                &self.adjustment_interval,
            ),
            text("max_gpu_budget", "--max-gpu-budget", &self.max_gpu_budget),
            text("min_endpoint", "--min-endpoint", &self.min_endpoint),
            text(
                "prefill_engine_num_gpu",
                "--prefill-engine-num-gpu",
                &self.prefill_engine_num_gpu,
            ),
            text("decode_engine_num_gpu", "--decode-engine-num-gpu", &self.decode_engine_num_gpu),
            text("profile_results_dir", "--profile-results-dir", &self.profile_results_dir),
            text("ttft_ms", "--ttft", &self.ttft),
            text("itl_ms", "--itl", &self.itl),
            text("load_predictor", "--load-predictor", &self.load_predictor),
            set("load_predictor_log1p", "--load-predictor-log1p", self.load_predictor_log1p),
            text(
                "load_predictor_warmup_trace",
                "--load-predictor-warmup-trace",
                &self.load_predictor_warmup_trace,
            ),
            text("prophet_window_size", "--prophet-window-size", &self.prophet_window_size),
            text("kalman_q_level", "--kalman-q-level", &self.kalman_q_level),
            text("kalman_q_trend", "--kalman-q-trend", &self.kalman_q_trend),
            text("kalman_r", "--kalman-r", &self.kalman_r),
            text("kalman_min_points", "--kalman-min-points", &self.kalman_min_points),
            text(
                "metric_pulling_prometheus_endpoint",
                "--metric-pulling-prometheus-endpoint",
                &self.metric_pulling_prometheus_endpoint,
            ),
            text(
                "metric_reporting_prometheus_port",
                if port.is_some() {
                    "--metric-reporting-prometheus-port"
                } else {
                    "--prometheus-port"
                },
                &port.or(self.prometheus_port.as_ref()).cloned(),
            ),
            set("no_correction", "--no-correction", self.no_correction),
            text("model_name", "--model-name", &self.model_name),
        ];
        all.into_iter().flatten().collect()
    }
}
