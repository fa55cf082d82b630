//! `decide`: whole sessions over JSON lines.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::{Done, PROFILE, command};

pub(crate) const DISAGG: &str = include_str!("../../examples/sessions/disagg.jsonl");
pub(crate) const AGG: &str = include_str!("../../examples/sessions/agg.jsonl");

/// All lines at once; what was printed is one JSON object a line.
pub(crate) fn decide(args: &[&str], lines: &str) -> (Done, Vec<Value>) {
    decide_bytes(args, lines.as_bytes())
}

/// The same with lines that need not be text.
pub(crate) fn decide_bytes(args: &[&str], lines: &[u8]) -> (Done, Vec<Value>) {
    let mut child = command(&[&["decide"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    // It may have ended before the last line: on the first one that it cannot read.
    let writer = std::thread::spawn(move || drop(input.write_all(&lines)));
    let done = Done::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    let answers = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (done, answers)
}

/// A session that ends well; its answers.
pub(crate) fn answers(args: &[&str], lines: &str) -> Vec<Value> {
    let (done, answers) = decide(args, lines);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    answers
}

/// The fleet of a caller that carries out what it is answered, after a start-up.
struct Caller {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    now_ms: u64,
    next_ms: u64,

    /// Name in the protocol, those that serve, and when those that start will serve.
    pools: Vec<(&'static str, u64, Vec<u64>)>,
    reasons: Vec<String>,
}

impl Caller {
    fn new(init: &Value, pools: &[&'static str]) -> Self {
        let mut child =
            command(&["decide"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let pools = pools
            .iter()
            .map(|name| (*name, init[format!("initial_{name}")].as_u64().unwrap(), Vec::new()));
        let pools = pools.collect();
        assert_eq!(init["startup_s"], 60.0);
        let mut caller =
            Self { child, input, output, now_ms: 0, next_ms: 0, pools, reasons: Vec::new() };
        let answer = caller.ask(init);
        assert_eq!(answer, json!({"initial_tick_ms": 5000}));
        caller.next_ms = 5000;
        caller
    }

    fn ask(&mut self, line: &Value) -> Value {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Steady load for some seconds; the counts at the end.
    fn load(&mut self, seconds: u64, rps: f64) -> Vec<u64> {
        let end = self.now_ms + seconds * 1000;
        while self.next_ms <= end {
            let window = (self.next_ms - self.now_ms) as f64 / 1e3;
            self.now_ms = self.next_ms;
            let n = rps * window;
            let mut tick = json!({
                "type": "tick", "now_ms": self.now_ms, "tick_ordinal": 0,
                "traffic": {"duration_s": window, "num_req": n, "avg_isl": 1000.0,
                            "avg_osl": 200.0, "shape_count": n, "avg_ttft_ms": 300.0,
                            "ttft_count": n, "avg_itl_ms": 25.0, "itl_count": n},
            });
            for (name, active, starting) in &mut self.pools {
                *active += starting.iter().filter(|at| **at <= self.now_ms).count() as u64;
                starting.retain(|at| *at > self.now_ms);
                let started = starting.len() as u64;
                tick[format!("active_{name}_count")] = json!(active);
                tick[format!("starting_{name}_count")] = json!(started);
                tick[format!("draining_{name}_count")] = json!(0);
                tick[format!("non_draining_{name}_count")] = json!(*active + started);
            }
            let answer = self.ask(&tick);
            assert!(answer["decision_ms"].as_f64().unwrap() >= 0.0);
            self.reasons.push(answer["reason"].as_str().unwrap().to_owned());
            self.next_ms = answer["next_tick_ms"].as_u64().unwrap();
            assert_eq!(self.next_ms, self.now_ms + 5000);
            for (name, active, starting) in &mut self.pools {
                let Some(target) = answer[format!("target_{name}")].as_u64() else { continue };
                while *active + (starting.len() as u64) < target {
                    starting.push(self.now_ms + 60_000);
                }
                while *active + starting.len() as u64 > target {
                    if starting.pop().is_none() {
                        *active -= 1;
                    }
                }
            }
            if self.pools.len() == 1 {
                assert_eq!(answer["target_prefill"], Value::Null);
            }
        }
        self.pools.iter().map(|(_, active, starting)| active + starting.len() as u64).collect()
    }

    fn said(&self, reason: &str) -> bool {
        self.reasons.iter().any(|r| r == reason)
    }

    fn ends_well(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

fn init(session: &str) -> Value {
    serde_json::from_str(session.lines().next().unwrap()).unwrap()
}

#[test]
fn a_step_of_load_is_followed_up_at_once_and_down_after_the_hold() {
    for (session, pools) in [(DISAGG, &["prefill", "decode"][..]), (AGG, &["decode"][..])] {
        let mut caller = Caller::new(&init(session), pools);
        let low = caller.load(400, 2.0);
        let high = caller.load(15, 40.0);
        assert!(high.iter().zip(&low).all(|(high, low)| high > low), "{low:?} to {high:?}");
        assert!(caller.said("scale_up"), "{:?}", caller.reasons);
        let held = caller.load(60, 2.0);
        assert_eq!(held, high);
        assert!(caller.said("hold_stabilizing"), "{:?}", caller.reasons);
        assert_eq!(caller.load(240, 2.0), low);
        assert!(caller.said("scale_down"), "{:?}", caller.reasons);
        caller.ends_well();
    }
}

#[test]
fn a_recorded_session_is_answered_line_by_line() {
    for session in [DISAGG, AGG] {
        let all = answers(&[], session);
        assert_eq!(all.len(), session.lines().count());
        for (line, answer) in session.lines().zip(&all).skip(1) {
            let tick: Value = serde_json::from_str(line).unwrap();
            let now = tick["now_ms"].as_f64().unwrap();
            assert_eq!(answer["next_tick_ms"].as_f64(), Some(now + 5000.0));
            assert_eq!(answer.get("report"), None);
        }
    }
    let explained = answers(&["--explain"], DISAGG);
    let report = &explained[1]["report"];
    assert_eq!(report["decision"]["pools"][0]["role"], "prefill");
    assert_eq!(report["observation"]["traffic"]["arrivals"]["value"], 7.2);
    assert_eq!(report["observation"]["traffic"]["queued"]["value"], 0.0);
    assert!(report["report"]["demand"]["rate"]["point"].is_number());
    assert_eq!(report["notes"], json!([]));
}

#[test]
fn a_session_without_a_profile_takes_that_of_the_command_line() {
    let mut init = init(DISAGG);
    init["profile"] = Value::Null;
    let mut lines = init.to_string();
    writeln!(lines).unwrap();
    lines.push_str(DISAGG.split_once('\n').unwrap().1);
    assert_eq!(answers(&["--profile", PROFILE], &lines).len(), DISAGG.lines().count());
    let (done, said) = decide(&[], &lines);
    assert_eq!((done.code, said.len()), (2, 1));
    let error = said[0]["error"].as_str().unwrap();
    assert!(error.starts_with("line 1: field profile: null, expected"), "{error}");
    let (done, said) = decide(&["--profile", "./nowhere"], &lines);
    assert_eq!((done.code, said.len()), (2, 0));
    assert!(done.err.contains("nowhere"), "{}", done.err);
}

#[test]
fn mad_values_hold_with_a_reason() {
    let mut at_start = DISAGG.lines();
    let (init, tick) = (at_start.next().unwrap(), at_start.next().unwrap());
    let counts = "\"active_decode_count\": 2";
    assert!(tick.contains(counts) && tick.contains("\"num_req\": 108"));
    for (from, to, reason) in [
        ("\"num_req\": 108", "\"num_req\": NaN", "hold_no_metrics"),
        ("\"num_req\": 108", "\"num_req\": -Infinity", "hold_no_metrics"),
        ("\"num_req\": 108", "\"num_req\": null", "hold_no_metrics"),
        ("\"num_req\": 108", "\"num_req\": -5", "hold_no_metrics"),
        ("\"num_req\": 108", "\"num_req\": 1e300", "hold_no_metrics"),
        ("\"num_req\": 108, ", "", "hold_no_metrics"),
        ("\"duration_s\": 15.0", "\"duration_s\": -1", "hold_no_metrics"),
        ("\"now_ms\": 15000.0", "\"now_ms\": Infinity", "hold_no_metrics"),
        ("\"now_ms\": 15000.0", "\"now_ms\": -1e300", "hold_no_metrics"),
        ("\"shape_count\": 91", "\"shape_count\": 0", "hold_no_shape"),
        ("\"shape_count\": 91", "\"shape_count\": -3", "hold_no_shape"),
        ("\"avg_isl\": 571", "\"avg_isl\": 571000", "hold_no_shape"),
        ("\"avg_osl\": 78", "\"avg_osl\": -78", "hold_no_shape"),
        (counts, "\"active_decode_count\": 1e300", "hold_no_inventory"),
        (counts, "\"active_decode_count\": 5", "hold_no_inventory"),
        (counts, "\"active_decode_count\": NaN", "hold_no_inventory"),
    ] {
        let bent = tick.replacen(from, to, 1);
        assert_ne!(bent, tick, "{from}");
        let all = answers(&["--explain"], &format!("{init}\n{bent}\n{tick}\n"));
        assert_eq!(all.len(), 3);
        let held = &all[1];
        assert_eq!(held["reason"], reason, "{to}: {held}");
        assert_eq!(held["target_decode"], Value::Null, "{to}: {held}");
        assert!(held["next_tick_ms"].as_f64().unwrap() >= 5000.0, "{to}: {held}");
    }
}

#[test]
fn a_line_that_cannot_be_read_ends_the_session_with_its_place() {
    let mut lines = DISAGG.lines();
    let (init, tick) = (lines.next().unwrap(), lines.next().unwrap());
    let half = |line: &str| line[..line.len() / 2].to_owned();
    let with = |line: &str, from: &str, to: &str| {
        let bent = line.replacen(from, to, 1);
        assert_ne!(bent, line, "{from}");
        bent
    };
    let after = |bent: String| format!("{init}\n{bent}\n{tick}\n");
    for (session, says) in [
        (half(init), &["line 1: not JSON", "expected a JSON object"][..]),
        ("\n".to_owned(), &["line 1: not JSON"]),
        ("[1, 2]\n".to_owned(), &["line 1: a list, expected a JSON object"]),
        (format!("{tick}\n"), &["line 1: field type: a tick before any init"]),
        (after(half(tick)), &["line 2: not JSON"]),
        (after("{}".to_owned()), &["line 2: field type: missing, expected \"init\" or \"tick\""]),
        (after(with(tick, "\"tick\"", "\"tock\"")), &["line 2: field type: \"tock\""]),
        (after(with(tick, "now_ms", "now")), &["line 2: field now_ms: missing"]),
        (after(with(tick, "\"traffic\"", "\"t\"")), &["line 2: field traffic: missing"]),
        (
            after(with(tick, "\"num_req\": 108", "\"num_req\": \"108\"")),
            &["line 2: field traffic.num_req: text, expected a number"],
        ),
        (after(with(tick, "active_decode_count", "x")), &["field active_decode_count: missing"]),
        (
            after(with(tick, "\"decode_fpm_snapshots\": [", "\"decode_fpm_snapshots\": [3, ")),
            &["line 2: field decode_fpm_snapshots[0]: a number, expected an object"],
        ),
        (with(init, "ttft_ms", "ttft"), &["line 1: field ttft_ms: missing, expected millisec"]),
        (with(init, "2500.0", "-2500.0"), &["field ttft_ms: -2500.0, expected milliseconds above"]),
        (with(init, "disagg", "both"), &["field mode: \"both\", expected \"disagg\" or \"agg\""]),
        (with(init, "\"caps\"", "\"cap\""), &["field caps: missing"]),
        (
            with(init, "\"max_kv_tokens\": 448000", "\"max_kv_tokens\": NaN"),
            &["field caps.max_kv_tokens: null"],
        ),
        (with(init, "\"profile\"", "\"profiles\""), &["field profile: missing"]),
        (with(init, "\"isl\": 1111", "\"isl\": \"x\""), &["prefill[1].isl", "a number"]),
        (with(init, "\"percentile\": 99.0", "\"percentile\": 100"), &["field percentile: 100.0"]),
        (
            with(init, "\"gpu_budget\": 256", "\"gpu_budget\": 7"),
            &["field gpu_budget: 7", "8 GPUs"],
        ),
        (
            with(init, "\"mode\"", "\"max_decode\": 0, \"mode\""),
            &["field min_decode: 1", "at most"],
        ),
    ] {
        let (done, said) = decide(&[], &session);
        assert_eq!(done.code, 2, "{session}");
        let error = said.last().unwrap()["error"].as_str().unwrap();
        for part in says {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(error.contains("expected"), "{error}");
        assert!(done.err.contains(error) && !done.err.contains("panicked"), "{}", done.err);
        let read = usize::from(error.starts_with("line 2"));
        assert_eq!(said.len(), read + 1, "nothing is answered after an error");
    }
}

#[test]
fn the_limits_of_the_init_are_kept() {
    let with = |limits: &str| {
        let lines = DISAGG.replacen("\"gpu_budget\": 256", limits, 1);
        answers(&["--explain"], &lines)
    };
    let gpus = |answer: &Value| answer["report"]["report"]["current_gpus"].as_u64().unwrap();
    let open = with("\"gpu_budget\": -1, \"prefill_gpu_per_engine\": 1");
    assert_eq!(gpus(&open[1]), 3 + 2 * 4);
    let bound = with("\"gpu_budget\": 256, \"max_prefill\": 2, \"min_decode\": 5");
    assert_eq!((&bound[1]["target_prefill"], &bound[1]["target_decode"]), (&json!(2), &json!(5)));
    assert_eq!(answers(&[], "").len(), 0, "an empty input is no error");
}
