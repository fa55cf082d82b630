//! A namespace of a cluster with the later definitions, and a graph in it.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sla_planner::api::{Graph, Version, names};

use crate::bench::{Bench, Namespace, eventually};
use crate::serving::{DGD, SOON, install_kinds};

/// The definitions of the later operator.
pub(super) const KINDS: &str = "tests/cluster/v1beta1/crds";

/// A namespace of the cluster that has these definitions from its start.
pub(crate) async fn namespace(name: &str) -> Namespace {
    let bench = Bench::of_other_kinds().await;
    bench.prepared().get_or_init(async || install_kinds(bench, KINDS).await).await;
    bench.namespace(name).await
}

/// A component with a GPU in its main container and a sidecar, and with fields that we do not know.
pub(crate) fn worker(name: &str, kind: &str, replicas: u32) -> Value {
    json!({
        "name": name, "type": kind, "replicas": replicas,
        "podTemplate": {
            "metadata": {"annotations": {"team": "a"}},
            "spec": {"containers": [
                {"name": "logs", "image": "l"},
                {
                    "name": "main", "image": "i", "command": ["python3", "-m", "dynamo.vllm"],
                    "args": ["--model", "org/m"],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}}
                }
            ]}
        },
        "fieldOfTomorrow": {"kept": [1, {"as": null, "it": 1.5}]}
    })
}

/// The worker with the marker that asks for an adapter.
pub(crate) fn adapted(mut worker: Value) -> Value {
    worker["scalingAdapter"] = json!({});
    worker
}

/// A frontend and two workers, of which `Decode` has an adapter.
pub(super) fn three_components() -> Value {
    json!([
        {"name": "Frontend", "type": "frontend", "replicas": 1},
        adapted(worker("Decode", "decode", 2)),
        worker("Prefill", "prefill", 1)
    ])
}

/// The graphs of a namespace, with every field.
pub(crate) async fn graphs(ns: &Namespace) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<Graph>(&Version::V1beta1);
    Api::namespaced_with(ns.admin().await, ns.name(), &resource)
}

/// Makes a graph of these components.
pub(crate) async fn create(ns: &Namespace, components: Value) {
    let resource = ApiResource::erase::<Graph>(&Version::V1beta1);
    let mut object = DynamicObject::new(DGD, &resource);
    object.data = json!({"spec": {
        "backendFramework": "vllm", "components": components,
        "topologyConstraint": {"clusterTopologyName": "rows"}
    }});
    let made = graphs(ns).await.create(&PostParams::default(), &object).await;
    made.expect("the API server takes the graph");
}

/// The graph as the API server has it.
pub(super) async fn graph(ns: &Namespace) -> DynamicObject {
    graphs(ns).await.get(DGD).await.expect("the graph")
}

/// Changes the list of components as a user with an editor does: what he read, changed, put back.
pub(super) async fn edit(ns: &Namespace, change: impl Fn(&mut Vec<Value>)) {
    let graphs = graphs(ns).await;
    eventually("the graph to be edited", SOON, async || {
        let mut found = graphs.get(DGD).await?;
        let components = found.data["spec"]["components"].as_array_mut();
        change(components.expect("components"));
        graphs.replace(DGD, &PostParams::default(), &found).await
    })
    .await;
}

/// Sets fields of the graph, as a merge patch.
pub(super) async fn patch(ns: &Namespace, patch: Value) {
    let params = PatchParams::default();
    graphs(ns).await.patch(DGD, &params, &Patch::Merge(&patch)).await.expect("a patched graph");
}

/// Names and replicas of the components, in the order of the list.
pub(super) fn counts(graph: &DynamicObject) -> Vec<(String, Option<u64>)> {
    let components = graph.data["spec"]["components"].as_array().expect("components");
    let count =
        |c: &Value| (c["name"].as_str().unwrap_or_default().to_owned(), c["replicas"].as_u64());
    components.iter().map(count).collect()
}

/// What the graph asks for of a component.
pub(crate) async fn asked(ns: &Namespace, component: &str) -> Result<Option<u64>, String> {
    let graph = graphs(ns).await.get(DGD).await.map_err(|error| error.to_string())?;
    Ok(counts(&graph).into_iter().find(|(name, _)| name == component).and_then(|(_, n)| n))
}

/// Waits until the graph asks for this.
pub(super) async fn asks_for(ns: &Namespace, component: &str, replicas: u64) {
    eventually(&format!("{replicas} replicas of {component} in the graph"), SOON, async || {
        let found = asked(ns, component).await?;
        if found == Some(replicas) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// The field managers that own the replicas of a component.
pub(super) fn owners_of_replicas(graph: &DynamicObject, component: &str) -> Vec<String> {
    let key = format!("k:{}", json!({"name": component}));
    let owns =
        |fields: &Value| !fields["f:spec"]["f:components"][key.as_str()]["f:replicas"].is_null();
    let entries = graph.metadata.managed_fields.iter().flatten();
    let owning = entries.filter(|e| e.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)));
    owning.filter_map(|e| e.manager.clone()).collect()
}

/// All that we own of the graph.
pub(super) fn ours(graph: &DynamicObject) -> Vec<Value> {
    let entries = graph.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.manager.as_deref() == Some(names::FIELD_MANAGER))
        .map(|entry| entry.fields_v1.clone().expect("fields").0)
        .collect()
}
