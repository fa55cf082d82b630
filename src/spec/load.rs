//! From the text of a file to a [`Config`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error as YamlError, Localizer, UserMessageFormatter, render_options};

use super::cluster::Cluster;
use super::config::{
    Config, DgdTarget, EngineLimits, ForecastSource, Intervals, Pool, PrometheusSource, Sla,
    StatedLoad,
};
use super::file::{
    File, ForecastFile, IntervalsFile, LatencyFile, PoolFile, PoolsFile, PrometheusFile, SlaFile,
};
use super::webhook;
use crate::units::{Gpus, Millis, PerSecond, Percentile, Replicas, Role, Tokens, millis_of};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no valid configuration; the message holds the frame of the line at fault.
    #[error("{origin} is not a valid configuration\n{frame}")]
    Invalid {
        /// The file it came from.
        origin: String,
        /// What is wrong, with the lines around it.
        frame: String,
    },
}

/// What the environment says where the file is silent: the variables that NVIDIA's operator
/// injects into a planner pod (kubernetes.md 6.2). Read by an edge room, never here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `DYN_PARENT_DGD_K8S_NAMESPACE`, else `POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `DYN_PARENT_DGD_K8S_NAME`.
    pub dgd: Option<String>,
    /// `DYN_NAMESPACE`.
    pub dynamo_namespace: Option<String>,
    /// `PROMETHEUS_ENDPOINT`.
    pub prometheus_url: Option<String>,
    /// `PLANNER_PROMETHEUS_PORT`.
    pub metrics_port: Option<u16>,
    /// `POD_NAMESPACE`.
    pub pod_namespace: Option<String>,
}

impl Defaults {
    /// The Dynamo namespace of this DGD, where the environment is that of one of its pods: another
    /// DGD has another one.
    fn dynamo_namespace_of(&self, namespace: &str, dgd: &str) -> Option<String> {
        let ours = |known: &Option<String>, of: &str| known.as_deref().is_none_or(|own| own == of);
        (ours(&self.dgd, dgd) && ours(&self.namespace, namespace))
            .then(|| self.dynamo_namespace.clone())
            .flatten()
    }
}

/// Reads and validates a configuration.
///
/// `origin` is the name of the file, for messages. An empty text is the configuration in which
/// everything has its default.
///
/// # Errors
///
/// Anything that is not valid YAML, an unknown key, a value of the wrong kind or unit, or values
/// that contradict each other; all complaints of the last kind at once, each with its line.
pub fn load(text: &str, origin: &str, defaults: &Defaults) -> Result<Config, ConfigError> {
    let mut file = if is_blank(text) {
        File::default()
    } else {
        serde_saphyr::from_str_valid::<File>(text).map_err(|e| invalid(&e, origin))?
    };
    let cluster = file.cluster.take();
    let beside = (&settle_intervals(&file.intervals), defaults.pod_namespace.as_deref());
    let cluster = super::cluster::settle(cluster, text, origin, beside)?;
    Ok(settle(file, cluster, defaults))
}

/// Whether a text says nothing.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'))
}

/// Reads a text by its types alone.
pub(super) fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|e| invalid(&e, origin))
}

fn invalid(error: &YamlError, origin: &str) -> ConfigError {
    ConfigError::Invalid { origin: origin.to_owned(), frame: describe(error, origin) }
}

/// How a rule across fields is told: the key first, then what is wrong with it.
struct Words;

impl Localizer for Words {
    fn validation_base_message(&self, entry: &str, resolved_path: &str) -> String {
        format!("`{resolved_path}`: {entry}")
    }
}

/// The message of a YAML error, with the nearest known key or value where it is unknown.
fn describe(error: &YamlError, origin: &str) -> String {
    let formatter = UserMessageFormatter.with_localizer(&Words);
    let mut text = error.render_with_options(render_options! {
        formatter: &formatter,
        source_name: Some(origin),
    });
    // The caller says that it is an error; no line of a frame begins like that.
    text = text.strip_prefix("error: ").unwrap_or(&text).replace("\nerror: ", "\n");
    if let YamlError::SerdeUnknownField { field: found, expected, .. }
    | YamlError::SerdeUnknownVariant { variant: found, expected, .. } = error.without_snippet()
    {
        let nearest = expected
            .iter()
            .map(|known| (strsim::osa_distance(found, known), *known))
            .min()
            .filter(|(distance, known)| *distance <= known.len().max(found.len()) / 2);
        // Without one, the message lists what is known by itself.
        if let Some((_, known)) = nearest {
            text.push_str("\nhint: did you mean `");
            text.push_str(known);
            text.push_str("`?");
        }
    }
    text
}

fn settle(file: File, cluster: Option<Cluster>, defaults: &Defaults) -> Config {
    let File {
        sla,
        pools,
        max_gpu_budget,
        intervals,
        forecast,
        prometheus,
        target,
        cluster: _,
        mode,
        load,
        adapter_controller,
        on_conflict,
        metrics_port,
        record,
        webhook,
    } = file;
    let namespace = target
        .namespace
        .or_else(|| defaults.namespace.clone())
        .unwrap_or_else(|| "default".to_owned());
    // Who plans for many has none of its own, whatever the environment says.
    let one = target.dgd.or_else(|| defaults.dgd.clone()).filter(|_| cluster.is_none());
    let target = one.map(|dgd| DgdTarget {
        dynamo_namespace: target
            .dynamo_namespace
            .or_else(|| defaults.dynamo_namespace_of(&namespace, &dgd))
            .unwrap_or_else(|| format!("{namespace}-{dgd}")),
        namespace,
        dgd,
        model: target.model,
    });
    Config {
        sla: settle_sla(&sla),
        pools: settle_pools(pools),
        budget: max_gpu_budget.and_then(|b| u32::try_from(b).ok()).map(Gpus::new),
        intervals: settle_intervals(&intervals),
        forecast: settle_forecast(forecast),
        prometheus: settle_prometheus(prometheus, defaults),
        target,
        cluster,
        mode: mode.unwrap_or_default(),
        load: load.map(|l| StatedLoad {
            rps: PerSecond::clamped(l.rps),
            isl: Tokens::clamped(l.isl),
            osl: Tokens::clamped(l.osl),
        }),
        adapter_controller: adapter_controller.unwrap_or(false),
        on_conflict: on_conflict.unwrap_or_default(),
        metrics_port: metrics_port.or(defaults.metrics_port).unwrap_or(Config::METRICS_PORT),
        record: record.unwrap_or_else(|| "-".to_owned()),
        webhook: webhook::settle(webhook, defaults.pod_namespace.as_deref()),
    }
}

impl Config {
    /// The port that NVIDIA's operator opens on a planner pod (kubernetes.md 1.8).
    pub const METRICS_PORT: u16 = 9085;
}

fn settle_sla(sla: &SlaFile) -> Sla {
    let millis = |l: &Option<LatencyFile>, default: f64| {
        l.as_ref().map_or(Millis::clamped(default), |l| Millis::clamped(millis_of(l.target().0)))
    };
    let own = |l: &Option<LatencyFile>| {
        l.as_ref().and_then(LatencyFile::percentile).and_then(Percentile::new)
    };
    Sla {
        ttft: millis(&sla.ttft, Sla::DEFAULT_TTFT_MS),
        itl: millis(&sla.itl, Sla::DEFAULT_ITL_MS),
        percentile: sla.percentile.and_then(Percentile::new).unwrap_or_default(),
        ttft_percentile: own(&sla.ttft),
        itl_percentile: own(&sla.itl),
    }
}

impl Sla {
    /// Dynamo's default target for TTFT (dynamo-planner.md 1.2).
    pub const DEFAULT_TTFT_MS: f64 = 500.0;
    /// Dynamo's default target for ITL (dynamo-planner.md 1.2).
    pub const DEFAULT_ITL_MS: f64 = 50.0;
}

impl Default for Sla {
    fn default() -> Self {
        settle_sla(&SlaFile::default())
    }
}

fn settle_pools(pools: PoolsFile) -> BTreeMap<Role, Pool> {
    let PoolsFile { prefill, decode, aggregated } = pools;
    [(Role::Prefill, prefill), (Role::Decode, decode), (Role::Aggregated, aggregated)]
        .into_iter()
        .filter_map(|(role, pool)| pool.map(|p| (role, settle_pool(p))))
        .collect()
}

fn settle_pool(pool: PoolFile) -> Pool {
    let PoolFile {
        service,
        gpus_per_replica,
        min,
        max,
        profile,
        max_num_batched_tokens,
        max_num_seqs,
        context_length,
        startup,
    } = pool;
    let limits = EngineLimits::default();
    Pool {
        service,
        gpus_per_replica: gpus_per_replica.map(Gpus::new),
        min: Replicas::new(min.unwrap_or(1)),
        max: max.map(Replicas::new),
        profile,
        limits: EngineLimits {
            max_num_batched_tokens: max_num_batched_tokens.unwrap_or(limits.max_num_batched_tokens),
            max_num_seqs: max_num_seqs.unwrap_or(limits.max_num_seqs),
            context_length,
        },
        startup: startup.map_or(Pool::STARTUP, |d| d.0),
    }
}

fn settle_intervals(intervals: &IntervalsFile) -> Intervals {
    let default = Intervals::default();
    let adjustment = intervals.adjustment.map_or(default.adjustment, |d| d.0);
    Intervals {
        adjustment,
        window: intervals.window.map_or(default.window.max(adjustment), |d| d.0),
        max_metric_age: intervals.max_metric_age.map_or(default.max_metric_age, |d| d.0),
        scale_down_stabilization: intervals
            .scale_down_stabilization
            .map_or(default.scale_down_stabilization, |d| d.0),
        longest_hold: intervals.longest_hold.map_or(default.longest_hold, |d| d.0),
    }
}

fn settle_forecast(file: ForecastFile) -> ForecastSource {
    let ForecastFile { predictor, warmup_trace } = file;
    ForecastSource { predictor: predictor.unwrap_or_default(), warmup_trace }
}

fn settle_prometheus(file: PrometheusFile, defaults: &Defaults) -> Option<PrometheusSource> {
    let PrometheusFile { url, bearer_token, token_file, ca_file, extra_query_params, timeout } =
        file;
    url.or_else(|| defaults.prometheus_url.clone()).map(|url| PrometheusSource {
        url,
        bearer_token,
        token_file,
        ca_file,
        extra_query_params,
        timeout: timeout.map_or(Duration::from_secs(10), |d| d.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Predictor;

    fn ok(text: &str) -> Config {
        load(text, "planner.yaml", &Defaults::default()).unwrap()
    }

    fn refused(text: &str) -> String {
        load(text, "planner.yaml", &Defaults::default()).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_has_every_default() {
        let c = ok("# nothing\n");
        assert_eq!(c.sla.ttft.get(), 500.0);
        assert_eq!(c.sla.percentile.get(), 95.0);
        assert_eq!(c.budget, None);
        assert_eq!(c.metrics_port, 9085);
        assert_eq!(c.target, None);
    }

    #[test]
    fn a_target_may_carry_its_own_percentile() {
        let c = ok("sla:\n  ttft: {target: 1500ms, percentile: 99}\n  itl: 40ms\n");
        assert_eq!(c.sla.ttft.get(), 1500.0);
        assert_eq!(c.sla.ttft_percentile.map(Percentile::get), Some(99.0));
        assert_eq!(c.sla.itl_percentile, None);
    }

    #[test]
    fn a_predictor_is_chosen_by_name() {
        assert_eq!(ok("").forecast, ForecastSource::default());
        let c = ok("forecast: {predictor: kalman, warmup_trace: last-week.csv.gz}");
        assert_eq!(c.forecast.predictor, Predictor::Kalman);
        assert_eq!(c.forecast.warmup_trace.as_deref(), Some("last-week.csv.gz"));
    }

    #[test]
    fn the_environment_fills_what_the_file_leaves_out() {
        let env = Defaults {
            namespace: Some("llm".into()),
            dgd: Some("chat".into()),
            dynamo_namespace: None,
            prometheus_url: Some("http://p:9090".into()),
            metrics_port: Some(1234),
            pod_namespace: None,
        };
        let c = load("intervals: {adjustment: 30s}", "f", &env).unwrap();
        let t = c.target.unwrap();
        assert_eq!((t.namespace.as_str(), t.dgd.as_str()), ("llm", "chat"));
        assert_eq!(t.dynamo_namespace, "llm-chat");
        assert_eq!(c.prometheus.unwrap().url, "http://p:9090");
        assert_eq!(c.metrics_port, 1234);
        assert_eq!(c.intervals.window, Duration::from_secs(30));
    }

    #[test]
    fn the_dynamo_namespace_of_our_own_graph_is_not_that_of_another_one() {
        let env = Defaults {
            namespace: Some("llm".into()),
            dgd: Some("chat".into()),
            dynamo_namespace: Some("llm-chat-7f3".into()),
            ..Defaults::default()
        };
        let of = |text| load(text, "f", &env).unwrap().target.unwrap().dynamo_namespace;
        assert_eq!(of(""), "llm-chat-7f3");
        assert_eq!(of("target: {dgd: chat}"), "llm-chat-7f3");
        assert_eq!(of("target: {dgd: other}"), "llm-other");
        assert_eq!(of("target: {namespace: prod, dgd: chat}"), "prod-chat");
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_known_one() {
        let e = refused("sla:\n  ttfft: 500ms\n");
        assert!(e.contains("ttfft") && e.contains("did you mean `ttft`?"), "{e}");
        assert!(e.contains("2:3") || e.contains("line 2"), "{e}");
    }

    #[test]
    fn every_impossible_limit_is_reported_at_its_line() {
        let e = refused(
            "pools:\n  prefill: {min: 5, max: 3}\n  decode: {min: 2, gpus_per_replica: 4}\n\
             max_gpu_budget: 8\n",
        );
        assert!(e.contains("min 5 is more than max 3"), "{e}");
        assert!(e.contains("8 GPUs are fewer than the 13"), "{e}");
    }

    #[test]
    fn wrong_units_and_signs_are_refused() {
        for (text, says) in [
            ("sla: {ttft: 500}", "unit is missing"),
            ("sla: {ttft: -5ms}", "must not be negative"),
            ("sla: {itl: 0ms}", "more than zero"),
            ("sla: {percentile: 0.95e3}", "between 0 and 100"),
            ("sla: {percentile: 100}", "between 0 and 100"),
            ("max_gpu_budget: 0", "at least 1, or -1"),
            ("max_gpu_budget: -2", "at least 1, or -1"),
            ("load: {rps: -1, isl: 3, osl: 3}", "at least 0"),
            ("load: {rps: .nan, isl: 3, osl: 3}", "at least 0"),
            ("load: {rps: 1, isl: 1.0e300, osl: 3}", "at most 1e9"),
            ("max_gpu_budget: 4294967296", "at most 4294967295"),
            ("pools: {decode: {max: 0}}", "default min 1"),
            ("pools: {decode: {}, aggregated: {}}", "give it alone"),
            ("mode: maybe", "act"),
            ("intervals: {adjustment: fast}", "with its unit"),
            ("forecast: {predictor: karman}", "did you mean `kalman`?"),
            ("forecast: {predictor: oracle}", "constant, arima"),
            ("forecast: {predicter: arima}", "did you mean `predictor`?"),
            ("forecast: {warmup_trace: ''}", "expected the name of a file"),
        ] {
            let e = refused(text);
            assert!(e.contains(says), "{text}: {e}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let c = ok("prometheus: {url: 'http://p', bearer_token: hunter2}");
        assert!(!format!("{c:?}").contains("hunter2"));
    }
}
