//! Bad input: one clear message, the documented exit code, nothing on standard output.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use tempfile::TempDir;

use crate::{PROFILE, file, here, planner};

fn predict(more: &[&str]) -> crate::Done {
    planner(&[&["predict"], more].concat())
}

#[test]
fn what_is_not_there_is_named() {
    predict(&["--sla", "/no/such/sla.yaml"]).refused(2, &["/no/such/sla.yaml", "No such file"]);
    predict(&["--trace", "/no/such.csv"]).refused(2, &["/no/such.csv", "No such file"]);
    predict(&["--profile", "/no/such/folder"])
        .refused(2, &["/no/such/folder", "no such directory or file", "hint:"]);
    predict(&["--profile", "measured_lama-3.1-8b-fp8_h200_vllm_tp1"])
        .refused(2, &["measured_llama-3.1-8b-fp8_h200_vllm_tp1"]);
    let empty = TempDir::new().unwrap();
    predict(&["--profile", &empty.path().display().to_string()])
        .refused(2, &["prefill_raw_data.json"]);
    planner(&["run", "--config", "/no/such.yaml"]).refused(2, &["/no/such.yaml"]);
    planner(&["validate", "/no/such.yaml"]).refused(2, &["/no/such.yaml"]);
}

#[test]
fn a_profile_that_cannot_be_used_is_refused_with_its_file_and_field() {
    for (name, bytes) in [("empty", &b""[..]), ("cut", &b"PK\x03\x04\x14\0\0\0"[..])] {
        let npz = "selected_prefill_interpolation/raw_data.npz";
        let (folder, path) = file(npz, bytes);
        let decode = std::fs::read(here(PROFILE).join("decode_raw_data.json")).unwrap();
        std::fs::write(folder.path().join("decode_raw_data.json"), decode).unwrap();
        let profile = folder.path().display().to_string();
        predict(&["--profile", &profile]).refused(2, &["raw_data.npz"]);
        assert!(!path.is_empty(), "{name}");
    }
    let prefill = std::fs::read_to_string(here(PROFILE).join("prefill_raw_data.json")).unwrap();
    let (folder, _path) = file("prefill_raw_data.json", prefill.replacen("19.5", "NaN, 19.5", 1));
    std::fs::copy(
        here(PROFILE).join("decode_raw_data.json"),
        folder.path().join("decode_raw_data.json"),
    )
    .unwrap();
    predict(&["--profile", &folder.path().display().to_string()])
        .refused(2, &["prefill_raw_data.json"]);
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
        ("sla: [\n", &["sla.yaml"]),
    ] {
        let (_kept, path) = file("sla.yaml", text);
        planner(&["validate", &path]).refused(2, says);
        predict(&["--sla", &path]).refused(2, says);
    }
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
        .refused(2, &["a budget of 1 GPUs is less than the 2", "hint:"]);
    planner(&["predikt"]).refused(2, &["predikt", "predict"]);
}

#[test]
fn a_trace_is_refused_at_its_line() {
    let head = "timestamp_ms,input_length,output_length\n";
    for (rows, says) in [
        ("10,5,5\n5,5,5\n", &["line 3"][..]),
        ("-1,5,5\n", &["line 2"]),
        ("0,5,0\n", &["line 2", "output_length"]),
        ("0,5\n", &["line 2"]),
        ("0,many,5\n", &["line 2", "input_length"]),
    ] {
        let (_kept, path) = file("t.csv", format!("{head}{rows}"));
        predict(&["--trace", &path]).refused(2, &[says, &["t.csv"][..]].concat());
    }
    for late in ["1700000000000,5,5", "0,5,5\n9000000000000000,5,5"] {
        let (_kept, path) = file("t.csv", format!("{head}{late}\n"));
        predict(&["--trace", &path]).refused(
            2,
            &["t.csv covers more than 100000 intervals of 1m", "hint: times count", "--interval"],
        );
    }
    let (_kept, path) = file("t.csv", "");
    predict(&["--trace", &path]).refused(2, &["empty"]);
    let (_kept, path) = file("t.csv", "when,what\n");
    predict(&["--trace", &path]).refused(2, &["expected the header"]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(head.as_bytes()).unwrap();
    gz.write_all("0,5,5\n".repeat(2000).as_bytes()).unwrap();
    let whole = gz.finish().unwrap();
    let (_kept, path) = file("t.csv.gz", &whole[..whole.len() / 2]);
    predict(&["--trace", &path]).refused(2, &["t.csv.gz"]);
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
    ask("not an address").refused(2, &["not an address"]);
    predict(&["--prometheus", &gone]).refused(2, &["--dynamo-namespace"]);
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
            format!("pools: {{decode: {{}}}}\n{target}{prometheus}"),
            &["profiling data of the decode pool", "pools.decode.profile"],
        ),
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
fn what_run_cannot_start_with_is_said_once() {
    let profile = "profile: measured_llama-3.1-8b-fp8_h200_vllm_tp1";
    let config = |more: &str| {
        format!(
            "pools: {{decode: {{{profile}}}}}\ntarget: {{dgd: chat}}\nmetrics_port: 0\n\
             prometheus: {{url: 'http://127.0.0.1:9'{more}}}\n"
        )
    };
    let (_kept, good) = file("planner.yaml", config(""));
    let run = |path: &str, more: &[&str]| {
        let args = [&["run", "--config", path], more].concat();
        crate::command(&args).env("KUBECONFIG", "/no/such/kubeconfig").output().unwrap()
    };
    let missing = "No such file or directory (os error 2)";

    let done = crate::Done::of(run(&good, &[]));
    assert_eq!(done.err.matches(missing).count(), 1, "{}", done.err);
    done.refused(2, &["neither in a pod nor by a kubeconfig", "/no/such/kubeconfig"]);

    let (_kept, path) = file("planner.yaml", format!("{}record: /no/such/file\n", config("")));
    let done = crate::Done::of(run(&path, &[]));
    let said =
        format!("error: cannot open the record file /no/such/file (key `record`): {missing}");
    assert_eq!((done.code, done.err), (2, format!("{said}\n")));

    let done = crate::Done::of(run(&good, &["--log", "loud=["]));
    done.refused(2, &["--log `loud=[`"]);
}

#[test]
fn a_variable_of_the_environment_that_makes_no_sense_is_refused() {
    let done = crate::command(&["predict"]).env("PLANNER_PROMETHEUS_PORT", "99999").output();
    crate::Done::of(done.unwrap()).refused(2, &["PLANNER_PROMETHEUS_PORT", "99999"]);
}
