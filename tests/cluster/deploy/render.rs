//! Rendering manifests, and looking at what comes out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use crate::bench::Programs;

/// What a release of the chart must be told that plans for one graph.
pub(super) const NEEDED: [&str; 2] = [
    "config.target.dgd=chat",
    "config.prometheus.url=http://prometheus-kube-prometheus-prometheus.monitoring.svc:9090",
];

/// What a release must be told that is the service of a cluster, as `overlays/cluster` is.
pub(super) const SERVICE: [&str; 4] = [
    "mode=cluster",
    "config.cluster.namespaces={llm}",
    "config.adapter_controller=true",
    NEEDED[1],
];

/// The same for every namespace, as `overlays/every-namespace` is.
pub(super) const EVERYWHERE: [&str; 4] = [SERVICE[0], "config.cluster={}", SERVICE[2], SERVICE[3]];

/// A file or folder of `deploy/`.
pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// The objects of a YAML text.
pub(super) fn objects(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// The objects of a file of `deploy/`.
pub(crate) fn manifests(path: &str) -> Vec<Value> {
    objects(&std::fs::read_to_string(deploy(path)).unwrap_or_else(|e| panic!("{path}: {e}")))
}

fn run(program: PathBuf, args: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    // No user's own settings, plugins or caches.
    let mut command = Command::new(program);
    command.args(args).env("HOME", home.path()).env_remove("KUBECONFIG");
    command.output().expect("it starts")
}

/// What a program printed, or what it said against it.
fn printed(output: &Output) -> Result<Vec<Value>, String> {
    if output.status.success() {
        Ok(objects(&String::from_utf8_lossy(&output.stdout)))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What `kubectl kustomize` makes of a folder of `deploy/`.
pub(crate) fn kustomize(folder: &str) -> Vec<Value> {
    let folder = deploy(folder);
    let folder = folder.to_str().expect("a UTF-8 path");
    let kubectl = Programs::get().control_plane();
    let output = run(kubectl, &["kubectl", "kustomize", folder]);
    printed(&output).unwrap_or_else(|error| panic!("{error}"))
}

/// What Helm makes of the chart as a release `sla-planner`, or what it says against these values.
pub(crate) fn helm_template(namespace: &str, values: &[&str]) -> Result<Vec<Value>, String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/helm/sla-planner");
    let mut args = vec!["template", "sla-planner", chart, "--namespace", namespace];
    args.extend(["--kube-version", "1.36"]);
    for value in values {
        // `--set` takes this for an empty list.
        args.extend([if value.ends_with("={}") { "--set-json" } else { "--set" }, value]);
    }
    printed(&run(Programs::get().helm(), &args))
}

/// The one object of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    let [one] = found.as_slice() else { panic!("{} of {kind} in {objects:#?}", found.len()) };
    one
}

/// The rules of the one `Role`, or of the one `ClusterRole`.
pub(crate) fn rules_of(objects: &[Value], kind: &str) -> Vec<PolicyRule> {
    serde_json::from_value(of_kind(objects, kind)["rules"].clone()).expect("rules")
}

/// The objects with a name of their own for the ClusterRole and its binding, which have no namespace:
/// other tests install those of the manifests.
pub(crate) fn called_in_the_cluster(mut objects: Vec<Value>, name: &str) -> Vec<Value> {
    for object in &mut objects {
        if object["kind"].as_str().is_some_and(|kind| kind.starts_with("ClusterRole")) {
            object["metadata"]["name"] = json!(name);
        }
        if object["roleRef"]["kind"] == "ClusterRole" {
            object["roleRef"]["name"] = json!(name);
        }
    }
    objects
}

/// The configuration in the ConfigMap, under this name.
pub(crate) fn config_of(objects: &[Value], file: &str) -> Value {
    let text = of_kind(objects, "ConfigMap")["data"][file].as_str().expect("a text");
    serde_saphyr::from_str(text).expect("YAML")
}

/// The objects in other namespaces than the manifests say.
pub(crate) fn placed(mut objects: Vec<Value>, places: &[(&str, &str)]) -> Vec<Value> {
    let place = |at: &mut Value| {
        if let Some((_, to)) = places.iter().find(|(from, _)| *at == *from) {
            *at = json!(to);
        }
    };
    for object in &mut objects {
        if let Some(namespace) = object["metadata"].get_mut("namespace") {
            place(namespace);
        }
        for subject in
            object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Some(namespace) = subject.get_mut("namespace") {
                place(namespace);
            }
        }
    }
    objects
}

/// The objects as one text that kubectl applies.
pub(crate) fn text_of(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}
