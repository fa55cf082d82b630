use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const DISAGG: &str = include_str!("../../../../examples/sessions/disagg.jsonl");

fn begun() -> Session {
    let mut session = Session::new(None, true);
    let init = DISAGG.lines().next().unwrap();
    assert_eq!(session.answer(init), Ok(Answer::Ready { initial_tick_ms: 5000 }));
    session
}

fn first_tick() -> Value {
    serde_json::from_str(DISAGG.lines().nth(1).unwrap()).unwrap()
}

fn decided(session: &mut Session, tick: &Value) -> Decided {
    match session.answer(&tick.to_string()) {
        Ok(Answer::Decided(decided)) => *decided,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_tick_again_changes_nothing() {
    let (mut session, tick) = (begun(), first_tick());
    let first = decided(&mut session, &tick);
    let mut there = tick.clone();
    for (pool, target) in [("prefill", first.target_prefill), ("decode", first.target_decode)] {
        if let Some(n) = target {
            let active = tick[format!("active_{pool}_count")].as_u64().unwrap();
            there[format!("non_draining_{pool}_count")] = json!(n);
            there[format!("starting_{pool}_count")] = json!(u64::from(n) - active);
        }
    }
    let again = decided(&mut session, &there);
    assert_eq!((again.target_prefill, again.target_decode), (None, None), "{again:?}");
    assert_eq!(again.next_tick_ms, first.next_tick_ms);
}

#[test]
fn an_init_begins_anew() {
    let mut session = begun();
    decided(&mut session, &first_tick());
    assert_ne!(session.agreed.as_ref().unwrap().memory, Memory::default());
    session.answer(DISAGG.lines().next().unwrap()).unwrap();
    assert_eq!(session.agreed.unwrap().memory, Memory::default());
}

/// Every scalar of a tick, mad or not.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(Value::Null),
        4 => prop::sample::select(vec![0.0, -1.0, 1e300, -1e300, 1e15, 1e-300, 0.5, 5e-324])
            .prop_map(|x| json!(x)),
        4 => (0_u32..5000).prop_map(|x| json!(x)),
        4 => any::<f64>().prop_map(|x| json!(x)),
        1 => any::<u64>().prop_map(|x| json!(x)),
        1 => any::<bool>().prop_map(|x| json!(x)),
        1 => ".{0,8}".prop_map(|x| json!(x)),
        1 => Just(json!([])),
        1 => Just(json!({})),
    ]
}

/// Any JSON, three levels deep.
fn tree() -> impl Strategy<Value = Value> {
    value().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[a-z_]{0,12}", inner), 0..5)
                .prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
        ]
    })
}

/// A whole line with some of its fields exchanged, at any depth.
fn bent(line: Value) -> impl Strategy<Value = Value> {
    fn scalars(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(k, v)| scalars(v, &format!("{path}/{k}"), out))
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| scalars(v, &format!("{path}/{i}"), out))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if !path.is_empty() {
            out.push(path.to_owned());
        }
    }
    let mut paths = Vec::new();
    scalars(&line, "", &mut paths);
    prop::collection::vec((prop::sample::select(paths), value()), 1..5).prop_map(move |changes| {
        let mut line = line.clone();
        for (path, value) in changes {
            if let Some(place) = line.pointer_mut(&path) {
                *place = value;
            }
        }
        line
    })
}

fn survives(session: &mut Session, line: &str) {
    let before = session.agreed.is_some();
    match session.answer(line) {
        Ok(Answer::Decided(decided)) => {
            assert_ne!(decided.reason, PANIC, "{line}");
            assert!(serde_json::to_string(&decided).is_ok());
            let report = decided.report.unwrap();
            assert_eq!(report.notes, Vec::<String>::new(), "the referee objects: {line}");
        }
        Ok(_) => {}
        Err(wrong) => {
            assert!(wrong.to_string().contains("expected"), "{wrong}");
            assert_eq!(session.agreed.is_some(), before);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_answered_and_never_panics(line in tree()) {
        survives(&mut Session::new(None, true), &line.to_string());
        survives(&mut begun(), &line.to_string());
    }

    #[test]
    fn any_text_is_answered_and_never_panics(line in ".{0,80}") {
        survives(&mut begun(), &line);
    }

    #[test]
    fn any_tick_is_answered_and_never_panics(ticks in prop::collection::vec(bent(first_tick()), 1..4)) {
        let mut session = begun();
        for tick in ticks {
            survives(&mut session, &tick.to_string());
        }
    }

    #[test]
    fn any_init_is_answered_and_never_panics(
        init in bent(serde_json::from_str(DISAGG.lines().next().unwrap()).unwrap()),
    ) {
        let mut session = Session::new(None, true);
        survives(&mut session, &init.to_string());
        if session.agreed.is_some() {
            survives(&mut session, &first_tick().to_string());
        }
    }
}
