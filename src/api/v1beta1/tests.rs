//! Objects of `v1beta1`, well and badly formed.

use kube::core::DeserializeGuard;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::{Adapter, DynamoGraphDeployment, Graph, Version};
use crate::units::Gpus;

fn object(components: &Value) -> Value {
    json!({
        "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": "graph", "namespace": "serving", "uid": "1"},
        "spec": {"components": components, "backendFramework": "vllm"}
    })
}

fn graph(components: &Value) -> Graph {
    serde_json::from_value(object(components)).unwrap()
}

/// What the reading of a graph says where it does not fit.
fn misfit(object: Value) -> String {
    let guard: DeserializeGuard<Graph> = serde_json::from_value(object).unwrap();
    let invalid = guard.0.unwrap_err();
    assert_eq!(invalid.metadata.name.as_deref(), Some("graph"), "it is told whose fault it is");
    invalid.error
}

#[test]
fn components_are_read_as_the_services_of_a_graph() {
    let read = graph(&json!([
        {
            "name": "decode", "type": "decode", "replicas": 3, "scalingAdapter": {},
            "multinode": {"nodeCount": 2},
            "podTemplate": {"spec": {"containers": [
                {"name": "sidecar", "args": ["--model", "wrong"]},
                {
                    "name": "main", "image": "i", "command": ["python3", "-m", "dynamo.vllm"],
                    "args": ["--model", "m"],
                    "resources": {"limits": {"nvidia.com/gpu": "4", "cpu": "8"}}
                }
            ]}}
        },
        {"name": "Frontend", "type": "frontend"}
    ]));
    let names: Vec<&str> = read.services().map(|(name, _)| name).collect();
    assert_eq!(names, ["Frontend", "decode"]);
    let decode = read.service("decode").unwrap();
    assert_eq!(decode.component_type.as_deref(), Some("decode"));
    assert_eq!((decode.replicas().get(), decode.adapter_enabled()), (3, true));
    assert_eq!(decode.gpus_per_replica(), Some(Gpus::new(8)), "4 in each of its two pods");
    let line: Vec<&str> = decode.command_line().collect();
    assert_eq!(line, ["python3", "-m", "dynamo.vllm", "--model", "m"]);
    let frontend = read.service("Frontend").unwrap();
    assert_eq!((frontend.replicas().get(), frontend.adapter_enabled()), (1, false));
    assert_eq!(read.spec.backend_framework.as_deref(), Some("vllm"));
}

#[test]
fn the_places_of_components_are_those_in_the_list() {
    let read = graph(&json!([{"name": "z"}, {"name": "a"}, {"name": "m"}]));
    assert_eq!((read.place("z"), read.place("a"), read.place("m")), (Some(0), Some(1), Some(2)));
    assert_eq!(read.place("q"), None);
    let old: DynamoGraphDeployment = serde_json::from_value(json!({
        "metadata": {"name": "graph"}, "spec": {"services": {"z": {}}}
    }))
    .unwrap();
    assert_eq!(Graph::from(old).place("z"), None, "a map has no places");
}

#[test]
fn an_object_is_referred_to_in_the_version_in_which_it_was_read() {
    let read = graph(&json!([]));
    assert_eq!(read.version(), Version::V1beta1);
    let reference = read.object_ref(&read.version());
    assert_eq!(reference.api_version.as_deref(), Some("nvidia.com/v1beta1"));
    assert_eq!(reference.kind.as_deref(), Some("DynamoGraphDeployment"));
    assert_eq!(
        Graph::url_path(&read.version(), Some("ns")),
        "/apis/nvidia.com/v1beta1/namespaces/ns/dynamographdeployments"
    );
    assert_eq!(
        Graph::url_path(&Version::V1alpha1, None),
        "/apis/nvidia.com/v1alpha1/dynamographdeployments"
    );
    assert_eq!(read.name_any(), "graph");
}

#[test]
fn the_adapter_of_a_component_is_there_as_soon_as_the_marker_is() {
    let read = graph(&json!([
        {"name": "marked", "scalingAdapter": {}},
        {"name": "odd", "scalingAdapter": {"enabled": false}},
        {"name": "null", "scalingAdapter": null},
        {"name": "silent"}
    ]));
    let enabled: Vec<&str> =
        read.services().filter(|(_, s)| s.adapter_enabled()).map(|(name, _)| name).collect();
    assert_eq!(enabled, ["marked", "odd"]);
}

#[test]
fn the_gpus_are_those_of_the_main_container_as_a_number_or_as_text() {
    let gpus = |containers: Value| {
        let read = graph(&json!([
            {"name": "c", "podTemplate": {"spec": {"containers": containers}}}
        ]));
        read.service("c").unwrap().gpus_per_replica()
    };
    let container = |name: &str, gpus: Value| json!({"name": name, "resources": {"limits": {"nvidia.com/gpu": gpus}}});
    assert_eq!(gpus(json!([container("main", json!(2))])), Some(Gpus::new(2)));
    assert_eq!(
        gpus(json!([container("x", json!(8)), container("main", json!("1"))])),
        Some(Gpus::new(1))
    );
    assert_eq!(gpus(json!([container("only", json!("4"))])), Some(Gpus::new(4)));
    assert_eq!(gpus(json!([container("a", json!("4")), container("b", json!("4"))])), None);
    for odd in [json!("500m"), json!(1.5), json!(-1), json!(null), json!([]), json!({})] {
        assert_eq!(gpus(json!([container("main", odd)])), None);
    }
    for odd in
        [json!([]), json!(["main"]), json!({"main": 1}), json!(null), json!([{"name": "main"}])]
    {
        assert_eq!(gpus(odd), None);
    }
}

#[test]
fn the_status_of_a_component_is_read_as_that_of_a_service() {
    let mut object = object(&json!([{"name": "decode"}]));
    object["status"] = json!({
        "state": "initializing", "observedGeneration": 4,
        "components": {"decode": {
            "componentKind": "PodClique", "replicas": 3, "readyReplicas": 2, "gpusPerEngine": 4
        }}
    });
    let read: Graph = serde_json::from_value(object).unwrap();
    assert_eq!(read.service_status("decode").unwrap().ready_replicas, Some(2));
}

#[test]
fn fields_that_nobody_reads_do_not_hinder_the_reading_whatever_is_in_them() {
    let mut object = object(&json!([{
        "name": "c", "roles": 7, "experimental": [], "podTemplate": {"spec": "none"},
        "resources": "of v1alpha1", "extraPodSpec": 1, "subComponentType": 2
    }]));
    for field in ["restart", "env", "envs", "pvcs", "experimental", "topologyConstraint"] {
        object["spec"][field] = json!(3.5);
    }
    let read: Graph = serde_json::from_value(object).unwrap();
    assert_eq!(read.service("c"), Some(&crate::api::Service::EMPTY));
}

#[test]
fn components_that_are_none_are_refused_with_the_name_of_the_graph() {
    for (components, said) in [
        (json!({"decode": {}}), "spec.components is no list"),
        (json!("decode"), "spec.components is no list"),
        (json!(["decode"]), "spec.components[0] is no object"),
        (json!([{"name": "a"}, null]), "spec.components[1] is no object"),
        (json!([{"name": "a"}, {"type": "decode"}]), "spec.components[1].name is missing"),
        (json!([{"name": ""}]), "spec.components[0].name is missing"),
        (json!([{"name": 3}]), "spec.components[0].name is missing"),
        (json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]), "spec.components has a twice"),
        (
            json!([{"name": "a", "replicas": "three"}]),
            "invalid type: string \"three\", expected i32",
        ),
        (
            json!([{"name": "a", "replicas": 3_000_000_000_u64}]),
            "invalid value: integer `3000000000`, expected i32",
        ),
        (json!([{"name": "a", "type": ["decode"]}]), "invalid type: sequence, expected a string"),
    ] {
        assert_eq!(misfit(object(&components)), said, "{components}");
    }
    for spec in [json!("x"), json!([]), json!(null), json!(7)] {
        let mut odd = object(&json!([]));
        odd["spec"] = spec;
        assert_eq!(misfit(odd), "spec is no object");
    }
}

#[test]
fn replicas_left_out_mean_one_and_fewer_than_none_are_none() {
    let read = graph(&json!([
        {"name": "a"}, {"name": "b", "replicas": null}, {"name": "c", "replicas": 0},
        {"name": "d", "replicas": -4}, {"name": "e", "replicas": 2_147_483_647}
    ]));
    let counts: Vec<u32> = read.services().map(|(_, s)| s.replicas().get()).collect();
    assert_eq!(counts, [1, 1, 0, 0, 2_147_483_647]);
}

#[test]
fn names_that_differ_in_case_only_are_two_components() {
    let read = graph(&json!([{"name": "decode"}, {"name": "Decode"}]));
    assert_eq!((read.place("decode"), read.place("Decode")), (Some(0), Some(1)));
    assert_eq!(read.services().count(), 2);
}

#[test]
fn a_graph_without_components_is_one_without_services() {
    for components in [json!(null), json!([])] {
        assert_eq!(graph(&components).services().count(), 0);
    }
}

#[test]
fn an_object_that_was_never_converted_is_not_taken_for_one_without_services() {
    let mut stored_before = object(&json!(null));
    stored_before["spec"]["services"] = json!({"decode": {"scalingAdapter": {"enabled": true}}});
    assert!(misfit(stored_before).starts_with("spec.services in an object of v1beta1"));
    let mut stored_after = object(&json!([{"name": "decode"}]));
    stored_after["apiVersion"] = json!("nvidia.com/v1alpha1");
    assert!(misfit(stored_after.clone()).starts_with("spec.components in an object of v1alpha1"));
    stored_after["spec"]["services"] = json!({"decode": {}});
    let kept: Graph = serde_json::from_value(stored_after).unwrap();
    assert_eq!((kept.version(), kept.services().count()), (Version::V1alpha1, 1));
}

#[test]
fn an_adapter_names_its_component_as_its_version_does() {
    let adapter = |version: &str, target: Value| {
        serde_json::from_value::<Adapter>(json!({
            "apiVersion": version, "kind": "DynamoGraphDeploymentScalingAdapter",
            "metadata": {"name": "graph-decode"}, "spec": {"replicas": 2, "dgdRef": target}
        }))
    };
    let new = json!({"name": "graph", "componentName": "decode"});
    let old = json!({"name": "graph", "serviceName": "decode"});
    for (version, target) in [("nvidia.com/v1beta1", &new), ("nvidia.com/v1alpha1", &old)] {
        let read = adapter(version, target.clone()).unwrap();
        assert_eq!(read.spec.dgd_ref.service_name, "decode");
        assert_eq!(read.spec.dgd_ref.in_version(read.version()), *target);
        assert_eq!(read.object_ref(&read.version()).api_version.as_deref(), Some(version));
    }
    assert!(adapter("nvidia.com/v1alpha1", new).is_err());
    let group = json!({"name": "graph", "componentGroupName": "workers"});
    let said = adapter("nvidia.com/v1beta1", group).unwrap_err().to_string();
    assert_eq!(said, "spec.dgdRef.componentName is missing", "in the words of its version");
    assert!(adapter("nvidia.com/v1beta1", json!("decode")).is_err());
}
