//! "Mixed Autoscaling": each service with a scaler of its own.

use super::scene::Scene;
use crate::bench::Bench;

#[tokio::test]
async fn an_hpa_scales_the_frontend_by_cpu_and_keda_decode_by_ttft() {
    let bench = Bench::get().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = Scene::set(bench, "guide-mixed").await;
    let frontend = scene.frontend(prometheus).await;
    let cpu = scene.cpu("Frontend", 0.35, prometheus).await;
    scene.applies(&scene.example("keda/mixed.yaml", prometheus)).await;
    cpu.set(2.0);
    scene.has("Frontend", 3).await;
    scene.has("decode", 1).await;
    frontend.is_slow();
    scene.has("decode", 2).await;
    scene.has("Frontend", 3).await;
    cpu.set(0.2);
    frontend.is_fast();
    scene.has("Frontend", 1).await;
    scene.has("decode", 1).await;
}
