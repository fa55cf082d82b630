//! The real API server takes it all: schemas, admission, pod security.

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;

use super::render::{
    NEEDED, called_in_the_cluster, deploy, helm_template, kustomize, manifests, of_kind, placed,
    rules_of, text_of,
};
use crate::bench::{Namespace, Programs, eventually};
use crate::serving::{SOON, namespace};

/// Puts the labels of the manifest's Namespace, among them those of pod security, on this one.
async fn label(ns: &Namespace, labels: &Value) {
    let namespaces: Api<KubeNamespace> = Api::all(ns.admin().await);
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    namespaces.patch(ns.name(), &PatchParams::default(), &patch).await.expect("labels");
}

/// Waits until the Deployment has its pods: admitted by pod security, scheduled, and running as far as
/// kwok goes.
async fn runs(ns: &Namespace, name: &str, pods: i32) {
    let deployments: Api<Deployment> = ns.api().await;
    eventually(&format!("deployment {name} to run"), SOON, async || {
        let found = deployments.get(name).await.map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        if status.ready_replicas == Some(pods) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

fn restricted() -> Value {
    of_kind(&kustomize("overlays/cluster"), "Namespace")["metadata"]["labels"].clone()
}

/// Puts the labels of the strictest pod security on a namespace.
pub(crate) async fn labelled_as_restricted(ns: &Namespace) {
    label(ns, &restricted()).await;
}

/// Runs Helm on the release `sla-planner` of the chart in a namespace, and answers what it printed.
pub(crate) async fn helm(ns: &Namespace, verb: &str, values: &[&str]) -> String {
    let mut command = Command::new(Programs::get().helm());
    command.args([verb, "sla-planner"]);
    if verb != "uninstall" {
        command.arg(deploy("helm/sla-planner"));
    }
    command.args(["--namespace", ns.name()]);
    command.arg("--kubeconfig").arg(&ns.bench().ready().kubeconfig);
    for value in values {
        command.args(["--set", value]);
    }
    let output = command.env("HOME", ns.bench().dir()).output().await.expect("helm starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn the_planner_of_one_graph_is_installed_by_kustomize() {
    let ns = namespace("kustomized").await;
    ns.node("any", 0).await;
    label(&ns, &restricted()).await;
    let objects = placed(kustomize("overlays/planner"), &[("llm", ns.name())]);
    ns.bench().apply_yaml(&text_of(&objects)).await;
    runs(&ns, "sla-planner", 1).await;
}

/// Installs a service in `ns` that serves what `places` say, and waits until both of its pods run.
async fn installed(ns: &Namespace, overlay: &str, places: &[(&str, &str)]) {
    ns.node("any", 0).await;
    let mut objects = kustomize(overlay);
    label(ns, &of_kind(&objects, "Namespace")["metadata"]["labels"]).await;
    objects.retain(|object| object["kind"] != "Namespace");
    let objects = called_in_the_cluster(placed(objects, places), &format!("{}-service", ns.name()));
    ns.bench().apply_yaml(&text_of(&objects)).await;
    runs(ns, "sla-planner", 2).await;
}

/// Whether the account of the service in `ns` may do this in the namespace `place`.
async fn may(ns: &Namespace, place: &str, ask: &[&str]) -> bool {
    let who = format!("--as=system:serviceaccount:{}:sla-planner", ns.name());
    let args = [&["auth", "can-i", &who, "--namespace", place], ask].concat();
    ns.bench().kubectl(&args).await.stdout.trim() == "yes"
}

const SCALE: [&str; 3] =
    ["patch", "dynamographdeploymentscalingadapters.nvidia.com", "--subresource=scale"];
const PLANS: [&str; 2] = ["patch", "leases.coordination.k8s.io/sla-planner"];
const KEEPS: [&str; 2] = ["patch", "leases.coordination.k8s.io/sla-planner-adapters"];

#[tokio::test]
async fn the_service_of_a_cluster_is_installed_by_kustomize() {
    let (served, ns) = (namespace("served").await, namespace("service").await);
    let places = [("llm", served.name()), ("sla-planner", ns.name())];
    installed(&ns, "overlays/cluster", &places).await;
    // Its rights end at the namespace that is served, and at its own Lease.
    for (place, rights) in [(served.name(), [true, false, true]), (ns.name(), [false, true, false])]
    {
        for (ask, right) in [&SCALE[..], &PLANS, &KEEPS].into_iter().zip(rights) {
            assert_eq!(may(&ns, place, ask).await, right, "{ask:?} in {place}");
        }
    }
}

#[tokio::test]
async fn the_service_of_every_namespace_is_installed_by_kustomize() {
    let (any, ns) = (namespace("unlisted").await, namespace("serviceofall").await);
    installed(&ns, "overlays/every-namespace", &[("sla-planner", ns.name())]).await;
    // Its rights are those of no Lease but its own two.
    for (place, rights) in [(any.name(), [true, false, false]), (ns.name(), [true, true, true])] {
        for (ask, right) in [&SCALE[..], &PLANS, &KEEPS].into_iter().zip(rights) {
            assert_eq!(may(&ns, place, ask).await, right, "{ask:?} in {place}");
        }
    }
    assert!(!may(&ns, any.name(), &["create", "leases.coordination.k8s.io"]).await);
}

#[tokio::test]
async fn helm_installs_upgrades_and_removes_a_release() {
    let ns = namespace("helm").await;
    ns.node("any", 0).await;
    label(&ns, &restricted()).await;
    let said = helm(&ns, "install", &NEEDED).await;
    assert!(
        said.contains(&format!("plans for the DGD {}/chat and scales it.", ns.name())),
        "{said}"
    );
    runs(&ns, "sla-planner", 1).await;
    let config = ["get", "configmap", "sla-planner", "-o", "jsonpath={.data.planner\\.yaml}"];
    assert!(ns.kubectl(&config).await.success().contains("mode: act"));

    let advise = [&NEEDED[..], &["config.mode=advise"]].concat();
    let said = helm(&ns, "upgrade", &advise).await;
    assert!(said.contains("writes nothing"), "{said}");
    let role = ns.kubectl(&["get", "role", "sla-planner", "-o", "json"]).await.success();
    let role: Value = serde_json::from_str(&role).expect("JSON");
    let advising = helm_template(ns.name(), &advise).expect("a chart");
    let (role, advising) = (rules_of(&[role], "Role"), rules_of(&advising, "Role"));
    assert_eq!(role, advising, "the right to write is taken away");
    runs(&ns, "sla-planner", 1).await;

    helm(&ns, "uninstall", &[]).await;
    let left = "deployment,configmap,serviceaccount,role,rolebinding";
    let left = ["get", left, "-l", "app.kubernetes.io/instance=sla-planner", "-o", "name"];
    assert_eq!(ns.kubectl(&left).await.success(), "");
}

#[tokio::test]
async fn the_monitors_are_taken() {
    let ns = namespace("monitored").await;
    ns.bench().kinds_of_others().await;
    let monitor = |objects: Vec<Value>, from| {
        placed(vec![of_kind(&objects, "PodMonitor").clone()], &[(from, ns.name())])
    };
    let values =
        [&NEEDED[..], &["podMonitor.enabled=true", "podMonitor.labels.release=x"]].concat();
    for objects in [
        monitor(kustomize("overlays/planner-monitored"), "llm"),
        monitor(kustomize("overlays/cluster-monitored"), "sla-planner"),
        monitor(kustomize("overlays/webhook-monitored"), "sla-planner"),
        monitor(helm_template("llm", &values).expect("a chart"), "llm"),
    ] {
        ns.bench().apply_yaml(&text_of(&objects)).await;
    }
}

#[tokio::test]
async fn every_example_is_taken() {
    let ns = namespace("examples").await;
    ns.bench().kinds_of_others().await;
    let mut count = 0;
    for path in yaml_files(&deploy("examples")) {
        // Values of another chart, and a patch.
        if path.ends_with("values.yaml") || path.ends_with(".patch.yaml") {
            continue;
        }
        let objects = placed(manifests(&path), &[("llm", ns.name())]);
        count += objects.len();
        ns.apply_yaml(&text_of(&objects)).await;
    }
    assert!(count > 15, "{count}");
    let patch = deploy("examples/mixed/frontend-adapter.patch.yaml");
    let patch = patch.to_str().expect("a UTF-8 path");
    let args = ["patch", "dgd", "vllm-disagg-planner", "--type", "merge", "--patch-file", patch];
    ns.kubectl(&args).await.success();
}

#[tokio::test]
async fn the_back_test_job_is_taken_under_the_strictest_pod_security() {
    let ns = namespace("backtest").await;
    label(&ns, &json!({"pod-security.kubernetes.io/warn": "restricted"})).await;
    let job = deploy("backtest/job.yaml");
    let taken = ns.kubectl(&["apply", "--filename", job.to_str().expect("a path")]).await;
    assert!(taken.status.success(), "{}", taken.stderr);
    assert_eq!(taken.stderr, "", "no warning");
}

/// The YAML files below a folder of `deploy/`, as paths in it.
fn yaml_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|e| e == "yaml") {
            let inside = path.strip_prefix(deploy("")).expect("a path in deploy/");
            found.push(inside.to_str().expect("a UTF-8 path").to_owned());
        }
    }
    found.sort();
    found
}
