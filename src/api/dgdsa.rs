//! `DynamoGraphDeploymentScalingAdapter`: the scale handle of one service.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Condition, Version, dgd::count, schema};
use crate::units::Replicas;

/// The scale handle of one service of a serving graph.
///
/// Once it exists it, and not the graph, says how many replicas the service has.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "nvidia.com",
    version = "v1alpha1",
    kind = "DynamoGraphDeploymentScalingAdapter",
    plural = "dynamographdeploymentscalingadapters",
    singular = "dynamographdeploymentscalingadapter",
    shortname = "dgdsa",
    namespaced,
    status = "DgdsaStatus",
    doc = "The scale handle of one service of a serving graph.",
    annotation("helm.sh/resource-policy", "keep"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn = r#"{"name": "DGD", "type": "string", "description": "Serving graph", "jsonPath": ".spec.dgdRef.name"}"#,
    printcolumn = r#"{"name": "SERVICE", "type": "string", "description": "Service of the graph", "jsonPath": ".spec.dgdRef.serviceName"}"#,
    printcolumn = r#"{"name": "REPLICAS", "type": "integer", "description": "Replicas asked for", "jsonPath": ".status.replicas"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct DgdsaSpec {
    /// Replicas asked for.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// The service that is scaled.
    pub dgd_ref: DgdRef,
}

/// A service of a graph in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DgdRef {
    /// Name of the graph.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Key of the service in the graph.
    #[schemars(length(min = 1))]
    pub service_name: String,
}

/// What the adapter controller says about an adapter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DgdsaStatus {
    /// Replicas that the graph was told: those asked for, not those that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Label selector of the service's pods, in the form that the scale subresource wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// When the replicas last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::date_time")]
    pub last_scale_time: Option<Time>,
    /// Conditions; the only type used is `Conflict`: somebody else sets the replicas too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
}

impl DgdRef {
    /// How it is written in a version of the adapter.
    #[must_use]
    pub fn in_version(&self, version: Version) -> Value {
        let Self { name, service_name } = self;
        match version {
            Version::V1alpha1 => json!({"name": name, "serviceName": service_name}),
            Version::V1beta1 => json!({"name": name, "componentName": service_name}),
        }
    }
}

impl DgdsaSpec {
    /// Replicas asked for.
    #[must_use]
    pub fn replicas(&self) -> Replicas {
        count(self.replicas)
    }
}
