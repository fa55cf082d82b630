//! What users of Dynamo report (kubernetes.md 8), and that it does not happen here: those reports that
//! no other test is about. `docs/user-pains.md` has the others.

use serde_json::json;
use sla_planner::observe::Role;

use super::scene::{HIGH, LOW, Scene, graph};
use crate::bench::eventually;
use crate::serving::{Controller, SOON, adapters, dgd_asks_for, patch_dgd, raw_dgd};

const DECODE: &str = "llama-vllmdecodeworker";

/// ai-dynamo/dynamo #14251, #14671: a pod that cannot be scheduled keeps the graph from being ready,
/// and then nothing is scaled down either.
#[tokio::test]
async fn pain_14251_pods_that_cannot_be_scheduled_do_not_keep_engines_from_going() {
    let scene = Scene::set("pending", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(LOW));
    let mut planner = scene.start(&user);
    scene.asks("one of each", |asked| asked == (1, 1)).await;
    let node = format!("{}-gpus", scene.ns.name());
    scene.ns.bench().kubectl(&["cordon", &node]).await.success();
    scene.frontend.set_load(Some(HIGH));
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    eventually("a graph that is not ready", SOON, async || {
        let dgd = raw_dgd(&scene.ns).await;
        let ready = &dgd.data["status"]["conditions"][0]["status"];
        if ready == "False" { Ok(()) } else { Err(format!("{ready}")) }
    })
    .await;
    scene.frontend.set_load(Some(LOW));
    scene.asks("one of each again", |asked| asked == (1, 1)).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

/// ai-dynamo/dynamo #10527: `updatedReplicas` that lags behind keeps `Ready=False` for ever, and the
/// planner ignores all of its decisions.
#[tokio::test]
async fn pain_10527_a_graph_that_says_it_is_not_ready_is_scaled_by_its_pods() {
    let mut served = graph(true);
    // A service that nobody runs: the graph is never ready.
    served["services"]["Epp"] = json!({"componentType": "epp", "replicas": 1,
        "resources": {"limits": {"gpu": "1000"}}});
    let scene = Scene::set("neverready", served).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let _planner = scene.start(&user);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    let dgd = raw_dgd(&scene.ns).await;
    assert_eq!(dgd.data["status"]["conditions"][0]["status"], "False");
    let ready = |role| {
        move |r: &sla_planner::record::Record| {
            r.observation.inventory.pool(role).is_some_and(|pool| pool.ready.get() > 1)
        }
    };
    scene.record("ready decode engines", 0, ready(Role::Decode)).await;
    scene.frontend.set_load(Some(LOW));
    scene.asks("one of each again", |asked| asked == (1, 1)).await;
}

/// ai-dynamo/dynamo #12080: a reconcile of the graph writes its old replicas back over the adapter,
/// and the autoscaler flaps.
#[tokio::test]
async fn pain_12080_no_change_of_the_graph_reaches_the_count_of_an_adapter() {
    let scene = Scene::set("reverse", graph(true)).await;
    let controller = Controller::start(&scene.ns).await;
    controller.adapter(&scene.ns, DECODE).await;
    scene.ns.kubectl(&["scale", &format!("dgdsa/{DECODE}"), "--replicas=4"]).await.success();
    dgd_asks_for(&scene.ns, "VllmDecodeWorker", 4).await;
    let uid = adapters(&scene.ns).await.get(DECODE).await.expect("an adapter").metadata.uid;
    for (replicas, note) in [(1, "a"), (9, "b"), (4, "c")] {
        let service = json!({"replicas": replicas, "annotations": {"note": note}});
        patch_dgd(&scene.ns, json!({"spec": {"services": {"VllmDecodeWorker": service}}})).await;
        dgd_asks_for(&scene.ns, "VllmDecodeWorker", 4).await;
        let adapter = adapters(&scene.ns).await.get(DECODE).await.expect("an adapter");
        assert_eq!((adapter.spec.replicas, &adapter.metadata.uid), (4, &uid));
    }
    // The first write of the adapter and ours are all that ever touched its spec.
    let adapter = adapters(&scene.ns).await.get(DECODE).await.expect("an adapter");
    assert_eq!(adapter.metadata.generation, Some(2));
}
