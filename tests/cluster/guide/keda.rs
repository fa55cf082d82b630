//! "Autoscaling with KEDA": its operator makes an HPA of a ScaledObject, and scales to zero itself.

use super::printed::{Table, squeezed};
use super::scene::{SOON, Scene};
use crate::bench::{Bench, eventually};

const REFERENCE: &str = "DynamoGraphDeploymentScalingAdapter/sglang-agg-decode";

/// Waits for a row of `kubectl get scaledobject` or `kubectl get hpa`: the cells of some columns.
async fn row_is(scene: &Scene, kind: &str, expected: &[(&str, &str)]) {
    eventually(&format!("{expected:?} of the {kind}"), SOON, async || {
        let text = scene.says(&format!("kubectl get {kind} -n default")).await;
        let table = Table::read(&text);
        let [row] = table.rows.as_slice() else { return Err(text) };
        for (column, cell) in expected {
            let at = table.head.iter().position(|head| head == column);
            let at = at.unwrap_or_else(|| panic!("no column {column}: {text}"));
            if row[at] != *cell {
                return Err(text);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_scaled_object_on_ttft_scales_decode_up_and_down() {
    let bench = Bench::get().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-keda").await;
    let frontend = scene.frontend(prometheus).await;
    frontend.is_fast();
    let said = scene.applies(&scene.example("keda/decode-ttft.yaml", prometheus)).await;
    assert_eq!(said.trim(), "scaledobject.keda.sh/sglang-agg-decode-scaler created");

    // "Verify KEDA Scaling".
    row_is(
        &scene,
        "scaledobject",
        &[
            ("NAME", "sglang-agg-decode-scaler"),
            ("SCALETARGETKIND", "nvidia.com/v1alpha1.DynamoGraphDeploymentScalingAdapter"),
            ("SCALETARGETNAME", "sglang-agg-decode"),
            ("MIN", "1"),
            ("MAX", "10"),
            ("READY", "True"),
            // 45 ms is below the 100 ms of its activation.
            ("ACTIVE", "False"),
            ("TRIGGERS", "prometheus"),
        ],
    )
    .await;
    row_is(
        &scene,
        "hpa",
        &[
            ("NAME", "keda-hpa-sglang-agg-decode-scaler"),
            ("REFERENCE", REFERENCE),
            // The guide leaves the last word out.
            ("TARGETS", "45m/500m (avg)"),
            ("MINPODS", "1"),
            ("MAXPODS", "10"),
            ("REPLICAS", "1"),
        ],
    )
    .await;
    let text = squeezed(
        &scene.says("kubectl describe scaledobject sglang-agg-decode-scaler -n default").await,
    );
    for line in [
        "Kind: ScaledObject",
        "Kind: DynamoGraphDeploymentScalingAdapter",
        "Name: sglang-agg-decode",
        "Hpa Name: keda-hpa-sglang-agg-decode-scaler",
        "Message: ScaledObject is defined correctly and is ready for scaling",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }

    // 975 ms to 500 ms for each replica are two.
    frontend.is_slow();
    scene.has("decode", 2).await;
    row_is(&scene, "scaledobject", &[("ACTIVE", "True")]).await;
    scene.keeps("Frontend", 1).await;
    frontend.is_fast();
    scene.has("decode", 1).await;
}

#[tokio::test]
async fn a_scaled_object_on_queue_depth_scales_decode_up_and_down() {
    let bench = Bench::get().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-waits").await;
    let frontend = scene.frontend(prometheus).await;
    frontend.has_queued(25);
    scene.applies(&scene.example("keda/decode-queue.yaml", prometheus)).await;
    // Ten for each replica.
    scene.has("decode", 3).await;
    let hpa = [("NAME", "keda-hpa-sglang-agg-decode-queue-scaler"), ("REFERENCE", REFERENCE)];
    row_is(&scene, "hpa", &hpa).await;
    frontend.has_queued(4);
    scene.has("decode", 1).await;
    // With the ScaledObject its HPA goes; the replicas stay where they are, whatever waits.
    scene.prints(&["delete", "scaledobject", "sglang-agg-decode-queue-scaler"]).await;
    eventually("the HPA to go", SOON, async || {
        let left = scene.says("kubectl get hpa -n default -o name").await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    frontend.has_queued(25);
    scene.keeps("decode", 1).await;
}

#[tokio::test]
async fn a_scaled_object_takes_decode_to_zero_when_idle_and_back() {
    let bench = Bench::get().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-zero").await;
    let frontend = scene.frontend(prometheus).await;
    frontend.has_queued(12);
    let mut objects = scene.example("keda/decode-queue.yaml", prometheus);
    objects[0]["spec"]["minReplicaCount"] = 0.into();
    scene.applies(&objects).await;
    scene.has("decode", 2).await;
    frontend.has_queued(0);
    scene.has("decode", 0).await;
    scene.keeps("Frontend", 1).await;
    frontend.has_queued(7);
    scene.has("decode", 1).await;
}
