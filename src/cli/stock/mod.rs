//! Configurations of Dynamo's own planner, taken as they are: the options of 0.9 and the keys of 1.x.
//!
//! Both are told as a list of what was [said](Said), which becomes a configuration of ours: the same
//! checks read it. What has no counterpart is named in a note, and what would mean something else here
//! is refused (keys and defaults: dynamo-planner.md 1.2 and 2.3).

mod flags;
mod keys;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::exit::CliError;
use crate::spec::{Secret, json_schema};
use keys::{Key, Known, Without};

pub(super) use flags::Flags;

/// One thing that was said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The key of a 1.x configuration.
    pub(super) key: String,
    /// As its user wrote it: the key, or an option.
    pub(super) shown: String,
    /// Numbers may be text.
    pub(super) value: Value,
}

/// A configuration of ours with what is to be told about it.
#[derive(Clone, Debug)]
pub(super) struct Translated {
    /// In JSON, which is YAML. No secret is in it: messages show lines of it.
    pub(super) text: String,
    /// The token for Prometheus.
    pub(super) token: Option<Secret>,
    pub(super) notes: Vec<String>,
}

/// What the environment says besides what every configuration takes from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// `PROMETHEUS_TOKEN`, `PROMETHEUS_TOKEN_FILE`, `PROMETHEUS_CA_BUNDLE`,
    /// `PROMETHEUS_EXTRA_QUERY_PARAMS`, `PROMETHEUS_SSL_VERIFY`, by the key that means the same.
    pub(super) said: Vec<Said>,
    /// Whether `PROMETHEUS_ENDPOINT` is set.
    pub(super) has_prometheus: bool,
    /// Whether there is a directory of the name that the profile has where nobody says.
    pub(super) has_profile: bool,
}

/// Dynamo's default address of Prometheus (dynamo-planner.md 1.2).
const PROMETHEUS: &str =
    "http://prometheus-kube-prometheus-prometheus.monitoring.svc.cluster.local:9090";

/// Dynamo's default directory of profiling data (dynamo-planner.md 1.2).
pub(super) const PROFILE_DIR: &str = "profiling_results";

/// Dynamo's default budget (dynamo-planner.md 1.2).
const BUDGET: i64 = 8;

/// Dynamo's default of `load_adjustment_interval_seconds` (dynamo-planner.md 2.3).
const LOAD_INTERVAL: f64 = 5.0;

/// The largest count that is taken.
const MOST_COUNT: i64 = u32::MAX as i64;

/// The keys of a file or an inline text that was written for Dynamo's planner 1.x; `None` where it is
/// a configuration of ours, or none at all.
pub(super) fn of_text(text: &str) -> Option<Vec<Said>> {
    let Ok(Value::Object(keys)) = serde_saphyr::from_str::<Value>(text) else { return None };
    let schema = json_schema();
    let is_ours = |key: &String| schema["properties"].get(key.as_str()).is_some();
    let is_theirs = |key: &String| Known::of(key).is_some();
    // `mode` and `max_gpu_budget` are keys of both.
    let only_ours = keys.keys().any(|key| is_ours(key) && !is_theirs(key));
    let only_theirs = keys.keys().any(|key| is_theirs(key) && !is_ours(key));
    let stock_mode =
        keys.get("mode").and_then(Value::as_str).is_some_and(|mode| MODES.contains(&mode));
    if only_ours || !(only_theirs || stock_mode) {
        return None;
    }
    let said = |(key, value): (String, Value)| Said { shown: key.clone(), key, value };
    Some(keys.into_iter().map(said).collect())
}

const MODES: [&str; 4] = ["disagg", "prefill", "decode", "agg"];

/// Makes a configuration of ours of what was said.
///
/// # Errors
///
/// A key that Dynamo's planner has not, a value that it does not take, and what would mean something
/// else here; the first of them, by the name that its user wrote.
pub(super) fn translate(said: &[Said], around: &Environment) -> Result<Translated, CliError> {
    let (mut all, mut rest) = (BTreeMap::new(), BTreeMap::new());
    for source in [&around.said[..], said] {
        let mut here: BTreeMap<Key, &Said> = BTreeMap::new();
        for one in source {
            let known = Known::of(&one.key).ok_or_else(|| keys::unknown(&one.shown))?;
            // A key without a value is not set, as there.
            if one.value.is_null() {
                continue;
            }
            let key = match known {
                Known::With(key) => key,
                Known::Without(without) => {
                    rest.insert(without, one);
                    continue;
                }
            };
            if let Some(other) = here.insert(key, one) {
                return Err(CliError::bad_input(format!(
                    "`{}` and `{}` are two names of one thing: give one of them",
                    other.shown, one.shown
                )));
            }
        }
        all.extend(here);
    }
    // A token that was said is not outdone by a file that the environment names.
    if all.get(&Key::PrometheusToken).is_some_and(|token| said.iter().any(|s| s.key == token.key)) {
        let file = all.get(&Key::PrometheusTokenFile);
        if file.is_some_and(|file| !said.iter().any(|s| s.key == file.key)) {
            all.remove(&Key::PrometheusTokenFile);
        }
    }
    let mut out = Builder { all, rest, config: Map::new(), token: None, notes: Vec::new() };
    out.surroundings()?;
    let other_aim = out.promise()?;
    out.pools(around)?;
    out.loops(other_aim)?;
    out.prometheus(around)?;
    out.name_the_rest();
    let text = serde_json::to_string_pretty(&Value::Object(out.config))
        .map_err(|e| CliError::bad_input(e.to_string()))?;
    Ok(Translated { text, token: out.token, notes: out.notes })
}

struct Builder<'a> {
    /// What is not dealt with yet.
    all: BTreeMap<Key, &'a Said>,
    /// What has no counterpart.
    rest: BTreeMap<Without, &'a Said>,
    config: Map<String, Value>,
    token: Option<Secret>,
    notes: Vec<String>,
}

impl Builder<'_> {
    fn take(&mut self, key: Key) -> Option<Said> {
        self.all.remove(&key).cloned()
    }

    fn text(&mut self, key: Key) -> Result<Option<(String, String)>, CliError> {
        let Some(said) = self.take(key) else { return Ok(None) };
        if let Value::String(text) = said.value {
            Ok(Some((said.shown, text)))
        } else {
            Err(keys::wrong(&said.shown, "a text", &said.value))
        }
    }

    /// A number above 0.
    fn number(&mut self, key: Key) -> Result<Option<f64>, CliError> {
        let Some(said) = self.take(key) else { return Ok(None) };
        let number = match said.value.as_str() {
            Some(text) => text.trim().parse().ok(),
            None => said.value.as_f64(),
        };
        match number.filter(|x: &f64| x.is_finite() && *x > 0.0) {
            Some(x) => Ok(Some(x)),
            None => Err(keys::wrong(&said.shown, "a number above 0", &said.value)),
        }
    }

    fn count(&mut self, key: Key, least: i64) -> Result<Option<i64>, CliError> {
        let Some(said) = self.take(key) else { return Ok(None) };
        let text = match said.value.as_str() {
            Some(text) => text.trim().to_owned(),
            None => said.value.to_string(),
        };
        // Python writes a whole number as 8.0 where it was read as a float.
        let whole = text.strip_suffix(".0").unwrap_or(&text).parse().ok();
        match whole.filter(|n| (least..=MOST_COUNT).contains(n)) {
            Some(n) => Ok(Some(n)),
            None => {
                let expected = format!("a whole number of at least {least}");
                Err(keys::wrong(&said.shown, &expected, &said.value))
            }
        }
    }

    fn flag(&mut self, key: Key) -> Result<Option<bool>, CliError> {
        let Some(said) = self.take(key) else { return Ok(None) };
        let word = said.value.as_str().map(str::to_ascii_lowercase);
        let found = said.value.as_bool().or_else(|| match word?.as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        });
        found.map(Some).ok_or_else(|| keys::wrong(&said.shown, "true or false", &said.value))
    }

    /// One of these words.
    fn word(&mut self, key: Key, words: &[&'static str]) -> Result<Option<&'static str>, CliError> {
        let Some((shown, text)) = self.text(key)? else { return Ok(None) };
        let found = words.iter().find(|word| **word == text).copied();
        let expected = || format!("one of {}", words.join(", "));
        found.map(Some).ok_or_else(|| keys::wrong(&shown, &expected(), &json!(text)))
    }

    fn set(&mut self, path: [&str; 2], value: Value) {
        let inner = self.config.entry(path[0]).or_insert_with(|| json!({}));
        if let Value::Object(inner) = inner {
            inner.insert(path[1].to_owned(), value);
        }
    }

    fn surroundings(&mut self) -> Result<(), CliError> {
        if let Some((shown, place)) = self.text(Key::Environment)?
            && place != "kubernetes"
        {
            return Err(keys::wrong(&shown, "kubernetes", &json!(place))
                .hint("only a Kubernetes cluster can be planned for; `simulate` plays a trace without one"));
        }
        self.word(Key::Backend, &["vllm", "sglang", "trtllm", "mocker"])?;
        if let Some((_, name)) = self.text(Key::Namespace)? {
            self.set(["target", "dynamo_namespace"], json!(name));
        }
        if let Some((_, name)) = self.text(Key::ModelName)? {
            self.set(["target", "model"], json!(name));
        }
        if self.flag(Key::Advisory)? == Some(true) {
            self.config.insert("mode".to_owned(), json!("advise"));
        }
        Ok(())
    }

    /// What is promised, and whether another aim was stated than that.
    fn promise(&mut self) -> Result<bool, CliError> {
        for (key, ours) in [(Key::TtftMs, "ttft"), (Key::ItlMs, "itl")] {
            if let Some(ms) = self.number(key)? {
                self.set(["sla", ours], json!(format!("{ms}ms")));
            }
        }
        if let Some(target) =
            self.word(Key::OptimizationTarget, &["throughput", "latency", "load", "sla"])?
            && target != "sla"
        {
            self.notes.push(format!(
                "optimization_target `{target}` has no counterpart: the promise on TTFT and ITL is \
                 what is planned for"
            ));
            return Ok(true);
        }
        Ok(false)
    }

    fn pools(&mut self, around: &Environment) -> Result<(), CliError> {
        let mode = self.word(Key::Mode, &MODES)?.unwrap_or("disagg");
        let roles: &[&str] = match mode {
            "prefill" => &["prefill"],
            "decode" => &["decode"],
            "agg" => &["aggregated"],
            _ => &["prefill", "decode"],
        };
        let all = self.count(Key::MinEndpoint, 0)?;
        let most = self.count(Key::MaxReplicas, 1)?;
        let own = [
            ("prefill", self.count(Key::PrefillMinEndpoint, 1)?, self.count(Key::PrefillGpus, 1)?),
            ("decode", self.count(Key::DecodeMinEndpoint, 1)?, self.count(Key::DecodeGpus, 1)?),
        ];
        let profile = match self.text(Key::ProfileDir)? {
            Some((_, name)) => Some(name),
            None => around.has_profile.then(|| PROFILE_DIR.to_owned()),
        };
        for role in roles {
            // The engines of an aggregated fleet are those that decode.
            let stands_for = if *role == "aggregated" { "decode" } else { role };
            let (_, min, gpus) =
                own.iter().find(|(name, ..)| *name == stands_for).copied().unwrap_or_default();
            let pool = [
                ("min", min.or(all).map(Value::from)),
                ("max", most.map(Value::from)),
                ("gpus_per_replica", gpus.map(Value::from)),
                ("profile", profile.clone().map(Value::from)),
            ];
            let pool = pool.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
            self.set(["pools", role], Value::Object(pool));
        }
        for (role, min, gpus) in own {
            let stands_for = if mode == "agg" { "decode" } else { mode };
            let idle = mode != "disagg" && role != stands_for;
            if idle && (min.is_some() || gpus.is_some()) {
                self.notes.push(format!(
                    "mode `{mode}` has no {role} pool: what was said of one is left out"
                ));
            }
        }
        let budget = self.count(Key::MaxGpuBudget, -1)?;
        if budget.is_none() {
            self.notes.push(format!(
                "max_gpu_budget is not said: {BUDGET} GPUs, as with Dynamo's planner; -1 is no limit"
            ));
        }
        self.config.insert("max_gpu_budget".to_owned(), json!(budget.unwrap_or(BUDGET)));
        if let Some(least) = self.count(Key::MinGpuBudget, -1)?.filter(|least| *least > 0) {
            self.notes.push(format!(
                "min_gpu_budget {least} has no counterpart: `min_endpoint` keeps replicas of each pool"
            ));
        }
        Ok(())
    }

    /// How often to look. With another aim than the promise Dynamo's planner follows the load alone.
    fn loops(&mut self, other_aim: bool) -> Result<(), CliError> {
        let slow = self.number(Key::ThroughputInterval)?;
        let fast = self.number(Key::LoadInterval)?;
        let by_throughput = self.flag(Key::EnableThroughput)?.unwrap_or(true) && !other_aim;
        let by_load = self.flag(Key::EnableLoad)?.unwrap_or(false) || other_aim;
        if !by_throughput && !by_load {
            return Err(CliError::bad_input(
                "enable_throughput_scaling and enable_load_scaling are both false: nothing would be \
                 scaled",
            )
            .hint("set one of them to true, or `advisory: true` to only advise"));
        }
        // One loop does both, so that it looks as often as the faster one would.
        let fast = by_load.then(|| fast.unwrap_or(LOAD_INTERVAL));
        let slow = slow.filter(|_| by_throughput);
        if let Some(seconds) = fast.into_iter().chain(slow).reduce(f64::min) {
            self.set(["intervals", "adjustment"], json!(format!("{seconds}s")));
        }
        if let Some(name) =
            self.word(Key::LoadPredictor, &["constant", "arima", "kalman", "prophet"])?
        {
            self.set(["forecast", "predictor"], json!(name));
        }
        if let Some((_, path)) = self.text(Key::WarmupTrace)? {
            self.set(["forecast", "warmup_trace"], json!(path));
        }
        Ok(())
    }

    fn prometheus(&mut self, around: &Environment) -> Result<(), CliError> {
        match self.text(Key::PrometheusUrl)? {
            Some((_, url)) => self.set(["prometheus", "url"], json!(url)),
            None if !around.has_prometheus => {
                self.set(["prometheus", "url"], json!(PROMETHEUS));
                self.notes.push(format!(
                    "no address of Prometheus is said: {PROMETHEUS}, as with Dynamo's planner; \
                     PROMETHEUS_ENDPOINT or --metric-pulling-prometheus-endpoint gives another"
                ));
            }
            None => {}
        }
        let token = self.text(Key::PrometheusToken)?;
        match self.text(Key::PrometheusTokenFile)? {
            // A file is read anew for each request, so that it outlives a token.
            Some((_, file)) => self.set(["prometheus", "token_file"], json!(file)),
            None => {
                self.token = token.map(|(_, token)| Secret::new(token));
            }
        }
        if let Some((_, file)) = self.text(Key::PrometheusCa)? {
            self.set(["prometheus", "ca_file"], json!(file));
        }
        let verify = self.all.get(&Key::PrometheusVerify).map(|said| said.shown.clone());
        if self.flag(Key::PrometheusVerify)? == Some(false) {
            self.notes.push(format!(
                "{} as false has no counterpart: certificates are always verified; \
                 PROMETHEUS_CA_BUNDLE names a file with the authority to trust",
                verify.unwrap_or_default()
            ));
        }
        if let Some(said) = self.take(Key::PrometheusParams) {
            let params = keys::params(&said.value).ok_or_else(|| {
                keys::wrong(&said.shown, "a mapping, or `key=value&key=value`", &said.value)
            })?;
            self.set(["prometheus", "extra_query_params"], json!(params));
        }
        if let Some(seconds) = self.number(Key::PrometheusTimeout)? {
            self.set(["prometheus", "timeout"], json!(format!("{seconds}s")));
        }
        let shown = self.all.get(&Key::MetricsPort).copied().cloned();
        if let Some(port) = self.count(Key::MetricsPort, 0)? {
            if let Some(said) = shown.filter(|_| port > i64::from(u16::MAX)) {
                return Err(keys::wrong(&said.shown, "a port from 0 to 65535", &said.value));
            }
            self.config.insert("metrics_port".to_owned(), json!(port));
        }
        Ok(())
    }

    /// What was said and has no counterpart, and what nothing was made of.
    fn name_the_rest(&mut self) {
        for (Without { why, .. }, said) in &self.rest {
            if said.value != Value::Bool(false) {
                self.notes.push(format!("{} has no counterpart: {why}", said.shown));
            }
        }
        for said in self.all.values() {
            self.notes.push(format!("{} is left out: nothing here follows from it", said.shown));
        }
    }
}

#[cfg(test)]
mod tests;
