//! Two processes that both keep the adapters of one namespace.

use std::time::{Duration, Instant};

use serde_json::json;
use sla_planner::api::names;

use super::{EVERY, GIVES_UP, RUNS_OUT, has_adapter, lease, scale};
use crate::bench::{Namespace, User, eventually, free_port};
use crate::process::Running;
use crate::serving::{
    DGD, SOON, asked_of_dgd, controller_rules, create_dgd, dgd_asks_for, namespace, planner_rules,
    two_services,
};

/// Starts a planner that keeps adapters, as in the pod of this name; nobody answers for its metrics, so
/// that it holds what there is.
fn start(ns: &Namespace, user: &User, pod: &str, dgd: &str) -> Running {
    let profile = sla_planner::profile::library::DEFAULT;
    let config = json!({
        "pools": {"prefill": {"profile": profile}, "decode": {"profile": profile}},
        "intervals": {"adjustment": "2s", "window": "8s", "max_metric_age": "5s"},
        "prometheus": {"url": format!("http://127.0.0.1:{}", free_port()), "timeout": "1s"},
        "target": {"namespace": ns.name(), "dgd": dgd, "model": "llama"},
        "adapter_controller": true,
    });
    Running::start(ns, user, pod, config)
}

/// Waits until it is ready, and its metrics say whether it keeps the adapters.
async fn is_ready_and_keeps(ns: &Namespace, planner: &Running, keeps: bool) {
    let (of, keeps) = (ns.name(), u8::from(keeps));
    let line = format!("sla_planner_adapter_leader{{adapters_of=\"{of}\"}} {keeps}.0\n");
    planner.is_ready_with(&line).await;
}

const KEEPS: &str = "the adapters are kept by this process";
const WAITS: &str = "the adapters are kept by another process";

/// A planner that keeps the adapters, and one of another graph that waits.
async fn two(name: &str) -> (Namespace, User, Running, Running) {
    let ns = namespace(name).await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token([controller_rules(), planner_rules()].concat()).await;
    let first = start(&ns, &user, "pod-1", DGD);
    first.says(KEEPS).await;
    has_adapter(&ns).await;
    let second = start(&ns, &user, "pod-2", "alpaca");
    second.says(WAITS).await;
    (ns, user, first, second)
}

#[tokio::test]
async fn one_of_two_processes_keeps_the_adapters_and_both_are_ready() {
    let (ns, _user, mut first, mut second) = two("lease-run").await;
    let holder = lease(&ns).await.holder_identity.expect("a holder");
    assert!(holder.starts_with("pod-1_"), "{holder}");
    is_ready_and_keeps(&ns, &first, true).await;
    is_ready_and_keeps(&ns, &second, false).await;

    let began = Instant::now();
    let status = first.process.terminate(SOON);
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0), "{}", first.process.stderr());
    assert!(took < Duration::from_secs(2), "{took:?}");
    second.says(KEEPS).await;
    let took = began.elapsed();
    assert!(took < RUNS_OUT - EVERY, "at once: {took:?}");
    is_ready_and_keeps(&ns, &second, true).await;
    let holder = lease(&ns).await.holder_identity.expect("a holder");
    assert!(holder.starts_with("pod-2_"), "{holder}");
    scale(&ns, 3).await;
    dgd_asks_for(&ns, "Decode", 3).await;
    assert_eq!(second.process.stderr().matches(WAITS).count(), 1, "told once");

    second.process.terminate(SOON);
    assert_eq!(lease(&ns).await.holder_identity.as_deref(), Some(""));
}

#[tokio::test]
async fn a_process_that_was_killed_is_followed_when_its_lease_has_run_out() {
    let (ns, user, mut first, second) = two("lease-sigkill").await;
    let killed = Instant::now();
    first.process.kill();
    // One of the same pod is another holder.
    let again = start(&ns, &user, "pod-1", DGD);
    again.says(WAITS).await;
    scale(&ns, 3).await;
    eventually("one to keep them", SOON, async || {
        let said = [&second, &again].map(|planner| planner.process.stderr().contains(KEEPS));
        if said == [false, false] { Err("none") } else { Ok(()) }
    })
    .await;
    let took = killed.elapsed();
    assert!(took >= RUNS_OUT - EVERY * 2, "{took:?}");
    dgd_asks_for(&ns, "Decode", 3).await;
}

#[tokio::test]
async fn a_process_that_stood_still_while_another_took_over_writes_nothing_when_it_goes_on() {
    let (ns, _user, first, second) = two("lease-still").await;
    let written = |planner: &Running| planner.process.stderr().matches("scaled Decode").count();
    first.signal("STOP");
    scale(&ns, 6).await;
    second.says(KEEPS).await;
    dgd_asks_for(&ns, "Decode", 6).await;
    // It tells a moment after the graph was written; the loss of its lease would cut that off.
    second.says("scaled Decode").await;

    // Who took over stands still as well: what is asked for next nobody but the first could carry.
    second.signal("STOP");
    scale(&ns, 8).await;
    let before = written(&first);
    let went_on = Instant::now();
    first.signal("CONT");
    first.says("lease lost").await;
    first.says(WAITS).await;
    // The first may rightly take the lease that the second does not renew, `RUNS_OUT` after it saw it:
    // `RUNS_OUT` after it went on at the earliest. What is read within that time nobody may have
    // written, and the last look begins early enough to be answered in it.
    let mut looks = 0;
    while went_on.elapsed() < GIVES_UP {
        let asked = asked_of_dgd(&ns, "Decode").await;
        if went_on.elapsed() < RUNS_OUT
            && let Ok(asked) = asked
        {
            assert_eq!(asked, Some(6), "after {:?}", went_on.elapsed());
            looks += 1;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(looks > 5, "{looks} looks are too few to trust");

    // Whichever has the lease then: the second has to take it anew, for it stood still too long.
    second.signal("CONT");
    dgd_asks_for(&ns, "Decode", 8).await;
    second.says("lease lost").await;
    eventually("one of the two to tell of the last scaling", SOON, async || {
        let counts = (written(&first) - before, written(&second));
        if counts.0 + counts.1 == 2 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_the_lease_it_plans_on_and_says_which_rule_to_add() {
    let ns = namespace("lease-noright").await;
    create_dgd(&ns, two_services()).await;
    let mut rules = [controller_rules(), planner_rules()].concat();
    rules.retain(|rule| rule.resources.iter().flatten().all(|r| r != names::LEASE_PLURAL));
    let user = ns.token(rules).await;
    let mut planner = start(&ns, &user, "pod-1", DGD);
    planner.says(r#"resources: [\"leases\"], verbs: [\"patch\"]"#).await;
    is_ready_and_keeps(&ns, &planner, false).await;
    eventually("decisions", SOON, async || {
        let decided = planner.process.stdout().lines().count();
        if decided > 3 { Ok(()) } else { Err(decided.to_string()) }
    })
    .await;
    assert_eq!(planner.process.ended(), None, "{}", planner.process.stderr());
    let none = ns.kubectl(&["get", "dgdsa", "--output=name"]).await.success();
    assert_eq!(none, "", "no adapter is kept");
}
