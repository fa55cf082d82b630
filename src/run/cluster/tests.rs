//! What of a planner's learning another one goes on from.

use super::*;
use crate::spec::{Defaults, load};

/// What is planned with by the configuration of this text, for a graph `chat` with this identity.
fn setting(text: &str, uid: &str) -> Setting {
    let config = load(text, "planner.yaml", &Defaults::default()).unwrap();
    let target = config.target.clone().unwrap();
    Setting { config, target, engines: BTreeMap::new(), uid: Some(uid.to_owned()) }
}

fn of(text: &str) -> Setting {
    setting(&format!("target: {{namespace: llm, dgd: chat}}\n{text}"), "1")
}

const POOLS: &str = "pools: {prefill: {service: P}, decode: {service: D, max: 4}}\n";

#[test]
fn another_promise_or_other_limits_go_on_from_what_was_learned() {
    let before = of(POOLS);
    for same in [
        POOLS.to_owned(),
        format!("{POOLS}sla: {{ttft: 3s, itl: 80ms, percentile: 99}}\n"),
        format!("{POOLS}max_gpu_budget: 40\nintervals: {{adjustment: 3s}}\nmode: advise\n"),
        POOLS.replace("max: 4", "min: 2, max: 9"),
    ] {
        assert!(of(&same).goes_on_from(&before), "{same}");
    }
}

#[test]
fn another_graph_other_pools_and_another_forecast_begin_anew() {
    let before = of(POOLS);
    for other in [
        POOLS.replace("service: D", "service: E"),
        POOLS.replace("service: D", "service: D, profile: another"),
        POOLS.replace("service: D", "service: D, max_num_seqs: 8"),
        "pools: {decode: {service: D, max: 4}}\n".to_owned(),
        format!("{POOLS}forecast: {{predictor: kalman}}\n"),
    ] {
        assert!(!of(&other).goes_on_from(&before), "{other}");
    }
    let text = |target: &str| format!("target: {{namespace: llm, {target}}}\n{POOLS}");
    assert!(!setting(&text("dgd: chat"), "2").goes_on_from(&before), "made anew");
    assert!(!setting(&text("dgd: chat, model: m"), "1").goes_on_from(&before));
}

#[test]
fn the_account_is_that_of_one_promise() {
    let (before, tighter) = (of(POOLS), of(&format!("{POOLS}sla: {{ttft: 100ms}}\n")));
    let spent = serde_json::json!({
        "at": 1_000, "hour": {"requests": 9.0, "late": 7.0, "seconds": 10.0},
        "day": {"requests": 9.0, "late": 7.0, "seconds": 10.0}
    });
    let account: Account = serde_json::from_value(spent).unwrap();
    let since = Some(clock::now());
    let memory = Memory { account, since, ..Memory::default() };
    let kept = before.keeping_account(&before, memory.clone());
    assert_eq!(kept.account, memory.account);
    let learned = Memory { account: Account::default(), ..memory.clone() };
    assert_eq!(tighter.keeping_account(&before, memory), learned, "all else stays");
}
