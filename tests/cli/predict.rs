//! `predict`: the answer and its forms.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::{PROFILE, TRACE, file, here, planner};

const STEADY: [&str; 7] = ["predict", "--rps", "40", "--isl", "3000", "--osl", "150"];

fn steady(more: &[&str]) -> Value {
    planner(&[&STEADY[..], &["--format", "json"], more].concat()).json()
}

fn replicas(answer: &Value) -> Vec<(String, u64)> {
    let pools = answer["pools"].as_array().unwrap();
    let pool = |p: &Value| (p["role"].as_str().unwrap().into(), p["replicas"].as_u64().unwrap());
    pools.iter().map(pool).collect()
}

/// Every fleet has this shape, that of a load and that of a row.
fn has_the_shape_of_a_fleet(answer: &Value) {
    assert!(answer["feasible"].is_boolean(), "{answer}");
    assert!(answer["reason"].is_string(), "{answer}");
    let pools = answer["pools"].as_array().unwrap();
    let total: u64 = pools.iter().map(|p| p["gpus"].as_u64().unwrap()).sum();
    assert_eq!(answer["total_gpus"], total, "{answer}");
    for pool in pools {
        let used = pool["utilisation"].as_f64().unwrap();
        assert!((0.0..1.5).contains(&used), "{pool}");
        let latency = if pool["role"] == "prefill" { "ttft_ms" } else { "itl_ms" };
        assert!(pool[latency].as_f64().unwrap() > 0.0, "{pool}");
    }
}

#[test]
fn a_steady_load_gives_one_fleet_with_both_latencies_within_the_promise() {
    let answer = steady(&["--ttft", "500ms", "--itl", "50ms", "--percentile", "95"]);
    has_the_shape_of_a_fleet(&answer);
    assert_eq!(answer["feasible"], true);
    assert_eq!(answer.get("intervals"), None);
    assert!(answer["pools"][0]["ttft_ms"].as_f64().unwrap() <= 500.0, "{answer}");
    assert!(answer["pools"][1]["itl_ms"].as_f64().unwrap() <= 50.0, "{answer}");
    assert_eq!(replicas(&answer)[0].0, "prefill");
    assert_eq!(replicas(&answer)[1].0, "decode");
}

#[test]
fn a_tighter_promise_takes_more_engines() {
    let loose = steady(&["--ttft", "2s"]);
    let tight = steady(&["--ttft", "100ms", "--itl", "6ms", "--percentile", "99.5"]);
    assert!(tight["total_gpus"].as_u64() > loose["total_gpus"].as_u64(), "{loose} {tight}");
}

#[test]
fn the_shipped_trace_gives_ten_rows_of_the_same_shape() {
    let trace = here(TRACE);
    let answer =
        planner(&["predict", "--trace", &trace.display().to_string(), "--format", "json"]).json();
    let rows = answer["intervals"].as_array().unwrap();
    assert_eq!(rows.len(), 10);
    rows.iter().for_each(has_the_shape_of_a_fleet);
    has_the_shape_of_a_fleet(&answer);
    let requests: u64 = rows.iter().map(|r| r["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 2867, "no request is lost");
    assert_eq!(rows[3]["start_s"], 180.0);
    let by_five = planner(&[
        "predict",
        "--trace",
        &trace.display().to_string(),
        "--interval",
        "5m",
        "--format",
        "json",
    ])
    .json();
    assert_eq!(by_five["intervals"].as_array().unwrap().len(), 2);
}

#[test]
fn without_any_flag_the_shipped_profile_and_trace_are_taken() {
    let text = planner(&["predict"]).ok();
    for part in ["95 % of requests", "azure-2023-conv-10min", "h200", "prefill", "promise kept"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn jsonl_csv_and_gzip_are_the_same_trace() {
    let csv = "timestamp_ms,input_length,output_length\n0,3000,150\n500,2000,100\n61000,100,10\n";
    let jsonl = "{\"timestamp\":0,\"input_length\":3000,\"output_length\":150}\n\
                 {\"timestamp\":500,\"input_length\":2000,\"output_length\":100,\"hash_ids\":[1]}\n\
                 {\"timestamp\":61000,\"input_length\":100,\"output_length\":10}\n";
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(csv.as_bytes()).unwrap();
    let answers: Vec<Value> =
        [file("t.csv", csv), file("t.jsonl", jsonl), file("t.csv.gz", gz.finish().unwrap())]
            .iter()
            .map(|(_folder, path)| {
                planner(&["predict", "--trace", path, "--format", "json"]).json()
            })
            .collect();
    assert_eq!(answers[0]["intervals"].as_array().unwrap().len(), 2);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn a_profile_is_named_by_folder_file_or_name() {
    let folder = here(PROFILE);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let both = json!({
        "prefill": read("prefill_raw_data.json"), "decode": read("decode_raw_data.json")
    });
    let (_kept, one_file) = file("engine.json", both.to_string());
    let name = PROFILE.trim_start_matches("profiles/");
    let by_name = steady(&["--profile", name]);
    assert_eq!(by_name, steady(&["--profile", &folder.display().to_string()]));
    assert_eq!(by_name, steady(&["--profile", &one_file]));
    assert_eq!(by_name, steady(&[]), "it is the default");
    let npz = here("tests/data/profile/dynamo-0.9.0/h200_8b").display().to_string();
    assert_eq!(by_name, steady(&["--profile", &npz]), "the npz of Dynamo holds the same numbers");
}

#[test]
fn a_file_gives_promise_load_pools_and_limits_and_flags_come_first() {
    let (_kept, path) = file(
        "sla.yaml",
        "sla: {ttft: 500ms, itl: 50ms}\nload: {rps: 40, isl: 3000, osl: 150}\n\
         pools:\n  prefill: {gpus_per_replica: 2, min: 6}\n  decode: {gpus_per_replica: 4}\n",
    );
    let answer = planner(&["predict", "--sla", &path, "--format", "json"]).json();
    assert_eq!(replicas(&answer)[0], ("prefill".into(), 6));
    assert_eq!(answer["pools"][0]["gpus"], 12);
    assert_eq!(answer["pools"][1]["gpus"], 4);
    let flag = planner(&["predict", "--sla", &path, "--ttft", "10ms", "--format", "json"]).json();
    assert_eq!(flag["feasible"], false);
    let shipped = here("examples/sla.yaml").display().to_string();
    has_the_shape_of_a_fleet(&planner(&["predict", "--sla", &shipped, "--format", "json"]).json());
}

#[test]
fn aggregated_engines_are_one_pool_with_both_latencies() {
    let answer = steady(&["--aggregated"]);
    let pools = answer["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 1);
    assert_eq!(pools[0]["role"], "aggregated");
    assert!(pools[0]["ttft_ms"].is_number() && pools[0]["itl_ms"].is_number(), "{answer}");
}

#[test]
fn a_promise_that_no_replica_can_keep_says_what_the_best_is() {
    let answer = steady(&["--ttft", "20ms"]);
    assert_eq!(answer["feasible"], false);
    has_the_shape_of_a_fleet(&answer);
    let reason = answer["reason"].as_str().unwrap();
    assert!(reason.contains("TTFT of 20.0 ms cannot be met by adding replicas"), "{reason}");
    let best = reason.split("replicas: ").nth(1).unwrap().split(' ').next().unwrap();
    let best: f64 = best.parse().unwrap();
    assert!(best > 20.0 && reason.contains("is the best"), "{reason}");
    let above = steady(&["--ttft", &format!("{:.0}ms", best * 1.1)]);
    assert_eq!(above["feasible"], true, "what is called the best can be had: {above}");
    let itl = steady(&["--itl", "1ms"]);
    assert!(itl["reason"].as_str().unwrap().contains("ITL of 1.0 ms cannot be met"), "{itl}");
    let checked = planner(&[&STEADY[..], &["--ttft", "20ms", "--check"]].concat());
    assert_eq!(checked.code, 3);
    assert!(checked.out.contains("NOT KEPT"), "the answer is printed all the same");
    assert!(checked.err.contains("cannot be met"), "{}", checked.err);
}

#[test]
fn a_budget_that_is_too_small_gives_the_least_bad_fleet_within_it() {
    let free = steady(&["--itl", "8ms"]);
    let need = free["total_gpus"].as_u64().unwrap();
    let budget = (need - 1).to_string();
    let tight = steady(&["--itl", "8ms", "--max-gpu-budget", &budget]);
    assert_eq!(tight["feasible"], false);
    assert!(tight["total_gpus"].as_u64().unwrap() < need, "{tight}");
    let reason = tight["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("takes {need} GPUs")), "{reason}");
    let better = tight["attainment"].as_f64().unwrap();
    let least = steady(&["--itl", "8ms", "--max-gpu-budget", "2"]);
    assert!(better >= least["attainment"].as_f64().unwrap(), "more GPUs are not worse");
    let budget = [&STEADY[..], &["--itl", "8ms", "--max-gpu-budget", &budget, "--check"]].concat();
    let checked = planner(&budget);
    assert_eq!((checked.code, checked.err), (3, format!("error: {reason}\n")));
    assert!(checked.out.contains(reason), "{}", checked.out);
    planner(&[&STEADY[..], &["--check"]].concat()).ok();
}

#[test]
fn the_maximum_of_a_pool_is_a_limit_too() {
    let (_kept, path) = file("sla.yaml", "pools: {prefill: {max: 1}, decode: {min: 3}}\n");
    let answer = steady(&["--sla", &path]);
    assert_eq!(answer["feasible"], false);
    assert_eq!(replicas(&answer), [("prefill".into(), 1), ("decode".into(), 3)]);
    assert!(answer["reason"].as_str().unwrap().contains("more than the limits allow"), "{answer}");
}

#[test]
fn the_forms_of_an_answer_have_these_keys_and_no_others() {
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let one = ["feasible", "total_gpus", "attainment", "pools", "reason", "extrapolated"];
    assert_eq!(keys(&steady(&[])), one);
    let trace = planner(&["predict", "--format", "json"]).json();
    assert_eq!(keys(&trace), [&one[..], &["intervals"]].concat());
    for row in trace["intervals"].as_array().unwrap() {
        assert_eq!(keys(row), [&["start_s", "requests"], &one[..]].concat());
        let pool = |latency| ["role", "replicas", "gpus", "utilisation", latency, "why"];
        assert_eq!(keys(&row["pools"][0]), pool("ttft_ms"));
        assert_eq!(keys(&row["pools"][1]), pool("itl_ms"));
    }
    let path = here(TRACE).display().to_string();
    let named = planner(&["predict", "--trace", &path, "--format", "json"]).json();
    assert_eq!(named, trace, "it is the load where none is named");
}

#[test]
fn a_load_is_the_same_from_flags_and_from_a_file_and_flags_come_first() {
    let load = |rps: u32| file("sla.yaml", format!("load: {{rps: {rps}, isl: 3000, osl: 150}}\n"));
    let (_kept, path) = load(40);
    let from_file = planner(&["predict", "--sla", &path, "--format", "json"]).json();
    assert_eq!(from_file, steady(&[]));
    let (_kept, path) = load(400);
    assert_eq!(steady(&["--sla", &path]), from_file);
}

#[test]
fn a_promise_is_shown_as_it_was_given() {
    let text = planner(&[&STEADY[..], &["--ttft", "978.1ms", "--itl", "50.3ms"]].concat()).ok();
    assert!(text.contains("TTFT within 978.1 ms and ITL within 50.3 ms"), "{text}");
}

#[test]
fn no_load_takes_the_minimum() {
    let answer =
        planner(&["predict", "--rps", "0", "--isl", "1", "--osl", "1", "--format", "json"]).json();
    assert_eq!(answer["extrapolated"], false, "nothing was asked");
    assert_eq!(replicas(&answer), [("prefill".into(), 1), ("decode".into(), 1)]);
}
