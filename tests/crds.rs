//! The files in `crds/` are what the binary prints, and say what Dynamo's own say where it counts.
//!
//! To write them anew: `sla-planner crd --write crds`, or `UPDATE=1 cargo test --test crds`.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reads files and may fail loudly"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use sla_planner::api::{crd_yaml, crds};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds")
}

/// A CRD by its plural name, as JSON.
fn crd(plural: &str) -> Value {
    let crd = crds().into_iter().find(|crd| crd.spec.names.plural == plural).unwrap();
    serde_json::to_value(crd).unwrap()
}

fn version(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]
}

fn schema<'a>(crd: &'a Value, path: &str) -> &'a Value {
    let root = &version(crd)["schema"]["openAPIV3Schema"];
    path.split('.').fold(root, |schema, name| match name {
        "*" => &schema["additionalProperties"],
        "[]" => &schema["items"],
        name => &schema["properties"][name],
    })
}

#[test]
fn the_files_are_what_the_binary_prints() {
    let printed: BTreeMap<String, String> = crd_yaml().into_iter().collect();
    if env::var_os("UPDATE").is_some() {
        for (name, text) in &printed {
            fs::write(folder().join(name), text).unwrap();
        }
    }
    let kept: BTreeMap<String, String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        printed.keys().collect::<Vec<_>>(),
        "files of crds/"
    );
    for (name, text) in &printed {
        assert!(kept[name] == *text, "crds/{name} is not what `sla-planner crd` prints");
    }
}

#[test]
fn the_yaml_says_what_the_crd_says() {
    for ((name, yaml), crd) in crd_yaml().into_iter().zip(crds()) {
        let read: CustomResourceDefinition = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, crd, "{name}");
    }
}

#[test]
fn kubectl_shows_the_columns_that_users_know() {
    let columns = |plural: &str| -> Vec<(String, String, String)> {
        version(&crd(plural))["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                let text = |key: &str| column[key].as_str().unwrap().to_owned();
                (text("name"), text("type"), text("jsonPath"))
            })
            .collect()
    };
    let expected = |columns: &[[&str; 3]]| -> Vec<(String, String, String)> {
        columns.iter().map(|[a, b, c]| (a.to_string(), b.to_string(), c.to_string())).collect()
    };
    assert_eq!(
        columns("dynamographdeploymentscalingadapters"),
        expected(&[
            ["DGD", "string", ".spec.dgdRef.name"],
            ["SERVICE", "string", ".spec.dgdRef.serviceName"],
            ["REPLICAS", "integer", ".status.replicas"],
            ["AGE", "date", ".metadata.creationTimestamp"],
        ])
    );
    assert_eq!(
        columns("dynamographdeployments"),
        expected(&[
            ["Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#],
            ["Backend", "string", ".spec.backendFramework"],
            ["Age", "date", ".metadata.creationTimestamp"],
        ])
    );
    assert_eq!(
        columns("dynamographdeploymentrequests"),
        expected(&[
            ["Model", "string", ".spec.model"],
            ["Backend", "string", ".status.backend"],
            ["State", "string", ".status.state"],
            ["DGD-State", "string", ".status.deployment.state"],
            ["Age", "date", ".metadata.creationTimestamp"],
        ])
    );
}

#[test]
fn names_and_subresources_are_those_of_dynamo() {
    for (plural, short, scaled) in [
        ("dynamographdeployments", "dgd", false),
        ("dynamographdeploymentscalingadapters", "dgdsa", true),
        ("dynamographdeploymentrequests", "dgdr", false),
    ] {
        let crd = crd(plural);
        assert_eq!(crd["metadata"]["name"], format!("{plural}.nvidia.com"));
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        assert_eq!(crd["spec"]["names"]["shortNames"], json!([short]));
        assert_eq!(version(&crd)["name"], "v1alpha1");
        let subresources = &version(&crd)["subresources"];
        assert_eq!(subresources["status"], json!({}));
        let scale = json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector"
        });
        assert_eq!(subresources.get("scale"), scaled.then_some(&scale));
    }
}

#[test]
fn the_rules_on_fields_are_those_of_dynamo() {
    let dgd = crd("dynamographdeployments");
    assert_eq!(schema(&dgd, "spec.services")["maxProperties"], 25);
    assert_eq!(schema(&dgd, "spec.services.*")["nullable"], true);
    assert_eq!(schema(&dgd, "spec.services.*.replicas")["minimum"], json!(0.0));
    assert_eq!(schema(&dgd, "spec.services.*.replicas")["format"], "int32");
    assert_eq!(schema(&dgd, "spec.services.*.scalingAdapter.enabled")["default"], false);
    assert_eq!(schema(&dgd, "spec.services.*.multinode.nodeCount")["default"], 2);
    assert_eq!(schema(&dgd, "spec.services.*.multinode.nodeCount")["minimum"], json!(2.0));
    assert_eq!(schema(&dgd, "spec.backendFramework")["enum"], json!(["sglang", "vllm", "trtllm"]));
    assert_eq!(schema(&dgd, "spec.pvcs")["maxItems"], 100);
    assert_eq!(
        schema(&dgd, "spec.pvcs.[]")["x-kubernetes-validations"][0]["message"],
        "When create is true, size, storageClass, and volumeAccessMode are required"
    );
    assert_eq!(schema(&dgd, "spec.restart.id")["minLength"], 1);
    assert_eq!(schema(&dgd, "spec.restart.strategy.type")["default"], "Sequential");

    let adapter = crd("dynamographdeploymentscalingadapters");
    assert_eq!(schema(&adapter, "spec")["required"], json!(["dgdRef", "replicas"]));
    assert_eq!(schema(&adapter, "spec.replicas")["minimum"], json!(0.0));
    assert_eq!(schema(&adapter, "spec.dgdRef")["required"], json!(["name", "serviceName"]));
    assert_eq!(schema(&adapter, "spec.dgdRef.name")["minLength"], 1);
    assert_eq!(schema(&adapter, "spec.dgdRef.serviceName")["minLength"], 1);
    assert_eq!(schema(&adapter, "status.lastScaleTime")["format"], "date-time");

    let request = crd("dynamographdeploymentrequests");
    assert_eq!(
        schema(&request, "spec")["required"],
        json!(["backend", "model", "profilingConfig"])
    );
    assert_eq!(schema(&request, "spec.backend")["enum"], json!(["vllm", "sglang", "trtllm"]));
    assert_eq!(schema(&request, "spec.autoApply")["default"], false);
    assert_eq!(schema(&request, "spec.profilingConfig.configMapRef.key")["default"], "disagg.yaml");
    assert_eq!(
        schema(&request, "status.generatedDeployment")["x-kubernetes-embedded-resource"],
        true
    );
}

#[test]
fn a_users_graph_is_not_pruned() {
    let dgd = crd("dynamographdeployments");
    for path in [
        "spec",
        "spec.services.*",
        "spec.services.*.resources",
        "spec.services.*.resources.limits",
        "spec.services.*.extraPodSpec",
        "spec.services.*.extraPodSpec.mainContainer",
        "spec.services.*.scalingAdapter",
        "spec.services.*.ingress",
        "status",
        "status.services.*",
    ] {
        assert_eq!(schema(&dgd, path)["x-kubernetes-preserve-unknown-fields"], true, "{path}");
    }
}

#[test]
fn null_is_legal_for_a_service_and_for_nothing_else() {
    fn nullable(schema: &Value, path: &str, found: &mut Vec<String>) {
        if schema.get("nullable") == Some(&Value::Bool(true)) {
            found.push(path.to_owned());
        }
        match schema {
            Value::Object(fields) => {
                for (name, field) in fields {
                    nullable(field, &format!("{path}.{name}"), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| nullable(item, path, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    for crd in crds() {
        nullable(&serde_json::to_value(crd).unwrap(), "", &mut found);
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("properties.services.additionalProperties"), "{found:?}");
}
