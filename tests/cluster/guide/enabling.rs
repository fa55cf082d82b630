//! "Enabling DGDSA for a Service": an adapter is made where it is asked for, and nowhere else.

use serde_json::{Value, json};

use super::printed::Table;
use super::scene::{GRAPH, SOON, Scene};
use crate::bench::{Bench, eventually};
use crate::webhook::{Hooks, rules_for};

/// The graph of this part of the guide.
fn graph() -> Value {
    json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": GRAPH},
        "spec": {"services": {
            "Frontend": {"componentType": "frontend", "replicas": 2},
            "decode": {
                "componentType": "worker", "replicas": 1, "scalingAdapter": {"enabled": true}
            }
        }}
    })
}

/// Waits until `kubectl get dgdsa` has just these, by name and replicas.
async fn adapters_are(scene: &Scene, expected: &[[&str; 2]]) {
    eventually(&format!("the adapters {expected:?}"), SOON, async || {
        let text = scene.says("kubectl get dgdsa -n default").await;
        let table = Table::read(&text);
        let found: Vec<[&str; 2]> =
            table.rows.iter().map(|row| [row[0].as_str(), row[3].as_str()]).collect();
        if found == expected { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn an_adapter_is_made_where_it_is_enabled_and_direct_edits_are_allowed_elsewhere() {
    let scene = Scene::prepare(Bench::get().await, "guide-enable", GRAPH).await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    let said = scene.applies(&[graph()]).await;
    assert_eq!(said.trim(), "dynamographdeployment.nvidia.com/sglang-agg created");
    adapters_are(&scene, &[["sglang-agg-decode", "1"]]).await;
    let patch = r#"{"spec":{"services":{"Frontend":{"replicas":3}}}}"#;
    scene.prints(&["patch", "dgd", GRAPH, "--type=merge", "-p", patch]).await;

    // Switched on later, it begins with what the graph has; switched off, that stays.
    let switch = async |on: bool| {
        let patch =
            json!({"spec": {"services": {"Frontend": {"scalingAdapter": {"enabled": on}}}}});
        let patch = patch.to_string();
        scene.prints(&["patch", "dgd", GRAPH, "--type=merge", "-p", &patch]).await;
    };
    switch(true).await;
    let both = [["sglang-agg-decode", "1"], ["sglang-agg-frontend", "3"]];
    adapters_are(&scene, &both).await;
    let patch = patch.replace('3', "4");
    let refused = scene.kubectl(&["patch", "dgd", GRAPH, "--type=merge", "-p", &patch]).await;
    let refused = refused.stderr;
    assert!(
        refused.contains("use 'kubectl scale dgdsa/sglang-agg-frontend --replicas=4'"),
        "{refused}"
    );
    scene.says("kubectl scale dgdsa sglang-agg-frontend --replicas=2").await;
    scene.has("Frontend", 2).await;
    switch(false).await;
    adapters_are(&scene, &[["sglang-agg-decode", "1"]]).await;
    let path = "jsonpath={.spec.services.Frontend.replicas}";
    assert_eq!(scene.prints(&["get", "dgd", GRAPH, "-o", path]).await, "2");
}

#[tokio::test]
async fn the_graph_of_the_guide_as_it_stands_gets_no_adapter() {
    let scene = Scene::prepare(Bench::get().await, "guide-plain", GRAPH).await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    // The guide says in one place that the operator makes one for each service, and in this part that
    // it makes none by default, which is what the operator does.
    let name = scene.ns.name();
    let graph = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": GRAPH, "namespace": name},
        "spec": {"services": {
            "Frontend": {
                "dynamoNamespace": "sglang-agg", "componentType": "frontend", "replicas": 1
            },
            "decode": {
                "dynamoNamespace": "sglang-agg", "componentType": "worker", "replicas": 1,
                "resources": {"limits": {"gpu": "1"}}
            }
        }}
    });
    let applied = scene.apply(&[graph]).await;
    assert_eq!(
        applied.clone().success().trim(),
        "dynamographdeployment.nvidia.com/sglang-agg created"
    );
    let warnings: Vec<&str> = applied.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    // The label that the guide's queries ask for.
    let says = format!("Value 'sglang-agg' will be replaced with '{name}-sglang-agg'");
    assert!(warnings.iter().all(|warning| warning.contains(&says)), "{warnings:?}");
    eventually("a pod of each service", SOON, async || {
        let pods = (scene.pods("Frontend").await?.len(), scene.pods("decode").await?.len());
        if pods == (1, 1) { Ok(()) } else { Err(format!("{pods:?}")) }
    })
    .await;
    adapters_are(&scene, &[]).await;
}

#[tokio::test]
async fn the_deprecated_field_autoscaling_is_ignored_with_a_warning() {
    let scene = Scene::prepare(Bench::get().await, "guide-warn", GRAPH).await;
    let _hooks = Hooks::start(&scene.ns, rules_for([&scene.operator])).await;
    let mut old = graph();
    old["spec"]["services"]["Frontend"]["autoscaling"] =
        json!({"enabled": true, "minReplicas": 4, "maxReplicas": 9});
    let applied = scene.apply(&[old]).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    let warning = "Warning: spec.services[Frontend].autoscaling is deprecated and ignored. Use \
                   DynamoGraphDeploymentScalingAdapter with HPA, KEDA, or Planner for autoscaling \
                   instead. See docs/kubernetes/autoscaling.md";
    assert_eq!(applied.stderr.trim(), warning);
    // Removing the field silences it.
    let applied = scene.apply(&[graph()]).await;
    assert_eq!((applied.stderr.as_str(), applied.status.code()), ("", Some(0)));
}
