//! Somebody else sets the replicas of our pools: an autoscaler, or a person.

use serde_json::{Value, json};
use sla_planner::api::names;

use super::scene::{HIGH, LOW, SOON, Scene, graph};
use crate::bench::{Guarded, Namespace, eventually};
use crate::serving::{adapters, events};

const PREFILL: &str = "llama-vllmprefillworker";
const DECODE: &str = "llama-vllmdecodeworker";
const FRONTEND: &str = "llama-frontend";

/// Ticks within which a planner that wrote at all would have written.
const TICKS: usize = 6;

/// An autoscaler of an adapter that the real controller keeps between two counts.
pub(super) async fn hpa(ns: &Namespace, name: &str, adapter: &str, (min, max): (u32, u32)) {
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND, "name": adapter
            },
            "minReplicas": min, "maxReplicas": max,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}
            }}]
        }
    });
    ns.apply_yaml(&hpa.to_string()).await;
}

/// The condition `Conflict` of an adapter: its status and its message.
async fn conflict(scene: &Scene, adapter: &str) -> Option<(String, String)> {
    let found = adapters(&scene.ns).await.get(adapter).await.expect("an adapter");
    let conditions = found.status?.conditions?;
    let found = conditions.into_iter().find(|c| c.type_ == names::CONDITION_CONFLICT)?;
    Some((found.status, found.message))
}

/// Waits until the condition `Conflict` of an adapter has this status and names `other`.
async fn stands(scene: &Scene, planner: &Guarded, adapter: &str, status: &str, other: &str) {
    eventually(&format!("Conflict={status} of {adapter}"), SOON, async || {
        match conflict(scene, adapter).await {
            Some((is, words)) if is == status && words.starts_with(other) => Ok(()),
            found => Err(format!("{found:?}; {}", planner.stderr())),
        }
    })
    .await;
}

async fn says(scene: &Scene, adapter: &str, reason: &str, words: &str) {
    eventually(&format!("an event {reason} with {words:?}"), SOON, async || {
        let events = events(&scene.ns, adapter).await;
        let said = |(why, text): &(String, String)| why == reason && text.contains(words);
        if events.iter().any(said) { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

/// Waits for so many more decisions.
async fn ticks(scene: &Scene) {
    let seen = scene.records().len();
    scene.record("a later decision", seen + TICKS, |_| true).await;
}

#[tokio::test]
async fn an_hpa_on_a_pool_is_named_and_that_pool_is_left_to_it_until_it_goes() {
    let mut served: Value = graph(true);
    served["services"]["Frontend"]["scalingAdapter"] = json!({"enabled": true});
    let scene = Scene::set("hpa", served).await;
    let user = scene.user(Scene::rules()).await;
    hpa(&scene.ns, "decode-hpa", DECODE, (7, 7)).await;
    hpa(&scene.ns, "frontend-hpa", FRONTEND, (1, 3)).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    // The planner scales prefill; the HPA takes decode to its seven.
    scene.asks("both scaled", |(prefill, decode)| prefill > 2 && decode == 7).await;
    says(&scene, DECODE, names::EVENT_CONFLICT, "HorizontalPodAutoscaler decode-hpa").await;
    stands(&scene, &planner, DECODE, "True", "HorizontalPodAutoscaler decode-hpa").await;
    // The load ends: prefill shrinks, and decode is the HPA's.
    scene.frontend.set_load(Some(LOW));
    scene.asks("prefill at its minimum", |(prefill, _)| prefill == 1).await;
    ticks(&scene).await;
    assert_eq!(scene.asked().await, (1, 7));
    let written = |error: &str| error.contains("HorizontalPodAutoscaler decode-hpa sets");
    let last = scene.records().pop().expect("a record");
    assert!(last.writes.iter().any(|w| w.error.as_deref().is_some_and(written)), "{last:#?}");
    // Frontend and prefill have one writer each.
    for adapter in [PREFILL, FRONTEND] {
        assert_eq!(conflict(&scene, adapter).await, None, "{adapter}");
        let events = events(&scene.ns, adapter).await;
        assert!(events.iter().all(|(why, _)| why != names::EVENT_CONFLICT), "{events:?}");
    }

    scene.ns.kubectl(&["delete", "hpa", "decode-hpa"]).await.success();
    scene.asks("decode at its minimum", |asked| asked == (1, 1)).await;
    says(&scene, DECODE, names::EVENT_CONFLICT_RESOLVED, "decode-hpa is gone").await;
    stands(&scene, &planner, DECODE, "False", "nobody else").await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn with_a_warning_only_it_goes_on_writing_beside_an_hpa() {
    let scene = Scene::set("hpawarn", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    hpa(&scene.ns, "decode-hpa", DECODE, (1, 12)).await;
    scene.frontend.set_load(Some(HIGH));
    let more = "adapter_controller: true\non_conflict: warn";
    let config = scene.config(&scene.prometheus.url(), more);
    let _planner = scene.start_with(user.kubeconfig(), &config);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    says(&scene, DECODE, names::EVENT_CONFLICT, "goes on writing it").await;
}

#[tokio::test]
async fn one_scale_by_hand_is_written_over_and_told_and_is_no_conflict() {
    let scene = Scene::set("byhand", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(LOW));
    let _planner = scene.start(&user);
    scene.record("a decision on the load", 0, |r| r.report.demand.is_some()).await;
    scene.asks("adapters", |asked| asked == (1, 1)).await;
    let object = format!("dgdsa/{DECODE}");
    scene.ns.kubectl(&["scale", &object, "--replicas=5"]).await.success();
    scene.asks("one engine again", |asked| asked == (1, 1)).await;
    says(&scene, DECODE, names::EVENT_OVERWRITTEN, "kubectl had set 5 replicas").await;
    assert_eq!(conflict(&scene, DECODE).await, None);
}

#[tokio::test]
async fn who_takes_three_writes_back_is_named_and_left_to_it() {
    let scene = Scene::set("reverts", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(LOW));
    let mut planner = scene.start(&user);
    scene.record("a decision on the load", 0, |r| r.report.demand.is_some()).await;
    scene.asks("adapters", |asked| asked == (1, 1)).await;
    // The first is a change of what the planner found; the next three take back what it wrote.
    let object = format!("dgdsa/{DECODE}");
    for _ in 0..3 {
        scene.ns.kubectl(&["scale", &object, "--replicas=5"]).await.success();
        scene.asks("one engine again", |asked| asked == (1, 1)).await;
    }
    scene.ns.kubectl(&["scale", &object, "--replicas=5"]).await.success();
    says(
        &scene,
        DECODE,
        names::EVENT_CONFLICT,
        "kubectl (which takes back what sla-planner writes)",
    )
    .await;
    ticks(&scene).await;
    assert_eq!(scene.asked().await, (1, 5), "it is left to it");
    stands(&scene, &planner, DECODE, "True", "kubectl ").await;
    // What else is in the status is there as it was.
    let adapter = adapters(&scene.ns).await.get(DECODE).await.expect("an adapter");
    let status = adapter.status.clone().expect("a status");
    assert_eq!(status.replicas, Some(5));
    assert!(status.selector.is_some() && status.last_scale_time.is_some(), "{status:?}");
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}
