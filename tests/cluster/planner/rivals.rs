//! Somebody else sets the replicas of our pools: an autoscaler, or a person.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::units::{Replicas, Role};

use super::scene::{HIGH, LOW, SOON, Scene, graph};
use crate::bench::{Bench, Guarded, eventually};
use crate::serving::{self, adapters, events, hpa, scale_target};

const PREFILL: &str = "llama-vllmprefillworker";
const DECODE: &str = "llama-vllmdecodeworker";
const FRONTEND: &str = "llama-frontend";

/// Signal to end, on a busy machine.
const ENDS: Duration = Duration::from_secs(60);

/// Ticks within which a planner that wrote at all would have written.
const TICKS: usize = 6;

/// A ScaledObject on an adapter, of which KEDA makes an HPA that keeps this count.
async fn scaled_object(scene: &Scene, name: &str, adapter: &str, count: u32) {
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": scale_target(adapter),
            "minReplicaCount": count, "maxReplicaCount": count, "pollingInterval": 1,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": scene.prometheus.url(), "query": "vector(1)", "threshold": "10"
            }}]
        }
    });
    scene.ns.apply_yaml(&object.to_string()).await;
}

/// The condition `Conflict` of an adapter that is there: its status and its message.
async fn conflict(scene: &Scene, adapter: &str) -> Option<(String, String)> {
    serving::conflict(&scene.ns, adapter).await.expect("an adapter")
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

/// How often an event was told, and how many events there are of this reason.
async fn told(scene: &Scene, adapter: &str, reason: &str) -> (i32, usize) {
    let params =
        ListParams::default().fields(&format!("involvedObject.name={adapter},reason={reason}"));
    let events: Api<Event> = scene.ns.api().await;
    let found = events.list(&params).await.expect("events").items;
    (found.iter().map(|event| event.count.unwrap_or(1)).sum(), found.len())
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
async fn a_scaled_object_of_keda_is_named_as_what_its_user_wrote_until_it_goes() {
    Bench::get().await.autoscalers().await;
    let scene = Scene::set("scaledobject", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scaled_object(&scene, "decode-scaler", DECODE, 7).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    scene.asks("both scaled", |(prefill, decode)| prefill > 2 && decode == 7).await;
    let words = "ScaledObject decode-scaler sets the replicas of this adapter too; sla-planner does \
                 not write it until that has ended";
    says(&scene, DECODE, names::EVENT_CONFLICT, words).await;
    stands(&scene, &planner, DECODE, "True", "ScaledObject decode-scaler").await;
    scene.frontend.set_load(Some(LOW));
    scene.asks("prefill at its minimum", |(prefill, _)| prefill == 1).await;
    let seen = scene.records().len();
    ticks(&scene).await;
    assert_eq!(scene.asked().await, (1, 7));
    let records = scene.records();
    let writes = records.iter().skip(seen).flat_map(|record| &record.writes);
    let why: BTreeSet<_> = writes.map(|w| (w.path.clone(), w.error.clone())).collect();
    let left = "ScaledObject decode-scaler sets the replicas too".to_owned();
    assert_eq!(why, [(None, Some(left))].into(), "left alone, and said so");
    // Its HPA is no second rival.
    let events = events(&scene.ns, DECODE).await;
    assert!(events.iter().all(|(_, text)| !text.contains("keda-hpa")), "{events:?}");
    assert_eq!(conflict(&scene, PREFILL).await, None);

    scene.ns.kubectl(&["delete", "scaledobject", "decode-scaler"]).await.success();
    scene.asks("decode at its minimum", |asked| asked == (1, 1)).await;
    says(&scene, DECODE, names::EVENT_CONFLICT_RESOLVED, "decode-scaler is gone").await;
    stands(&scene, &planner, DECODE, "False", "nobody else").await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn a_conflict_outlives_a_restart_with_one_event_and_is_withdrawn_by_one_who_only_advises() {
    let scene = Scene::set("restart", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    hpa(&scene.ns, "decode-hpa", DECODE, (7, 7)).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    scene.asks("both scaled", |(prefill, decode)| prefill > 2 && decode == 7).await;
    says(&scene, DECODE, names::EVENT_CONFLICT, "HorizontalPodAutoscaler decode-hpa").await;
    stands(&scene, &planner, DECODE, "True", "HorizontalPodAutoscaler decode-hpa").await;
    assert_eq!(planner.terminate(ENDS).code(), Some(0), "{}", planner.stderr());
    // Each process says in its log why the pool is not written; the event is told by the first one.
    let times = |log: &str| log.matches("sets the replicas of this adapter too").count();
    let said = planner.stderr();
    assert_eq!(times(&said), 1, "of the first process: {said}");

    scene.frontend.set_load(Some(LOW));
    let mut planner = scene.start(&user);
    scene.asks("prefill at its minimum", |(prefill, _)| prefill == 1).await;
    ticks(&scene).await;
    assert_eq!(scene.asked().await, (1, 7));
    assert_eq!(told(&scene, DECODE, names::EVENT_CONFLICT).await, (1, 1));
    let said = planner.stderr();
    assert_eq!(times(&said), 2, "of both processes: {said}");
    assert_eq!(planner.terminate(ENDS).code(), Some(0), "{said}");

    let config = scene.config(&scene.prometheus.url(), "mode: advise");
    let mut planner = scene.start_with(user.kubeconfig(), &config);
    eventually("no condition", SOON, async || match conflict(&scene, DECODE).await {
        None => Ok(()),
        Some(found) => Err(format!("{found:?}; {}", planner.stderr())),
    })
    .await;
    ticks(&scene).await;
    assert_eq!(scene.asked().await, (1, 7));
    // What else is in the status is there as it was, and nobody was told that the HPA had gone.
    let adapter = adapters(&scene.ns).await.get(DECODE).await.expect("an adapter");
    let status = adapter.status.expect("a status");
    assert_eq!(status.replicas, Some(7));
    assert!(status.selector.is_some() && status.last_scale_time.is_some(), "{status:?}");
    assert_eq!(told(&scene, DECODE, names::EVENT_CONFLICT_RESOLVED).await, (0, 0));
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn with_a_warning_only_it_goes_on_writing_beside_an_hpa() {
    let scene = Scene::set("hpawarn", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    hpa(&scene.ns, "decode-hpa", DECODE, (11, 11)).await;
    scene.frontend.set_load(Some(HIGH));
    let more = "adapter_controller: true\non_conflict: warn";
    let config = scene.config(&scene.prometheus.url(), more);
    let _planner = scene.start_with(user.kubeconfig(), &config);
    scene.asks("both scaled", |(prefill, decode)| prefill > 2 && decode == 11).await;
    says(&scene, DECODE, names::EVENT_CONFLICT, "goes on writing it").await;
    // The HPA takes decode to its eleven again and again, and the planner away from it.
    eventually("both to write", SOON, async || {
        let records = scene.records();
        let from_eleven = records.iter().flat_map(|record| &record.writes).filter(|w| {
            let of_hpa = w.write.role == Role::Decode && w.write.from == Replicas::new(11);
            of_hpa && w.path.is_some() && w.error.is_none()
        });
        let count = from_eleven.count();
        if count >= 3 { Ok(()) } else { Err(format!("{count} writes from eleven")) }
    })
    .await;
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
    // A planner after this one goes on leaving it alone, and tells nobody what is known.
    assert_eq!(planner.terminate(ENDS).code(), Some(0), "{}", planner.stderr());
    let mut planner = scene.start(&user);
    ticks(&scene).await;
    assert_eq!(scene.asked().await, (1, 5), "it is still left to it");
    assert_eq!(told(&scene, DECODE, names::EVENT_CONFLICT).await, (1, 1));
    // What else is in the status is there as it was.
    let adapter = adapters(&scene.ns).await.get(DECODE).await.expect("an adapter");
    let status = adapter.status.clone().expect("a status");
    assert_eq!(status.replicas, Some(5));
    assert!(status.selector.is_some() && status.last_scale_time.is_some(), "{status:?}");
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}
