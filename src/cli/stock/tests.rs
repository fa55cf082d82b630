use clap::Parser as _;

use super::*;
use crate::cli::exit::Exit;
use crate::spec::{Config, Defaults, Mode};
use crate::units::{Gpus, Predictor, Replicas, Role};

#[derive(clap::Parser)]
struct Command {
    #[arg(long)]
    config: Option<String>,
    #[command(flatten)]
    stock: Flags,
}

fn flags(line: &str) -> Vec<Said> {
    let args = std::iter::once("run").chain(line.split_whitespace());
    let command = Command::try_parse_from(args).unwrap();
    assert_eq!(command.config, None);
    command.stock.said()
}

fn around() -> Environment {
    Environment { has_prometheus: true, ..Environment::default() }
}

fn made(said: &[Said], around: &Environment) -> (Config, Vec<String>) {
    let Translated { text, token, notes } =
        translate(said, around).unwrap_or_else(|e| panic!("{e}"));
    assert!(token.is_none_or(|token| !text.contains(token.expose())), "{text}");
    let defaults = Defaults {
        prometheus_url: around.has_prometheus.then(|| "http://env:9090".to_owned()),
        ..Defaults::default()
    };
    (crate::spec::load(&text, "it", &defaults).unwrap_or_else(|e| panic!("{e}")), notes)
}

fn refused(text: &str) -> String {
    let said = of_text(text).expect("keys of Dynamo's planner");
    let error = translate(&said, &around()).expect_err("a refusal");
    assert_eq!(error.exit, Exit::BadInput);
    error.to_string()
}

#[test]
fn the_arguments_of_the_stock_manifest_make_a_configuration() {
    let line = "--environment=kubernetes --backend=vllm --adjustment-interval=60 \
                --profile-results-dir=/workspace/profiling_results";
    let (config, notes) = made(&flags(line), &around());
    assert_eq!(config.pools.keys().copied().collect::<Vec<_>>(), [Role::Prefill, Role::Decode]);
    for pool in config.pools.values() {
        assert_eq!(pool.profile.as_deref(), Some("/workspace/profiling_results"));
        assert_eq!((pool.min, pool.max, pool.gpus_per_replica), (Replicas::new(1), None, None));
    }
    assert_eq!(config.intervals.adjustment.as_secs(), 60);
    assert_eq!(config.intervals.window.as_secs(), 60, "no arrival between two windows is lost");
    assert_eq!((config.sla.ttft.get(), config.sla.itl.get()), (500.0, 50.0));
    assert_eq!(config.budget, Some(Gpus::new(8)));
    assert_eq!(config.prometheus.unwrap().url, "http://env:9090");
    assert_eq!(config.mode, Mode::Act);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("8 GPUs"), "{notes:?}");
}

#[test]
fn every_option_of_0_9_has_its_meaning_or_is_named() {
    let line = "--namespace dyn --mode decode --no-operation --log-dir /logs --max-gpu-budget -1 \
                --min-endpoint 2 --decode-engine-num-gpu 4 --prefill-engine-num-gpu 2 --ttft 200 \
                --itl 20.5 --load-predictor kalman --load-predictor-log1p \
                --load-predictor-warmup-trace /trace.jsonl --prophet-window-size 50 \
                --kalman-q-level 1 --kalman-q-trend 0.1 --kalman-r 10 --kalman-min-points 5 \
                --metric-pulling-prometheus-endpoint http://p:9090 \
                --metric-reporting-prometheus-port 0 --no-correction --model-name m";
    let (config, notes) = made(&flags(line), &around());
    let pool = &config.pools[&Role::Decode];
    assert_eq!(config.pools.len(), 1);
    assert_eq!((pool.min, pool.gpus_per_replica), (Replicas::new(2), Some(Gpus::new(4))));
    assert_eq!((config.sla.ttft.get(), config.sla.itl.get()), (200.0, 20.5));
    assert_eq!((config.budget, config.mode, config.metrics_port), (None, Mode::Advise, 0));
    assert_eq!(config.forecast.predictor, Predictor::Kalman);
    assert_eq!(config.forecast.warmup_trace.as_deref(), Some("/trace.jsonl"));
    assert_eq!(config.prometheus.unwrap().url, "http://p:9090");
    for name in [
        "--log-dir",
        "--load-predictor-log1p",
        "--prophet-window-size",
        "--kalman-q-level",
        "--kalman-q-trend",
        "--kalman-r",
        "--kalman-min-points",
        "--no-correction",
    ] {
        assert!(
            notes.iter().any(|n| n.starts_with(&format!("{name} has no"))),
            "{name}: {notes:?}"
        );
    }
    assert!(notes.iter().any(|n| n.contains("no prefill pool")), "{notes:?}");
    assert_eq!(notes.len(), 9, "{notes:?}");
}

#[test]
fn keys_of_1_x_in_json_or_yaml() {
    let json = r#"{"environment": "kubernetes", "backend": "sglang", "optimization_target": "sla",
        "enable_throughput_scaling": true, "enable_load_scaling": true,
        "pre_deployment_sweeping_mode": "rapid", "throughput_adjustment_interval_seconds": 60,
        "load_adjustment_interval_seconds": 5, "ttft": 300, "itl_ms": 30.0, "min_endpoint": 1,
        "decode_min_endpoint": 3, "max_throughput_scaling_replicas": 6, "max_gpu_budget": 16,
        "log_dir": null, "advisory": false,
        "metric_pulling_prometheus_extra_query_params": {"tenant": "a"}}"#;
    let yaml = serde_json::from_str::<Value>(json)
        .unwrap()
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| format!("{k}: {v}\n"))
        .collect::<String>();
    for text in [json, &yaml] {
        let (config, notes) = made(&of_text(text).unwrap(), &around());
        assert_eq!(config.intervals.adjustment.as_secs(), 5, "the faster of the two loops");
        assert_eq!(config.pools[&Role::Prefill].min, Replicas::new(1));
        assert_eq!(config.pools[&Role::Decode].min, Replicas::new(3));
        assert_eq!(config.pools[&Role::Decode].max, Some(Replicas::new(6)));
        assert_eq!(config.prometheus.unwrap().extra_query_params["tenant"], "a");
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("pre_deployment_sweeping_mode has no"), "{notes:?}");
    }
}

#[test]
fn another_aim_follows_the_load_as_there() {
    let of = |text: &str| made(&of_text(text).unwrap(), &around());
    let (config, notes) =
        of("optimization_target: throughput\nthroughput_adjustment_interval_seconds: 180");
    assert_eq!(config.intervals.adjustment.as_secs(), 5);
    assert!(notes.iter().any(|n| n.contains("`throughput` has no counterpart")), "{notes:?}");
    let (config, _) = of("optimization_target: load\nenable_throughput_scaling: false");
    assert_eq!(config.intervals.adjustment.as_secs(), 5);
    let (config, _) = of("backend: vllm\nttft: 300\nttft_ms: null");
    assert_eq!(config.sla.ttft.get(), 300.0, "a key without a value says nothing");
}

#[test]
fn a_token_is_in_no_message() {
    let secret = "s3cr3t-of-the-token";
    let text = format!("backend: vllm\nmetric_pulling_prometheus_token: {secret}\n");
    let (config, notes) = {
        let said = of_text(&text).unwrap();
        let made = translate(&said, &around()).unwrap();
        assert_eq!(made.token.unwrap().expose(), secret);
        (made.text, made.notes)
    };
    assert!(!config.contains(secret) && !notes.concat().contains(secret));
    let wrong = refused("backend: vllm\nmetric_pulling_prometheus_token: 12345");
    assert!(wrong.contains("a text") && !wrong.contains("12345"), "{wrong}");
}

#[test]
fn an_aggregated_fleet_has_one_pool_of_engines_that_decode() {
    let said = of_text("mode: agg\ndecode_engine_num_gpu: 2\n").unwrap();
    let (config, _) = made(&said, &around());
    assert_eq!(config.pools[&Role::Aggregated].gpus_per_replica, Some(Gpus::new(2)));
}

#[test]
fn a_configuration_of_ours_is_not_taken_for_theirs() {
    for ours in
        ["", "max_gpu_budget: 4", "mode: advise\nmax_gpu_budget: 4", "sla: {ttft: 1s}", "[1]"]
    {
        assert!(of_text(ours).is_none(), "{ours}");
    }
    // Of both kinds: our own reader says what is wrong.
    assert!(of_text("sla: {ttft: 1s}\nttft_ms: 5").is_none());
    assert!(of_text("mode: disagg").is_some());
}

#[test]
fn every_key_of_ours_makes_a_file_ours_but_for_the_two_that_both_have() {
    let schema = json_schema();
    let shared: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| of_text(&format!("ttft_ms: 5\n{key}: 1")).is_some())
        .map(String::as_str)
        .collect();
    assert_eq!(shared, ["max_gpu_budget", "mode"]);
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    for (text, says) in [
        ("environment: virtual", vec!["`environment`", "kubernetes", "`virtual`"]),
        ("backend: tgi", vec!["`backend`", "one of vllm, sglang"]),
        ("ttft_ms: -5", vec!["`ttft_ms`: expected a number above 0, found `-5`"]),
        ("ttft: 300\nttft_ms: 400", vec!["`ttft` and `ttft_ms`", "one of them"]),
        ("backend: vllm\nmetric_reporting_prometheus_port: 70000", vec!["a port from 0 to 65535"]),
        ("itl_ms: soon", vec!["`itl_ms`", "a number", "`soon`"]),
        ("backend: vllm\nmax_gpu_budget: 2.5", vec!["`max_gpu_budget`", "whole number"]),
        ("backend: vllm\nmax_gpu_budget: -2", vec!["at least -1"]),
        ("backend: vllm\nttfft_ms: 5", vec!["`ttfft_ms`", "did you mean `ttft_ms`"]),
        ("advisory: maybe", vec!["`advisory`", "true or false"]),
        ("enable_throughput_scaling: false", vec!["nothing would be scaled"]),
        ("load_predictor: lstm", vec!["`load_predictor`", "prophet"]),
        ("backend: [vllm]", vec!["`backend`", "a text"]),
    ] {
        let error = refused(text);
        assert!(says.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
}

#[test]
fn the_environment_says_where_prometheus_is_and_how_to_ask_it() {
    let said = |key: &str, value: &str| Said {
        key: format!("metric_pulling_prometheus_{key}"),
        shown: format!("PROMETHEUS_{}", key.to_uppercase()),
        value: json!(value),
    };
    let environment = Environment {
        said: vec![
            said("token", "secret"),
            said("token_file", "/var/token"),
            said("ca_bundle", "/ca.pem"),
            said("ssl_verify", "false"),
            said("extra_query_params", "tenant=a&dedup=true"),
        ],
        has_prometheus: false,
        has_profile: true,
    };
    let (config, notes) = made(&flags(""), &environment);
    let prometheus = config.prometheus.unwrap();
    assert_eq!(prometheus.url, PROMETHEUS);
    assert_eq!(prometheus.token_file.as_deref(), Some("/var/token"));
    assert!(prometheus.bearer_token.is_none(), "the file is newer than any token");
    assert_eq!(prometheus.ca_file.as_deref(), Some("/ca.pem"));
    assert_eq!(prometheus.extra_query_params["dedup"], "true");
    assert_eq!(config.pools[&Role::Decode].profile.as_deref(), Some(PROFILE_DIR));
    assert!(notes.iter().any(|n| n.contains("always verified")), "{notes:?}");
    assert!(notes.iter().any(|n| n.contains(PROMETHEUS)), "{notes:?}");
    assert!(!notes.iter().any(|n| n.contains("secret")), "{notes:?}");
}

#[test]
fn no_key_is_there_twice() {
    let mut names: Vec<&str> = keys::names().collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn a_known_key_of_which_nothing_was_made_is_named() {
    let said = Said { key: "itl".to_owned(), shown: "--itl".to_owned(), value: json!(20) };
    let mut out = Builder {
        all: [(Key::ItlMs, &said)].into(),
        rest: BTreeMap::new(),
        config: Map::new(),
        token: None,
        notes: Vec::new(),
    };
    out.name_the_rest();
    assert_eq!(out.notes, ["--itl is left out: nothing here follows from it"]);
}
