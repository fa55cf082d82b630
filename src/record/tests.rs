use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::observe::{
    Inventory, LatencySignals, Missing, Observation, PoolInventory, Signal, Traffic,
};
use crate::plan::{Memory, Outcome, PlanInput, PoolInput, plan};
use crate::profile::{EngineProfile, library};
use crate::spec::{EngineLimits, Intervals, Mode, Sla};
use crate::units::{Gpus, Millis, PerSecond, Percentile, Replicas, Role, Share, Timestamp, Tokens};

const TICK: i64 = 10_000;

/// What is seen at tick `i`: waves, an outage, idle times, old figures, and inventory that is not
/// known.
fn observation(i: i64) -> Observation {
    let at = Timestamp::from_millis(1_764_000_000_000 + i * TICK);
    let window = Duration::from_secs(20);
    let percentile = Percentile::default();
    let pools = [(Role::Prefill, 3), (Role::Decode, 4)];
    let pools: BTreeMap<Role, Signal<PoolInventory>> = pools
        .into_iter()
        .map(|(role, n)| {
            let known = Signal::Fresh { value: PoolInventory::steady(n), at };
            let detail = "no service".to_owned();
            let unknown = Signal::missing(Missing::NoObject { detail });
            (role, if i % 17 == 3 { unknown } else { known })
        })
        .collect();
    let inventory = Inventory { pools };
    if i % 23 == 5 {
        let why = Missing::SourceDown { detail: "refused".to_owned() };
        return Observation {
            at,
            traffic: Traffic::all_missing(window, percentile, &why),
            inventory,
        };
    }
    let idle = (40..50).contains(&(i % 90));
    let wave = 0.1 + (i as f64 / 7.0).sin().powi(2);
    let rate = if idle { 0.0 } else { 30.0 * wave / 3.0 };
    let state = |x: f64| {
        let late = at.minus(Duration::from_secs(45));
        if i % 11 == 0 {
            Signal::Late { value: x, at: late }
        } else {
            Signal::Fresh { value: x, at }
        }
    };
    let counted = |x: f64| if idle { Signal::missing(Missing::NoSamples) } else { state(x) };
    let latency = |ms: f64| LatencySignals {
        mean: counted(ms / 3.0).map(Millis::clamped),
        quantile: counted(ms).map(Millis::clamped),
        percentile,
    };
    let traffic = Traffic {
        window,
        arrivals: state(rate).map(PerSecond::clamped),
        isl: counted(2000.0 + 1000.0 * wave).map(Tokens::clamped),
        osl: counted(150.0 / 0.7).map(Tokens::clamped),
        ttft: latency(900.0 * wave),
        itl: latency(31.0),
        request_duration: counted(7000.0).map(Millis::clamped),
        queued: state(0.1 + 0.2),
        inflight: Signal::Contradictory { detail: "two disagree".to_owned() },
        kv_usage: state(0.4).map(Share::clamped),
    };
    Observation { at, traffic, inventory }
}

fn input(engine: &EngineProfile, i: i64) -> PlanInput<'_> {
    let pool = |role| PoolInput {
        role,
        engine,
        limits: EngineLimits::default(),
        gpus_per_replica: Gpus::new(1),
        min: Replicas::new(1),
        max: Some(Replicas::new(20)),
        startup: Duration::from_secs(60),
        measured: true,
    };
    let observation = observation(i);
    PlanInput {
        now: observation.at,
        sla: Sla::default(),
        pools: vec![pool(Role::Prefill), pool(Role::Decode)],
        budget: Some(Gpus::new(30)),
        intervals: Intervals::default(),
        predictor: crate::units::Predictor::default(),
        observation,
    }
}

/// The lines of `ticks` decisions.
fn lines(run: &str, ticks: i64) -> Vec<String> {
    let engine = library::get(library::DEFAULT).unwrap();
    let mut recorder = Recorder::new(run, "0.1.0", "llm/chat");
    let mut memory = Memory::default();
    let mut out = Vec::new();
    for i in 0..ticks {
        let input = input(&engine, i);
        let checkpoint = recorder.checkpoint(&input, &memory);
        let Outcome { decision, report, memory: after } = plan(&input, memory);
        out.extend(checkpoint.map(|c| Line::Checkpoint(Box::new(c)).to_text().unwrap()));
        memory = after;
        let record = recorder.tick(Mode::Act, input, decision, report, vec![], vec![]);
        out.push(Line::Tick(Box::new(record)).to_text().unwrap());
    }
    out
}

fn check(lines: &[String]) -> Vec<Checked> {
    let mut replay = Replay::default();
    lines.iter().map(|text| replay.line(&Line::read(text).unwrap(), text).unwrap()).collect()
}

const SAME: Checked = Checked::Same { exact: true };

#[test]
fn every_decision_comes_out_again_byte_for_byte_and_so_does_the_memory() {
    let lines = lines("a", 400);
    assert_eq!(lines.len(), 402, "a checkpoint at the start, and one after 360 decisions");
    let checked = check(&lines);
    assert_eq!(checked[0], Checked::Begins);
    assert_eq!(checked[361], Checked::MemorySame);
    for (i, one) in checked.iter().enumerate().filter(|(i, _)| ![0, 361].contains(i)) {
        assert_eq!(*one, SAME, "line {}", i + 1);
    }
    assert!(lines.iter().all(|line| !line.contains('\n')));
}

#[test]
fn every_line_is_read_back_as_it_was_written() {
    for text in lines("a", 120) {
        let line = Line::read(&text).unwrap();
        assert_eq!(line.to_text().unwrap(), text);
        assert_eq!(Line::read(&format!("  {text}\r\n")).unwrap(), line);
    }
}

#[test]
fn a_file_cut_at_its_beginning_replays_from_the_first_checkpoint_left() {
    let lines = lines("a", 370);
    let checked = check(&lines[100..]);
    assert_eq!(checked[0], Checked::Cannot { why: Why::NoCheckpoint });
    assert_eq!(checked[261], Checked::Begins);
    assert!(checked[262..].iter().all(|one| *one == SAME));
}

#[test]
fn a_missing_line_stops_the_replay_until_the_next_checkpoint() {
    let mut lines = lines("a", 365);
    lines.remove(200);
    let checked = check(&lines);
    assert_eq!(checked[199], SAME);
    let why = Why::Gap { expected: 199, found: 200 };
    assert_eq!(why.to_string(), "decision 199 of its run is missing before it");
    assert_eq!(checked[200], Checked::Cannot { why });
    assert_eq!(checked[360], Checked::Begins, "its memory is not one that was carried here");
    assert_eq!(checked[361], SAME);
}

#[test]
fn a_checkpoint_that_is_lost_stops_the_replay_until_the_next_one() {
    let mut lines = lines("a", 725);
    assert_eq!(lines.len(), 728, "checkpoints before decisions 0, 360 and 720");
    lines.remove(361);
    let checked = check(&lines);
    let why = Why::CheckpointLost { seq: 360 };
    assert_eq!(why.to_string(), "the checkpoint that it rests on, before decision 360, is missing");
    let lost = Checked::Cannot { why };
    assert_eq!(checked[360], SAME);
    assert!(checked[361..721].iter().all(|one| *one == lost), "every decision until the next");
    assert_eq!(checked[721], Checked::Begins);
    assert!(checked[722..].iter().all(|one| *one == SAME));
    // Lines without the number of their checkpoint are replayed as before.
    let older: Vec<String> = lines
        .iter()
        .map(|line| line.replacen(",\"checkpoint\":360,", ",", 1))
        .map(|line| line.replacen(",\"checkpoint\":0,", ",", 1))
        .collect();
    assert!(older.iter().all(|line| !line.contains("\"checkpoint\":0,")));
    assert!(check(&older)[1..721].iter().all(|one| *one == SAME));
}

#[test]
fn decisions_that_are_lost_right_before_a_checkpoint_are_told() {
    let mut lines = lines("a", 365);
    drop(lines.drain(350..361));
    let checked = check(&lines);
    assert_eq!(checked[349], SAME);
    assert_eq!(checked[350], Checked::BeginsAfterLoss { from: 349, to: 359 });
    assert_eq!(checked[351], SAME);
}

#[test]
fn what_was_changed_by_hand_is_found_with_its_place() {
    let mut lines = lines("a", 30);
    let mut value: serde_json::Value = serde_json::from_str(&lines[12]).unwrap();
    value["decision"]["pools"][1]["target"] = 17.into();
    value["report"]["current_gpus"] = serde_json::Value::Null;
    lines[12] = value.to_string();
    let checked = check(&lines);
    let Checked::Differs { differences } = &checked[12] else { panic!("{:?}", checked[12]) };
    let places: Vec<&str> = differences.iter().map(|d| d.place.as_str()).collect();
    assert_eq!(places, ["decision.pools[1].target", "report.current_gpus"]);
    assert_eq!(differences[0].recorded.as_deref(), Some("17"));
    assert_eq!(checked[13], SAME, "what was decided is not what the memory rests on");

    // What was seen is: from there on the memory is another.
    let mut value: serde_json::Value = serde_json::from_str(&lines[8]).unwrap();
    value["observation"]["traffic"]["arrivals"]["value"] = 99.5.into();
    lines[8] = value.to_string();
    assert!(matches!(check(&lines)[8], Checked::Differs { .. }));
}

#[test]
fn a_memory_that_is_not_the_one_carried_is_told_and_taken() {
    let mut lines = lines("a", 365);
    let mut value: serde_json::Value = serde_json::from_str(&lines[361]).unwrap();
    assert_eq!(value["kind"], "checkpoint");
    value["memory"]["account"]["hour"]["late"] = 12.5.into();
    lines[361] = value.to_string();
    let checked = check(&lines);
    let Checked::MemoryDiffers { differences } = &checked[361] else {
        panic!("{:?}", checked[361])
    };
    assert_eq!(differences[0].place, "memory.account.hour.late");
    assert!(matches!(checked[362], Checked::Differs { .. }), "{:?}", checked[362]);
}

#[test]
fn a_line_that_another_program_wrote_anew_is_the_same_if_its_values_are() {
    let mut lines = lines("a", 3);
    let value: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    lines[2] = serde_json::to_string_pretty(&value).unwrap().replace('\n', " ");
    assert_eq!(check(&lines)[2], Checked::Same { exact: false });
}

#[test]
fn runs_that_share_a_file_are_told_apart() {
    let (a, b) = (lines("a", 20), lines("b", 20));
    let mixed: Vec<String> = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
    let checked = check(&mixed);
    assert_eq!(checked[..2], [Checked::Begins, Checked::Begins]);
    assert!(checked[2..].iter().all(|one| *one == SAME));
}

#[test]
fn a_change_of_the_setting_and_a_lost_line_bring_a_checkpoint() {
    let engine = library::get(library::DEFAULT).unwrap();
    let mut recorder = Recorder::new("a", "0.1.0", "llm/chat");
    let memory = Memory::default();
    let due = |recorder: &mut Recorder, input: &PlanInput<'_>| {
        recorder.checkpoint(input, &memory).is_some()
    };
    assert!(due(&mut recorder, &input(&engine, 0)));
    assert!(!due(&mut recorder, &input(&engine, 1)));
    let mut more = input(&engine, 2);
    more.pools[1].gpus_per_replica = Gpus::new(2);
    assert!(due(&mut recorder, &more));
    assert!(!due(&mut recorder, &more));
    let other = library::get("aic_llama-3.1-8b_h100_vllm_tp1").unwrap();
    more.pools[0].engine = &other;
    assert!(due(&mut recorder, &more));
    recorder.lost();
    assert!(due(&mut recorder, &more));
}

#[test]
fn what_is_no_record_is_told_from_one_that_is_torn_or_wrong() {
    let line = &lines("a", 1)[1];
    let torn = |text: &str| matches!(Line::read(text), Err(RecordError::Torn { .. }));
    for end in [1, 2, 8, 40, line.len() - 1] {
        assert_eq!(torn(&line[..end]), end > 1, "{end}: {:?}", Line::read(&line[..end]));
    }
    assert!(torn(&format!("{}{line}", &line[..100])), "glued to the next");
    for other in ["", "INFO started", r#"{"level":"INFO","dgd":"llm/chat"}"#, "[1]", "7", "{\"a\""]
    {
        assert_eq!(Line::read(other), Err(RecordError::Foreign), "{other}");
    }
    let newer = line.replacen("\"version\":2", "\"version\":99", 1);
    assert_eq!(Line::read(&newer), Err(RecordError::Version { found: 99 }));
    let short = line.replacen("\"observation\"", "\"seen\"", 1);
    let error = Line::read(&short).unwrap_err().to_string();
    assert!(error.contains("missing field `observation`"), "{error}");
}

#[test]
fn a_record_has_to_be_utf_8_and_what_is_none_does_not() {
    let line = lines("a", 1)[1].replacen("llm/chat", "llm/plaudern-grün", 1);
    let in_file = format!(" {line}\r\n");
    let (head, text) = Head::of_bytes(in_file.as_bytes()).unwrap();
    assert_eq!((head.dgd.as_str(), text), ("llm/plaudern-grün", line.as_str()));
    let at = line.find('ü').unwrap();
    let mut bytes = line.clone().into_bytes();
    bytes[at] = 0xff;
    let text = Err(RecordError::Text { column: at + 1 });
    assert_eq!(Head::of_bytes(&bytes), text, "not read as some other name");
    assert_eq!(
        Head::of_bytes(&line.as_bytes()[..=at]),
        Err(RecordError::Torn { column: at + 1 }),
        "torn within a character"
    );
    assert_eq!(Head::of_bytes(b"INFO \xff"), Err(RecordError::Foreign));
}

#[test]
fn a_line_of_version_1_is_read_and_cannot_be_replayed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/record-v1.jsonl");
    #[expect(clippy::disallowed_methods, reason = "a test reads a file")]
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.lines().next().unwrap();
    let Line::Tick(record) = Line::read(text).unwrap() else { panic!("a decision") };
    assert_eq!((record.version, record.run.as_str()), (1, ""));
    assert!(!record.decision.pools.is_empty());
    let checked = check(&[text.to_owned()]);
    assert_eq!(checked, [Checked::Cannot { why: Why::Version { version: 1 } }]);
}
