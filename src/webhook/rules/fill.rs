//! What is filled in (kubernetes.md 4.10), as a JSON patch. Doing it twice adds nothing, and an
//! object of a wrong shape is left to its schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::graph::Graph;
use super::{Case, Version};
use crate::webhook::answer::PatchStep;
use crate::webhook::field::Verdict;

/// Annotation with the release of Dynamo that a graph was made under.
const ORIGIN: &str = "nvidia.com/dynamo-operator-origin-version";
/// Repository of the profiler's image.
const PROFILER_IMAGE: &str = "nvcr.io/nvidia/ai-dynamo/dynamo-planner";

pub(super) fn graph(case: &Case<'_>) -> Vec<PatchStep> {
    let spare = &mut Verdict::default();
    let mut patch = Vec::new();
    if case.old.is_none()
        && let Some(version) = &case.rules.dynamo_version
    {
        patch.extend(annotated(case, version));
    }
    let graph = Graph::read(&case.object, case.version, spare);
    // The validating webhook refuses it.
    if graph.too_large().is_some() {
        return Vec::new();
    }
    let old = case.old.as_ref().map(|old| Graph::read(old, case.version, spare));
    let positions = positions(case);
    for (name, service) in &graph.services {
        if service.field.get("replicas").is_set() {
            continue;
        }
        let key = match case.version {
            Version::Alpha => (*name).to_owned(),
            Version::Beta => match positions.get(name) {
                Some(index) => index.to_string(),
                None => continue,
            },
        };
        let at = ["spec", case.version.list(), key.as_str()];
        // A manifest that leaves the replicas to their adapter does not say "one" by that, nor does one
        // that hands them over in the same update.
        let before = old.as_ref().and_then(|old| old.services.get(name));
        let kept = before.filter(|_| service.adapter);
        let replicas = json!(kept.map_or(1, super::graph::Service::count));
        match service.field.value() {
            Some(Value::Object(_)) => {
                patch.push(PatchStep::add(&[at[0], at[1], at[2], "replicas"], replicas));
            }
            // An entry `null` stands for a service with every default.
            None => patch.push(PatchStep::add(&at, json!({"replicas": replicas}))),
            Some(_) => {}
        }
    }
    patch
}

/// Where the first component of each name stands in the list of v1beta1.
fn positions<'a>(case: &Case<'a>) -> BTreeMap<&'a str, usize> {
    let list = case.object.get("spec").get(case.version.list());
    let items = list.value().and_then(Value::as_array).into_iter().flatten();
    let mut found = BTreeMap::new();
    for (index, item) in items.enumerate() {
        if let Some(name) = item.get("name").and_then(Value::as_str) {
            found.entry(name).or_insert(index);
        }
    }
    found
}

fn annotated(case: &Case<'_>, version: &str) -> Option<PatchStep> {
    let metadata = case.object.get("metadata");
    let annotations = metadata.get("annotations");
    match (metadata.value(), annotations.value()) {
        (Some(Value::Object(_)), None) => {
            Some(PatchStep::add(&["metadata", "annotations"], json!({ORIGIN: version})))
        }
        (_, Some(Value::Object(map))) if !map.contains_key(ORIGIN) => {
            Some(PatchStep::add(&["metadata", "annotations", ORIGIN], json!(version)))
        }
        _ => None,
    }
}

/// Only v1beta1 has defaults, and only a new request gets them.
pub(super) fn request(case: &Case<'_>) -> Vec<PatchStep> {
    let spec = case.object.get("spec");
    if case.version != Version::Beta
        || case.old.is_some()
        || !spec.value().is_some_and(Value::is_object)
    {
        return Vec::new();
    }
    let image = case.rules.dynamo_version.as_ref();
    let image = image.map(|version| json!(format!("{PROFILER_IMAGE}:{version}")));
    [
        ("backend", Some(json!("auto"))),
        ("searchStrategy", Some(json!("rapid"))),
        ("autoApply", Some(json!(true))),
        ("image", image),
    ]
    .into_iter()
    .filter(|(key, _)| !spec.get(key).is_set())
    .filter_map(|(key, value)| Some(PatchStep::add(&["spec", key], value?)))
    .collect()
}
