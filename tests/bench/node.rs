//! Nodes with GPUs, kept alive by kwok.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::control_plane::Bench;
use super::namespace::{Namespace, OWNER_LABEL};
use super::wait::eventually;

/// Besides GPUs, far more than any test asks for.
const CPUS: &str = "256";
const MEMORY: &str = "4Ti";
const PODS: &str = "1000";

impl Bench {
    /// A new node with this many GPUs, ready for pods. Pods of a [`Namespace`] do not
    /// come to it: see [`Namespace::node`].
    pub(crate) async fn node(&self, name: &str, gpus: u32) {
        self.create_node(name, gpus, json!({})).await;
    }

    async fn create_node(&self, name: &str, gpus: u32, labels: serde_json::Value) {
        let resources = json!({
            "cpu": CPUS, "memory": MEMORY, "pods": PODS, "nvidia.com/gpu": gpus.to_string(),
        });
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": resources, "capacity": resources},
        }))
        .expect("a valid node");
        let nodes: Api<Node> = Api::all(self.admin().await);
        nodes.create(&PostParams::default(), &node).await.expect("a new node");
        let what = format!("node {name} to take pods");
        eventually(&what, Duration::from_secs(30), async || {
            let node = nodes.get(name).await.map_err(|error| error.to_string())?;
            takes_pods(&node)
        })
        .await;
    }
}

impl Namespace {
    /// A new node with this many GPUs for the pods of this namespace, ready for
    /// them. Returns its full name.
    pub(crate) async fn node(&self, name: &str, gpus: u32) -> String {
        let name = format!("{}-{name}", self.name());
        self.bench().create_node(&name, gpus, json!({OWNER_LABEL: self.name()})).await;
        name
    }
}

fn takes_pods(node: &Node) -> Result<(), String> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    if ready && taints.is_none_or(Vec::is_empty) {
        Ok(())
    } else {
        Err(format!("ready: {ready}, taints: {taints:?}"))
    }
}
