//! A graph in either shape: the map `spec.services` of v1alpha1, the list `spec.components` of
//! v1beta1.

use std::collections::BTreeMap;

use super::Version;
use crate::webhook::field::{Field, Verdict, shown};

/// The components of a graph, in the order of their names.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) version: Version,
    pub(super) spec: Field<'a>,
    pub(super) services: BTreeMap<&'a str, Service<'a>>,
}

/// One component, with what every rule looks at.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) field: Field<'a>,
    /// As written; none means 1.
    pub(super) replicas: Option<i64>,
    /// Whether an adapter holds the replicas.
    pub(super) adapter: bool,
    /// Whether an engine has several pods.
    pub(super) multinode: bool,
    /// `componentType`, in v1beta1 `type`.
    pub(super) kind: &'a str,
}

impl Service<'_> {
    /// Replicas asked for.
    pub(super) fn count(&self) -> i64 {
        self.replicas.unwrap_or(1)
    }
}

impl Version {
    /// What holds the components, under `spec`.
    pub(super) const fn list(self) -> &'static str {
        match self {
            Self::Alpha => "services",
            Self::Beta => "components",
        }
    }

    /// What one of them is called in messages.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Alpha => "service",
            Self::Beta => "component",
        }
    }
}

/// More components than this, ten times what Dynamo's definition of the kind takes, and longer names,
/// are not looked at: each is repeated in the paths of all that is wrong below it.
const MOST_SERVICES: usize = 250;
const LONGEST_NAME: usize = 253;

impl<'a> Graph<'a> {
    /// What is wrong with a graph that is too large to be judged.
    pub(super) fn too_large(&self) -> Option<String> {
        let (list, noun) = (self.version.list(), self.version.noun());
        if self.services.len() > MOST_SERVICES {
            return Some(format!(
                "spec.{list} must have at most {MOST_SERVICES} entries; found {}: split the graph",
                self.services.len()
            ));
        }
        let long = self.services.keys().map(|name| name.len()).find(|n| *n > LONGEST_NAME)?;
        Some(format!(
            "spec.{list}: the name of a {noun} must have at most {LONGEST_NAME} characters; found one \
             of {long}: shorten it"
        ))
    }

    /// Reads an object; what cannot be read is complained about and left out.
    pub(super) fn read(object: &Field<'a>, version: Version, verdict: &mut Verdict) -> Self {
        let spec = object.get("spec");
        // A spec that is no mapping would look like an empty one.
        spec.map(verdict);
        let all = spec.get(version.list());
        let mut services = BTreeMap::new();
        match version {
            Version::Alpha => {
                for (name, value) in all.map(verdict).into_iter().flatten() {
                    let field = all.entry(name, value);
                    field.map(verdict);
                    services.insert(name.as_str(), Service::read(field, version, verdict));
                }
            }
            Version::Beta => {
                for item in all.items(verdict) {
                    item.map(verdict);
                    let name = item.get("name").text(verdict);
                    if name.is_empty() {
                        let path = item.path();
                        verdict.field(format!("{path}.name is required; give each one its own"));
                        continue;
                    }
                    // From here on it is known by its name.
                    let Some(value) = item.value() else { continue };
                    if services.contains_key(name) {
                        let list = all.path();
                        let name = shown(name);
                        verdict.field(format!("{list}[{name}] stands twice; remove one of them"));
                        continue;
                    }
                    let service = Service::read(all.entry(name, value), version, verdict);
                    services.insert(name, service);
                }
            }
        }
        Self { version, spec, services }
    }
}

impl<'a> Service<'a> {
    fn read(field: Field<'a>, version: Version, verdict: &mut Verdict) -> Self {
        let adapter = field.get("scalingAdapter");
        adapter.map(verdict);
        let kind = match version {
            Version::Alpha => field.get("componentType"),
            Version::Beta => field.get("type"),
        };
        Self {
            replicas: field.get("replicas").whole(verdict),
            adapter: match version {
                Version::Alpha => adapter.get("enabled").flag(verdict),
                // In v1beta1 the empty mapping is the switch.
                Version::Beta => adapter.is_set(),
            },
            multinode: field.get("multinode").is_set(),
            kind: kind.text(verdict),
            field,
        }
    }
}
