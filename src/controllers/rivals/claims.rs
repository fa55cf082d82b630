//! Autoscalers that target a scaling adapter: read from the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::api::names;
use crate::controllers::client::{Call, CallError, within};

/// A kind of autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Autoscaler {
    /// Of Kubernetes.
    Hpa,
    /// Of KEDA, which makes a `HorizontalPodAutoscaler` of its own for it.
    ScaledObject,
}

impl Autoscaler {
    /// Its kind, as in a manifest.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Hpa => "HorizontalPodAutoscaler",
            Self::ScaledObject => "ScaledObject",
        }
    }

    const fn group(self) -> &'static str {
        match self {
            Self::Hpa => "autoscaling",
            Self::ScaledObject => "keda.sh",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Hpa => "horizontalpodautoscalers",
            Self::ScaledObject => "scaledobjects",
        }
    }
}

/// One autoscaler that targets an adapter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Name of the adapter.
    pub adapter: String,
    /// The kind of autoscaler.
    pub kind: Autoscaler,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
    }
}

/// The autoscalers of a namespace, as far as they are seen: for each kind those that target an
/// adapter, or why it could not be listed. A kind that the cluster does not know is none.
///
/// The list of HPAs has those of KEDA too, told as what they were made for.
pub type Claims = BTreeMap<Autoscaler, Result<BTreeSet<Claim>, CallError>>;

/// Lists the autoscalers of a namespace that target an adapter.
pub async fn claims(client: &Client, namespace: &str, deadline: Duration) -> Claims {
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let resource = ApiResource {
        group: Autoscaler::ScaledObject.group().to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "keda.sh/v1alpha1".to_owned(),
        kind: Autoscaler::ScaledObject.kind().to_owned(),
        plural: Autoscaler::ScaledObject.plural().to_owned(),
    };
    let scaled: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let call = |of: Autoscaler| Call::all("list", of.group(), of.plural(), Some(namespace));
    let all = ListParams::default();
    let (hpas, scaled) = tokio::join!(
        within(deadline, call(Autoscaler::Hpa), hpas.list(&all)),
        within(deadline, call(Autoscaler::ScaledObject), scaled.list(&all)),
    );
    let hpas = hpas.map(|list| list.items.iter().filter_map(of_hpa).collect());
    let scaled = match scaled {
        Ok(list) => Ok(list.items.iter().filter_map(of_scaled_object).collect()),
        Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    };
    [(Autoscaler::Hpa, hpas), (Autoscaler::ScaledObject, scaled)].into()
}

/// What an HPA targets. One that KEDA made is told by the name that its user wrote.
fn of_hpa(hpa: &HorizontalPodAutoscaler) -> Option<Claim> {
    let target = &hpa.spec.as_ref()?.scale_target_ref;
    let is_ours = is_adapter(target.api_version.as_deref(), &target.kind);
    let owner = hpa.owner_references().iter().find(|o| o.kind == Autoscaler::ScaledObject.kind());
    let (kind, name) = match owner {
        Some(owner) => (Autoscaler::ScaledObject, owner.name.clone()),
        None => (Autoscaler::Hpa, hpa.name_any()),
    };
    is_ours.then(|| Claim { adapter: target.name.clone(), kind, name })
}

/// What a ScaledObject targets; one that is paused writes nothing, and so claims nothing.
fn of_scaled_object(object: &DynamicObject) -> Option<Claim> {
    let said = object.annotations();
    let is_paused = said.get(PAUSED).is_some_and(|paused| TRUE.contains(&paused.as_str()));
    if is_paused || said.contains_key(PAUSED_AT) {
        return None;
    }
    let target = &object.data["spec"]["scaleTargetRef"];
    let text = |key: &str| target[key].as_str();
    if !is_adapter(text("apiVersion"), text("kind").unwrap_or("Deployment")) {
        return None;
    }
    let adapter = target.get("name").and_then(Value::as_str)?.to_owned();
    Some(Claim { adapter, kind: Autoscaler::ScaledObject, name: object.name_any() })
}

/// KEDA's annotation for an autoscaler that is to rest.
const PAUSED: &str = "autoscaling.keda.sh/paused";

/// KEDA's annotation for one that is to rest at a count.
const PAUSED_AT: &str = "autoscaling.keda.sh/paused-replicas";

/// What KEDA, which is written in Go, reads as yes.
const TRUE: [&str; 6] = ["1", "t", "T", "true", "TRUE", "True"];

/// Whether a target reference means a scaling adapter, in whatever version.
fn is_adapter(api_version: Option<&str>, kind: &str) -> bool {
    let group = api_version.and_then(|version| version.split_once('/')).map(|(group, _)| group);
    kind == names::DGDSA_KIND && group == Some(names::GROUP)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hpa(owner: &Value, target: &Value) -> Option<Claim> {
        let object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "ownerReferences": owner},
            "spec": {"scaleTargetRef": target, "maxReplicas": 3}
        });
        of_hpa(&serde_json::from_value(object).unwrap())
    }

    fn scaled_object(annotations: &Value, target: &Value) -> Option<Claim> {
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "s", "annotations": annotations},
            "spec": {"scaleTargetRef": target}
        });
        of_scaled_object(&serde_json::from_value(object).unwrap())
    }

    fn adapter(version: &str) -> Value {
        json!({"apiVersion": version, "kind": names::DGDSA_KIND, "name": "g-decode"})
    }

    #[test]
    fn what_targets_an_adapter_is_a_claim_and_nothing_else_is() {
        let none = json!([]);
        let claim = hpa(&none, &adapter("nvidia.com/v1alpha1")).unwrap();
        assert_eq!(
            (claim.to_string().as_str(), claim.adapter.as_str()),
            ("HorizontalPodAutoscaler h", "g-decode")
        );
        assert!(hpa(&none, &adapter("nvidia.com/v1beta1")).is_some());
        assert_eq!(hpa(&none, &adapter("example.com/v1")), None);
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "g-decode"});
        assert_eq!(hpa(&none, &deployment), None);
        assert_eq!(hpa(&none, &json!({"kind": names::DGDSA_KIND, "name": "g-decode"})), None);
    }

    #[test]
    fn kedas_own_hpa_and_its_scaled_object_are_one_claim() {
        let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "s", "uid": "1"}]);
        let target = adapter("nvidia.com/v1alpha1");
        let both = [hpa(&owner, &target), scaled_object(&json!({}), &target)];
        let all: BTreeSet<Claim> = both.into_iter().flatten().collect();
        assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ScaledObject s"]);
        for rests in [json!({PAUSED: "True"}), json!({PAUSED_AT: "0"})] {
            assert_eq!(scaled_object(&rests, &target), None, "{rests}");
        }
        assert!(scaled_object(&json!({PAUSED: "false"}), &target).is_some());
        assert_eq!(scaled_object(&json!({}), &json!({"name": "g-decode"})), None, "a Deployment");
        assert_eq!(scaled_object(&json!({}), &json!(null)), None);
    }
}
