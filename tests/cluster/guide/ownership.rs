//! "Replica Ownership Model": the adapter is the source of truth, and the graph is guarded.

use serde_json::{Value, json};

use super::scene::{GRAPH, Scene, graph};
use crate::bench::{Bench, Output};
use crate::webhook::{Hooks, rules_for};

/// What the guide says to somebody who edits the graph, as the API server passes it on.
fn blocked(replicas: u32) -> String {
    format!(
        "admission webhook \"vdynamographdeployment.kb.io\" denied the request: \
         spec.services[decode].replicas cannot be modified directly when scaling adapter is enabled; \
         use 'kubectl scale dgdsa/sglang-agg-decode --replicas={replicas}' or update the \
         DynamoGraphDeploymentScalingAdapter instead"
    )
}

fn is_blocked(output: &Output, replicas: u32) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = format!("Error from server (Forbidden): {}", blocked(replicas));
    assert_eq!(output.stderr.trim(), said);
    assert_eq!(output.stdout, "");
}

/// The graph of the guide as somebody wants it.
fn wanting(replicas: Value) -> Value {
    let mut graph = graph();
    graph["spec"]["services"]["decode"]["replicas"] = replicas;
    graph
}

const PATCH: [&str; 5] = [
    "patch",
    "dgd",
    GRAPH,
    "--type=merge",
    "-p={\"spec\":{\"services\":{\"decode\":{\"replicas\":3}}}}",
];

#[tokio::test]
async fn scaling_the_adapter_reaches_the_graph_and_its_pods() {
    let scene = Scene::set(Bench::get().await, "guide-scale").await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    let said = scene.says("kubectl scale dgdsa sglang-agg-decode --replicas=3").await;
    let adapter = "dynamographdeploymentscalingadapter.nvidia.com/sglang-agg-decode scaled";
    assert_eq!(said.trim(), adapter);
    scene.has("decode", 3).await;
    scene.keeps("Frontend", 1).await;
}

#[tokio::test]
async fn a_direct_patch_of_the_graph_is_blocked_with_the_words_of_the_guide() {
    let scene = Scene::set(Bench::get().await, "guide-block").await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    is_blocked(&scene.kubectl(&PATCH).await, 3);
    // Nor may a cluster administrator, and nor may somebody in the name of the one who asked.
    let refused = scene.ns.kubectl(&PATCH).await;
    assert!(refused.stderr.contains(&blocked(3)), "{}", refused.stderr);
    let who = format!("--as={}", scene.follower.name);
    is_blocked(&scene.ns.kubectl(&[&[who.as_str()], &PATCH[..]].concat()).await, 3);
    scene.keeps("decode", 1).await;
}

#[tokio::test]
async fn only_authorised_controllers_may_write_the_replicas_of_the_graph() {
    let scene = Scene::set(Bench::get().await, "guide-allow").await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    let who = format!("--as={}", scene.operator.name);
    let patched = scene.ns.kubectl(&[&[who.as_str()], &PATCH[..]].concat()).await.success();
    assert_eq!(patched.trim(), "dynamographdeployment.nvidia.com/sglang-agg patched");
    // The adapter is the source of truth all the same.
    scene.has("decode", 1).await;
}

#[tokio::test]
async fn kubectl_apply_and_edit_of_the_replicas_are_blocked_too() {
    let scene = Scene::set(Bench::get().await, "guide-edit").await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    let applied = scene.apply(&[wanting(json!(4))]).await;
    assert!(!applied.status.success(), "{}", applied.stdout);
    assert!(applied.stderr.contains(&blocked(4)), "{}", applied.stderr);
    let bench = scene.ns.bench();
    let args = ["dgd", GRAPH];
    let editor = "sed -i '/^    decode:/,/^      scalingAdapter:/s/replicas: 1$/replicas: 5/'";
    let edited = bench.edit_as(&scene.follower, &args, editor).await;
    assert!(!edited.status.success(), "{}", edited.stdout);
    assert!(edited.stderr.contains(&blocked(5)), "{}", edited.stderr);
    scene.keeps("decode", 1).await;

    // A manifest that leaves the replicas to the adapter is taken after each scaling.
    let mut silent = wanting(Value::Null);
    silent["spec"]["services"]["decode"].as_object_mut().expect("a service").remove("replicas");
    scene.says("kubectl scale dgdsa sglang-agg-decode --replicas=2").await;
    scene.has("decode", 2).await;
    scene.applies(&[silent]).await;
    scene.keeps("decode", 2).await;
}
