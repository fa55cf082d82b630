//! Load rises, falls and ends.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::observe::Role;
use sla_planner::plan::Reason;

use super::scene::{HIGH, LOW, SOON, START_UP, Scene, code, graph};
use crate::bench::eventually;
use crate::serving::{DGD, adapters, asked_of_dgd, pods_of, raw_dgd, ready_pods};

#[tokio::test]
async fn load_that_rises_adds_engines_of_both_kinds_and_load_that_falls_takes_them_back() {
    let scene = Scene::set("rises", graph(true)).await;
    let before = raw_dgd(&scene.ns).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(LOW));
    let mut planner = scene.start(&user);
    scene.asks("one engine each", |asked| asked == (1, 1)).await;

    scene.frontend.set_load(Some(HIGH));
    let (prefill, decode) = scene
        .asks("more engines of both kinds", |(prefill, decode)| prefill > 2 && decode > 1)
        .await;
    // What is asked for at the end of the rise, when the window has only the high load in it.
    let seen = scene.records().len();
    scene
        .record("both pools steady at the high load", seen, |r| {
            r.decision.pools.iter().all(|p| matches!(p.reason, Reason::Steady { .. }))
        })
        .await;
    let served = as_many_are_ready_as_are_asked_for(&scene).await;
    assert!(served.0 >= prefill && served.1 >= decode, "{served:?}");
    assert!(served.0 <= 12 && served.1 <= 12, "within the limits: {served:?}");
    pods_became_ready_only_after_their_start_up(&scene).await;
    the_scale_was_written_by_us(&scene).await;
    assert!(scene.records().iter().any(|r| code(r, Role::Prefill) == "scale_up"));
    assert!(scene.records().iter().any(|r| code(r, Role::Decode) == "scale_up"));

    scene.frontend.set_load(Some(LOW));
    scene.asks("one engine each again", |asked| asked == (1, 1)).await;
    ready_pods(&scene.ns, "VllmPrefillWorker", 1).await;
    ready_pods(&scene.ns, "VllmDecodeWorker", 1).await;
    let down = scene.records();
    for role in [Role::Prefill, Role::Decode] {
        assert!(down.iter().any(|r| code(r, role) == "hold_stabilizing"), "{role}: not at once");
        assert!(down.iter().any(|r| code(r, role) == "scale_down"), "{role}");
    }
    assert!(down.iter().all(|r| r.notes.is_empty()), "the referee had nothing to say");
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
    only_the_counts_of_the_graph_were_touched(&scene, &before).await;
}

/// Waits until graph and pods of both workers are what the adapters ask for, and answers that. A count
/// may change once more meanwhile: the load is drawn, and on a busy machine so is its measure.
async fn as_many_are_ready_as_are_asked_for(scene: &Scene) -> (u32, u32) {
    eventually("ready pods as asked for", SOON, async || {
        let asked = scene.asked().await;
        for (service, n) in [("VllmPrefillWorker", asked.0), ("VllmDecodeWorker", asked.1)] {
            let (in_graph, pods) =
                (asked_of_dgd(&scene.ns, service).await?, pods_of(&scene.ns, service).await?);
            if (in_graph, pods) != (Some(n), (n as usize, n as usize)) {
                return Err(format!("{service}: {n} asked, {in_graph:?} in the graph, {pods:?}"));
            }
        }
        Ok(asked)
    })
    .await
}

/// The graph is what it was, the fields that nobody knows included, and ours are two counts.
async fn only_the_counts_of_the_graph_were_touched(scene: &Scene, before: &DynamicObject) {
    let after = raw_dgd(&scene.ns).await;
    assert_eq!(after.data["spec"], before.data["spec"]);
    let fields = after.metadata.managed_fields.into_iter().flatten();
    let ours: Vec<Value> = fields
        .filter(|entry| entry.manager.as_deref() == Some(names::FIELD_MANAGER))
        .map(|entry| entry.fields_v1.expect("fields").0)
        .collect();
    let count = json!({"f:replicas": {}});
    let services = json!({"f:VllmPrefillWorker": count, "f:VllmDecodeWorker": count});
    assert_eq!(ours, [json!({"f:spec": {"f:services": services}})]);
}

async fn pods_became_ready_only_after_their_start_up(scene: &Scene) {
    let pods: Api<Pod> = scene.ns.api().await;
    let workers = ListParams::default().labels(&names::adapter_selector(DGD, "VllmDecodeWorker"));
    for pod in pods.list(&workers).await.expect("pods") {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let ready = status.conditions.into_iter().flatten().find(|c| c.type_ == "Ready");
        let ready = ready.and_then(|c| c.last_transition_time).expect("a ready pod").0;
        let made = pod.metadata.creation_timestamp.expect("a creation time").0;
        // The API's times are whole seconds.
        let took = ready.as_second() - made.as_second() + 1;
        let least = i64::try_from(START_UP.as_secs()).expect("some seconds");
        assert!(took >= least, "{name} was ready after {took} s");
    }
}

async fn the_scale_was_written_by_us(scene: &Scene) {
    let adapter = adapters(&scene.ns).await.get("llama-vllmdecodeworker").await.expect("it");
    let ours = adapter.metadata.managed_fields.into_iter().flatten().any(|entry| {
        entry.subresource.as_deref() == Some("scale")
            && entry.manager.as_deref() == Some(names::FIELD_MANAGER)
    });
    assert!(ours, "the scale subresource was written by {}", names::FIELD_MANAGER);
}

#[tokio::test]
async fn no_traffic_by_fresh_metrics_goes_down_to_the_minimum() {
    let scene = Scene::set("idle", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let _planner = scene.start(&user);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    scene.frontend.set_load(None);
    scene.asks("the minimum", |asked| asked == (1, 1)).await;
    assert!(scene.records().iter().any(|r| code(r, Role::Prefill) == "idle"));
}

#[tokio::test]
async fn advice_is_recorded_and_nothing_is_written_and_the_probes_answer() {
    let scene = Scene::set("advise", graph(true)).await;
    // Nothing else makes adapters here, so that the graph is what would be scaled.
    let port = crate::bench::free_port();
    let config = scene.config(&scene.prometheus.url(), "mode: advise");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let text = text.replace("metrics_port: 0", &format!("metrics_port: {port}"));
    std::fs::write(&config, text).expect("a configuration");
    // Who only advises needs no right to write.
    let user = scene.user(Scene::rules_to(&["get", "list", "watch"])).await;
    scene.frontend.set_load(Some(HIGH));
    let _planner = scene.start_with(user.kubeconfig(), &config);
    let advice = scene.record("a wish for more", 0, |r| !r.decision.writes().is_empty()).await;
    assert!(advice.writes.is_empty(), "{:?}", advice.writes);
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/{path}")).await;
        let answer = answer.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        Ok::<_, String>((status, answer.text().await.map_err(|e| e.to_string())?))
    };
    eventually("a ready probe", SOON, async || match get("readyz").await {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(get("healthz").await.expect("an answer").0, 200);
    let (_, page) = get("metrics").await.expect("an answer");
    assert!(page.contains("sla_planner_"), "{page}");
    assert!(page.contains("reason=\"scale_up\""), "{page}");
    let dgd = raw_dgd(&scene.ns).await;
    assert_eq!(dgd.data["spec"]["services"]["VllmDecodeWorker"]["replicas"], 1);
}

#[tokio::test]
async fn a_service_without_an_adapter_is_scaled_in_the_graph() {
    let scene = Scene::set("noadapter", graph(false)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let config = scene.config(&scene.prometheus.url(), "");
    let _planner = scene.start_with(user.kubeconfig(), &config);
    let written = scene
        .record("a write to the graph", 0, |r| {
            r.writes.iter().any(|w| w.path.as_deref() == Some("dynamographdeployments/llama"))
        })
        .await;
    assert!(written.writes.iter().all(|w| w.error.is_none()), "{:?}", written.writes);
    eventually("more prefill engines in the graph", SOON, async || {
        let found =
            raw_dgd(&scene.ns).await.data["spec"]["services"]["VllmPrefillWorker"]["replicas"]
                .as_u64();
        if found > Some(2) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_adapter_that_should_be_there_is_not_passed_over() {
    // No adapter controller: the services declare adapters that nobody makes.
    let scene = Scene::set("missing", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let config = scene.config(&scene.prometheus.url(), "");
    let _planner = scene.start_with(user.kubeconfig(), &config);
    let failed =
        scene.record("a failed write", 0, |r| r.writes.iter().any(|w| w.error.is_some())).await;
    let error = failed.writes.iter().find_map(|w| w.error.clone()).expect("an error");
    assert!(error.contains("does not exist"), "{error}");
    let dgd = raw_dgd(&scene.ns).await;
    for service in ["VllmPrefillWorker", "VllmDecodeWorker"] {
        assert_eq!(dgd.data["spec"]["services"][service]["replicas"], 1, "{service}");
    }
}

#[tokio::test]
async fn what_a_live_prometheus_saw_is_predicted_for() {
    let scene = Scene::set("predict", graph(true)).await;
    scene.frontend.set_load(Some(HIGH));
    let namespace = format!("{}-{DGD}", scene.ns.name());
    let url = scene.prometheus.url();
    let args =
        ["predict", "--prometheus", &url, "--dynamo-namespace", &namespace, "--interval", "8s"];
    eventually("a fleet for the load that was seen", SOON, async || {
        let mut planner = tokio::process::Command::new(env!("CARGO_BIN_EXE_sla-planner"));
        let done = planner.args(args).args(["--format", "json"]).output().await.expect("it runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let answer: serde_json::Value =
            serde_json::from_slice(&done.stdout).map_err(|e| format!("{e}: {said}"))?;
        let prefill = answer["pools"][0]["replicas"].as_u64();
        if prefill > Some(2) && answer["feasible"] == true {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_prometheus_remembers_is_simulated() {
    let scene = Scene::set("history", graph(true)).await;
    scene.frontend.set_load(Some(HIGH));
    let namespace = format!("{}-{DGD}", scene.ns.name());
    let url = scene.prometheus.url();
    let args = ["simulate", "--prometheus", &url, "--dynamo-namespace", &namespace];
    let window = ["--last", "30s", "--history-step", "8s", "--policy", "static:9,3"];
    eventually("a simulation of the load that was seen", SOON, async || {
        let mut planner = tokio::process::Command::new(env!("CARGO_BIN_EXE_sla-planner"));
        let done = planner.args(args).args(window).args(["--format", "json"]).output().await;
        let done = done.expect("it runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let answer: serde_json::Value =
            serde_json::from_slice(&done.stdout).map_err(|e| format!("{e}: {said}"))?;
        let requests = answer["requests"].as_u64().unwrap_or(0);
        if requests > 100 && answer["attainment"].as_f64() > Some(0.0) {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}
