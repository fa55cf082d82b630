//! Which service of a graph is the prefill one, the decode one, or the one that does both.

use thiserror::Error;

use super::model::model_name;
use crate::api::{DynamoGraphDeployment, Service};
use crate::observe::Role;

/// Why a service could not be found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoleError {
    /// No service has the role.
    #[error(
        "no service of DGD {dgd} is for {role}: none has subComponentType {role}, and none has a \
         default name of an inference engine"
    )]
    None {
        /// The graph.
        dgd: String,
        /// The role.
        role: Role,
    },
    /// Several services have the role.
    #[error("services {} of DGD {dgd} are all for {role}; one is expected", services.join(", "))]
    Several {
        /// The graph.
        dgd: String,
        /// The role.
        role: Role,
        /// The services, in order.
        services: Vec<String>,
    },
    /// The configuration names a service that the graph does not have.
    #[error("DGD {dgd} has no service {service}; it has {}", known.join(", "))]
    Unknown {
        /// The graph.
        dgd: String,
        /// The service named.
        service: String,
        /// The services of the graph, in order.
        known: Vec<String>,
    },
    /// No worker's command line names the model.
    #[error(
        "no --served-model-name, --model-name or --model on the command line of service {}",
        services.join(" or ")
    )]
    NoModel {
        /// The services looked at.
        services: Vec<String>,
    },
    /// Two workers of one graph serve different models.
    #[error("service {first} serves {first_model}, but service {second} serves {second_model}")]
    ModelsDiffer {
        /// A service.
        first: String,
        /// Its model.
        first_model: String,
        /// Another service.
        second: String,
        /// Its model.
        second_model: String,
    },
}

/// The service names that the examples of each engine use, where `subComponentType` is not set.
const DEFAULT_NAMES: [(&str, &str, &str); 3] = [
    ("vllm", "VllmPrefillWorker", "VllmDecodeWorker"),
    ("sglang", "prefill", "decode"),
    ("trtllm", "TRTLLMPrefillWorker", "TRTLLMDecodeWorker"),
];

/// The one service with this role.
///
/// Prefill and decode are told by `subComponentType`, or by `componentType` in graphs that name the
/// role there; where no service says either, by the default names of the graph's engine (of every
/// engine, where the graph names none). The aggregated service is the one worker that says neither
/// prefill nor decode; a lone decode worker without a prefill one does both as well.
///
/// # Errors
///
/// Where no service or several services have the role.
pub fn find(dgd: &DynamoGraphDeployment, role: Role) -> Result<&str, RoleError> {
    let graph = || dgd.metadata.name.clone().unwrap_or_default();
    let by_type: Vec<&str> = dgd
        .services()
        .filter(|(_, service)| has_role(service, role))
        .map(|(name, _)| name)
        .collect();
    let candidates = if by_type.is_empty() { by_default(dgd, role) } else { by_type };
    match candidates.as_slice() {
        [] => Err(RoleError::None { dgd: graph(), role }),
        [service] => Ok(service),
        several => Err(RoleError::Several {
            dgd: graph(),
            role,
            services: several.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// The service that the configuration names for a role, or the one found by [`find`].
///
/// # Errors
///
/// Where the graph has no service of that name, or none is named and [`find`] fails.
pub fn resolve<'a>(
    dgd: &'a DynamoGraphDeployment,
    role: Role,
    named: Option<&str>,
) -> Result<&'a str, RoleError> {
    let Some(named) = named else { return find(dgd, role) };
    let found = dgd.services().map(|(name, _)| name).find(|name| *name == named);
    found.ok_or_else(|| RoleError::Unknown {
        dgd: dgd.metadata.name.clone().unwrap_or_default(),
        service: named.to_owned(),
        known: dgd.services().map(|(name, _)| name.to_owned()).collect(),
    })
}

/// The model that these services serve. One that does not say is passed over.
///
/// # Errors
///
/// Where none says it, or two disagree.
pub fn find_model(dgd: &DynamoGraphDeployment, services: &[&str]) -> Result<String, RoleError> {
    let mut said =
        services.iter().filter_map(|name| Some((*name, model_name(dgd.service(name)?)?)));
    let Some((first, model)) = said.next() else {
        let services = services.iter().map(ToString::to_string).collect();
        return Err(RoleError::NoModel { services });
    };
    // The frontend spells a model in lower case in its metrics, so case alone is no difference.
    match said.find(|(_, other)| !other.eq_ignore_ascii_case(&model)) {
        None => Ok(model),
        Some((second, second_model)) => Err(RoleError::ModelsDiffer {
            first: first.to_owned(),
            first_model: model,
            second: second.to_owned(),
            second_model,
        }),
    }
}

fn has_role(service: &Service, role: Role) -> bool {
    let sub = service.sub_component_type.as_deref().filter(|sub| !sub.is_empty());
    let said = sub.or(service.component_type.as_deref());
    match role {
        Role::Prefill | Role::Decode => said == Some(role.as_str()),
        Role::Aggregated => sub.is_none() && said == Some("worker"),
    }
}

fn by_default(dgd: &DynamoGraphDeployment, role: Role) -> Vec<&str> {
    let engine = dgd.spec.backend_framework.as_deref();
    let is_default = |name: &str| {
        DEFAULT_NAMES.iter().any(|(backend, prefill, decode)| {
            let default = match role {
                Role::Prefill => Some(*prefill),
                Role::Decode => Some(*decode),
                Role::Aggregated => None,
            };
            engine.is_none_or(|engine| engine == *backend) && default == Some(name)
        })
    };
    let named: Vec<&str> =
        dgd.services().map(|(name, _)| name).filter(|name| is_default(name)).collect();
    if role == Role::Aggregated && find(dgd, Role::Prefill).is_err() {
        return find(dgd, Role::Decode).into_iter().collect();
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn dgd(services: Value) -> DynamoGraphDeployment {
        serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "graph"}, "spec": {"services": services}
        }))
        .unwrap()
    }

    #[test]
    fn the_sub_component_type_tells_the_role() {
        let dgd = dgd(json!({
            "Frontend": {"componentType": "frontend"},
            "left": {"componentType": "worker", "subComponentType": "prefill"},
            "right": {"componentType": "worker", "subComponentType": "decode"}
        }));
        assert_eq!(find(&dgd, Role::Prefill), Ok("left"));
        assert_eq!(find(&dgd, Role::Decode), Ok("right"));
        assert!(find(&dgd, Role::Aggregated).is_err());
    }

    #[test]
    fn a_service_named_in_the_configuration_is_taken_whatever_its_type() {
        let dgd = dgd(json!({"odd": {}, "decode": {"subComponentType": "decode"}}));
        assert_eq!(resolve(&dgd, Role::Decode, Some("odd")), Ok("odd"));
        assert_eq!(resolve(&dgd, Role::Decode, None), Ok("decode"));
        assert_eq!(
            resolve(&dgd, Role::Decode, Some("Odd")).unwrap_err().to_string(),
            "DGD graph has no service Odd; it has decode, odd"
        );
    }

    #[test]
    fn without_it_the_default_names_of_the_engine_are_looked_for() {
        let mut dgd = dgd(json!({
            "VllmPrefillWorker": {"componentType": "worker"},
            "VllmDecodeWorker": {"componentType": "worker"}
        }));
        assert_eq!(find(&dgd, Role::Decode), Ok("VllmDecodeWorker"));
        dgd.spec.backend_framework = Some("sglang".to_owned());
        assert!(matches!(find(&dgd, Role::Decode), Err(RoleError::None { .. })));
    }

    #[test]
    fn none_and_several_are_different_errors() {
        let twice = json!({"componentType": "worker", "subComponentType": "decode"});
        let dgd = dgd(json!({"b": twice, "a": twice}));
        assert_eq!(
            find(&dgd, Role::Decode).unwrap_err().to_string(),
            "services a, b of DGD graph are all for decode; one is expected"
        );
        assert!(matches!(find(&dgd, Role::Prefill), Err(RoleError::None { .. })));
    }

    #[test]
    fn a_lone_worker_is_aggregated_whatever_it_says() {
        let plain =
            dgd(json!({"W": {"componentType": "worker"}, "F": {"componentType": "frontend"}}));
        assert_eq!(find(&plain, Role::Aggregated), Ok("W"));
        let decode =
            dgd(json!({"decode": {"componentType": "worker", "subComponentType": "decode"}}));
        assert_eq!(find(&decode, Role::Aggregated), Ok("decode"));
    }

    #[test]
    fn workers_must_agree_on_the_model() {
        let args =
            |model: &str| json!({"extraPodSpec": {"mainContainer": {"args": ["--model", model]}}});
        let same = dgd(json!({"p": args("Org/M"), "d": args("org/m"), "silent": {}}));
        assert_eq!(find_model(&same, &["p", "silent", "d"]).as_deref(), Ok("Org/M"));
        let different = dgd(json!({"p": args("a"), "d": args("b")}));
        assert_eq!(
            find_model(&different, &["p", "d"]).unwrap_err().to_string(),
            "service p serves a, but service d serves b"
        );
        assert!(matches!(find_model(&same, &["silent"]), Err(RoleError::NoModel { .. })));
    }
}
