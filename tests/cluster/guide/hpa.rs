//! "Autoscaling with Kubernetes HPA": on CPU, and on the external metrics that prometheus-adapter makes
//! of our rules.

use serde_json::Value;

use super::printed::{Table, squeezed};
use super::scene::{GRAPH, SOON, Scene};
use crate::bench::{Bench, eventually};

const HPA_HEAD: [&str; 7] =
    ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"];

/// Waits for a row of `kubectl get hpa`.
async fn row_is(scene: &Scene, row: [&str; 6]) {
    eventually(&format!("the row {row:?}"), SOON, async || {
        let table = Table::read(&scene.says("kubectl get hpa -n default").await);
        assert_eq!(table.head, HPA_HEAD);
        if table.rows_of_some_age() == [row] { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_hpa_scales_the_frontend_by_cpu_up_and_down() {
    let bench = Bench::without_keda().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-cpu").await;
    let cpu = scene.cpu("Frontend", 0.35, prometheus).await;
    let said = scene.applies(&scene.example("hpa/frontend-cpu.yaml", prometheus)).await;
    assert_eq!(said.trim(), "horizontalpodautoscaler.autoscaling/sglang-agg-frontend-hpa created");
    let reference = "DynamoGraphDeploymentScalingAdapter/sglang-agg-frontend";
    eventually("the CPU of the frontend", SOON, async || {
        let table = Table::read(&scene.says("kubectl get hpa -n default").await);
        let [row] = table.rows.as_slice() else { return Err(format!("{table:?}")) };
        assert_eq!(row[..2], ["sglang-agg-frontend-hpa", reference]);
        let target = row[2].strip_prefix("cpu: ").and_then(|t| t.strip_suffix("%/70%"));
        let percent = target.and_then(|t| t.parse::<u32>().ok());
        let seen = percent.is_some_and(|percent| (25..=45).contains(&percent));
        if seen { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;

    // Two cores on one pod of one core are three pods at 70 %.
    cpu.set(2.0);
    scene.has("Frontend", 3).await;
    scene.keeps("decode", 1).await;
    cpu.set(0.2);
    scene.has("Frontend", 1).await;
}

#[tokio::test]
async fn an_hpa_scales_decode_by_ttft_up_and_down() {
    let bench = Bench::without_keda().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-ttft").await;
    let frontend = scene.frontend(prometheus).await;
    frontend.is_fast();

    // "Verify the metric is available".
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/dynamo_ttft_p95_seconds",
        scene.ns.name()
    );
    let list = eventually("the metric", SOON, async || {
        let output = scene.kubectl(&["get", "--raw", &path]).await;
        let list: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let fast = list["items"][0]["value"] == "45m";
        if fast { Ok(list) } else { Err(format!("{output:?}")) }
    })
    .await;
    assert_eq!(list["kind"], "ExternalMetricValueList");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "of this namespace alone: {list}");
    let metric = &list["items"][0];
    assert_eq!(metric["metricName"], "dynamo_ttft_p95_seconds");
    let dynamo_namespace = format!("{}-{GRAPH}", scene.ns.name());
    assert_eq!(metric["metricLabels"]["dynamo_namespace"], dynamo_namespace);

    let said = scene.applies(&scene.example("hpa/decode-ttft.yaml", prometheus)).await;
    assert_eq!(said.trim(), "horizontalpodautoscaler.autoscaling/sglang-agg-decode-hpa created");
    let reference = "DynamoGraphDeploymentScalingAdapter/sglang-agg-decode";
    row_is(&scene, ["sglang-agg-decode-hpa", reference, "45m/500m", "1", "10", "1"]).await;

    frontend.is_slow();
    scene.grows_to("decode", 3).await;
    scene.keeps("Frontend", 1).await;
    let text = scene.says("kubectl describe hpa sglang-agg-decode-hpa -n default").await;
    let text = squeezed(&text);
    for line in [
        "Reference: DynamoGraphDeploymentScalingAdapter/sglang-agg-decode",
        "\"dynamo_ttft_p95_seconds\" (target value): 975m / 500m",
        "Min replicas: 1",
        "Max replicas: 10",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("SuccessfulRescale"), "{text}");
    frontend.is_fast();
    scene.has("decode", 1).await;
}

#[tokio::test]
async fn an_hpa_scales_decode_by_queue_depth_up_and_down() {
    let bench = Bench::without_keda().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-queue").await;
    let frontend = scene.frontend(prometheus).await;
    frontend.has_queued(8);
    scene.applies(&scene.example("hpa/decode-queue.yaml", prometheus)).await;
    let reference = "DynamoGraphDeploymentScalingAdapter/sglang-agg-decode";
    row_is(&scene, ["sglang-agg-decode-queue-hpa", reference, "8/10", "1", "10", "1"]).await;
    frontend.has_queued(25);
    scene.grows_to("decode", 3).await;
    frontend.has_queued(1);
    scene.has("decode", 1).await;
}
