//! What is around it changes while it runs: frontend, adapters, rights, graph, and other writers.

use std::time::{Duration, Instant};

use k8s_openapi::api::rbac::v1::Role as RbacRole;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use sla_planner::observe::Role;
use sla_planner::record::Record;

use super::scene::{HIGH, LOW, SOON, Scene, code, graph};
use crate::bench::{User, eventually};
use crate::frontend_double::Answering;
use crate::serving::{Controller, dgd_asks_for, patch_dgd, raw_dgd};

/// A start on a busy machine; alone it takes a fraction of a second.
const START: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_first_decision_comes_with_the_start() {
    let scene = Scene::set("first", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    let begun = Instant::now();
    let _planner = scene.start(&user);
    scene.record("anything", 0, |_| true).await;
    let took = begun.elapsed();
    assert!(took < START, "{took:?}");
}

#[tokio::test]
async fn while_the_frontend_is_not_scraped_nothing_changes_and_then_it_goes_on() {
    let scene = Scene::set("unscraped", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    let before = until_steady_at_high_load(&scene).await;

    // The traffic ends, but nobody can know: Prometheus is there and the frontend does not answer.
    scene.frontend.answer(Answering::Unavailable);
    scene.frontend.set_load(None);
    let seen = scene.records().len();
    // The window, the age limit and the stabilisation are over long before.
    decisions(&scene, 12).await;
    for record in scene.records().iter().skip(seen) {
        assert!(record.writes.is_empty(), "{:?}", record.writes);
    }
    assert_eq!(scene.asked().await, before, "nothing changed");
    let last = scene.records().pop().expect("a record");
    assert!(code(&last, Role::Prefill).starts_with("hold_"), "{:?}", last.decision);

    scene.frontend.answer(Answering::Normally);
    scene.asks("the minimum", |asked| asked == (1, 1)).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn a_frontend_that_starts_again_takes_no_engine_away() {
    let scene = Scene::set("restart", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    // Longer than the window, as the defaults are: what was in flight is lost and never counted, so
    // that the rate looks lower for the length of one window.
    let config = scene.config(&scene.prometheus.url(), "adapter_controller: true");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let text = text.replace("scale_down_stabilization: 1s", "scale_down_stabilization: 16s");
    std::fs::write(&config, text).expect("a configuration");
    let _planner = scene.start_with(user.kubeconfig(), &config);
    let before = until_steady_at_high_load(&scene).await;

    // Its counters begin again at nothing, under the same load.
    scene.frontend.restart();
    let seen = scene.records().len();
    decisions(&scene, 8).await;
    for record in scene.records().iter().skip(seen) {
        for write in &record.writes {
            assert!(write.write.to >= write.write.from, "{:?}", record.decision);
        }
    }
    let now = scene.asked().await;
    assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?}, then {now:?}");
}

#[tokio::test]
async fn each_service_is_scaled_in_its_own_way_and_an_adapter_that_comes_later_is_used() {
    // Prefill is scaled in the graph; decode waits for an adapter that nobody makes at first.
    let mut spec = graph(true);
    spec["services"]["VllmPrefillWorker"]["scalingAdapter"]["enabled"] = false.into();
    let scene = Scene::set("later", spec).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let config = scene.config(&scene.prometheus.url(), "");
    let mut planner = scene.start_with(user.kubeconfig(), &config);
    let missing = scene.record("an adapter that is not there", 0, |r| {
        r.writes.iter().any(|w| w.error.as_deref().is_some_and(|e| e.contains("does not exist")))
    });
    let missing = missing.await;
    assert_eq!(writes(&missing, Role::Decode), [None], "not written: {:?}", missing.writes);
    assert_eq!(decode_in_the_graph(&scene).await, json!(1));

    let _controller = Controller::start(&scene.ns).await;
    let decode = "dynamographdeploymentscalingadapters/llama-vllmdecodeworker/scale";
    let seen = scene.records().len();
    let by_scale = scene
        .record("a write by the adapter", seen, |r| {
            writes(r, Role::Decode) == [Some(decode.to_owned())]
        })
        .await;
    assert!(by_scale.writes.iter().all(|w| w.error.is_none()), "{:?}", by_scale.writes);
    let graph = "dynamographdeployments/llama".to_owned();
    assert!(
        scene.records().iter().any(|r| writes(r, Role::Prefill) == [Some(graph.clone())]),
        "prefill was scaled in the graph"
    );
    eventually("more decode engines in the graph", SOON, async || {
        let found = decode_in_the_graph(&scene).await;
        if found.as_u64() > Some(1) { Ok(()) } else { Err(found) }
    })
    .await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn a_right_taken_away_while_it_runs_is_named_and_when_it_is_back_it_goes_on() {
    let scene = Scene::set("revoked", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(LOW));
    let mut planner = scene.start(&user);
    scene.record("steady pools", 0, steady).await;

    let without = Scene::rules_without("dynamographdeploymentscalingadapters/scale", "patch");
    set_rules(&scene, &user, &json!(without)).await;
    scene.frontend.set_load(Some(HIGH));
    let refused = scene.record("a refusal", 0, |r| r.writes.iter().any(|w| w.error.is_some()));
    let refused = refused.await;
    let error = refused.writes.iter().find_map(|w| w.error.as_deref()).expect("an error");
    let rule = r#"{apiGroups: ["nvidia.com"], resources: ["dynamographdeploymentscalingadapters/scale"], verbs: ["patch"]}"#;
    assert!(error.contains(rule), "{error}");
    assert!(planner.stderr().contains("verbs"), "it was said: {}", planner.stderr());

    set_rules(&scene, &user, &json!(Scene::rules())).await;
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn a_count_that_somebody_else_writes_is_put_right() {
    let scene = Scene::set("hand", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let _planner = scene.start(&user);
    let before = until_steady_at_high_load(&scene).await;
    let adapter = "dgdsa/llama-vllmprefillworker";
    scene.ns.kubectl(&["scale", adapter, "--replicas=1"]).await.success();
    scene.asks("what the load takes", |(prefill, _)| prefill >= before.0).await;
    dgd_asks_for(&scene.ns, "VllmPrefillWorker", scene.asked().await.0).await;
}

#[tokio::test]
async fn a_service_that_goes_is_told_and_the_other_one_is_planned_for_when_it_is_back() {
    let scene = Scene::set("gone", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(LOW));
    let mut planner = scene.start(&user);
    scene.record("steady pools", 0, steady).await;
    patch_dgd(&scene.ns, json!({"spec": {"services": {"VllmDecodeWorker": null}}})).await;
    let seen = scene.records().len();
    let gone =
        scene.record("a missing pool", seen, |r| code(r, Role::Decode) == "hold_no_inventory");
    let gone = gone.await;
    assert!(gone.notes.is_empty(), "{:?}", gone.notes);

    let back = graph(true)["services"]["VllmDecodeWorker"].clone();
    patch_dgd(&scene.ns, json!({"spec": {"services": {"VllmDecodeWorker": back}}})).await;
    let seen = scene.records().len();
    scene.record("steady pools again", seen, steady).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

fn steady(record: &Record) -> bool {
    record.decision.pools.iter().all(|p| p.reason.code() == "steady")
}

/// Waits until both pools are what the high load takes, and answers how many that is.
async fn until_steady_at_high_load(scene: &Scene) -> (u32, u32) {
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    // Five in a row: the window has nothing but the high load in it.
    eventually("five steady decisions", SOON, async || {
        let records = scene.records();
        let row = records.iter().rev().take_while(|r| steady(r)).count();
        if row >= 5 { Ok(()) } else { Err(format!("{row} of {}", records.len())) }
    })
    .await;
    scene.asked().await
}

/// Waits for so many further decisions.
async fn decisions(scene: &Scene, count: usize) {
    let seen = scene.records().len();
    eventually(&format!("{count} more decisions"), SOON, async || {
        let found = scene.records().len() - seen;
        if found >= count { Ok(()) } else { Err(found) }
    })
    .await;
}

/// The objects that were written for a pool.
fn writes(record: &Record, role: Role) -> Vec<Option<String>> {
    record.writes.iter().filter(|w| w.write.role == role).map(|w| w.path.clone()).collect()
}

async fn decode_in_the_graph(scene: &Scene) -> serde_json::Value {
    raw_dgd(&scene.ns).await.data["spec"]["services"]["VllmDecodeWorker"]["replicas"].clone()
}

/// Gives a user of the scene other rights than it had.
async fn set_rules(scene: &Scene, user: &User, rules: &serde_json::Value) {
    let roles: Api<RbacRole> = scene.ns.api().await;
    let patch = Patch::Merge(json!({"rules": rules}));
    roles.patch(&user.name, &PatchParams::default(), &patch).await.expect("a patched role");
}
