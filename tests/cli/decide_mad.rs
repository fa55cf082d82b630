//! `decide`, fed with recorded sessions into which somebody has put nonsense: a figure that is none
//! holds the counts, and a line that is none ends the session with exit code 2.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::decide::{AGG, DISAGG, answers, decide, decide_bytes};

const LONG_PROMPTS: &str = include_str!("../data/sessions/long_prompts.jsonl");

/// Without an init: that of [`AGG`] goes before.
const AGG_END: &str = include_str!("../data/sessions/agg_end.jsonl");

const SESSIONS: [&str; 3] = [DISAGG, AGG, LONG_PROMPTS];

/// What stands where a number should, as a caller may write it.
const MAD: [&str; 8] = ["NaN", "Infinity", "-Infinity", "null", "-1", "1e300", "-1e300", "1e999"];

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// The line with these bare characters at this place.
fn with(line: &Value, pointer: &str, text: &str) -> String {
    const MARK: &str = "here it is to stand";
    let mut line = line.clone();
    *line.pointer_mut(pointer).unwrap() = json!(MARK);
    line.to_string().replacen(&format!("\"{MARK}\""), text, 1)
}

fn pools(session: &str) -> &'static [&'static str] {
    if parsed(session.lines().next().unwrap())["mode"] == "agg" {
        &["decode"]
    } else {
        &["prefill", "decode"]
    }
}

/// One session of many: each bent tick after an init of its own, and the sound one after it.
struct Asked {
    lines: String,
    bent: Vec<String>,
}

impl Asked {
    fn new() -> Self {
        Self { lines: String::new(), bent: Vec::new() }
    }

    fn add(&mut self, init: &str, bent: &str, sound: &Value) {
        let mut sound = sound.clone();
        sound["now_ms"] = json!(sound["now_ms"].as_f64().unwrap() + 15_000.0);
        writeln!(self.lines, "{init}\n{bent}\n{sound}").unwrap();
        self.bent.push(bent.to_owned());
    }

    /// What was answered to each bent tick, and to the sound one after it.
    fn answered(&self) -> Vec<(&str, Value, Value)> {
        let all = answers(&[], &self.lines);
        assert_eq!(all.len(), 3 * self.bent.len());
        let three = all.chunks(3).map(|three| (three[1].clone(), three[2].clone()));
        self.bent.iter().zip(three).map(|(bent, (a, b))| (bent.as_str(), a, b)).collect()
    }
}

#[test]
fn nonsense_in_any_figure_that_a_size_rests_on_moves_nothing() {
    for session in SESSIONS {
        let mut asked = Asked::new();
        let init = session.lines().next().unwrap();
        let mut places: Vec<String> =
            ["/now_ms", "/traffic/num_req", "/traffic/duration_s"].map(str::to_owned).into();
        places.extend(["/traffic/avg_isl", "/traffic/avg_osl"].map(str::to_owned));
        for pool in pools(session) {
            for state in ["active", "starting", "draining", "non_draining"] {
                places.push(format!("/{state}_{pool}_count"));
            }
        }
        for tick in session.lines().skip(1).map(parsed) {
            for (place, mad) in places.iter().flat_map(|p| MAD.map(|mad| (p, mad))) {
                asked.add(init, &with(&tick, place, mad), &tick);
            }
            asked.add(init, &with(&tick, "/traffic", "null"), &tick);
            asked.add(init, &with(&tick, "/traffic", "{}"), &tick);
        }
        for (bent, held, sound) in asked.answered() {
            for target in ["target_prefill", "target_decode"] {
                assert_eq!(held[target], Value::Null, "{bent}: {held}");
            }
            let reason = held["reason"].as_str().unwrap();
            assert!(reason.starts_with("hold_"), "{bent}: {held}");
            assert!(held["next_tick_ms"].as_u64().unwrap() >= 5000, "{bent}: {held}");
            // Nor does it spoil what comes after.
            assert!(!sound["reason"].as_str().unwrap().starts_with("hold_no"), "{bent}: {sound}");
        }
    }
}

#[test]
fn nonsense_in_a_latency_takes_no_replica_away_and_in_a_snapshot_asks_for_no_more() {
    for session in SESSIONS {
        let init = session.lines().next().unwrap();
        for tick in session.lines().skip(1).map(parsed) {
            let sound = &answers(&[], &format!("{init}\n{tick}\n"))[1];
            let (mut latency, mut snapshot) = (Asked::new(), Asked::new());
            for name in ["avg_ttft_ms", "avg_itl_ms", "ttft_count", "itl_count", "shape_count"] {
                let place = format!("/traffic/{name}");
                for mad in MAD {
                    latency.add(init, &with(&tick, &place, mad), &tick);
                }
            }
            for list in ["prefill_fpm_snapshots", "decode_fpm_snapshots"] {
                for i in 0..tick[list].as_array().unwrap().len() {
                    for name in ["wall_time", "num_queued_prefill", "num_queued_decode"] {
                        let place = format!("/{list}/{i}/{name}");
                        for mad in MAD {
                            snapshot.add(init, &with(&tick, &place, mad), &tick);
                        }
                    }
                }
            }
            for (bent, held, _) in latency.answered() {
                for pool in pools(session) {
                    let now = tick[format!("non_draining_{pool}_count")].as_u64().unwrap();
                    let target = held[format!("target_{pool}")].as_u64();
                    assert!(target.is_none_or(|n| n > now), "{bent}: {held}");
                }
            }
            for (bent, answer, _) in snapshot.answered() {
                assert_eq!(answer["next_tick_ms"], sound["next_tick_ms"], "{bent}: {answer}");
                // What nobody says is waiting is not drained; nothing else is in a snapshot.
                for pool in pools(session) {
                    let now = tick[format!("non_draining_{pool}_count")].as_u64().unwrap();
                    let asked = |a: &Value| a[format!("target_{pool}")].as_u64().unwrap_or(now);
                    let (least, most) = (now.min(asked(sound)), now.max(asked(sound)));
                    assert!((least..=most).contains(&asked(&answer)), "{bent}: {answer} {sound}");
                }
            }
        }
    }
}

#[test]
fn averages_of_weight_zero_at_the_end_of_a_session_are_unknown_and_no_zeros() {
    let init = AGG.lines().next().unwrap();
    let all = answers(&["--explain"], &format!("{init}\n{AGG_END}"));
    assert_eq!(all.len(), 4);
    let last = parsed(AGG_END.lines().last().unwrap());
    assert_eq!(last["traffic"]["avg_isl"], json!(0.0), "as it was recorded");
    let seen = &all[3]["report"]["observation"]["traffic"];
    assert_eq!(seen["arrivals"]["value"], json!(0.0));
    for signal in [&seen["isl"], &seen["osl"], &seen["ttft"]["mean"], &seen["itl"]["mean"]] {
        assert_eq!(signal["why"]["reason"], "no_samples", "{seen}");
    }
    for answer in &all[1..] {
        assert_eq!(answer["target_decode"], Value::Null, "a minute is no reason to go: {answer}");
    }
}

/// A session that cannot be read at its last line: one error, exit code 2.
fn is_refused(lines: &[u8], answered: usize, says: &str) {
    let (done, said) = decide_bytes(&[], lines);
    let shown = String::from_utf8_lossy(&lines[..lines.len().min(400)]);
    assert_eq!(done.code, 2, "{shown}");
    assert_eq!(said.len(), answered + 1, "{shown}");
    let error = said[answered]["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("line {}: ", answered + 1)), "{error}");
    assert!(error.contains(says) && error.contains("expected"), "`{says}`: {error}");
    assert!(done.err.contains(error) && !done.err.contains("panicked"), "{}", done.err);
}

#[test]
fn a_line_that_was_cut_short_is_refused_wherever_it_was_cut() {
    for session in SESSIONS {
        let mut lines = session.lines();
        let (init, tick) = (lines.next().unwrap(), lines.next().unwrap());
        for i in 0..12 {
            let cut = |line: &str| line[..1 + i * (line.len() - 2) / 11].to_owned();
            is_refused(format!("{}\n{tick}\n", cut(init)).as_bytes(), 0, "not JSON");
            is_refused(format!("{init}\n{}\n{tick}\n", cut(tick)).as_bytes(), 1, "not JSON");
            // The caller died in the middle of the line.
            is_refused(format!("{init}\n{}", cut(tick)).as_bytes(), 1, "not JSON");
        }
    }
}

#[test]
fn what_is_no_text_too_deep_or_too_long_is_refused() {
    let mut lines = LONG_PROMPTS.lines();
    let (init, tick) = (lines.next().unwrap(), lines.next().unwrap());
    let after = |line: &[u8]| [init.as_bytes(), b"\n", line, b"\n"].concat();
    let mut bytes = tick.as_bytes().to_vec();
    bytes[100] = 0xff;
    is_refused(&after(&bytes), 1, "not UTF-8 text");
    bytes[100] = 0;
    is_refused(&after(&bytes), 1, "not JSON");
    is_refused(&after(&[b"[".repeat(100_000), b"]".repeat(100_000)].concat()), 1, "not JSON");
    is_refused(&after(&b" ".repeat(17 << 20)), 1, "too long");
    for line in ["[]", "3", "\"tick\"", "null", "{}{}", "{\"type\":3}"] {
        is_refused(&after(line.as_bytes()), 1, "");
    }
}

#[test]
fn a_field_that_is_missing_or_no_number_is_named() {
    let text = [("\"12\"", "text"), ("[]", "a list"), ("{}", "an object"), ("true", "a boolean")];
    for session in SESSIONS {
        let mut lines = session.lines();
        let (init, tick) = (lines.next().unwrap(), parsed(lines.next().unwrap()));
        let mut places = vec!["now_ms".to_owned()];
        for pool in pools(session) {
            let states = ["active", "starting", "draining", "non_draining"];
            places.extend(states.map(|state| format!("{state}_{pool}_count")));
        }
        for name in &places {
            let mut without = tick.clone();
            without.as_object_mut().unwrap().remove(name);
            let says = format!("field {name}: missing");
            is_refused(format!("{init}\n{without}\n").as_bytes(), 1, &says);
            let (value, _) = text[name.len() % 4];
            let bent = with(&tick, &format!("/{name}"), value);
            is_refused(format!("{init}\n{bent}\n").as_bytes(), 1, &format!("field {name}: "));
        }
        for (value, _) in text {
            let bent = with(&tick, "/traffic/num_req", value);
            is_refused(format!("{init}\n{bent}\n").as_bytes(), 1, "field traffic.num_req: ");
        }
        let init = parsed(init);
        for name in [
            "mode",
            "ttft_ms",
            "itl_ms",
            "gpu_per_engine",
            "gpu_budget",
            "startup_s",
            "caps",
            "profile",
        ] {
            let mut without = init.clone();
            without.as_object_mut().unwrap().remove(name);
            is_refused(
                format!("{without}\n{tick}\n").as_bytes(),
                0,
                &format!("field {name}: missing"),
            );
            for mad in MAD {
                // What an init may leave open, and what is read as open.
                let open = matches!(name, "startup_s" | "caps" | "profile");
                let (done, said) =
                    decide(&[], &format!("{}\n", with(&init, &format!("/{name}"), mad)));
                let taken = done.code == 0 && said == [json!({"initial_tick_ms": 5000})];
                let refused = done.code == 2
                    && said.len() == 1
                    && said[0]["error"].as_str().unwrap().contains(&format!("field {name}"));
                let none = name == "gpu_budget" && mad == "-1";
                assert!(refused || taken && (open || none), "{name} {mad}: {} {said:?}", done.err);
            }
        }
    }
}
