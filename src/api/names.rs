//! Every name that leaves the process towards Kubernetes: groups, labels, annotations, event
//! reasons, messages that others parse, and the rules by which names are made.

use super::Version;

/// API group of the three kinds.
pub const GROUP: &str = "nvidia.com";
/// Version of the three kinds in `crds/`.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of the three kinds in `crds/`.
pub const API_VERSION: &str = "nvidia.com/v1alpha1";
/// Version in which NVIDIA's operator stores a serving graph from 1.1 on.
pub const VERSION_V1BETA1: &str = "v1beta1";
/// `apiVersion` of [`VERSION_V1BETA1`].
pub const API_VERSION_V1BETA1: &str = "nvidia.com/v1beta1";

/// Kind of a serving graph.
pub const DGD_KIND: &str = "DynamoGraphDeployment";
/// Resource of [`DGD_KIND`], as in an RBAC rule.
pub const DGD_PLURAL: &str = "dynamographdeployments";
/// Kind of the scale handle of one service.
pub const DGDSA_KIND: &str = "DynamoGraphDeploymentScalingAdapter";
/// Resource of [`DGDSA_KIND`], as in an RBAC rule.
pub const DGDSA_PLURAL: &str = "dynamographdeploymentscalingadapters";
/// Scale subresource of [`DGDSA_KIND`], as in an RBAC rule.
pub const DGDSA_SCALE: &str = "dynamographdeploymentscalingadapters/scale";
/// Status subresource of [`DGDSA_KIND`], as in an RBAC rule.
pub const DGDSA_STATUS: &str = "dynamographdeploymentscalingadapters/status";
/// Kind of a profile-and-deploy request.
pub const DGDR_KIND: &str = "DynamoGraphDeploymentRequest";
/// Resource of [`DGDR_KIND`], as in an RBAC rule.
pub const DGDR_PLURAL: &str = "dynamographdeploymentrequests";

/// API groups under which InferencePools are served: the one they have, and the one they had before.
pub const INFERENCE_GROUPS: [&str; 2] =
    ["inference.networking.k8s.io", "inference.networking.x-k8s.io"];
/// API group of a Lease.
pub const LEASE_GROUP: &str = "coordination.k8s.io";
/// Resource of a Lease, as in an RBAC rule.
pub const LEASE_PLURAL: &str = "leases";
/// Lease whose holder runs the adapter controller in its namespace.
pub const LEASE_ADAPTERS: &str = "sla-planner-adapters";

/// Lease whose holder plans for the graphs that ask for it.
pub const LEASE_PLANNER: &str = "sla-planner";

/// Leases of which one is renewed in a namespace to which an operator of NVIDIA is restricted, while it
/// runs: each of its releases uses one of these names.
pub const LEASES_RESTRICTED: [&str; 2] =
    ["dynamo-operator-ns-lock", "dynamo-operator-namespace-scope"];

/// Who we are in `metadata.managedFields` and in the source of events.
pub const FIELD_MANAGER: &str = "sla-planner";

/// Pod and adapter label: name of the DGD.
pub const LABEL_DGD_NAME: &str = "nvidia.com/dynamo-graph-deployment-name";
/// Pod and adapter label: key of the service in the DGD, case preserved.
pub const LABEL_COMPONENT: &str = "nvidia.com/dynamo-component";
/// Pod label: [`selector_value`], set on every path that the operator knows.
pub const LABEL_SELECTOR: &str = "nvidia.com/selector";
/// Pod label: the computed Dynamo namespace.
pub const LABEL_DYNAMO_NAMESPACE: &str = "nvidia.com/dynamo-namespace";
/// Pod label: `componentType` of the service.
pub const LABEL_COMPONENT_TYPE: &str = "nvidia.com/dynamo-component-type";
/// Pod label: `subComponentType` of the service, where it has one.
pub const LABEL_SUB_COMPONENT_TYPE: &str = "nvidia.com/dynamo-sub-component-type";
/// Pod label: `"true"` where the pod is scraped.
pub const LABEL_METRICS_ENABLED: &str = "nvidia.com/metrics-enabled";

/// DGD annotation that keeps Grove out (`"false"`).
pub const ANNOTATION_ENABLE_GROVE: &str = "nvidia.com/enable-grove";
/// DGD annotation that switches the scraping of its pods off (`"false"`).
pub const ANNOTATION_ENABLE_METRICS: &str = "nvidia.com/enable-metrics";
/// CRD annotation by which Helm leaves a CRD in place when the chart is removed.
pub const ANNOTATION_HELM_RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// Annotation by which a graph asks a service of the cluster to plan for it, and says how.
pub const ANNOTATION_CONFIG: &str = "sla-planner/config";
/// Annotation of the webhook's Secret: when its certificate ends.
pub const ANNOTATION_NOT_AFTER: &str = "sla-planner/certificate-not-after";
/// Annotation of the webhook's Secret: the names that its certificate is for.
pub const ANNOTATION_NAMES: &str = "sla-planner/certificate-names";
/// Annotation of the webhook's Secret: when the certificate that comes next ends.
pub const ANNOTATION_NEXT_NOT_AFTER: &str = "sla-planner/next-certificate-not-after";

/// Finalizer that Dynamo's operator puts on DGD and DGDR.
pub const FINALIZER: &str = "nvidia.com/finalizer";

/// Resource name of a GPU in a pod and a node.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";

/// Condition type of a DGD whose services all run.
pub const CONDITION_READY: &str = "Ready";
/// Reason of [`CONDITION_READY`] when true.
pub const REASON_ALL_READY: &str = "all_resources_are_ready";
/// Reason of [`CONDITION_READY`] when false because services are not ready.
pub const REASON_SOME_NOT_READY: &str = "some_resources_are_not_ready";
/// Condition type of an adapter whose replicas somebody else sets too.
pub const CONDITION_CONFLICT: &str = "Conflict";
/// Reason of [`CONDITION_CONFLICT`] when true.
pub const REASON_SEVERAL_WRITERS: &str = "SeveralWriters";
/// Reason of [`CONDITION_CONFLICT`] when false.
pub const REASON_ONE_WRITER: &str = "OneWriter";
/// `status.state` of a DGD whose services do not all run yet.
pub const STATE_PENDING: &str = "pending";
/// `status.state` of a DGD whose services all run.
pub const STATE_SUCCESSFUL: &str = "successful";
/// `status.state` of a DGD that could not be reconciled.
pub const STATE_FAILED: &str = "failed";

/// Event on an adapter: the DGD now asks for the adapter's replicas.
pub const EVENT_SCALED: &str = "Scaled";
/// Event on an adapter: the DGD could not be changed.
pub const EVENT_UPDATE_FAILED: &str = "UpdateFailed";
/// Event on a DGD: an adapter was made for one of its services.
pub const EVENT_ADAPTER_CREATED: &str = "AdapterCreated";
/// Event on a DGD: labels or owner of an adapter were put right.
pub const EVENT_ADAPTER_UPDATED: &str = "AdapterUpdated";
/// Event on a DGD: an adapter was deleted.
pub const EVENT_ADAPTER_DELETED: &str = "AdapterDeleted";
/// Event on a DGD: two services, or a service and a foreign object, want one adapter name.
pub const EVENT_ADAPTER_CONFLICT: &str = "AdapterConflict";
/// Event on a DGD: the adapter of one of its services cannot be read.
pub const EVENT_INVALID_ADAPTER: &str = "InvalidAdapter";

/// Event on a DGD: what it says of how to plan for it cannot be used.
pub const EVENT_INVALID_CONFIG: &str = "InvalidConfig";
/// Event on an adapter: somebody else sets its replicas too.
pub const EVENT_CONFLICT: &str = "Conflict";
/// Event on an adapter: nobody else sets its replicas any more.
pub const EVENT_CONFLICT_RESOLVED: &str = "ConflictResolved";
/// Event on an adapter: a change by somebody else was written over.
pub const EVENT_OVERWRITTEN: &str = "Overwritten";

/// Name of the adapter of a service: `<dgd>-<service in lower case>`.
#[must_use]
pub fn adapter_name(dgd: &str, service: &str) -> String {
    format!("{dgd}-{}", service.to_lowercase())
}

/// Value of [`LABEL_SELECTOR`] on the pods of a service, and name of its Deployment where the
/// operator makes one.
#[must_use]
pub fn selector_value(dgd: &str, service: &str) -> String {
    format!("{dgd}-{}", service.to_lowercase())
}

/// `status.selector` of an adapter, in the one spelling that other tools parse.
#[must_use]
pub fn adapter_selector(dgd: &str, service: &str) -> String {
    format!("{LABEL_DGD_NAME}={dgd},{LABEL_COMPONENT}={service}")
}

/// Label selector for all pods and adapters of a DGD.
#[must_use]
pub fn dgd_selector(dgd: &str) -> String {
    format!("{LABEL_DGD_NAME}={dgd}")
}

/// The Dynamo namespace that the operator computes: `<Kubernetes namespace>-<dgd>`, or `dynamo`
/// for a component in the global one.
#[must_use]
pub fn dynamo_namespace(namespace: &str, dgd: &str, global: bool) -> String {
    if global { "dynamo".to_owned() } else { format!("{namespace}-{dgd}") }
}

/// Message of [`EVENT_SCALED`]; each version of the graph has its own word for what is scaled.
#[must_use]
pub fn scaled_message(version: Version, service: &str, from: u32, to: u32) -> String {
    format!("Scaled {} {service} from {from} to {to} replicas", version.part())
}

/// Message of [`EVENT_UPDATE_FAILED`].
#[must_use]
pub fn update_failed_message(dgd: &str, why: &str) -> String {
    format!("Failed to update DGD {dgd}: {why}")
}

/// Message of [`EVENT_ADAPTER_CREATED`].
#[must_use]
pub fn adapter_created_message(adapter: &str, service: &str) -> String {
    format!("Created scaling adapter {adapter} for component {service}")
}

/// Message of [`EVENT_ADAPTER_UPDATED`].
#[must_use]
pub fn adapter_updated_message(adapter: &str, service: &str) -> String {
    format!("Updated scaling adapter {adapter} for component {service}")
}

/// Message of [`EVENT_ADAPTER_DELETED`] for a service that no longer wants one.
#[must_use]
pub fn adapter_deleted_message(adapter: &str, service: &str) -> String {
    format!("Deleted scaling adapter {adapter} for component {service}")
}

/// Message of [`EVENT_ADAPTER_DELETED`] for a service that is gone.
#[must_use]
pub fn orphan_deleted_message(version: Version, adapter: &str, service: &str) -> String {
    format!("Deleted orphaned scaling adapter {adapter} for removed {} {service}", version.part())
}

/// Message of [`EVENT_INVALID_ADAPTER`]: what is wrong comes last, as it may be cut off.
#[must_use]
pub fn invalid_adapter_message(adapter: &str, service: &str, why: &str) -> String {
    format!(
        "Scaling adapter {adapter} of component {service} cannot be read, and is left alone until it \
         can: {why}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_named_by_the_service_in_lower_case() {
        assert_eq!(adapter_name("sglang-agg", "decode"), "sglang-agg-decode");
        assert_eq!(adapter_name("g", "VllmDecodeWorker"), "g-vllmdecodeworker");
    }

    #[test]
    fn the_selector_keeps_the_case_of_the_service() {
        assert_eq!(
            adapter_selector("g", "VllmDecodeWorker"),
            "nvidia.com/dynamo-graph-deployment-name=g,nvidia.com/dynamo-component=VllmDecodeWorker"
        );
    }
}
