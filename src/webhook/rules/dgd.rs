//! Rules of a `DynamoGraphDeployment` (kubernetes.md 4.5 and 4.6).

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::{Case, Version, component, guard};
use crate::api::names;
use crate::webhook::field::{Field, Verdict, listed, shown};

/// Longest sum of the names that Grove puts together, in characters.
const GROVE_NAME: usize = 45;

/// No more unknown names than this are told of.
const SLIPS: usize = 10;

pub(super) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let graph = Graph::read(&case.object, case.version, verdict);
    if let Some(text) = graph.too_large() {
        verdict.field(text);
        return;
    }
    check_whole(case, &graph, verdict);
    for (name, service) in &graph.services {
        component::check(case, name, service, verdict);
    }
    check_names(case, &graph, verdict);
    if let Some(old) = &case.old {
        // What is stored was judged when it came; only the change is judged now.
        let old = Graph::read(old, case.version, &mut Verdict::default());
        check_backend(&old.spec, &graph.spec, verdict);
        check_topology(&old, &graph, verdict);
        guard::check(case, &old, &graph, verdict);
    }
}

fn check_whole(case: &Case<'_>, graph: &Graph<'_>, verdict: &mut Verdict) {
    let (list, noun) = (graph.version.list(), graph.version.noun());
    if graph.services.is_empty() {
        verdict.field(format!(
            "spec.{list} must have at least one {noun}; found none: add one entry for each \
             component to run"
        ));
    }
    for pvc in graph.spec.get("pvcs").items(verdict) {
        let path = pvc.path();
        if pvc.get("name").text(verdict).is_empty() {
            verdict.field(format!("{path}.name is required; found none: name the claim"));
        }
        if !pvc.get("create").flag(verdict) {
            continue;
        }
        for key in ["storageClass", "size", "volumeAccessMode"] {
            if is_nothing(&pvc.get(key)) {
                verdict.field(format!(
                    "{path}.{key} is required when create is true; found none: give it, or set \
                     {path}.create to false for a claim that exists"
                ));
            }
        }
    }
    check_restart(case, graph, verdict);
}

/// Text or a quantity that is not there, or says nothing.
pub(super) fn is_nothing(field: &Field<'_>) -> bool {
    field.value().is_none_or(|value| {
        value.as_str().is_some_and(|text| text.trim().is_empty() || text == "0")
            || value.as_f64() == Some(0.0)
    })
}

fn check_restart(case: &Case<'_>, graph: &Graph<'_>, verdict: &mut Verdict) {
    let restart = graph.spec.get("restart");
    if !restart.is_set() {
        return;
    }
    if graph.version == Version::Beta && case.old.is_none() {
        verdict.field(
            "spec.restart must be unset on create; set spec.restart.id after creation to request a \
             restart"
                .to_owned(),
        );
    }
    restart.map(verdict);
    if restart.get("id").text(verdict).is_empty() {
        verdict.field(
            "spec.restart.id is required; found none: give a text that no earlier restart had"
                .to_owned(),
        );
    }
    let strategy = restart.get("strategy");
    strategy.map(verdict);
    let order = strategy.get("order");
    let order: Vec<&str> = order.items(verdict).iter().map(|item| item.text(verdict)).collect();
    if order.is_empty() {
        return;
    }
    let at = "spec.restart.strategy.order";
    if strategy.get("type").text(verdict).eq_ignore_ascii_case("parallel") {
        verdict.field(format!(
            "{at} cannot be specified when strategy is parallel; remove it, or set \
             spec.restart.strategy.type to Sequential"
        ));
        return;
    }
    let (list, noun) = (graph.version.list(), graph.version.noun());
    let unique: BTreeSet<&str> = order.iter().copied().collect();
    if unique.len() != order.len() {
        verdict.field(format!("{at} must be unique; name each {noun} once"));
    }
    if unique.len() != graph.services.len() {
        verdict.field(format!(
            "{at} must have the same number of unique {list} as the deployment; found {} of {}",
            unique.len(),
            graph.services.len()
        ));
    }
    let unknown = unique.iter().filter(|name| !graph.services.contains_key(*name));
    // Of a thousand slips the first few are as good.
    for name in unknown.take(SLIPS) {
        let (name, known) = (shown(name), known(graph));
        verdict.field(format!("{at} contains unknown {noun}: {name}; known are {known}"));
    }
}

fn known(graph: &Graph<'_>) -> String {
    listed(graph.services.keys().copied(), ", ")
}

/// What the names of components become: adapters, and with Grove the names of cliques.
fn check_names(case: &Case<'_>, graph: &Graph<'_>, verdict: &mut Verdict) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, service) in &graph.services {
        let other = *seen.entry(name.to_lowercase()).or_insert(name);
        if other != *name {
            let path = service.field.path();
            let text = format!(
                "{path} differs from {other} in case alone, and both would have the adapter {}; \
                 rename one of them",
                names::adapter_name(case.name(), name)
            );
            match graph.version {
                Version::Beta => verdict.field(text),
                Version::Alpha => verdict.warn(text),
            }
        }
    }
    let grove = case.object.get("metadata").get("annotations").get(names::ANNOTATION_ENABLE_GROVE);
    if grove.value().is_some_and(|value| value == "false") {
        return;
    }
    for (name, service) in &graph.services {
        let dgd = case.request.name.chars().count();
        let one = name.chars().count();
        // Several pods make a scaling group of cliques `<service>-ldr` and `<service>-wkr`.
        let all = if service.multinode { dgd + one + one + "-ldr".len() } else { dgd + one };
        if all > GROVE_NAME {
            verdict.warn(format!(
                "{}: with Grove the names of its pods take {all} characters, more than \
                 {GROVE_NAME}: shorten it or the deployment's name, or set the annotation {} to \
                 \"false\"",
                service.field.path(),
                names::ANNOTATION_ENABLE_GROVE
            ));
        }
    }
}

/// `spec.backendFramework` may not change.
pub(super) fn check_backend(old: &Field<'_>, new: &Field<'_>, verdict: &mut Verdict) {
    let before = old.get("backendFramework").text(&mut Verdict::default());
    let after = new.get("backendFramework").text(&mut Verdict::default());
    if before != after {
        verdict.warn("Changing spec.backendFramework may cause unexpected behavior".to_owned());
        verdict.immutable(format!(
            "spec.backendFramework is immutable and cannot be changed after creation; it is \
             `{}`, found `{}`: put it back, or create another deployment",
            shown(before),
            shown(after)
        ));
    }
}

fn check_topology(old: &Graph<'_>, new: &Graph<'_>, verdict: &mut Verdict) {
    let (list, noun) = (new.version.list(), new.version.noun());
    let lacks = |from: &Graph<'_>, of: &Graph<'_>| {
        let gone = from.services.keys().filter(|name| !of.services.contains_key(*name));
        listed(gone.copied(), " ")
    };
    let (added, removed) = (lacks(new, old), lacks(old, new));
    let mut changes = Vec::new();
    if !added.is_empty() {
        changes.push(format!("{list} added: [{added}]"));
    }
    if !removed.is_empty() {
        changes.push(format!("{list} removed: [{removed}]"));
    }
    if !changes.is_empty() {
        verdict.immutable(format!(
            "{noun} topology is immutable and cannot be modified after creation: {}; keep the keys \
             of spec.{list}, or create another deployment",
            changes.join(", ")
        ));
    }
    for (name, service) in &new.services {
        let Some(before) = old.services.get(name) else { continue };
        if before.multinode != service.multinode {
            let (do_, multinode) =
                if before.multinode { ("put", "back") } else { ("remove", "again") };
            verdict.immutable(format!(
                "{} cannot change node topology (between single-node and multi-node) after \
                 creation; {do_} `multinode` {multinode}, or create another deployment",
                service.field.path()
            ));
        }
    }
}
