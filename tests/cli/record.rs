//! `simulate --record`, `why` and `replay`: a decision is recorded, explained, and made again.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::{Done, command, file, here, planner};

/// The record of ten simulated minutes, with an outage of the metrics.
fn record() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl").display().to_string();
        planner(&["simulate", "--fault", "metrics-gap:3m..4m", "--record", &path]).ok();
        std::fs::read_to_string(path).unwrap()
    })
}

fn with_input(args: &[&str], input: impl AsRef<[u8]>) -> Done {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that has seen enough closes its end.
    drop(child.stdin.take().unwrap().write_all(input.as_ref()));
    Done::of(child.wait_with_output().unwrap())
}

fn value(line: usize) -> Value {
    serde_json::from_str(record().lines().nth(line - 1).unwrap()).unwrap()
}

/// The record with one line changed.
fn changed(line: usize, change: impl FnOnce(&mut Value)) -> String {
    let mut lines: Vec<String> = record().lines().map(str::to_owned).collect();
    let mut value = value(line);
    change(&mut value);
    lines[line - 1] = value.to_string();
    lines.join("\n") + "\n"
}

#[test]
fn a_simulated_run_is_decided_again_byte_for_byte() {
    let decisions = record().lines().count() - 1;
    assert!(decisions > 50, "{decisions}");
    assert_eq!(value(1)["kind"], "checkpoint");
    let (_kept, path) = file("decisions.jsonl", record());
    let text = planner(&["replay", &path]).ok();
    assert!(text.contains("the same, byte for byte"), "{text}");
    let sum = format!("{decisions} decisions: {decisions} the same, 0 different, 0 not replayed");
    assert!(text.contains(&sum), "{text}");
    let answer = with_input(&["replay", "--format", "json"], record()).json();
    assert_eq!((&answer["same"], &answer["differ"]), (&decisions.into(), &0.into()));
    let packed = {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(record().as_bytes()).unwrap();
        gz.finish().unwrap()
    };
    let (_kept, path) = file("decisions.jsonl.gz", packed);
    assert_eq!(planner(&["replay", &path, "--format", "json"]).json(), answer);
}

#[test]
fn the_same_simulation_writes_the_same_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.jsonl").display().to_string();
    planner(&["simulate", "--fault", "metrics-gap:3m..4m", "--record", &path]).ok();
    assert_eq!(std::fs::read_to_string(path).unwrap(), record());
}

#[test]
fn a_decision_that_was_changed_ends_with_code_6_and_its_place() {
    let text = changed(20, |line| line["decision"]["pools"][1]["target"] = 77.into());
    let done = with_input(&["replay"], &text);
    assert_eq!(done.code, 6, "{}{}", done.out, done.err);
    for part in
        ["line 20: comes out differently", "decision.pools[1].target", "recorded  77", "now"]
    {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    assert!(done.err.contains("1 of"), "{}", done.err);
    assert_eq!(with_input(&["replay", "--line", "19"], &text).code, 0, "{}", done.err);
    assert_eq!(with_input(&["replay", "--line", "20"], &text).code, 6);
    let one = with_input(&["replay", "--line", "21"], &text).ok();
    assert!(one.contains("1 decisions: 1 the same") && one.contains("prefill"), "{one}");
}

#[test]
fn what_is_torn_or_of_a_log_is_said_and_left_out() {
    let cut = &record()[..record().len() - 100];
    let mixed = format!("INFO started\n{cut}");
    let done = with_input(&["replay"], &mixed);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("torn off at column"), "{}", done.err);
    assert!(done.err.contains("1 lines are no decision records"), "{}", done.err);
    let done = with_input(&["why"], &mixed);
    assert_eq!(done.code, 0, "{}", done.err);
    let without: String = record().lines().skip(1).map(|line| format!("{line}\n")).collect();
    let says = "no checkpoint of its run comes before it";
    with_input(&["replay"], &without).refused_after(2, says, says);
}

/// The lines of the record, to be broken.
fn lines() -> Vec<Vec<u8>> {
    record().lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn put_together(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
}

/// A bad line in the middle does not keep `replay` and `why` from the rest, and their code says so.
#[test]
fn a_line_that_cannot_be_read_is_named_and_counted_and_the_rest_goes_on() {
    fn replaced(line: &mut Vec<u8>, a: &str, b: &str) {
        *line = String::from_utf8(line.clone()).unwrap().replacen(a, b, 1).into_bytes();
    }
    type Breaks = fn(&mut Vec<u8>);
    let torn: Breaks = |line| line.truncate(200);
    let not_utf_8: Breaks = |line| line[100] = 0xff;
    let newer: Breaks = |line| replaced(line, "\"version\":2", "\"version\":99");
    let without: Breaks = |line| replaced(line, "\"observation\"", "\"seen\"");
    let endless: Breaks = |line| line.resize(65 << 20, b'x');
    let breaks = [
        (torn, "torn off at column"),
        (not_utf_8, "not UTF-8 text at column 101"),
        (newer, "record has version 99, this program reads up to 2: use a newer sla-planner"),
        (without, "not a decision record of version 2: missing field `observation` at column"),
        (endless, "a line of more than 64 MiB"),
    ];
    let all = lines().len();
    for (breaks, says) in breaks {
        let mut lines = lines();
        breaks(&mut lines[19]);
        let (_kept, path) = file("broken.jsonl", put_together(&lines));
        let done = planner(&["replay", &path]);
        assert_eq!(done.code, 8, "{says}: {}{}", done.out, done.err);
        let warning = format!("warning: {path}:20: {says}");
        for part in [&warning, "18 of", "1 lines cannot be read", "hint:"] {
            assert!(done.err.contains(part), "{part}: {}", done.err);
        }
        let counted = format!("{} decisions: 18 the same, 0 different, {} not", all - 2, all - 20);
        assert!(done.out.contains(&counted), "{counted}: {}", done.out);
        assert!(done.out.contains("decision 18 of its run is missing"), "{}", done.out);
        let json = planner(&["replay", &path, "--format", "json"]);
        let answer: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!((json.code, &answer["unreadable"]), (8, &1.into()));
        // `why` reads no more of a line than it needs.
        if says.contains("missing field") {
            assert_eq!(planner(&["why", &path]).code, 0);
        } else {
            let why = planner(&["why", &path]);
            assert_eq!(why.code, 8, "{says}: {}", why.err);
            assert!(why.out.contains("\nDecision\n"), "{}", why.out);
            assert!(why.err.contains(&warning) && why.err.contains("error: "), "{}", why.err);
        }
        let why = planner(&["why", &path, "--line", "30"]);
        assert_eq!(why.code, 0, "the line that was asked for is whole: {}", why.err);
        for command in ["why", "replay"] {
            planner(&[command, &path, "--line", "20"])
                .refused(2, &[&format!("error: {path}:20: "), says]);
        }
    }
}

#[test]
fn a_line_torn_by_a_process_that_was_killed_is_no_fault_of_the_file() {
    let next = record().replace("\"run\":\"simulated-1\"", "\"run\":\"simulated-2\"");
    assert_ne!(next, record());
    let cut = &record()[..record().len() - 100];
    let done = with_input(&["replay"], format!("{cut}\nINFO started\n{next}"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("its writer was stopped within the line"), "{}", done.err);
    assert!(!done.err.contains("warning"), "{}", done.err);
}

#[test]
fn a_record_that_is_replayed_in_part_only_ends_with_code_8() {
    // The beginning of the file is gone, and with it the checkpoint of the first run.
    let next = record().replace("\"run\":\"simulated-1\"", "\"run\":\"simulated-2\"");
    let (_, first) = record().split_once('\n').unwrap();
    let decisions = first.lines().count();
    let done = with_input(&["replay"], format!("{first}{next}"));
    let says = format!("{decisions} cannot be decided again, 0 are missing");
    done.refused_after(8, "no checkpoint of its run comes before it", &says);
    // A disk that was full took the last two decisions before a checkpoint.
    let rest = record().lines().take(decisions - 1);
    let rest: String = rest.map(|line| format!("{line}\n")).collect();
    let mut checkpoint = value(1);
    checkpoint["seq"] = decisions.into();
    let done = with_input(&["replay"], format!("{rest}{checkpoint}\n"));
    let (from, to) = (decisions - 2, decisions - 1);
    let finds = format!("2 decisions before it are missing, {from} to {to} of its run");
    done.refused_after(8, &finds, "0 cannot be decided again, 2 are missing");
    // Its second half is that of a checkpoint that is gone.
    let half = record().lines().count() / 2;
    let lines = record().lines().enumerate().map(|(i, line)| match i {
        i if i < half => format!("{line}\n"),
        _ => line.replacen("\"checkpoint\":0", &format!("\"checkpoint\":{}", half - 1), 1) + "\n",
    });
    let done = with_input(&["replay"], lines.collect::<String>());
    let why = format!("the checkpoint that it rests on, before decision {}, is missing", half - 1);
    let says = format!("{} cannot be decided again", record().lines().count() - half);
    done.refused_after(8, &why, &says);
}

impl Done {
    /// It failed with this code after it had printed what it found.
    fn refused_after(self, code: i32, finds: &str, says: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.out.contains(finds) && self.err.contains(says), "{}{}", self.out, self.err);
    }
}

#[test]
fn lines_of_version_1_are_explained_and_not_replayed() {
    let old = here("tests/data/record-v1.jsonl").display().to_string();
    let text = planner(&["why", &old]).ok();
    assert!(text.contains("\nDecision\n") && text.contains("\nSeen\n"), "{text}");
    let says = "lines of version 1 hold neither the planner's memory nor the engines";
    planner(&["replay", &old]).refused_after(2, says, says);
}

#[test]
fn why_tells_all_that_a_decision_rests_on_in_80_columns() {
    let text = with_input(&["why", "--at", "9m"], record()).ok();
    let mut headings = text.lines().filter(|line| !line.starts_with(' ') && !line.is_empty());
    assert!(headings.next().unwrap().starts_with("9m into the trace  simulated/azure"), "{text}");
    let headings: Vec<&str> = headings.collect();
    assert_eq!(
        headings,
        [
            "Decision",
            "Seen",
            "Replicas",
            "Demand",
            "Forecast",
            "Error budget",
            "Sizes at the upper end of that demand",
            "Model of the engines",
            "Start-up times",
            "Written",
            "Next look"
        ]
    );
    for part in ["arrivals", "fresh", "TTFT, p95", "planned for", "decided by", "in 10s"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for line in 2..=record().lines().count() {
        let text = with_input(&["why", "--line", &line.to_string()], record()).ok();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}\n{text}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn why_during_an_outage_says_what_is_missing_and_what_to_do() {
    let text = with_input(&["why", "--at", "3m50s"], record()).ok();
    for part in ["[hold_no_metrics]", "What to do: Ask Prometheus", "the source did not answer"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("\nDemand\n"), "what was not known is not printed: {text}");
}

#[test]
fn why_prints_the_line_itself_as_json() {
    let last = record().lines().last().unwrap();
    assert_eq!(with_input(&["why", "--format", "json"], record()).ok(), format!("{last}\n"));
    assert_eq!(
        value(record().lines().count()),
        with_input(&["why", "--format", "json", "-"], record()).json()
    );
}

#[test]
fn a_decision_that_is_not_there_is_said() {
    let lines = record().lines().count();
    with_input(&["why", "--line", "1"], record()).refused(2, &["standard input:1: not a decision"]);
    let far = (lines + 5).to_string();
    let says = format!("has {lines} lines, and no line {far}");
    with_input(&["why", "--line", &far], record()).refused(2, &[&says]);
    with_input(&["why", "--at", "1s"], record()).refused(2, &["at or before 1s into the trace"]);
    with_input(&["why", "--dgd", "llm/chat"], record()).refused(2, &["no decision for llm/chat"]);
    with_input(&["replay"], "").refused(2, &["no decisions", "the key `record`"]);
    planner(&["why", "/no/such"]).refused(2, &["/no/such"]);
    planner(&["why", "--line", "0"]).refused(2, &["--line"]);
    planner(&["why", "--at", "yesterday"]).refused(2, &["such as 2026-11-29T13:15:00Z"]);
    let (_kept, config) = file("planner.yaml", "target: {dgd: chat}\n");
    planner(&["why", "--config", &config]).refused(2, &["go to standard output", "kubectl logs"]);
}

#[test]
fn the_configuration_names_the_record() {
    let (kept, path) = file("decisions.jsonl", record());
    let config = kept.path().join("planner.yaml");
    std::fs::write(&config, format!("record: {path}\n")).unwrap();
    let config = config.display().to_string();
    planner(&["replay", "--config", &config]).ok();
    planner(&["why", "--config", &config]).ok();
}

#[test]
fn nothing_that_is_read_is_written_over() {
    let text = std::fs::read(here(crate::TRACE)).unwrap();
    let (kept, trace) = file("trace.jsonl", &text);
    let at = |name: &str| kept.path().join(name).display().to_string();
    std::os::unix::fs::symlink(&trace, at("soft.jsonl")).unwrap();
    std::fs::hard_link(&trace, at("hard.jsonl")).unwrap();
    std::fs::create_dir(at("below")).unwrap();
    let refused = |args: &[&str], says: &[&str]| {
        let all = [&["simulate", "--trace", &trace], args].concat();
        let done = Done::of(command(&all).current_dir(kept.path()).output().unwrap());
        done.refused(2, says);
        assert!(std::fs::read(&trace).unwrap() == text, "{args:?}: the trace is another one");
    };
    let says = ["it is the trace", &trace, "hint: name another file"];
    let names = [trace.as_str(), "trace.jsonl", "below/../trace.jsonl", "soft.jsonl", "hard.jsonl"];
    for name in names {
        refused(&["--record", name], &[&says[..], &[&format!("--record {name}: ")]].concat());
        refused(&["--out", name], &[&says[..], &[&format!("--out {name}: ")]].concat());
    }
    std::fs::write(at("sla.yaml"), "sla: {ttft: 1s}\n").unwrap();
    refused(&["--sla", "sla.yaml", "--record", "./sla.yaml"], &["it is the --sla file"]);
    let tables = ["prefill_raw_data.json", "decode_raw_data.json"];
    for name in tables {
        std::fs::copy(here(crate::PROFILE).join(name), at(name)).unwrap();
        let folder = kept.path().display().to_string();
        let says = format!("it is of the profile {folder}/{name}");
        refused(&["--profile", &folder, "--record", name], &[&says]);
    }
    refused(&["--record", "new", "--out", "new"], &["--record and --out name the same file"]);
    refused(&["--splice", "2m@soft.jsonl", "--record", "hard.jsonl"], &["it is the trace"]);
}

#[test]
fn no_command_writes_its_answer_over_what_it_reads() {
    let text = std::fs::read(here(crate::TRACE)).unwrap();
    let (kept, trace) = file("trace.jsonl", &text);
    let table = kept.path().join("prefill_raw_data.json");
    std::fs::copy(here(crate::PROFILE).join("prefill_raw_data.json"), &table).unwrap();
    let (folder, table) = (kept.path().display().to_string(), table.display().to_string());
    for (args, out) in [
        (&["frontier", "--trace", &trace][..], &trace),
        (&["forecast-study", &trace][..], &trace),
        (&["backtest", "--trace", &trace, "--policy", "static"][..], &trace),
        (&["merge", &trace][..], &trace),
        (&["profile", "plot", &folder][..], &table),
    ] {
        let before = std::fs::read(out).unwrap();
        let done = Done::of(command(&[args, &["--out", out]].concat()).output().unwrap());
        done.refused(2, &["would be written over", "hint: name another file"]);
        assert!(std::fs::read(out).unwrap() == before, "{args:?}");
    }
}

#[test]
fn only_our_decisions_are_recorded() {
    planner(&["simulate", "--policy", "keda", "--record", "x.jsonl"])
        .refused(2, &["--record", "keda"]);
    planner(&["simulate", "--record", "/no/such/x.jsonl"]).refused(2, &["/no/such/x.jsonl"]);
}
