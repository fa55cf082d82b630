//! A right is missing.

use std::time::Duration;

use kube::api::ListParams;

use super::scene::{HIGH, Scene, graph, no_rights};
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

#[tokio::test]
async fn without_the_right_to_scale_it_ends_with_the_rule_to_add() {
    let rules = Scene::rules_without("dynamographdeploymentscalingadapters/scale", "patch");
    let said = ended_with("noscale", rules).await;
    assert!(
        said.contains(
            r#"{apiGroups: ["nvidia.com"], resources: ["dynamographdeploymentscalingadapters/scale"], verbs: ["patch"]}"#
        ),
        "{said}"
    );
}

#[tokio::test]
async fn without_the_right_to_read_the_graph_it_ends_with_the_rule_to_add() {
    let said = ended_with("noget", no_rights()).await;
    assert!(
        said.contains(
            r#"{apiGroups: ["nvidia.com"], resources: ["dynamographdeployments"], verbs: ["get"]}"#
        ),
        "{said}"
    );
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
    assert!(
        said.contains(
            r#"{apiGroups: ["nvidia.com"], resources: ["dynamographdeployments"], verbs: ["get"]}"#
        ),
        "{said}"
    );
}
