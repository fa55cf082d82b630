//! `DynamoGraphDeployment`: a serving graph and its services.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, names, schema};
use crate::units::{Gpus, Replicas};

/// A serving graph: the services that together serve one model.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "nvidia.com",
    version = "v1alpha1",
    kind = "DynamoGraphDeployment",
    plural = "dynamographdeployments",
    singular = "dynamographdeployment",
    shortname = "dgd",
    namespaced,
    status = "DgdStatus",
    doc = "A serving graph: the services that together serve one model.",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn = r#"{"name": "Ready", "type": "string", "description": "Whether all services run", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Backend", "type": "string", "description": "Inference engine", "jsonPath": ".spec.backendFramework"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DgdSpec {
    /// Volumes that services may mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub pvcs: Option<Vec<PersistentVolumeClaim>>,
    /// The services by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "services_schema")]
    pub services: Option<BTreeMap<String, Option<Service>>>,
    /// Environment of all services; a service's own wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::kept_objects")]
    pub envs: Option<Vec<Value>>,
    /// Inference engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["sglang", "vllm", "trtllm"]))]
    pub backend_framework: Option<String>,
    /// Asks for a restart of the services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// A volume claim, made here or made before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend("x-kubernetes-preserve-unknown-fields" = true),
    extend("x-kubernetes-validations" = [{
        "rule": "!has(self.create) || self.create == false || (has(self.size) && has(self.storageClass) && has(self.volumeAccessMode))",
        "message": "When create is true, size, storageClass, and volumeAccessMode are required"
    }])
)]
pub struct PersistentVolumeClaim {
    /// Whether the claim is made with the graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// Name of the claim.
    pub name: String,
    /// Storage class of a claim to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Size of a claim to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-int-or-string" = true), schema_with = "quantity")]
    pub size: Option<Value>,
    /// Access mode of a claim to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_access_mode: Option<String>,
}

/// A request to restart the services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Restart {
    /// A new value asks for a new restart.
    #[schemars(length(min = 1))]
    pub id: String,
    /// In which order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RestartStrategy>,
}

/// The order of a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RestartStrategy {
    /// One after the other, or all at once.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Sequential", "Parallel"], "default" = "Sequential"))]
    pub type_: Option<String>,
    /// Services in the order of the restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
}

/// One service of a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend("x-kubernetes-preserve-unknown-fields" = true),
    transform = schema::unread_service_fields
)]
pub struct Service {
    /// What the service is: `frontend`, `worker`, `prefill`, `decode`, `planner`, `epp`, `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_type: Option<String>,
    /// What a worker does: `prefill` or `decode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_component_type: Option<String>,
    /// Engines asked for; none said means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// CPU, memory and GPUs of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Several pods for one engine; absent means one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multinode: Option<Multinode>,
    /// Whether a scaling adapter holds the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_adapter: Option<ScalingAdapter>,
    /// The pod as the user shapes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_pod_spec: Option<ExtraPodSpec>,
}

/// Resources of one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Resources {
    /// What the pod is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceItem>,
    /// What the pod may not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceItem>,
}

/// One side of [`Resources`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ResourceItem {
    /// CPU cores, as a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory, as a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// GPUs, a whole number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Resource name of the GPUs where it is not `nvidia.com/gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_type: Option<String>,
    /// Any other resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeMap<String, String>>,
}

/// Several pods for one engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Multinode {
    /// Pods of one engine; none said means 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2), extend("default" = 2))]
    pub node_count: Option<i32>,
}

/// Whether a scaling adapter holds the replicas of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ScalingAdapter {
    /// Whether; none said means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub enabled: Option<bool>,
}

/// The pod as the user shapes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ExtraPodSpec {
    /// The container that runs the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_container: Option<ContainerArgs>,
}

/// Command line of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ContainerArgs {
    /// The program and its first arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The arguments after those of `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
}

/// What the operator says about a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend("x-kubernetes-preserve-unknown-fields" = true),
    transform = schema::unread_dgd_status_fields
)]
pub struct DgdStatus {
    /// `pending`, `successful` or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Conditions; the only type used is `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    /// By service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeMap<String, ServiceStatus>>,
}

/// What the operator says about one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ServiceStatus {
    /// What the service became: `PodClique`, `PodCliqueScalingGroup`, `Deployment` or
    /// `LeaderWorkerSet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" =
        ["PodClique", "PodCliqueScalingGroup", "Deployment", "LeaderWorkerSet"]))]
    pub component_kind: Option<String>,
    /// Deprecated: the first of `componentNames`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_name: Option<String>,
    /// Names of what the service became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_names: Option<Vec<String>>,
    /// Engines that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Engines of the newest form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub updated_replicas: Option<i32>,
    /// Engines that are ready; absent for a `PodCliqueScalingGroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,
    /// Engines that are available; only for a `Deployment` and a `PodCliqueScalingGroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub available_replicas: Option<i32>,
}

impl DynamoGraphDeployment {
    /// The services by name, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.spec
            .services
            .iter()
            .flatten()
            .map(|(name, service)| (name.as_str(), service.as_ref().unwrap_or(&Service::EMPTY)))
    }

    /// One service by its exact name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        let service = self.spec.services.as_ref()?.get(name)?;
        Some(service.as_ref().unwrap_or(&Service::EMPTY))
    }

    /// What the operator says about one service.
    #[must_use]
    pub fn service_status(&self, name: &str) -> Option<&ServiceStatus> {
        self.status.as_ref()?.services.as_ref()?.get(name)
    }

    /// Whether the condition `Ready` is true; `None` where nobody has said.
    #[must_use]
    pub fn is_ready(&self) -> Option<bool> {
        let conditions = self.status.as_ref()?.conditions.as_ref()?;
        let ready = conditions.iter().find(|c| c.type_ == names::CONDITION_READY)?;
        Some(ready.is_true())
    }

    /// Whether it is being deleted.
    #[must_use]
    pub const fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

impl Service {
    /// What an entry `null` means: every field left out.
    pub const EMPTY: Self = Self {
        component_type: None,
        sub_component_type: None,
        replicas: None,
        resources: None,
        multinode: None,
        scaling_adapter: None,
        extra_pod_spec: None,
    };

    /// Engines asked for: none said means 1, and 0 is legal.
    #[must_use]
    pub fn replicas(&self) -> Replicas {
        count(self.replicas.unwrap_or(1))
    }

    /// Whether a scaling adapter holds the replicas.
    #[must_use]
    pub fn adapter_enabled(&self) -> bool {
        self.scaling_adapter.as_ref().and_then(|adapter| adapter.enabled).unwrap_or(false)
    }

    /// Pods of one engine.
    #[must_use]
    pub fn pods_per_engine(&self) -> u32 {
        self.multinode.as_ref().map_or(1, |multinode| {
            u32::try_from(multinode.node_count.unwrap_or(2)).unwrap_or(1).max(1)
        })
    }

    /// GPUs of one engine, all of its pods together; `None` where the limits name none or name
    /// something that is no whole number.
    #[must_use]
    pub fn gpus_per_replica(&self) -> Option<Gpus> {
        let limits = self.resources.as_ref()?.limits.as_ref()?;
        let per_pod: u32 = limits.gpu.as_ref()?.trim().parse().ok()?;
        Some(Gpus::new(per_pod.saturating_mul(self.pods_per_engine())))
    }

    /// The words of the worker's command line, `command` before `args`.
    pub fn command_line(&self) -> impl Iterator<Item = &str> {
        let container = self.extra_pod_spec.as_ref().and_then(|pod| pod.main_container.as_ref());
        let command = container.and_then(|c| c.command.as_ref()).into_iter().flatten();
        let args = container.and_then(|c| c.args.as_ref()).into_iter().flatten();
        command.chain(args).map(String::as_str)
    }
}

/// A count off the wire; the schema refuses what is negative, and so it becomes none here.
pub(super) fn count(replicas: i32) -> Replicas {
    Replicas::new(u32::try_from(replicas).unwrap_or(0))
}

fn services_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let service = Service::json_schema(generator);
    schemars::json_schema!({
        "type": "object",
        "description": "The services by name.",
        "maxProperties": 25,
        "additionalProperties": service
    })
}

fn quantity(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$"
    })
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde_json::json;

    use super::*;

    fn dgd(services: &Value) -> DynamoGraphDeployment {
        serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "graph", "namespace": "serving"},
            "spec": {"services": services}
        }))
        .unwrap()
    }

    #[test]
    fn replicas_left_out_mean_one_and_zero_means_zero() {
        let dgd = dgd(&json!({"a": {}, "b": {"replicas": 0}, "c": null, "d": {"replicas": 7}}));
        let read: Vec<_> = dgd.services().map(|(name, s)| (name, s.replicas().get())).collect();
        assert_eq!(read, [("a", 1), ("b", 0), ("c", 1), ("d", 7)]);
    }

    #[test]
    fn an_adapter_is_opt_in() {
        let dgd = dgd(&json!({
            "on": {"scalingAdapter": {"enabled": true}},
            "empty": {"scalingAdapter": {}},
            "off": {"scalingAdapter": {"enabled": false}},
            "silent": {}
        }));
        let enabled: Vec<_> =
            dgd.services().filter(|(_, s)| s.adapter_enabled()).map(|(name, _)| name).collect();
        assert_eq!(enabled, ["on"]);
    }

    #[test]
    fn the_gpus_of_an_engine_are_those_of_all_its_pods() {
        let dgd = dgd(&json!({
            "one": {"resources": {"limits": {"gpu": "4"}}},
            "two": {"resources": {"limits": {"gpu": "4"}}, "multinode": {}},
            "odd": {"resources": {"limits": {"gpu": "500m"}}},
            "cpu": {"resources": {"limits": {"cpu": "2"}}}
        }));
        let gpus = |name| dgd.service(name).unwrap().gpus_per_replica();
        assert_eq!(gpus("one"), Some(Gpus::new(4)));
        assert_eq!(gpus("two"), Some(Gpus::new(8)));
        assert_eq!(gpus("odd"), None);
        assert_eq!(gpus("cpu"), None);
    }

    #[test]
    fn an_object_that_does_not_fit_is_caught_with_its_name() {
        let guard: DeserializeGuard<DynamoGraphDeployment> = serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "odd"},
            "spec": {"services": {"decode": {"replicas": "three"}}}
        }))
        .unwrap();
        assert_eq!(guard.0.unwrap_err().metadata.name.as_deref(), Some("odd"));
    }

    #[test]
    fn fields_that_we_do_not_know_do_not_hinder_reading() {
        let dgd = dgd(&json!({"x": {
            "replicas": 2, "futureField": {"a": [1, 2]}, "labels": {"team": "a"},
            "extraPodSpec": {"tolerations": [], "mainContainer":
                {"image": "i", "command": ["python3", "-m", "dynamo.vllm"], "args": ["--model", "m"]}}
        }}));
        let words: Vec<_> = dgd.service("x").unwrap().command_line().collect();
        assert_eq!(words, ["python3", "-m", "dynamo.vllm", "--model", "m"]);
    }
}
