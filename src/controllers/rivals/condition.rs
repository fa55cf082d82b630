//! The condition `Conflict` of an adapter.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

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

/// Writes the condition of an adapter, in a version of it: who else sets the replicas, or (`None`) that nobody does any more. It is
/// applied as a field of its own, so that the other writers of the status keep theirs.
///
/// # Errors
///
/// Where the call fails. The schema of NVIDIA's operator has no conditions here and refuses it.
pub async fn condition(
    client: &Client,
    version: Version,
    (namespace, adapter): (&str, &str),
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
    let body = json!({
        "apiVersion": version.api_version(), "kind": names::DGDSA_KIND,
        "metadata": {"name": adapter},
        "status": {"conditions": [condition]}
    });
    let api: Api<Adapter> = api_of(client, Some(namespace), version);
    let call = Call::object("patch", names::GROUP, names::DGDSA_STATUS, namespace, adapter);
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    within(deadline, call, api.patch_status(adapter, &params, &Patch::Apply(&body))).await.map(drop)
}
