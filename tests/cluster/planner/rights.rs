//! A right is missing.

use std::time::Duration;

use kube::api::ListParams;

use super::scene::{HIGH, Scene, graph, no_rights};
use crate::bench::eventually;
use crate::serving::{adapters, raw_dgd};

/// Start to end of a process that ends by itself, on a busy machine.
const ENDS: Duration = Duration::from_secs(60);

/// Runs the planner with these rights until it ends, and answers its exit code and what it said.
async fn ended_with(name: &str, rules: Vec<k8s_openapi::api::rbac::v1::PolicyRule>) -> String {
    let scene = Scene::set(name, graph(true)).await;
    let user = scene.user(rules).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    let status = planner.wait(ENDS);
    let said = planner.stderr();
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(scene.records().is_empty(), "nothing was decided");
    assert_eq!(said.matches("not allowed").count(), 1, "said once: {said}");
    // Nothing was written: neither adapters nor counts.
    let made = adapters(&scene.ns).await.list(&ListParams::default()).await.expect("adapters");
    assert_eq!(made.items.len(), 0);
    assert_eq!(raw_dgd(&scene.ns).await.metadata.generation, Some(1));
    said.lines().find(|line| line.starts_with("error:")).unwrap_or(&said).to_owned()
}

/// What it said names the rule that a role lacks.
fn assert_adds(said: &str, resource: &str, verb: &str) {
    let rule =
        format!(r#"{{apiGroups: ["nvidia.com"], resources: ["{resource}"], verbs: ["{verb}"]}}"#);
    assert!(said.contains(&rule), "{said}");
}

#[tokio::test]
async fn without_the_right_to_scale_it_ends_with_the_rule_to_add() {
    let rules = Scene::rules_without("dynamographdeploymentscalingadapters/scale", "patch");
    let said = ended_with("noscale", rules).await;
    assert_adds(&said, "dynamographdeploymentscalingadapters/scale", "patch");
}

#[tokio::test]
async fn without_the_right_to_read_the_graph_it_ends_with_the_rule_to_add() {
    let said = ended_with("noget", no_rights()).await;
    assert_adds(&said, "dynamographdeployments", "get");
}

#[tokio::test]
async fn without_the_right_to_list_pods_it_plans_and_says_what_it_does_not_see() {
    let scene = Scene::set("nopods", graph(true)).await;
    let user = scene.user(Scene::rules_without("pods", "list")).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    assert!(planner.stderr().contains("pods are not seen"), "{}", planner.stderr());
    assert_eq!(planner.ended(), None);
}

#[tokio::test]
async fn one_right_less_is_enough_to_end_it_with_the_rule_to_add() {
    let said = ended_with("nogetonly", Scene::rules_without("dynamographdeployments", "get")).await;
    assert_adds(&said, "dynamographdeployments", "get");
}

#[tokio::test]
async fn a_role_that_names_its_objects_is_enough() {
    let scene = Scene::set("named", graph(true)).await;
    let mut rules = Scene::rules();
    for rule in &mut rules {
        let resources = rule.resources.iter().flatten();
        if resources.clone().any(|r| r == "dynamographdeploymentscalingadapters/scale") {
            let names = ["llama-vllmprefillworker", "llama-vllmdecodeworker"];
            rule.resource_names = Some(names.map(str::to_owned).into());
        }
    }
    let user = scene.user(rules).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn a_right_that_could_not_be_asked_for_at_the_start_is_asked_for_when_the_server_answers() {
    let scene = Scene::set("laterights", graph(true)).await;
    let rules = Scene::rules_without("dynamographdeploymentscalingadapters/scale", "patch");
    let user = scene.user(rules).await;
    let (proxy, mut planner) = scene.start_cut_off(&user).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());

    proxy.cut(false);
    eventually("its end", ENDS, async || planner.ended().map(|_| ()).ok_or("it runs")).await;
    let status = planner.wait(ENDS);
    let said = planner.stderr();
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains("not allowed; add to the Role"), "{said}");
}

#[tokio::test]
async fn a_graph_that_does_not_exist_is_not_taken_for_a_server_that_is_not_ready() {
    let scene = Scene::set("nograph", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    let config = scene.config(&scene.prometheus.url(), "adapter_controller: true");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace("dgd: llama", "dgd: alpaca")).expect("written");
    let mut planner = scene.start_with(user.kubeconfig(), &config);
    scene.record("a decision", 0, |_| true).await;
    let said = planner.stderr();
    assert!(said.contains("there is no such DGD yet"), "{said}");
    assert!(!said.contains("API server is not ready"), "{said}");
    assert_eq!(planner.ended(), None, "{said}");
}
