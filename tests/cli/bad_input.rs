//! Bad input: one clear message, the documented exit code, nothing on standard output.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{NPZ, PROFILE, file, here, planner};

fn predict(more: &[&str]) -> crate::Done {
    planner(&[&["predict"], more].concat())
}

#[test]
fn what_is_not_there_is_named() {
    predict(&["--sla", "/no/such/sla.yaml"]).refused(2, &["/no/such/sla.yaml", "No such file"]);
    predict(&["--trace", "/no/such.csv"]).refused(2, &["/no/such.csv", "No such file"]);
    predict(&["--profile", "/no/such/folder"])
        .refused(2, &["/no/such/folder", "no such directory or file", "hint:"]);
    predict(&["--profile", "nonsense"])
        .refused(2, &["\"nonsense\"", "measured_llama-3.1-8b-fp8_h200_vllm_tp1", "./name"]);
    predict(&["--profile", "measured_lama-3.1-8b-fp8_h200_vllm_tp1"])
        .refused(2, &["measured_llama-3.1-8b-fp8_h200_vllm_tp1"]);
    let empty = TempDir::new().unwrap();
    predict(&["--profile", &empty.path().display().to_string()])
        .refused(2, &[&empty.path().display().to_string(), "prefill_raw_data.json", "profiler"]);
    planner(&["run", "--config", "/no/such.yaml"]).refused(2, &["/no/such.yaml"]);
    planner(&["validate", "/no/such.yaml"]).refused(2, &["/no/such.yaml"]);
}

/// A folder with the shipped profile, in which one file is replaced or added.
fn profile_with(name: &str, content: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    for table in ["prefill_raw_data.json", "decode_raw_data.json"] {
        std::fs::copy(here(PROFILE).join(table), folder.path().join(table)).unwrap();
    }
    std::fs::write(folder.path().join(name), content).unwrap();
    let path = folder.path().display().to_string();
    (folder, path)
}

#[test]
fn a_profile_that_cannot_be_used_is_refused_with_its_file_and_field() {
    let refused = |name: &str, content: &[u8], says: &[&str]| {
        let (_kept, folder) = profile_with(name, content);
        let file = format!("{folder}/{name}");
        predict(&["--profile", &folder]).refused(2, &[says, &[file.as_str()]].concat());
    };
    let npz = std::fs::read(here(NPZ)).unwrap();
    refused("prefill.npz", b"", &["the file is empty", "with the profiler"]);
    refused("prefill.npz", &npz[..500], &["cut short", "with the profiler"]);
    refused("prefill.npz", b"PK\x03\x04\x14\0\0\0", &["is not an npz archive"]);
    refused("prefill.npz", b"<html>", &["is not an npz archive"]);

    let json = std::fs::read_to_string(here(PROFILE).join("prefill_raw_data.json")).unwrap();
    let first = |value: &str| json.replacen("19.525209", value, 1);
    assert_ne!(first("x"), json);
    let name = "prefill_raw_data.json";
    let at_field = ["field prefill_ttft[0]", "expected above 0", "mend or drop that point"];
    refused(name, first("NaN").as_bytes(), &["is not a JSON object", "column"]);
    refused(name, first("1e400").as_bytes(), &["number out of range"]);
    refused(name, first("-3").as_bytes(), &[&["found -3"], &at_field[..]].concat());
    refused(name, first("0").as_bytes(), &[&["found 0"], &at_field[..]].concat());
    refused(name, first("\"fast\"").as_bytes(), &["field prefill_ttft"]);
    refused(name, first("19.5, 19.5").as_bytes(), &["prefill_ttft has 18", "prefill_isl has 17"]);
    refused(name, json.replace("prefill_ttft", "ttft").as_bytes(), &["no field prefill_ttft"]);
    refused(name, b"", &["it is empty"]);
    refused(name, b"[]", &["is not a JSON object"]);
}

#[test]
fn a_file_with_the_table_of_one_role_is_not_enough() {
    predict(&["--profile", &here(NPZ).display().to_string()])
        .refused(2, &["prefill.npz", "both are needed", "hint: give the directory"]);
    let table = here(PROFILE).join("prefill_raw_data.json").display().to_string();
    predict(&["--profile", &table]).refused(2, &["no decode table", "decode"]);
}

#[test]
fn a_profile_that_the_file_names_is_refused_with_its_pool() {
    let (_kept, path) = file("sla.yaml", "pools:\n  prefill: {}\n  decode: {profile: /no/such}\n");
    for args in [["predict", "--sla", &path].as_slice(), &["validate", &path]] {
        planner(args).refused(2, &["profile of the decode pool", "/no/such", "hint:"]);
    }
}

#[test]
fn a_configuration_is_refused_at_its_line() {
    for (text, says) in [
        ("sla:\n  ttfft: 500ms\n", &["ttfft", "did you mean `ttft`?", "2:"][..]),
        ("sla:\n  ttft: -5ms\n", &["must not be negative", "2:"]),
        ("sla:\n  itl: 50\n", &["unit is missing", "2:"]),
        ("pools:\n  decode:\n    min: 5\n    max: 3\n", &["min 5 is more than max 3", "3:"]),
        (
            "max_gpu_budget: 3\npools:\n  prefill: {min: 2}\n  decode: {min: 2}\n",
            &["3 GPUs are fewer than the 4", "1:"],
        ),
        ("max_gpu_budget: 0\n", &["`max_gpu_budget`: expected at least 1, or -1 for no limit"]),
        ("load: {rps: 4, isl: 0, osl: 1}\n", &["`load.isl`: expected a finite number", "1:21"]),
        ("load: {rps: 4, isl: 10}\n", &["missing field `osl`", "1:"]),
        ("sla: {percentile: 100}\n", &["between 0 and 100", "found 100", "1:"]),
        ("mode: perhaps\n", &["perhaps", "act", "advise", "1:"]),
        ("sla: {ttft: 1s}\nsla: {ttft: 2s}\n", &["duplicate mapping key", "sla", "2:1"]),
        ("pools: {prefill: {}, aggregated: {}}\n", &["give it alone, or give those two"]),
        ("colour: red\n", &["unknown field `colour`", "expected one of sla, pools", "1:1"]),
        ("sla: [\n", &["expected mapping", "1:"]),
        ("- 1\n- 2\n", &["expected mapping", "1:1"]),
        ("a: b: c\n", &["1:"]),
    ] {
        let (_kept, path) = file("sla.yaml", text);
        // The frame names the file too, and points at the place.
        let says = [says, &[&format!("error: {path} is not a valid"), &format!(" --> {path}:")]];
        let says: Vec<&str> = says.concat();
        let checked = planner(&["validate", &path]);
        assert_eq!(checked.err.matches("error: ").count(), 1, "{}", checked.err);
        assert!(checked.err.contains('^') && !checked.err.contains("<input>"), "{}", checked.err);
        checked.refused(2, &says);
        predict(&["--sla", &path]).refused(2, &says);
    }
}

#[test]
fn several_faults_are_told_at_once_each_at_its_line() {
    let (_kept, path) = file(
        "sla.yaml",
        "pools:\n  prefill: {min: 5, max: 3}\n  decode: {min: 2, gpus_per_replica: 4}\n\
         max_gpu_budget: 8\n",
    );
    let done = planner(&["validate", &path]);
    assert_eq!(done.err.matches("error: ").count(), 1, "{}", done.err);
    let at = |place: &str| format!(" --> {path}:{place}");
    done.refused(
        2,
        &[
            "`pools.prefill.min`: min 5 is more than max 3: lower `min` or raise `max`",
            &at("2:18"),
            "`max_gpu_budget`: 8 GPUs are fewer than the 13",
            &at("4:17"),
        ],
    );
}

#[test]
fn a_configuration_that_is_no_text_is_refused() {
    let (_kept, path) = file("sla.yaml", b"\xff\xfe");
    predict(&["--sla", &path]).refused(2, &[&path, "is not UTF-8 text"]);
    planner(&["validate", "/"]).refused(2, &["cannot read /", "directory"]);
}

#[test]
fn flags_are_checked_before_anything_is_read() {
    predict(&["--ttft", "500"]).refused(2, &["--ttft", "unit is missing"]);
    predict(&["--itl", "-5ms"]).refused(2, &["--itl", "must not be negative"]);
    predict(&["--rps", "-1", "--isl", "1", "--osl", "1"]).refused(2, &["--rps", "from 0 to"]);
    predict(&["--percentile", "100"]).refused(2, &["between 0 and 100"]);
    predict(&["--rps", "12"]).refused(2, &["--isl"]);
    predict(&["--rps", "many", "--isl", "1", "--osl", "1"]).refused(2, &["expected a number"]);
    predict(&["--rps", "1", "--isl", "1", "--osl", "1", "--max-gpu-budget", "1"])
        .refused(2, &["the GPU budget 1 is less than the 2 GPUs", "hint:"]);
    predict(&["--rps", "nan", "--isl", "1", "--osl", "1"]).refused(2, &["from 0 to"]);
    predict(&["--rps", "1", "--isl", "0", "--osl", "1"]).refused(2, &["--isl", "from 1 to"]);
    predict(&["--isl", "10"]).refused(2, &["--rps"]);
    predict(&["--rps", "1", "--isl", "1", "--osl", "1", "--trace", "t"])
        .refused(2, &["--rps", "cannot be used with", "--trace"]);
    predict(&["--interval", "1ms"]).refused(2, &["--interval", "at least 1s"]);
    predict(&["--compat", "dynamo-2"]).refused(2, &["dynamo-2", "possible values: dynamo-0.9"]);
    predict(&["--compat", "dynamo-0.9", "--aggregated"]).refused(2, &["dynamo-0.9", "hint:"]);
    predict(&["--max-gpu-budget", "0"]).refused(2, &["--max-gpu-budget", "0"]);
    planner(&["run"])
        .refused(2, &["the command line: `run` needs a DGD", "DYN_PARENT_DGD_K8S_NAME"]);
    planner(&["predikt"]).refused(2, &["predikt", "predict"]);
}

#[test]
fn a_trace_is_refused_at_its_line() {
    let head = "timestamp_ms,input_length,output_length\n";
    for (rows, says) in [
        ("10,5,5\n5,5,5\n", &["line 3", "expected 10 or later, found 5", "sort the trace"][..]),
        ("-1,5,5\n", &["line 2", "timestamp_ms", "0 or more", "\"-1\""]),
        ("0,5,0\n", &["line 2", "output_length", "1 or more", "\"0\""]),
        ("0,5\n", &["line 2", "output_length", "found nothing"]),
        ("0,5,5,6\n", &["line 2", "expected 3 fields"]),
        ("", &["expected at least one request"]),
        ("0,many,5\n", &["line 2", "input_length"]),
    ] {
        let (_kept, path) = file("t.csv", format!("{head}{rows}"));
        predict(&["--trace", &path]).refused(2, &[says, &["t.csv"][..]].concat());
    }
    let good = r#"{"timestamp": 0, "input_length": 5, "output_length": 5}"#;
    for (line, says) in [
        (r#"{"timestamp": 0, "input_length": 5"#, &["expected a JSON object", "at column"][..]),
        (r#"{"timestamp": -4, "input_length": 5, "output_length": 5}"#, &["field timestamp"]),
        (r#"{"timestamp": 9, "input_length": 5}"#, &["output_length", "found nothing"]),
        (r#"{"timestamp": 9, "input_length": 5, "output_length": 0}"#, &["1 or more"]),
    ] {
        let (_kept, path) = file("t.jsonl", format!("{good}\n{line}\n"));
        let place = format!("{path}: failed to read line 2 of the trace");
        predict(&["--trace", &path]).refused(2, &[says, &[place.as_str()]].concat());
    }
    // Milliseconds since 1970 would be 28 million idle minutes, of which one has a request.
    let (_kept, path) = file("t.csv", format!("{head}1700000000000,5,5\n"));
    predict(&["--trace", &path])
        .refused(2, &[&path, "line 2", "more than 366 days", "subtract the first time"]);
    predict(&["--trace", "/"]).refused(2, &["directory"]);
    let (_kept, path) = file("t.csv", "");
    predict(&["--trace", &path]).refused(2, &["empty"]);
    let (_kept, path) = file("t.csv", "when,what\n");
    predict(&["--trace", &path]).refused(2, &["expected the header"]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(head.as_bytes()).unwrap();
    gz.write_all("0,5,5\n".repeat(2000).as_bytes()).unwrap();
    let whole = gz.finish().unwrap();
    for length in [5, 20, whole.len() / 2, whole.len() - 1] {
        let (_kept, path) = file("t.csv.gz", &whole[..length]);
        predict(&["--trace", &path]).refused(2, &["t.csv.gz", "is the file whole?"]);
    }
}

/// A server that answers every request with `status` and `body`, until the test ends.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).unwrap();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn a_prometheus_that_does_not_help_ends_with_a_code_of_its_own() {
    let ask = |url: &str| predict(&["--prometheus", url, "--dynamo-namespace", "default-chat"]);
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    ask(&gone).refused(4, &["reach Prometheus", "hint:"]);
    ask(&answering("401 Unauthorized", "")).refused(5, &["401", "token"]);
    ask(&answering("200 OK", "<html>")).refused(4, &["use the answer of Prometheus"]);
    let nothing = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    ask(&answering("200 OK", nothing)).refused(4, &["no such series", "--dynamo-namespace"]);
    ask(&answering("403 Forbidden", "")).refused(5, &["403"]);
    ask(&answering("503 Service Unavailable", "later")).refused(4, &["503"]);
    ask("not an address").refused(2, &["not an address"]);
    predict(&["--prometheus", &gone]).refused(2, &["--dynamo-namespace"]);
}

#[test]
fn a_prometheus_that_never_answers_is_given_up_after_the_timeout() {
    // Its backlog accepts, and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (_kept, path) = file(
        "sla.yaml",
        format!("target: {{dgd: chat}}\nprometheus: {{url: '{url}', timeout: 300ms}}\n"),
    );
    let begun = Instant::now();
    predict(&["--sla", &path, "--prometheus", &url]).refused(4, &[&url, "hint:"]);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_token_is_read_from_its_file_and_never_told() {
    let url = answering("401 Unauthorized", "");
    let config = |token: &str| {
        file("sla.yaml", format!("target: {{dgd: chat}}\nprometheus: {{url: '{url}', {token}}}\n"))
    };
    let (_kept, path) = config("bearer_token: hunter2");
    let done = predict(&["--sla", &path, "--prometheus", &url]);
    assert!(!done.err.contains("hunter2"), "{}", done.err);
    done.refused(5, &["401"]);
    let (_kept, path) = config("token_file: /no/token");
    predict(&["--sla", &path, "--prometheus", &url]).refused(2, &["/no/token", "hint:"]);
}

#[test]
fn run_says_what_its_configuration_lacks() {
    let profile = "profile: measured_llama-3.1-8b-fp8_h200_vllm_tp1";
    let pools = format!("pools: {{prefill: {{{profile}}}, decode: {{{profile}}}}}\n");
    let prometheus = "prometheus: {url: 'http://127.0.0.1:9'}\n";
    let target = "target: {dgd: chat}\n";
    for (text, says) in [
        (format!("{pools}{prometheus}"), &["a DGD to scale", "target.dgd"][..]),
        (format!("{pools}{target}"), &["a Prometheus", "prometheus.url"]),
        (format!("{target}{prometheus}"), &["pools to scale"]),
        (
            format!("pools: {{decode: {{profile: /no/such}}}}\n{target}{prometheus}"),
            &["profile of the decode pool", "/no/such"],
        ),
    ] {
        let (_kept, path) = file("planner.yaml", text);
        planner(&["run", "--config", &path]).refused(2, says);
    }
}

#[test]
fn run_without_a_cluster_says_once_where_it_looked() {
    let (_kept, path) = file(
        "planner.yaml",
        "pools: {decode: {profile: measured_llama-3.1-8b-fp8_h200_vllm_tp1}}\n\
         target: {dgd: chat}\nprometheus: {url: 'http://127.0.0.1:9'}\nmetrics_port: 0\n",
    );
    let run = |more: &[&str]| {
        let done = crate::command(&[&["run", "--config", &path], more].concat())
            .env("KUBECONFIG", "/no/kubeconfig")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output();
        crate::Done::of(done.unwrap())
    };
    let done = run(&[]);
    assert_eq!(done.err.matches("reach the API server").count(), 1, "{}", done.err);
    done.refused(2, &["error: failed to find out how to reach", "/no/kubeconfig"]);
    run(&["--context", "moon"]).refused(2, &["moon"]);
    run(&["--log", "=x="]).refused(2, &["--log", "=x="]);
}

#[test]
fn a_variable_of_the_environment_that_makes_no_sense_is_refused() {
    let done = crate::command(&["predict"]).env("PLANNER_PROMETHEUS_PORT", "99999").output();
    crate::Done::of(done.unwrap()).refused(2, &["PLANNER_PROMETHEUS_PORT", "99999"]);
}

#[test]
fn minimums_that_take_more_than_the_budget_by_the_profile_are_refused_by_every_command() {
    // The profile is of two GPUs: 2 and 3 replicas take 10.
    let profile = "aic_qwen3-32b_h200_vllm_tp2";
    let text = format!(
        "pools:\n  prefill: {{min: 2, profile: {profile}}}\n  decode: {{min: 3, profile: {profile}}}\n\
         max_gpu_budget: 9\ntarget: {{dgd: chat}}\nprometheus: {{url: 'http://localhost:1'}}\n"
    );
    let (_kept, path) = file("planner.yaml", text);
    let says = ["the GPU budget 9 is less than the 10 GPUs", "hint:"];
    planner(&["validate", &path]).refused(2, &says);
    planner(&["run", "--config", &path]).refused(2, &says);
    planner(&["predict", "--sla", &path]).refused(2, &says);
}

#[test]
fn one_pool_is_not_sized_by_dropping_what_the_file_says_of_two() {
    let (_kept, path) = file("planner.yaml", "pools: {prefill: {min: 4}, decode: {min: 2}}\n");
    planner(&["predict", "--sla", &path, "--aggregated"]).refused(2, &["--aggregated", "hint:"]);
    let (_kept, path) = file("planner.yaml", "pools: {aggregated: {min: 7}}\n");
    let answer = planner(&["predict", "--sla", &path, "--aggregated", "--format", "json"]).json();
    assert!(answer["pools"][0]["replicas"].as_u64().unwrap() >= 7, "{answer}");
}
