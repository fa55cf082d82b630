//! Rules of one component: a service of a graph, or a `DynamoComponentDeployment` (kubernetes.md 4.5
//! and 4.7).

use super::dgd::{check_backend, is_nothing};
use super::graph::Service;
use super::{Case, Version};
use crate::api::names;
use crate::webhook::field::{Field, Verdict, shown};

/// A component of a graph.
pub(super) fn check(case: &Case<'_>, name: &str, service: &Service<'_>, verdict: &mut Verdict) {
    let field = &service.field;
    let path = field.path();
    if let Some(replicas) = service.replicas.filter(|replicas| *replicas < 0) {
        verdict.field(format!(
            "{path}.replicas must be non-negative; found {replicas}: 0 is the fewest"
        ));
    }
    if case.version == Version::Alpha {
        check_alpha(case, field, verdict);
    }
    if service.kind == "epp" {
        check_epp(case, service, verdict);
    }
    if service.adapter && name.to_lowercase().contains('_') {
        verdict.warn(format!(
            "{path}: `{}` is no name that an adapter can have; use letters, digits and `-`",
            names::adapter_name(case.name(), name)
        ));
    }
}

/// A component that is an object of its own.
pub(super) fn check_alone(case: &Case<'_>, verdict: &mut Verdict) {
    let spec = case.object.get("spec");
    spec.map(verdict);
    if let Some(replicas) = spec.get("replicas").whole(verdict).filter(|replicas| *replicas < 0) {
        verdict.field(format!(
            "spec.replicas must be non-negative; found {replicas}: 0 is the fewest"
        ));
    }
    if case.version == Version::Alpha {
        check_alpha(case, &spec, verdict);
    }
    if let Some(old) = &case.old {
        check_backend(&old.get("spec"), &spec, verdict);
    }
}

/// Fields that v1beta1 has not, or has in another shape.
fn check_alpha(case: &Case<'_>, field: &Field<'_>, verdict: &mut Verdict) {
    let path = field.path();
    let ingress = field.get("ingress");
    ingress.map(verdict);
    if ingress.get("enabled").flag(verdict) && ingress.get("host").text(verdict).is_empty() {
        verdict.field(format!(
            "{path}.ingress.host is required when ingress is enabled; found none: give it, or set \
             {path}.ingress.enabled to false"
        ));
    }
    for mount in field.get("volumeMounts").items(verdict) {
        let is_cache = mount.get("useAsCompilationCache").flag(verdict);
        if !is_cache && mount.get("mountPoint").text(verdict).is_empty() {
            verdict.field(format!(
                "{}.mountPoint is required when useAsCompilationCache is false; found none: give \
                 the folder in the container",
                mount.path()
            ));
        }
    }
    let memory = field.get("sharedMemory");
    memory.map(verdict);
    if memory.is_set() && !memory.get("disabled").flag(verdict) && is_nothing(&memory.get("size")) {
        verdict.field(format!(
            "{path}.sharedMemory.size is required when disabled is false; found none: give a \
             quantity such as 8Gi, or leave {path}.sharedMemory out for the default"
        ));
    }
    let namespace = field.get("dynamoNamespace");
    if namespace.is_set() {
        let value = namespace.text(verdict);
        let global = field.get("globalDynamoNamespace").flag(verdict);
        let graph = names::dynamo_namespace(&case.request.namespace, case.name(), global);
        verdict.warn(format!(
            "{path}.dynamoNamespace is deprecated and ignored. Value '{value}' will be replaced \
             with '{graph}'. Remove this field from your configuration",
            value = shown(value)
        ));
    }
    if field.get("autoscaling").is_set() {
        verdict.warn(format!(
            "{path}.autoscaling is deprecated and ignored. Use DynamoGraphDeploymentScalingAdapter \
             with HPA, KEDA, or Planner for autoscaling instead. See docs/kubernetes/autoscaling.md"
        ));
    }
}

/// An endpoint picker: one pod, with its configuration from one place, and InferencePools to pick from.
fn check_epp(case: &Case<'_>, service: &Service<'_>, verdict: &mut Verdict) {
    let path = service.field.path();
    if case.rules.inference_pools.is(|served| !served) {
        verdict.field(format!(
            "{path}: an epp component needs InferencePools, and the API server serves none: install the \
             CRDs of the Gateway API Inference Extension (group {}), which is seen within a minute",
            names::INFERENCE_GROUPS[0]
        ));
    }
    if service.multinode {
        verdict.field(format!(
            "{path}.multinode: expected none for an epp component, which has one node: remove it"
        ));
    }
    if service.count() != 1 {
        verdict.field(format!(
            "{path}.replicas: expected exactly 1 for an epp component, found {}: set it to 1",
            service.count()
        ));
    }
    let config = service.field.get("eppConfig");
    config.map(verdict);
    match (config.is_set(), config.get("configMapRef").is_set(), config.get("config").is_set()) {
        (false, _, _) => verdict.field(format!(
            "{path}.eppConfig is required for an epp component; give eppConfig.configMapRef or \
             eppConfig.config"
        )),
        (true, false, false) => verdict.field(format!(
            "{path}.eppConfig: expected exactly one of configMapRef and config, found neither: give \
             one"
        )),
        (true, true, true) => verdict.field(format!(
            "{path}.eppConfig: expected exactly one of configMapRef and config, found both: remove \
             one"
        )),
        (true, _, _) => {}
    }
}
