//! What `v1beta1` says in another way than `v1alpha1`, brought to the form that the types have.
//!
//! Only what we read is carried over; whatever else a later version says cannot hinder the reading.
//!
//! | `v1beta1` | `v1alpha1` |
//! |---|---|
//! | `spec.components[]` with a `name` each | `spec.services` by name |
//! | `type` | `componentType` |
//! | `scalingAdapter`, whatever is in it | `scalingAdapter.enabled: true` |
//! | command line of the container `main` in `podTemplate` | that of `extraPodSpec.mainContainer` |
//! | its limit of `nvidia.com/gpu` | `resources.limits.gpu` |
//! | `status.components` | `status.services` |
//! | `dgdRef.componentName` of an adapter | `dgdRef.serviceName` |

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::names;

/// Why an object cannot be read as one of its version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// The spec is missing, or something else than an object.
    #[error("spec is no object")]
    NoSpec,
    /// The components are something else than a list.
    #[error("spec.components is no list")]
    NoList,
    /// An entry of the list is something else than an object.
    #[error("spec.components[{at}] is no object")]
    NoObject {
        /// Where it stands.
        at: usize,
    },
    /// A component has no name.
    #[error("spec.components[{at}].name is missing")]
    NoName {
        /// Where it stands.
        at: usize,
    },
    /// Two components have one name.
    #[error("spec.components has {name} twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// An adapter of no component.
    #[error("spec.dgdRef.componentName is missing")]
    NoComponentName,
    /// An object of `v1beta1` in the form of `v1alpha1`.
    #[error(
        "spec.services in an object of v1beta1, and no spec.components: it was stored before that \
         version was, and nobody has converted it"
    )]
    Services,
    /// An object of `v1alpha1` in the form of `v1beta1`.
    #[error(
        "spec.components in an object of v1alpha1, and no spec.services: it was stored as v1beta1, \
         and nobody has converted it"
    )]
    Components,
}

/// Brings a graph to the form of `v1alpha1`. Answers the names of its components in their order.
pub(super) fn rewrite_graph(graph: &mut Value) -> Result<Vec<String>, Misfit> {
    let spec = graph.get_mut("spec").and_then(Value::as_object_mut).ok_or(Misfit::NoSpec)?;
    let has_services = spec.get("services").is_some_and(is_filled);
    let components = match spec.remove("components") {
        Some(Value::Array(components)) if !components.is_empty() => components,
        None | Some(Value::Null | Value::Array(_)) if has_services => return Err(Misfit::Services),
        None | Some(Value::Null | Value::Array(_)) => Vec::new(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err(Misfit::NoList);
        }
    };
    let mut order = Vec::with_capacity(components.len());
    let mut services = Map::new();
    for (at, component) in components.into_iter().enumerate() {
        let Value::Object(component) = component else { return Err(Misfit::NoObject { at }) };
        let name = component.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let Some(name) = name.map(str::to_owned) else { return Err(Misfit::NoName { at }) };
        if services.insert(name.clone(), service(component)).is_some() {
            return Err(Misfit::Twice { name });
        }
        order.push(name);
    }
    spec.retain(|field, _| field == "backendFramework");
    spec.insert("services".to_owned(), Value::Object(services));
    if let Some(status) = graph.get_mut("status").and_then(Value::as_object_mut)
        && let Some(components) = status.remove("components")
    {
        status.insert("services".to_owned(), components);
    }
    Ok(order)
}

/// Refuses a graph of `v1alpha1` that has the form of `v1beta1`: read as it stands it would be one
/// without services, and its adapters would go.
pub(super) fn refuse_components(graph: &Value) -> Result<(), Misfit> {
    let spec = &graph["spec"];
    let is_other = is_filled(&spec["components"]) && !is_filled(&spec["services"]);
    if is_other { Err(Misfit::Components) } else { Ok(()) }
}

/// Brings an adapter to the form of `v1alpha1`.
pub(super) fn rewrite_adapter(adapter: &mut Value) -> Result<(), Misfit> {
    let target = adapter.pointer_mut("/spec/dgdRef").and_then(Value::as_object_mut);
    let Some(target) = target else { return Ok(()) };
    if let Some(component) = target.remove("componentName") {
        target.insert("serviceName".to_owned(), component);
    }
    if target.contains_key("serviceName") { Ok(()) } else { Err(Misfit::NoComponentName) }
}

/// A component as a service.
fn service(mut component: Map<String, Value>) -> Value {
    let mut service = Map::new();
    for (theirs, ours) in
        [("type", "componentType"), ("replicas", "replicas"), ("multinode", "multinode")]
    {
        if let Some(value) = component.remove(theirs) {
            service.insert(ours.to_owned(), value);
        }
    }
    if component.get("scalingAdapter").is_some_and(|marker| !marker.is_null()) {
        service.insert("scalingAdapter".to_owned(), json!({"enabled": true}));
    }
    if let Some(main) = component.get_mut("podTemplate").and_then(main_container) {
        let gpus = match &main["resources"]["limits"][names::GPU_RESOURCE] {
            Value::String(gpus) => Some(gpus.clone()),
            Value::Number(gpus) => Some(gpus.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if let Some(gpus) = gpus {
            service.insert("resources".to_owned(), json!({"limits": {"gpu": gpus}}));
        }
        let line = json!({"command": main["command"].take(), "args": main["args"].take()});
        service.insert("extraPodSpec".to_owned(), json!({"mainContainer": line}));
    }
    Value::Object(service)
}

/// The container that runs the component: the one named `main`, or the only one there is.
fn main_container(template: &mut Value) -> Option<&mut Value> {
    let containers = template.pointer_mut("/spec/containers")?.as_array_mut()?;
    let named = containers.iter().position(|container| container["name"] == MAIN);
    let at = named.or_else(|| (containers.len() == 1).then_some(0))?;
    containers.get_mut(at).filter(|container| container.is_object())
}

/// Name of the container that runs a component.
const MAIN: &str = "main";

/// Whether there is something in a map or a list.
fn is_filled(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests;
