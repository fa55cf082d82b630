//! "Manual Scaling": by the adapter where there is one, in the graph where there is none.

use serde_json::json;

use super::printed::{Table, squeezed};
use super::scene::{GRAPH, SOON, Scene, graph};
use crate::bench::{Bench, eventually};
use crate::serving::raw_dgds;
use crate::webhook::{Hooks, rules_for};

#[tokio::test]
async fn with_an_adapter_kubectl_scale_is_verified_by_get_dgdsa() {
    let scene = Scene::set(Bench::get().await, "guide-manual").await;
    scene.says("kubectl scale dgdsa sglang-agg-decode -n default --replicas=3").await;
    eventually("the table of the guide", SOON, async || {
        let table =
            Table::read(&scene.says("kubectl get dgdsa sglang-agg-decode -n default").await);
        assert_eq!(table.head, ["NAME", "DGD", "SERVICE", "REPLICAS", "AGE"]);
        let expected = [["sglang-agg-decode", GRAPH, "decode", "3"]];
        if table.rows_of_some_age() == expected { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;
    scene.has("decode", 3).await;
}

#[tokio::test]
async fn without_an_adapter_the_graph_is_patched_applied_or_edited_directly() {
    let scene = Scene::prepare(Bench::get().await, "guide-direct", GRAPH).await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    let mut graph = graph();
    for service in ["Frontend", "decode"] {
        let service = graph["spec"]["services"][service].as_object_mut().expect("a service");
        service.remove("scalingAdapter").expect("an adapter");
    }
    scene.applies(&[graph.clone()]).await;
    let asks_for = async |replicas: u32| {
        eventually(&format!("{replicas} pods"), SOON, async || {
            let dgd = raw_dgds(&scene.ns).await.get(GRAPH).await.map_err(|e| e.to_string())?;
            let asked = &dgd.data["spec"]["services"]["decode"]["replicas"];
            let pods = scene.pods("decode").await?.len();
            let as_wanted = *asked == replicas && pods == usize::try_from(replicas).expect("few");
            if as_wanted { Ok(()) } else { Err(format!("{asked} asked, {pods} pods")) }
        })
        .await;
    };
    asks_for(1).await;

    let patch = r#"{"spec":{"services":{"decode":{"replicas":3}}}}"#;
    let said = scene.prints(&["patch", "dgd", GRAPH, "--type=merge", "-p", patch]).await;
    assert_eq!(said.trim(), "dynamographdeployment.nvidia.com/sglang-agg patched");
    asks_for(3).await;
    graph["spec"]["services"]["decode"]["replicas"] = json!(2);
    let said = scene.applies(&[graph]).await;
    assert_eq!(said.trim(), "dynamographdeployment.nvidia.com/sglang-agg configured");
    asks_for(2).await;
    let editor = "sed -i 's/replicas: 2$/replicas: 4/'";
    let edited = scene.ns.bench().edit_as(&scene.follower, &["dgd", GRAPH], editor).await;
    assert_eq!(edited.success().trim(), "dynamographdeployment.nvidia.com/sglang-agg edited");
    asks_for(4).await;
    assert_eq!(scene.says("kubectl get dgdsa -n default").await, "", "no adapter was made");
}

#[tokio::test]
async fn an_autoscaler_overwrites_what_was_scaled_by_hand() {
    let bench = Bench::get().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-over").await;
    let frontend = scene.frontend(prometheus).await;
    frontend.has_queued(15);
    scene.applies(&scene.example("keda/decode-queue.yaml", prometheus)).await;
    scene.has("decode", 2).await;
    scene.says("kubectl scale dgdsa sglang-agg-decode -n default --replicas=6").await;
    // The next evaluation comes within a second, so that the six may be gone before anybody looks.
    eventually("the HPA to take it back", SOON, async || {
        let events = squeezed(&scene.says("kubectl describe hpa -n default").await);
        let back = "New size: 2; reason: All metrics below target";
        if events.contains(back) { Ok(()) } else { Err(events) }
    })
    .await;
    scene.has("decode", 2).await;
}
