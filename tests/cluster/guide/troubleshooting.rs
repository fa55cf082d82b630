//! "Troubleshooting": what each command shows when something does not work.

use serde_json::Value;

use super::printed::{Table, squeezed};
use super::scene::{GRAPH, SOON, Scene, graph};
use crate::bench::{Bench, eventually};

/// Waits until a command of the guide shows all of these lines.
async fn shows(scene: &Scene, command: &str, lines: &[&str]) {
    eventually(&format!("`{command}` to show {lines:?}"), SOON, async || {
        let text = squeezed(&scene.says(command).await);
        let missing: Vec<_> = lines.iter().filter(|line| !text.contains(**line)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} not in {text}")) }
    })
    .await;
}

#[tokio::test]
async fn adapters_not_created_describe_dgd_tells_why_and_of_those_that_were() {
    let scene = Scene::prepare(Bench::get().await, "guide-trouble", GRAPH).await;
    let mut graph = graph();
    graph["spec"]["services"]["Frontend"]["scalingAdapter"]["enabled"] = false.into();
    scene.applies(&[graph]).await;
    shows(
        &scene,
        "kubectl describe dgd sglang-agg -n default",
        &[
            "Name: sglang-agg",
            "Kind: DynamoGraphDeployment",
            // The frontend has none because it wants none.
            "Scaling Adapter:\nEnabled: false",
            "Scaling Adapter:\nEnabled: true",
            "Reason: all_resources_are_ready",
            "State: successful",
            "Created scaling adapter sglang-agg-decode for component decode",
        ],
    )
    .await;
    let text = scene.says("kubectl describe dgd sglang-agg -n default").await;
    assert!(!text.contains("sglang-agg-frontend for"), "{text}");
}

#[tokio::test]
async fn scaling_not_working_describe_dgdsa_tells_what_the_adapter_did() {
    let scene = Scene::set(Bench::get().await, "guide-describe").await;
    scene.says("kubectl scale dgdsa sglang-agg-decode -n default --replicas=2").await;
    scene.has("decode", 2).await;
    shows(
        &scene,
        "kubectl describe dgdsa sglang-agg-decode -n default",
        &[
            "Name: sglang-agg-decode",
            "Kind: DynamoGraphDeploymentScalingAdapter",
            "Spec:\nDgd Ref:\nName: sglang-agg\nService Name: decode\nReplicas: 2",
            "Status:\nLast Scale Time: ",
            "Replicas: 2\nSelector: nvidia.com/dynamo-graph-deployment-name=sglang-agg,\
             nvidia.com/dynamo-component=decode",
            "Normal Scaled ",
            "Scaled service decode from 1 to 2 replicas",
        ],
    )
    .await;
}

#[tokio::test]
async fn metrics_not_available_get_and_describe_hpa_say_so() {
    let bench = Bench::without_keda().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-unknown").await;
    // Nothing of this graph is scraped, and what was scaled by hand stays: unknown is not zero.
    scene.says("kubectl scale dgdsa sglang-agg-decode -n default --replicas=2").await;
    scene.has("decode", 2).await;
    scene.applies(&scene.example("hpa/decode-ttft.yaml", prometheus)).await;
    shows(
        &scene,
        "kubectl describe hpa sglang-agg-decode-hpa -n default",
        &[
            "Reference: DynamoGraphDeploymentScalingAdapter/sglang-agg-decode",
            "\"dynamo_ttft_p95_seconds\" (target value): <unknown> / 500m",
            "AbleToScale True SucceededGetScale",
            "ScalingActive False FailedGetExternalMetric",
        ],
    )
    .await;
    let table = Table::read(&scene.says("kubectl get hpa -n default").await);
    assert_eq!(table.rows[0][2], "<unknown>/500m");
    scene.keeps("decode", 2).await;

    // Once it is scraped, all is well.
    let frontend = scene.frontend(prometheus).await;
    frontend.is_fast();
    let works = "ScalingActive True ValidMetricFound";
    shows(&scene, "kubectl describe hpa sglang-agg-decode-hpa -n default", &[works]).await;
    let raw = scene.says("kubectl get --raw /apis/external.metrics.k8s.io/v1beta1").await;
    let raw: Value = serde_json::from_str(&raw).expect("JSON");
    let names: Vec<&str> = raw["resources"]
        .as_array()
        .expect("a list of resources")
        .iter()
        .filter_map(|resource| resource["name"].as_str())
        .collect();
    assert!(names.contains(&"dynamo_ttft_p95_seconds"), "{names:?}");
    assert!(names.contains(&"dynamo_queued_requests"), "{names:?}");
}

#[tokio::test]
async fn metrics_not_available_describe_scaledobject_and_its_hpa_say_so() {
    let bench = Bench::get().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-no-prom").await;
    let mut objects = scene.example("keda/decode-ttft.yaml", prometheus);
    // A Prometheus that nobody runs.
    let server = &mut objects[0]["spec"]["triggers"][0]["metadata"]["serverAddress"];
    *server = "http://127.0.0.1:1".into();
    scene.says("kubectl scale dgdsa sglang-agg-decode -n default --replicas=2").await;
    scene.has("decode", 2).await;
    scene.applies(&objects).await;
    shows(
        &scene,
        "kubectl describe scaledobject sglang-agg-decode-scaler -n default",
        &["KEDAScalerFailed", "127.0.0.1:1"],
    )
    .await;
    let hpa = "kubectl describe hpa keda-hpa-sglang-agg-decode-scaler -n default";
    shows(&scene, hpa, &["ScalingActive False FailedGetExternalMetric"]).await;
    let raw = scene.says("kubectl get --raw /apis/external.metrics.k8s.io/v1beta1").await;
    let raw: Value = serde_json::from_str(&raw).expect("JSON");
    // KEDA serves all of them by one name.
    assert_eq!(raw["resources"][0]["name"], "externalmetrics", "{raw}");
    scene.keeps("decode", 2).await;
}
