//! Started in place of Dynamo's planner: by the arguments of a stock manifest, or by its 1.x keys.

use super::scene::{HIGH, MODEL, SOON, Scene, graph};
use crate::bench::eventually;
use crate::serving::asked_of_dgd;

const PROFILE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/aic_llama-3.1-8b_h100_vllm_tp1");

#[tokio::test]
async fn the_arguments_and_the_environment_of_a_stock_planner_are_enough() {
    let scene = Scene::set("stockargs", graph(false)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let profile = format!("--profile-results-dir={PROFILE}");
    let mut planner = scene.start_stock(
        &user,
        &[
            "--environment=kubernetes",
            "--backend=vllm",
            "--adjustment-interval=8",
            &profile,
            "--max-gpu-budget=24",
            "--itl=12",
            "--prophet-window-size=50",
            "--model-name",
            MODEL,
        ],
    );
    more_than_two_are_asked_for(&scene).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
    let said = planner.stderr();
    assert!(said.contains("--prophet-window-size has no counterpart"), "{said}");
}

#[tokio::test]
async fn the_keys_of_a_1_x_planner_are_enough() {
    let scene = Scene::set("stockkeys", graph(false)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let config = serde_json::json!({
        "environment": "kubernetes", "backend": "vllm", "mode": "disagg",
        "optimization_target": "sla", "enable_load_scaling": true,
        "load_adjustment_interval_seconds": 4, "itl_ms": 12.0, "max_gpu_budget": 24,
        "profile_results_dir": PROFILE, "model_name": MODEL,
        "live_dashboard_port": 8080
    });
    let mut planner = scene.start_stock(&user, &["--config", &config.to_string()]);
    more_than_two_are_asked_for(&scene).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
    let said = planner.stderr();
    assert!(said.contains("live_dashboard_port has no counterpart"), "{said}");
}

async fn more_than_two_are_asked_for(scene: &Scene) {
    eventually("more prefill engines in the graph", SOON, async || {
        let found = asked_of_dgd(&scene.ns, "VllmPrefillWorker").await?;
        if found > Some(2) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
