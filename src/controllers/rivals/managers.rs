//! Who set the replicas of an adapter last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

/// Who set a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaler<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Whether by the scale subresource; else it made or changed the object itself.
    pub by_scale: bool,
}

/// Who set `spec.replicas` last; `None` where nobody is named.
///
/// Several may own the field with the same number (server-side apply); the newest of them is told.
#[must_use]
pub fn last_to_scale(managed: &[ManagedFieldsEntry]) -> Option<Scaler<'_>> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null())
    };
    let newest = managed.iter().filter(owns).max_by_key(|e| e.time.as_ref().map(|time| time.0));
    let newest = newest?;
    let by_scale = newest.subresource.as_deref() == Some("scale");
    Some(Scaler { manager: newest.manager.as_deref()?, by_scale })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entries(entries: &Value) -> Vec<ManagedFieldsEntry> {
        serde_json::from_value(entries.clone()).unwrap()
    }

    #[test]
    fn the_newest_owner_of_the_replicas_is_who_scaled_last() {
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let all = entries(&json!([
            {"manager": "kubectl", "operation": "Update", "subresource": "scale",
             "time": "2026-11-29T10:00:01Z", "fieldsType": "FieldsV1", "fieldsV1": replicas},
            {"manager": "argocd", "operation": "Apply", "time": "2026-11-29T10:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": replicas},
            {"manager": "sla-planner", "operation": "Update", "subresource": "status",
             "time": "2026-11-29T10:00:02Z", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:status": {"f:replicas": {}}}}
        ]));
        let kubectl = Scaler { manager: "kubectl", by_scale: true };
        assert_eq!(last_to_scale(&all), Some(kubectl));
        let argo = Scaler { manager: "argocd", by_scale: false };
        assert_eq!(last_to_scale(&all[1..]), Some(argo));
        assert_eq!(last_to_scale(&all[2..]), None, "a status is no order");
        assert_eq!(last_to_scale(&[]), None);
        assert_eq!(last_to_scale(&entries(&json!([{"manager": "x"}]))), None);
    }
}
