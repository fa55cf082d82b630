//! The files of `deploy/` by themselves: they are YAML, their configurations are valid, and what they
//! name is there. What the API server says of them is in `tests/cluster/deploy.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sla_planner::api::{DynamoGraphDeployment, crds, names};
use sla_planner::controllers::inventory;
use sla_planner::spec::{self, Config, Defaults};

use super::{read, root};

/// The files of `deploy/` with one of these endings, but for the templates of the chart.
fn files(endings: &[&str]) -> Vec<String> {
    fn below(folder: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, out);
            } else {
                out.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut all = Vec::new();
    below(&root().join("deploy"), &mut all);
    all.retain(|path| !path.contains("/templates/") && endings.iter().any(|e| path.ends_with(e)));
    all.sort();
    all
}

fn objects(path: &str) -> Vec<Value> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// The objects of all files, each with its file.
fn everything() -> Vec<(String, Value)> {
    let of = |path: String| objects(&path).into_iter().map(move |object| (path.clone(), object));
    files(&[".yaml"]).into_iter().flat_map(of).collect()
}

/// The graphs of the examples by name, each with its file and its configuration.
fn graphs() -> BTreeMap<String, (String, DynamoGraphDeployment, Config)> {
    let mut found = BTreeMap::new();
    for path in files(&["agg.yaml", "disagg_planner.yaml"]) {
        let of_kind = |kind: &str| objects(&path).into_iter().find(|o| o["kind"] == kind).unwrap();
        let (map, graph) = (of_kind("ConfigMap"), of_kind(names::DGD_KIND));
        let graph: DynamoGraphDeployment = serde_json::from_value(graph).unwrap();
        let name = graph.metadata.name.clone().unwrap();
        // What the operator injects.
        let defaults = Defaults {
            namespace: Some("llm".to_owned()),
            dgd: Some(name.clone()),
            metrics_port: Some(9085),
            ..Defaults::default()
        };
        let text = map["data"]["planner.yaml"].as_str().unwrap();
        let config = spec::load(text, &path, &defaults).unwrap_or_else(|e| panic!("{e}"));
        found.insert(name, (path, graph, config));
    }
    found
}

#[test]
fn every_manifest_is_yaml_and_of_a_kind_that_is_defined() {
    assert!(everything().len() > 40);
    let ours: Vec<String> = crds().into_iter().map(|crd| crd.spec.names.kind).collect();
    for (path, object) in everything() {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        assert_ne!(kind, "CustomResourceDefinition", "{path}: those are in crds/ alone");
        if object["apiVersion"].as_str().is_some_and(|v| v.starts_with(names::GROUP)) {
            assert_eq!(object["apiVersion"], names::API_VERSION, "{path}");
            assert!(ours.contains(&kind), "{path}: {kind} is none of {ours:?}");
        }
    }
    let schema: Value =
        serde_json::from_str(&read("deploy/helm/sla-planner/values.schema.json")).unwrap();
    let values = &objects("deploy/helm/sla-planner/values.yaml")[0];
    for key in values.as_object().unwrap().keys() {
        assert!(schema["properties"][key].is_object(), "the schema of values lacks {key}");
    }
}

#[test]
fn every_configuration_is_valid_and_has_what_run_needs() {
    let in_a_pod = Defaults { namespace: Some("llm".to_owned()), ..Defaults::default() };
    for path in files(&["/planner.yaml"]) {
        let config = spec::load(&read(&path), &path, &in_a_pod).unwrap_or_else(|e| panic!("{e}"));
        if let Some(target) = &config.target {
            assert_eq!(target.namespace, "llm", "{path}");
        } else {
            let keys = &objects(&path)[0];
            assert!(keys["cluster"].is_object(), "{path}: neither `target` nor `cluster`");
        }
        assert!(config.prometheus.is_some() && !config.pools.is_empty(), "{path}");
    }
    for (name, (path, _, config)) in graphs() {
        assert_eq!(config.target.unwrap().dgd, name, "{path}");
        assert!(config.prometheus.is_some() && !config.pools.is_empty(), "{path}");
    }
}

#[test]
fn the_planner_finds_its_pools_and_its_model_in_the_graph_of_each_example() {
    assert_eq!(graphs().len(), 6);
    for (path, graph, config) in graphs().into_values() {
        let service = |(role, pool): (&_, &spec::Pool)| {
            inventory::resolve(&graph, *role, pool.service.as_deref())
                .unwrap_or_else(|e| panic!("{path}: {e}"))
        };
        let services: Vec<&str> = config.pools.iter().map(service).collect();
        assert_eq!(inventory::find_model(&graph, &services).unwrap(), "Qwen/Qwen3-0.6B", "{path}");
        // Every ConfigMap that the planner mounts is made here, but for the profiler's own.
        let objects = objects(&path);
        let graph = objects.iter().find(|o| o["kind"] == names::DGD_KIND).unwrap();
        let planner = &graph["spec"]["services"]["Planner"];
        for volume in planner["extraPodSpec"]["volumes"].as_array().unwrap() {
            let map = &volume["configMap"]["name"];
            let made = objects.iter().any(|o| o["metadata"]["name"] == *map);
            assert!(made || map == "planner-profile-data", "{path}: {map}");
        }
    }
}

#[test]
fn every_scaler_of_the_examples_scales_an_adapter_that_the_graphs_have() {
    let mut adapters: Vec<String> = Vec::new();
    for (name, (_, graph, _)) in graphs() {
        let with = graph.services().filter(|(_, service)| service.adapter_enabled());
        adapters.extend(with.map(|(service, _)| names::adapter_name(&name, service)));
    }
    // The patch of the mixed example.
    let patch = &objects("deploy/examples/mixed/frontend-adapter.patch.yaml")[0];
    assert_eq!(patch["spec"]["services"]["Frontend"]["scalingAdapter"]["enabled"], true);
    adapters.push(names::adapter_name("vllm-disagg-planner", "Frontend"));

    let mut scalers = 0;
    for (path, object) in everything() {
        let Some(target) = object["spec"].get("scaleTargetRef") else { continue };
        scalers += 1;
        assert_eq!(target["apiVersion"], names::API_VERSION, "{path}");
        assert_eq!(target["kind"], names::DGDSA_KIND, "{path}");
        let name = target["name"].as_str().unwrap();
        assert!(adapters.iter().any(|a| a == name), "{path}: {name} is none of {adapters:?}");
        let text = object.to_string();
        if text.contains("dynamo_namespace") {
            let dynamo = names::dynamo_namespace("llm", "sglang-agg", false);
            assert!(text.contains(&dynamo), "{path}: its metrics are those of {dynamo}");
        }
    }
    assert_eq!(scalers, 8);
}

#[test]
fn every_image_of_ours_is_of_this_version() {
    fn images(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, field) in fields {
                    if key == "image" {
                        out.extend(field.as_str().map(str::to_owned));
                    }
                    images(field, out);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| images(item, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    for (path, object) in everything() {
        let mut found = Vec::new();
        images(&object, &mut found);
        for image in found.iter().filter(|image| image.starts_with("sla-planner")) {
            // The base leaves the tag to its kustomization.
            let bare = path == "deploy/base/deployment.yaml" && image == "sla-planner";
            assert!(bare || *image == format!("sla-planner:{version}"), "{path}: {image}");
        }
    }
    let base = &objects("deploy/base/kustomization.yaml")[0];
    assert_eq!(base["images"][0]["newTag"], version);
    let chart = &objects("deploy/helm/sla-planner/Chart.yaml")[0];
    assert_eq!((&chart["appVersion"], &chart["version"]), (&version.into(), &version.into()));
    let ports = &objects("deploy/base/deployment.yaml")[0]["spec"]["template"]["spec"];
    let default = spec::load("", "", &Defaults::default()).unwrap().metrics_port;
    assert_eq!(ports["containers"][0]["ports"][0]["containerPort"], default);
}
