//! Replicas written to a graph, in the version in which it was read.
//!
//! Nothing else of the graph is named, so nothing else can be lost or owned by us.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::Patch;
use serde_json::{Map, Value, json};

use super::client::{Call, CallError, CallFailure, patch_params, within};
use super::kinds::Kinds;
use crate::api::{DynamoGraphDeployment, Graph, Version, names};
use crate::units::Replicas;

/// Writes the replicas of services of a graph, all in one call, onto the version of it that was read:
/// who changed it in between is not overruled, and the call ends in a conflict.
///
/// # Errors
///
/// Where the call fails.
pub(super) async fn write(
    kinds: &Kinds,
    graph: &Graph,
    counts: &[(&str, Replicas)],
    deadline: Duration,
) -> Result<(), CallError> {
    let (namespace, name) = (graph.namespace().unwrap_or_default(), graph.name_any());
    let api = kinds.api::<DynamoGraphDeployment>(graph.version(), &namespace);
    let call = Call::object("patch", names::GROUP, names::DGD_PLURAL, &namespace, &name);
    let params = patch_params();
    let patch = patch_of(graph, counts);
    let written = within(deadline, call, api.patch(&name, &params, &patch)).await;
    let Err(error) = written else { return Ok(()) };
    if is_failed_test(&error) {
        return Err(CallError { failure: CallFailure::Conflict, ..error });
    }
    Err(error)
}

/// The smallest patch that carries these counts.
fn patch_of(graph: &Graph, counts: &[(&str, Replicas)]) -> Patch<Value> {
    match graph.version() {
        Version::V1alpha1 => Patch::Merge(by_name(graph.resource_version(), counts)),
        Version::V1beta1 => {
            let operations = Value::Array(by_place(graph, counts));
            Patch::Json(serde_json::from_value(operations).expect("operations of a JSON patch"))
        }
    }
}

fn by_name(resource_version: Option<String>, counts: &[(&str, Replicas)]) -> Value {
    let services: Map<String, Value> = counts
        .iter()
        .map(|(name, replicas)| ((*name).to_owned(), json!({"replicas": replicas.get()})))
        .collect();
    let mut patch = json!({"spec": {"services": services}});
    if let Some(version) = resource_version {
        patch["metadata"] = json!({"resourceVersion": version});
    }
    patch
}

/// A list is patched by places, so each write is tied to the name that stood there.
fn by_place(graph: &Graph, counts: &[(&str, Replicas)]) -> Vec<Value> {
    let mut operations = Vec::new();
    // First, so that a graph that was changed is a conflict, whatever the change.
    if let Some(version) = graph.resource_version() {
        operations
            .push(json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version}));
    }
    for (name, replicas) in counts {
        let at = graph.place(name).expect("a component of a graph was read from a place in it");
        let component = format!("/spec/components/{at}");
        operations.push(json!({"op": "test", "path": format!("{component}/name"), "value": name}));
        operations.push(
            json!({"op": "add", "path": format!("{component}/replicas"), "value": replicas.get()}),
        );
    }
    operations
}

/// Whether a JSON patch did not fit onto what was there: a name stood in another place, or the place
/// was gone.
fn is_failed_test(error: &CallError) -> bool {
    matches!(&error.failure, CallFailure::Refused { code: 422, message } if message == DOES_NOT_FIT)
}

/// All that the API server says of a JSON patch that does not fit. What its schemas refuse, with the
/// same code, is said field by field.
const DOES_NOT_FIT: &str = "the server rejected our request due to an error in our request";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> [(&'static str, Replicas); 2] {
        [("Prefill", Replicas::new(0)), ("Decode", Replicas::new(4))]
    }

    fn graph(version: &str, spec: &Value) -> Graph {
        serde_json::from_value(json!({
            "apiVersion": version, "kind": names::DGD_KIND,
            "metadata": {"name": "graph", "resourceVersion": "77"}, "spec": spec
        }))
        .unwrap()
    }

    #[test]
    fn a_map_of_services_is_patched_by_name_with_the_version_and_the_replicas_only() {
        let graph =
            graph("nvidia.com/v1alpha1", &json!({"services": {"Prefill": {}, "Decode": {}}}));
        let Patch::Merge(patch) = patch_of(&graph, &counts()) else { panic!("a merge patch") };
        assert_eq!(
            patch,
            json!({
                "metadata": {"resourceVersion": "77"},
                "spec": {"services": {"Prefill": {"replicas": 0}, "Decode": {"replicas": 4}}}
            })
        );
    }

    #[test]
    fn a_list_of_components_is_patched_in_its_places_with_the_names_that_stand_there() {
        let graph = graph(
            "nvidia.com/v1beta1",
            &json!({"components": [{"name": "Decode"}, {"name": "Frontend"}, {"name": "Prefill"}]}),
        );
        let Patch::Json(patch) = patch_of(&graph, &counts()) else { panic!("a JSON patch") };
        assert_eq!(
            serde_json::to_value(patch).unwrap(),
            json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "77"},
                {"op": "test", "path": "/spec/components/2/name", "value": "Prefill"},
                {"op": "add", "path": "/spec/components/2/replicas", "value": 0},
                {"op": "test", "path": "/spec/components/0/name", "value": "Decode"},
                {"op": "add", "path": "/spec/components/0/replicas", "value": 4}
            ])
        );
    }
}
