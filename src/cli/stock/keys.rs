//! The keys of Dynamo's planner 1.x, and what those without a counterpart are told.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::exit::CliError;

/// A key that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    With(Key),
    Without(Without),
}

/// A key without a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Without {
    /// Its place in [`WITHOUT`].
    place: usize,
    /// Why it has none.
    pub(super) why: &'static str,
}

/// A key with a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Environment,
    Namespace,
    Backend,
    Mode,
    OptimizationTarget,
    ModelName,
    Advisory,
    ThroughputInterval,
    LoadInterval,
    EnableThroughput,
    EnableLoad,
    MaxReplicas,
    MaxGpuBudget,
    MinGpuBudget,
    MinEndpoint,
    PrefillMinEndpoint,
    DecodeMinEndpoint,
    PrefillGpus,
    DecodeGpus,
    ProfileDir,
    TtftMs,
    ItlMs,
    LoadPredictor,
    WarmupTrace,
    PrometheusUrl,
    PrometheusToken,
    PrometheusTokenFile,
    PrometheusVerify,
    PrometheusCa,
    PrometheusParams,
    PrometheusTimeout,
    MetricsPort,
}

/// Keys with a counterpart, aliases included.
const WITH: [(&str, Key); 37] = [
    ("environment", Key::Environment),
    ("namespace", Key::Namespace),
    ("backend", Key::Backend),
    ("mode", Key::Mode),
    ("optimization_target", Key::OptimizationTarget),
    ("model_name", Key::ModelName),
    ("advisory", Key::Advisory),
    ("throughput_adjustment_interval_seconds", Key::ThroughputInterval),
    ("throughput_adjustment_interval", Key::ThroughputInterval),
    ("adjustment_interval", Key::ThroughputInterval),
    ("load_adjustment_interval_seconds", Key::LoadInterval),
    ("load_adjustment_interval", Key::LoadInterval),
    ("enable_throughput_scaling", Key::EnableThroughput),
    ("enable_load_scaling", Key::EnableLoad),
    ("max_throughput_scaling_replicas", Key::MaxReplicas),
    ("max_gpu_budget", Key::MaxGpuBudget),
    ("min_gpu_budget", Key::MinGpuBudget),
    ("min_endpoint", Key::MinEndpoint),
    ("prefill_min_endpoint", Key::PrefillMinEndpoint),
    ("decode_min_endpoint", Key::DecodeMinEndpoint),
    ("prefill_engine_num_gpu", Key::PrefillGpus),
    ("decode_engine_num_gpu", Key::DecodeGpus),
    ("profile_results_dir", Key::ProfileDir),
    ("ttft_ms", Key::TtftMs),
    ("ttft", Key::TtftMs),
    ("itl_ms", Key::ItlMs),
    ("itl", Key::ItlMs),
    ("load_predictor", Key::LoadPredictor),
    ("load_predictor_warmup_trace", Key::WarmupTrace),
    ("metric_pulling_prometheus_endpoint", Key::PrometheusUrl),
    ("metric_pulling_prometheus_token", Key::PrometheusToken),
    ("metric_pulling_prometheus_token_file", Key::PrometheusTokenFile),
    ("metric_pulling_prometheus_ssl_verify", Key::PrometheusVerify),
    ("metric_pulling_prometheus_ca_bundle", Key::PrometheusCa),
    ("metric_pulling_prometheus_extra_query_params", Key::PrometheusParams),
    ("metric_pulling_prometheus_request_timeout_seconds", Key::PrometheusTimeout),
    ("metric_reporting_prometheus_port", Key::MetricsPort),
];

const TUNING: &str = "what it tunes is learnt here from what is seen";
const OTHER_LOOP: &str = "one loop follows the forecast and answers what waits, by the same model";
const REPORTS: &str =
    "decisions are recorded as JSON lines (`record`), which `why` and `replay` read";
const PLUGINS: &str = "there are no plugins; `sla-planner decide` can be asked by another program";
const POWER: &str = "power is not planned for";

/// Keys without one, and what is told.
const WITHOUT: [(&str, &str); 34] = [
    ("log_dir", "the log goes to standard error"),
    ("pre_deployment_sweeping_mode", "profiles are not made here; `profile lint` looks at one"),
    ("global_planner_namespace", "a budget over several DGDs is not planned for"),
    ("control_api_port", "there is no control API; the configuration is read at the start"),
    ("aic_interpolation", "give `profile_results_dir`, or nothing: what an engine does is learnt"),
    ("ais_perf_model", "give `profile_results_dir`, or nothing: what an engine does is learnt"),
    ("no_correction", "a profile is always held against what is seen"),
    ("load_predictor_log1p", TUNING),
    ("prophet_window_size", TUNING),
    ("kalman_q_level", TUNING),
    ("kalman_q_trend", TUNING),
    ("kalman_r", TUNING),
    ("kalman_min_points", TUNING),
    ("metric_pulling_prometheus_retries", "what fails is asked again at the next look"),
    ("throughput_metrics_source", "arrivals are those of the frontend"),
    ("max_num_fpm_samples", OTHER_LOOP),
    ("fpm_sample_bucket_size", OTHER_LOOP),
    ("load_scaling_down_sensitivity", OTHER_LOOP),
    ("load_min_observations", OTHER_LOOP),
    ("speculative_nextn", TUNING),
    ("prefill_scale_up_queue_tokens", OTHER_LOOP),
    ("prefill_scale_down_queue_tokens", OTHER_LOOP),
    ("decode_scale_up_kv_rate", OTHER_LOOP),
    ("decode_scale_down_kv_rate", OTHER_LOOP),
    ("enable_power_awareness", POWER),
    ("total_gpu_power_limit", POWER),
    ("report_interval_hours", REPORTS),
    ("report_output_dir", REPORTS),
    ("report_filename", REPORTS),
    ("report_write_gzip_log", REPORTS),
    ("live_dashboard_port", "figures are at /metrics; `demo` shows a page of a simulated cluster"),
    ("scheduling", PLUGINS),
    ("plugin_registration", PLUGINS),
    ("scale_interval_seconds", OTHER_LOOP),
];

impl Known {
    /// The key of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let with = WITH.iter().find(|(known, _)| *known == name);
        let without = || WITHOUT.iter().enumerate().find(|(_, (known, _))| *known == name);
        with.map(|(_, key)| Self::With(*key)).or_else(|| {
            let (place, &(_, why)) = without()?;
            Some(Self::Without(Without { place, why }))
        })
    }
}

/// The names that are known.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    WITH.iter().map(|(name, _)| *name).chain(WITHOUT.iter().map(|(name, _)| *name))
}

/// The error of a key that is not known, with the nearest that is.
pub(super) fn unknown(shown: &str) -> CliError {
    let nearest = names()
        .map(|name| (strsim::osa_distance(shown, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(shown.len()) / 2);
    let error = CliError::bad_input(format!("`{shown}` is no key of Dynamo's planner"));
    match nearest {
        Some((_, name)) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("docs/configuration.md lists the keys of our own configuration"),
    }
}

/// The error of a value that cannot be.
pub(super) fn wrong(shown: &str, expected: &str, found: &Value) -> CliError {
    // What may hold a secret is not repeated.
    if ["token", "TOKEN", "params", "PARAMS"].iter().any(|part| shown.contains(part)) {
        return CliError::bad_input(format!("`{shown}`: expected {expected}"));
    }
    let found = found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned);
    CliError::bad_input(format!("`{shown}`: expected {expected}, found `{found}`"))
}

/// Query parameters as a mapping of texts: of a mapping, or of `key=value` pairs with `&` between them.
pub(super) fn params(value: &Value) -> Option<BTreeMap<String, String>> {
    if let Some(map) = value.as_object() {
        let text = |v: &Value| match v.as_str() {
            Some(text) => Some(text.to_owned()),
            None => (v.is_number() || v.is_boolean()).then(|| v.to_string()),
        };
        return map.iter().map(|(k, v)| Some((k.clone(), text(v)?))).collect();
    }
    let said = value.as_str()?;
    if said.trim_start().starts_with('{') {
        return params(&serde_json::from_str(said).ok()?);
    }
    said.split('&')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| pair.split_once('=').map(|(k, v)| (k.trim().into(), v.trim().into())))
        .collect()
}
