//! One service for many graphs: what each has that asks to be planned for.
//!
//! The file of the service is what every graph has that says nothing else. A graph asks by an annotation,
//! whose text takes the place of the file's where it speaks.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::file::{IntervalsFile, PoolsFile, SlaFile};
use super::load::{ConfigError, is_blank, load, parse};
use super::{Config, Defaults, Intervals, Mode, OnConflict, format_duration};
use crate::units::Predictor;

/// Plans for every DGD that asks for it, by the annotation `sla-planner/config`, in place of one
/// `target`. What the annotation holds (YAML: `sla`, `pools`, `max_gpu_budget`, `intervals`,
/// `forecast.predictor`, `mode`, `on_conflict`, `target.dynamo_namespace`, `target.model`; or nothing)
/// takes the place of what the file says. `{}` is enough. `intervals.adjustment` is at least 1s here, and
/// `intervals.window` at most 1h.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// The namespaces whose DGDs may ask. Default: every namespace.
    pub namespaces: Option<Vec<String>>,
    /// A folder of profiles: a DGD's `pools.*.profile` names an entry of it, or a shipped profile.
    /// Default: shipped ones alone.
    pub profiles: Option<String>,
    /// Namespace of the Lease `sla-planner`, whose holder plans. Default: the environment variable
    /// `POD_NAMESPACE`, else `default`.
    pub lease_namespace: Option<String>,
}

/// What a service of the cluster plans for.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The namespaces whose graphs may ask; none named are all.
    pub namespaces: Vec<String>,
    /// Folder of the profiles that a graph may name beside the shipped ones.
    pub profiles: Option<String>,
    /// Namespace of the Lease whose holder plans.
    pub lease_namespace: String,
    /// What the file says of every graph, key by key.
    template: Map<String, Value>,
}

/// The shortest time between two decisions for a graph, and the widest window of its queries: what one
/// graph costs all share.
const FASTEST: Duration = Duration::from_secs(1);
const WIDEST: Duration = Duration::from_secs(3600);

/// The keys of the file that are those of a graph.
const KEYS: [&str; 7] =
    ["sla", "pools", "max_gpu_budget", "intervals", "forecast", "mode", "on_conflict"];

/// What the annotation of a graph may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed for its complaints; the merged text is what is used")]
struct AnnotationFile {
    #[serde(default)]
    sla: SlaFile,
    #[serde(default)]
    pools: PoolsFile,
    max_gpu_budget: Option<i64>,
    #[serde(default)]
    intervals: IntervalsFile,
    #[serde(default)]
    forecast: AnnotationForecast,
    #[serde(default)]
    target: AnnotationTarget,
    mode: Option<Mode>,
    on_conflict: Option<OnConflict>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct AnnotationForecast {
    predictor: Option<Predictor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct AnnotationTarget {
    dynamo_namespace: Option<String>,
    model: Option<String>,
}

/// What the file says, validated; `text` is the whole of it.
pub(super) fn settle(
    file: Option<ClusterFile>,
    text: &str,
    origin: &str,
    (intervals, pod_namespace): (&Intervals, Option<&str>),
) -> Result<Option<Cluster>, ConfigError> {
    let Some(ClusterFile { namespaces, profiles, lease_namespace }) = file else {
        return Ok(None);
    };
    if let Some(frame) = too_dear(intervals) {
        return Err(ConfigError::Invalid { origin: origin.to_owned(), frame });
    }
    let mut template: Map<String, Value> = parse(text, origin)?;
    template.retain(|key, said| KEYS.contains(&key.as_str()) && !said.is_null());
    let namespaces = namespaces.unwrap_or_default();
    let own = || pod_namespace.unwrap_or("default").to_owned();
    let lease_namespace = lease_namespace.unwrap_or_else(own);
    Ok(Some(Cluster { namespaces, profiles, lease_namespace, template }))
}

impl Cluster {
    /// The configuration of the graph `dgd` in `namespace`, whose annotation has this text: that of the
    /// `service` where the text says nothing else. `mode: advise` of the service is not lifted.
    ///
    /// # Errors
    ///
    /// Where the text is no valid YAML, has a key that is unknown or not a graph's to give, or
    /// contradicts the file.
    pub fn config_of(
        &self,
        service: &Config,
        namespace: &str,
        dgd: &str,
        text: &str,
    ) -> Result<Config, ConfigError> {
        let origin = format!("the annotation of {namespace}/{dgd}");
        let own: Map<String, Value> = if is_blank(text) {
            Map::new()
        } else {
            let _: AnnotationFile = parse(text, &origin)?;
            parse(text, &origin)?
        };
        let mut merged = Value::Object(self.template.clone());
        let names_pools = own.get("pools").is_some_and(Value::is_object);
        if let (Some(Value::Object(pools)), true) = (merged.get_mut("pools"), names_pools) {
            // Which pools a graph has is its own to say; what they are like may be the file's.
            pools.retain(|role, _| own["pools"].get(role).is_some());
        }
        lay_over(&mut merged, Value::Object(own));
        if let Some(all) = merged.as_object_mut() {
            let target = all.entry("target").or_insert_with(|| Value::Object(Map::new()));
            target["namespace"] = namespace.into();
            target["dgd"] = dgd.into();
        }
        let place = origin;
        let origin = format!("the file of the service with {place}");
        let config = load(&format!("{merged:#}"), &origin, &Defaults::default())?;
        if let Some(frame) = too_dear(&config.intervals) {
            return Err(ConfigError::Invalid { origin: place, frame });
        }
        Ok(Config {
            mode: if service.mode == Mode::Advise { Mode::Advise } else { config.mode },
            prometheus: service.prometheus.clone(),
            metrics_port: service.metrics_port,
            record: service.record.clone(),
            ..config
        })
    }
}

/// What is wrong with intervals that one graph may not have.
fn too_dear(intervals: &Intervals) -> Option<String> {
    let Intervals { adjustment, window, .. } = *intervals;
    (adjustment < FASTEST || window > WIDEST).then(|| {
        format!(
            "`intervals`: expected an `adjustment` of at least {} and a `window` of at most {}, since \
             all graphs share one service",
            format_duration(FASTEST),
            format_duration(WIDEST)
        )
    })
}

/// Lays `over` over `under`: mappings key by key, anything else in place of what was there. A key that is
/// there without a value says nothing.
fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(there) => lay_over(there, value),
                    None if value.is_null() => {}
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Gpus, Replicas, Role};

    const SERVICE: &str = "
sla: {ttft: 800ms, itl: 40ms}
pools:
  prefill: {max: 8, startup: 90s}
  decode: {max: 4}
max_gpu_budget: 12
prometheus: {url: http://prometheus, bearer_token: hunter2}
cluster: {namespaces: [llm]}
";

    fn of(service: &str, text: &str) -> Result<Config, String> {
        let service = load(service, "service.yaml", &Defaults::default());
        let service = service.map_err(|e| e.to_string())?;
        let cluster = service.cluster.as_ref().ok_or("no cluster")?;
        cluster.config_of(&service, "llm", "chat", text).map_err(|e| e.to_string())
    }

    #[test]
    fn who_says_nothing_has_what_the_file_says() {
        for text in ["", "  \n", "# as the file\n", "{}", "sla: {}\nmode:\n"] {
            let config = of(SERVICE, text).unwrap();
            let target = config.target.unwrap();
            assert_eq!((target.namespace.as_str(), target.dgd.as_str()), ("llm", "chat"));
            assert_eq!(target.dynamo_namespace, "llm-chat");
            assert_eq!((config.sla.ttft.get(), config.budget), (800.0, Some(Gpus::new(12))));
            assert_eq!(config.pools.len(), 2, "{text:?}");
            assert_eq!(config.prometheus.unwrap().url, "http://prometheus");
            assert_eq!(config.cluster, None);
        }
    }

    #[test]
    fn what_a_graph_says_takes_the_place_of_that_alone() {
        let config = of(
            SERVICE,
            "sla: {ttft: {target: 2s, percentile: 99}}\npools: {prefill: {max: 3}}\n\
             target: {dynamo_namespace: dyn, model: M}\nmode: advise\n",
        )
        .unwrap();
        assert_eq!((config.sla.ttft.get(), config.sla.itl.get()), (2000.0, 40.0));
        assert!(config.sla.ttft_percentile.is_some());
        let prefill = &config.pools[&Role::Prefill];
        assert_eq!(
            (prefill.max, prefill.startup),
            (Some(Replicas::new(3)), Duration::from_secs(90))
        );
        assert_eq!(config.pools.len(), 1, "it has no decode pool");
        let target = config.target.unwrap();
        assert_eq!((target.dynamo_namespace.as_str(), target.model.as_deref()), ("dyn", Some("M")));
        assert_eq!(config.mode, Mode::Advise);
        let aggregated = of(SERVICE, "pools: {aggregated: {min: 2}}").unwrap();
        assert_eq!(aggregated.pools.keys().copied().collect::<Vec<_>>(), [Role::Aggregated]);
    }

    #[test]
    fn a_service_that_advises_writes_for_nobody() {
        let service = format!("{SERVICE}mode: advise\n");
        assert_eq!(of(&service, "mode: act").unwrap().mode, Mode::Advise);
    }

    #[test]
    fn a_text_that_cannot_be_used_is_refused_where_it_is_wrong() {
        for (text, says) in [
            ("sla: {ttft: 500}", "unit is missing"),
            ("sla: {ttfft: 500ms}", "did you mean `ttft`?"),
            ("prometheus: {url: http://elsewhere}", "prometheus"),
            ("record: /etc/passwd", "record"),
            ("target: {dgd: another}", "dgd"),
            ("forecast: {warmup_trace: a.csv}", "warmup_trace"),
            ("pools: {decode: {min: 9}}", "min 9 is more than max 4"),
            ("max_gpu_budget: 1", "1 GPUs are fewer than the 2"),
            ("intervals: {adjustment: 1ms}", "at least 1s"),
            ("intervals: {window: 2h}", "at most 1h"),
            ("- a list", "llm/chat"),
            ("a: [", "llm/chat"),
        ] {
            let error = of(SERVICE, text).unwrap_err();
            assert!(error.contains(says) && error.contains("llm/chat"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_for_many_graphs_has_no_target_of_its_own() {
        for (text, says) in [
            ("cluster: {}\ntarget: {dgd: chat}", "leave out `target`"),
            ("cluster: {}\nforecast: {warmup_trace: a.csv}", "is that of one DGD"),
            ("cluster: {namespaces: ['']}", "expected a namespace"),
            ("cluster: {}\nintervals: {window: 2h}", "at most 1h"),
            ("cluster: {namespaces: []}", "leave the key out for every namespace"),
            ("cluster: {namespace: [llm]}", "did you mean `namespaces`?"),
        ] {
            let error = load(text, "service.yaml", &Defaults::default()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let env = Defaults {
            dgd: Some("chat".into()),
            pod_namespace: Some("planners".into()),
            ..Defaults::default()
        };
        let config = load("cluster: {}", "service.yaml", &env).unwrap();
        assert_eq!(config.target, None);
        assert_eq!(config.cluster.unwrap().lease_namespace, "planners");
    }
}
