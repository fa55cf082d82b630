//! `DynamoGraphDeploymentRequest`: profile a model, and deploy what the profile says.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Condition, schema};

/// A request to profile a model and to deploy what the profile says.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "nvidia.com",
    version = "v1alpha1",
    kind = "DynamoGraphDeploymentRequest",
    plural = "dynamographdeploymentrequests",
    singular = "dynamographdeploymentrequest",
    shortname = "dgdr",
    namespaced,
    status = "DgdrStatus",
    doc = "A request to profile a model and to deploy what the profile says.",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn = r#"{"name": "Model", "type": "string", "jsonPath": ".spec.model"}"#,
    printcolumn = r#"{"name": "Backend", "type": "string", "jsonPath": ".status.backend"}"#,
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "DGD-State", "type": "string", "jsonPath": ".status.deployment.state"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DgdrSpec {
    /// The model, by the name that its engine knows.
    pub model: String,
    /// Inference engine.
    #[schemars(extend("enum" = ["vllm", "sglang", "trtllm"]))]
    pub backend: String,
    /// Profile for real, but deploy mock workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub use_mocker: Option<bool>,
    /// Find the GPUs of the cluster's nodes; needs an operator for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub enable_gpu_discovery: Option<bool>,
    /// How to profile.
    pub profiling_config: ProfilingConfig,
    /// Whether the result is deployed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub auto_apply: Option<bool>,
    /// What the deployed graph has other than generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_overrides: Option<DeploymentOverrides>,
}

/// How to profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ProfilingConfig {
    /// Settings of the profiler, free in form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::kept_object")]
    pub config: Option<Map<String, Value>>,
    /// A graph to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// Image of the profiler.
    pub profiler_image: String,
    /// A volume claim for what the profiler writes; else it is kept in the pod only.
    #[serde(default, rename = "outputPVC", skip_serializing_if = "Option::is_none")]
    pub output_pvc: Option<String>,
    /// Resources of the profiler's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::kept_object")]
    pub resources: Option<Map<String, Value>>,
    /// Tolerations of the profiler's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::kept_objects")]
    pub tolerations: Option<Vec<Value>>,
}

/// A key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRef {
    /// Name of the ConfigMap.
    pub name: String,
    /// The key; none said means `disagg.yaml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "disagg.yaml"))]
    pub key: Option<String>,
}

/// What the deployed graph has other than generated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DeploymentOverrides {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// More labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// More annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Image of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_image: Option<String>,
}

/// How far a request has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DgdrStatus {
    /// Empty, `Pending`, `Profiling`, `Deploying`, `Ready`, `DeploymentDeleted` or `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The engine, taken over from the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The generation of the spec that is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions of the types `Validation`, `Profiling`, `SpecGenerated`, `DeploymentReady`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    /// Where the results are: `configmap/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiling_results: Option<String>,
    /// The whole generated graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::embedded_object")]
    pub generated_deployment: Option<Map<String, Value>>,
    /// The graph that was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentStatus>,
}

/// The graph that was deployed for a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DeploymentStatus {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its `status.state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether it was made; it is never made twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
}
