//! The condition `Conflict` of an adapter.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::{Adapter, Condition, DynamoGraphDeploymentScalingAdapter, Version, names};
use crate::controllers::client::{Call, CallError, within};
use crate::controllers::clock::wall_clock;
use crate::controllers::kinds::api_of;

/// The condition `Conflict` that an adapter has now.
#[must_use]
pub fn conflict_of(adapter: &DynamoGraphDeploymentScalingAdapter) -> Option<&Condition> {
    let conditions = adapter.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == names::CONDITION_CONFLICT)
}

/// Writes the condition of an adapter, in a version of it: who else sets the replicas, or (`None`) that
/// nobody does any more. It is applied as a field of its own, so that the other writers of the status
/// keep theirs.
///
/// # Errors
///
/// Where the call fails. The schema of NVIDIA's operator has no conditions here and refuses it.
pub async fn condition(
    client: &Client,
    version: Version,
    at: (&str, &str),
    present: Option<&Condition>,
    others: Option<&str>,
    deadline: Duration,
) -> Result<(), CallError> {
    let (status, reason) = match others {
        Some(_) => ("True", names::REASON_SEVERAL_WRITERS),
        None => ("False", names::REASON_ONE_WRITER),
    };
    let since = present.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    let condition = Condition {
        last_transition_time: Some(since.unwrap_or_else(|| Time(wall_clock()))),
        message: others.unwrap_or("nobody else sets the replicas").to_owned(),
        observed_generation: None,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: names::CONDITION_CONFLICT.to_owned(),
    };
    apply(client, version, at, &json!({"conditions": [condition]}), deadline).await
}

/// Whether the condition that an adapter has is one that [`condition`] has written.
#[must_use]
pub fn is_ours(adapter: &DynamoGraphDeploymentScalingAdapter) -> bool {
    let ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(names::FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref() == Some("status")
    };
    let key = format!("k:{}", json!({"type": names::CONDITION_CONFLICT}));
    let owns = |entry: &ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| !fields["f:status"]["f:conditions"][&key].is_null())
    };
    adapter.managed_fields().iter().any(|entry| ours(entry) && owns(entry))
}

/// Takes the condition away that [`condition`] has written; what others wrote stays.
///
/// # Errors
///
/// Where the call fails.
pub async fn withdraw(
    client: &Client,
    version: Version,
    at: (&str, &str),
    deadline: Duration,
) -> Result<(), CallError> {
    // What was applied before and is not applied any more is removed.
    apply(client, version, at, &json!({}), deadline).await
}

async fn apply(
    client: &Client,
    version: Version,
    (namespace, adapter): (&str, &str),
    status: &Value,
    deadline: Duration,
) -> Result<(), CallError> {
    let body = json!({
        "apiVersion": version.api_version(), "kind": names::DGDSA_KIND,
        "metadata": {"name": adapter}, "status": status
    });
    let api: Api<Adapter> = api_of(client, Some(namespace), version);
    let call = Call::object("patch", names::GROUP, names::DGDSA_STATUS, namespace, adapter);
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    within(deadline, call, api.patch_status(adapter, &params, &Patch::Apply(&body))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(entry: &Value) -> DynamoGraphDeploymentScalingAdapter {
        serde_json::from_value(json!({
            "apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND,
            "metadata": {"name": "a", "managedFields": [entry]},
            "spec": {"replicas": 1, "dgdRef": {"name": "g", "serviceName": "s"}}
        }))
        .unwrap()
    }

    #[test]
    fn a_condition_is_ours_where_we_applied_it() {
        // As an API server wrote it down.
        let applied = json!({
            "manager": "sla-planner", "operation": "Apply", "subresource": "status",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:conditions": {
                "k:{\"type\":\"Conflict\"}": {".": {}, "f:type": {}, "f:status": {}}
            }}}
        });
        assert!(is_ours(&adapter(&applied)));
        for (field, value) in [
            ("manager", json!("somebody")),
            ("operation", json!("Update")),
            ("subresource", Value::Null),
            ("fieldsV1", json!({"f:status": {"f:replicas": {}}})),
            ("fieldsV1", Value::Null),
        ] {
            let mut other = applied.clone();
            other[field] = value;
            assert!(!is_ours(&adapter(&other)), "{other}");
        }
    }
}
