//! "Mixed Autoscaling": each service with a scaler of its own.

use std::path::Path;

use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::profile::library;

use super::scene::Scene;
use crate::bench::{Bench, Guarded, Prometheus};
use crate::deploy::{deploy, manifests, of_kind};
use crate::frontend_double::{FrontendDouble, Load};
use crate::serving::planner_rules;

/// The graph of the examples with the planner.
const DISAGGREGATED: &str = "vllm-disagg-planner";

/// Its workers.
const PREFILL: &str = "VllmPrefillWorker";
const DECODE: &str = "VllmDecodeWorker";

const MODEL: &str = "Qwen/Qwen3-0.6B";

/// Enough for several engines of both kinds, by the shipped profile. Of 60 requests a second, each half
/// a second without a token, 30 wait.
const HIGH: Load = Load { rps: 60.0, isl: 3000.0, osl: 300.0, ttft: 0.5, itl: 0.003 };

/// Twice that: for eight engines of prefill, by the same profile.
const FLOOD: Load = Load { rps: 120.0, ..HIGH };

/// One engine of each serves it.
const LOW: Load = Load { rps: 2.0, isl: 500.0, osl: 50.0, ttft: 0.05, itl: 0.003 };

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
    scene.keeps("decode", 1).await;
    frontend.is_slow();
    scene.has("decode", 2).await;
    scene.keeps("Frontend", 3).await;
    cpu.set(0.2);
    frontend.is_fast();
    scene.has("Frontend", 1).await;
    scene.has("decode", 1).await;
}

/// The disaggregated example with an adapter for each worker; our planner runs beside it.
async fn disaggregated(bench: &'static Bench, name: &str) -> Scene {
    let scene = Scene::prepare(bench, name, DISAGGREGATED).await;
    let objects = manifests("examples/vllm/disagg_planner.yaml");
    let mut graph = of_kind(&objects, names::DGD_KIND).clone();
    let services = graph["spec"]["services"].as_object_mut().expect("services");
    services.remove("Planner").expect("the example has a planner");
    for worker in [PREFILL, DECODE] {
        services[worker]["scalingAdapter"] = json!({"enabled": true});
    }
    scene.applies(&[graph]).await;
    scene.has(PREFILL, 1).await;
    scene.has(DECODE, 1).await;
    scene
}

/// A frontend of the graph that has traffic, scraped by this Prometheus.
async fn frontend(scene: &Scene, prometheus: &Prometheus) -> FrontendDouble {
    let frontend = FrontendDouble::start(MODEL).await;
    frontend.set_load(Some(LOW));
    prometheus.add_target(scene.target(frontend.address()));
    frontend
}

/// Starts the planner with the example's configuration, of whose pools it scales these.
async fn plan(scene: &Scene, prometheus: &Prometheus, pools: &[&str]) -> Guarded {
    let objects = manifests("examples/vllm/disagg_planner.yaml");
    let text = of_kind(&objects, "ConfigMap")["data"]["planner.yaml"].as_str().expect("a file");
    let mut config: Value = serde_saphyr::from_str(text).expect("YAML");
    let all = config["pools"].as_object_mut().expect("pools");
    all.retain(|pool, _| pools.contains(&pool.as_str()));
    for pool in all.values_mut() {
        // The example mounts one.
        pool["profile"] = library::DEFAULT.into();
    }
    config["prometheus"]["url"] = prometheus.url().into();
    config["target"] = json!({"namespace": scene.ns.name(), "dgd": DISAGGREGATED, "model": MODEL});
    config["metrics_port"] = 0.into();
    config["intervals"] = json!({
        "adjustment": "2s", "window": "8s", "max_metric_age": "5s",
        "scale_down_stabilization": "1s", "longest_hold": "1s"
    });
    let bench = scene.ns.bench();
    let file = bench.dir().join(format!("{}-planner.yaml", scene.ns.name()));
    std::fs::write(&file, config.to_string()).expect("the bench's folder can be written");
    let user = scene.ns.token(planner_rules()).await;
    Guarded::start(
        &format!("planner-{}", scene.ns.name()),
        &bench.ready().logs,
        Path::new(env!("CARGO_BIN_EXE_sla-planner")),
        ["run", "--config", &file.display().to_string()],
        &[("KUBECONFIG", &user.kubeconfig().display().to_string())],
    )
}

#[tokio::test]
async fn an_hpa_scales_the_frontend_by_cpu_and_our_planner_prefill_and_decode() {
    let bench = Bench::without_keda().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = disaggregated(bench, "guide-with-hpa").await;
    let patch = deploy("examples/mixed/frontend-adapter.patch.yaml");
    let patch = patch.to_str().expect("a UTF-8 path");
    let args = ["patch", "dgd", DISAGGREGATED, "--type", "merge", "--patch-file", patch];
    scene.prints(&args).await;
    scene.has("Frontend", 1).await;
    let frontend = frontend(&scene, prometheus).await;
    let cpu = scene.cpu("Frontend", 0.35, prometheus).await;
    scene.applies(&scene.example("mixed/frontend-hpa.yaml", prometheus)).await;
    let _planner = plan(&scene, prometheus, &["prefill", "decode"]).await;

    frontend.set_load(Some(HIGH));
    scene.grows_to(PREFILL, 2).await;
    scene.grows_to(DECODE, 2).await;
    cpu.set(2.0);
    scene.has("Frontend", 3).await;
    frontend.set_load(Some(LOW));
    scene.has(PREFILL, 1).await;
    scene.has(DECODE, 1).await;
    scene.keeps("Frontend", 3).await;
}

#[tokio::test]
async fn our_planner_scales_prefill_and_an_hpa_decode_by_queue_depth() {
    let bench = Bench::without_keda().await;
    let prometheus = &bench.autoscalers().await.prometheus;
    let scene = disaggregated(bench, "guide-half").await;
    let frontend = frontend(&scene, prometheus).await;
    // The example of the aggregated graph, on the decode workers of this one.
    let mut objects = scene.example("hpa/decode-queue.yaml", prometheus);
    let spec = &mut objects[0]["spec"];
    spec["scaleTargetRef"]["name"] = scene.adapter(DECODE).into();
    let of_graph = format!("{}-{DISAGGREGATED}", scene.ns.name());
    spec["metrics"][0]["external"]["metric"]["selector"]["matchLabels"]["dynamo_namespace"] =
        of_graph.into();
    scene.applies(&objects).await;
    let _planner = plan(&scene, prometheus, &["prefill"]).await;

    frontend.set_load(Some(HIGH));
    // More than the example's planner would give it.
    scene.grows_to(DECODE, 5).await;
    scene.grows_to(PREFILL, 2).await;
    // The planner's own bound, which the HPA does not know.
    frontend.set_load(Some(FLOOD));
    scene.has(PREFILL, 4).await;
    scene.keeps(PREFILL, 4).await;
    frontend.set_load(Some(LOW));
    scene.has(PREFILL, 1).await;
    scene.has(DECODE, 1).await;
}
