//! The graphs that ask a service of the cluster to plan for them: those with an annotation.
//!
//! Only metadata is watched, in the version that [`Kinds`] finds served; where that changes, the graphs
//! are listed anew in the other one. While the API server is away, what was known stays known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use tokio::sync::{Notify, watch};

use super::client::{self, Call, CallError};
use super::kinds::{Kinds, api_of};
use super::watches::{Failed, Pause, may_be_gone, until_others};
use crate::api::{Graph, Version, names};

/// A graph, in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GraphName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What a graph asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// The graph, for events.
    pub graph: ObjectReference,
    /// The text of its annotation.
    pub text: String,
}

/// The graphs that ask.
pub type Asked = BTreeMap<GraphName, Asking>;

type Meta = PartialObjectMeta<Graph>;

/// Keeps `asked` up to what is asked in these namespaces (in all, where none is named), and tells
/// failures. It is `None` until one of them was listed, or could not be; what was known of one that
/// cannot be listed stays. Never ends.
pub async fn watch_asking(
    kinds: &Kinds,
    namespaces: &[String],
    asked: &watch::Sender<Option<Asked>>,
    told: impl Fn(&CallError),
) {
    loop {
        let answer = kinds.ask().await;
        let served = answer.unwrap_or_else(|| kinds.last());
        let doubt = Arc::new(Notify::new());
        let before = asked.borrow().clone().unwrap_or_default();
        let looking = Looking::new(namespaces, served.dgd, before);
        tokio::select! {
            () = looking.until_failed(kinds, asked, &told, &doubt) => {}
            () = until_others(kinds.clone(), served, answer.is_some(), Arc::clone(&doubt)) => {}
        }
    }
}

/// One look at all scopes, in one version.
struct Looking {
    version: Version,
    /// A namespace each; `None` is all of them.
    scopes: Vec<Option<String>>,
    /// What was asked before this look: it holds for scopes that are not listed yet.
    before: Asked,
    found: BTreeMap<usize, Asked>,
    /// What a list that is under way has brought.
    coming: BTreeMap<usize, Asked>,
    listed: BTreeSet<usize>,
    /// The last failure of each scope, so that it is told once.
    failing: BTreeMap<usize, String>,
}

impl Looking {
    fn new(namespaces: &[String], version: Version, before: Asked) -> Self {
        let mut scopes: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
        scopes.sort();
        scopes.dedup();
        if scopes.is_empty() {
            scopes.push(None);
        }
        Self {
            version,
            scopes,
            before,
            found: BTreeMap::new(),
            coming: BTreeMap::new(),
            listed: BTreeSet::new(),
            failing: BTreeMap::new(),
        }
    }

    /// Watches all scopes; ends only where a watch does.
    async fn until_failed(
        mut self,
        kinds: &Kinds,
        asked: &watch::Sender<Option<Asked>>,
        told: &impl Fn(&CallError),
        doubt: &Notify,
    ) {
        let config = watcher::Config::default().timeout(client::WATCH_SECONDS);
        let watches = self.scopes.iter().enumerate().map(|(i, scope)| {
            let api = api_of::<Meta>(kinds.client(), scope.as_deref(), self.version);
            watcher(api, config.clone()).backoff(Pause).map(move |event| (i, event)).boxed()
        });
        let mut events = stream::select_all(watches);
        while let Some((i, event)) = events.next().await {
            match event {
                Ok(event) => {
                    // A list that begins has not succeeded yet.
                    if !matches!(event, Event::Init) {
                        self.failing.remove(&i);
                    }
                    self.hear(i, event);
                    if !self.listed.is_empty() {
                        self.publish(asked);
                    }
                }
                Err(error) => {
                    let Failed::Call(verb, error) = Failed::of(error) else { continue };
                    let scope = self.scopes[i].as_deref();
                    let call = Call::all(verb, names::GROUP, names::DGD_PLURAL, scope);
                    let error = CallError::new(call, error);
                    if may_be_gone(&error) {
                        doubt.notify_one();
                    }
                    if self.failing.insert(i, error.to_string()) != Some(error.to_string()) {
                        told(&error);
                    }
                    self.publish(asked);
                }
            }
        }
    }

    /// What is asked in all scopes, as far as it is known.
    fn all(&self) -> Asked {
        let of_scope = |(i, scope): (usize, &Option<String>)| -> Asked {
            if self.listed.contains(&i) {
                return self.found.get(&i).cloned().unwrap_or_default();
            }
            let here = |name: &GraphName| scope.as_ref().is_none_or(|own| *own == name.namespace);
            let before = self.before.iter().filter(|(name, _)| here(name));
            before.map(|(name, asking)| (name.clone(), asking.clone())).collect()
        };
        self.scopes.iter().enumerate().flat_map(of_scope).collect()
    }

    fn publish(&self, asked: &watch::Sender<Option<Asked>>) {
        let all = self.all();
        asked.send_if_modified(|before| {
            let news = before.as_ref() != Some(&all);
            *before = Some(all);
            news
        });
    }

    /// Takes in what a watch says.
    fn hear(&mut self, i: usize, event: Event<Meta>) {
        match event {
            Event::Init => drop(self.coming.insert(i, Asked::new())),
            Event::InitApply(graph) => {
                let asking = self.asking(&graph);
                self.coming.entry(i).or_default().extend(asking);
            }
            Event::InitDone => {
                let all = self.coming.remove(&i).unwrap_or_default();
                self.found.insert(i, all);
                self.listed.insert(i);
            }
            Event::Apply(graph) => {
                let asking = self.asking(&graph);
                let found = self.found.entry(i).or_default();
                found.remove(&name_of(&graph));
                found.extend(asking);
            }
            Event::Delete(graph) => {
                self.found.entry(i).or_default().remove(&name_of(&graph));
            }
        }
    }

    /// What a graph asks, if it does; one that is being deleted does not.
    fn asking(&self, graph: &Meta) -> Option<(GraphName, Asking)> {
        let text = graph.annotations().get(names::ANNOTATION_CONFIG)?;
        let stays = graph.metadata.deletion_timestamp.is_none();
        let asking = Asking {
            graph: ObjectReference { resource_version: None, ..graph.object_ref(&self.version) },
            text: text.clone(),
        };
        stays.then(|| (name_of(graph), asking))
    }
}

fn name_of(graph: &Meta) -> GraphName {
    GraphName { namespace: graph.namespace().unwrap_or_default(), name: graph.name_any() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph(name: &str, text: Option<&str>) -> Meta {
        let annotations = text.map(|text| json!({names::ANNOTATION_CONFIG: text}));
        serde_json::from_value(json!({
            "apiVersion": names::API_VERSION, "kind": names::DGD_KIND,
            "metadata": {"name": name, "namespace": "llm", "uid": name, "annotations": annotations},
        }))
        .unwrap()
    }

    fn asks(looking: &Looking) -> Vec<(String, String)> {
        let all = looking.found.values().flatten();
        all.map(|(graph, asking)| (graph.name.clone(), asking.text.clone())).collect()
    }

    #[test]
    fn who_asks_is_who_has_the_annotation_and_stays() {
        let mut looking = Looking::new(&[], Version::V1alpha1, Asked::new());
        assert_eq!(looking.scopes, [None]);
        looking.hear(0, Event::Init);
        looking.hear(0, Event::InitApply(graph("a", Some(""))));
        looking.hear(0, Event::InitApply(graph("b", None)));
        assert!(looking.listed.is_empty() && asks(&looking).is_empty(), "the list is not over");
        looking.hear(0, Event::InitDone);
        assert_eq!(asks(&looking), [("a".into(), String::new())]);
        looking.hear(0, Event::Apply(graph("b", Some("sla: {}"))));
        looking.hear(0, Event::Apply(graph("a", None)));
        assert_eq!(asks(&looking), [("b".into(), "sla: {}".into())]);
        let mut ending = graph("b", Some("sla: {}"));
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        looking.hear(0, Event::Apply(ending));
        assert!(asks(&looking).is_empty());
        looking.hear(0, Event::Apply(graph("c", Some(""))));
        // A list that begins anew takes nothing away until it is over.
        looking.hear(0, Event::Init);
        assert_eq!(asks(&looking).len(), 1);
        looking.hear(0, Event::InitDone);
        assert!(asks(&looking).is_empty());
    }

    #[test]
    fn what_was_known_of_a_namespace_that_cannot_be_listed_stays() {
        let names: Vec<String> = ["llm", "other"].map(str::to_owned).into();
        let mut looking = Looking::new(&names[..1], Version::V1alpha1, Asked::new());
        looking.hear(0, Event::Init);
        looking.hear(0, Event::InitApply(graph("a", Some(""))));
        looking.hear(0, Event::InitDone);
        let before = looking.all();
        assert_eq!(before.len(), 1);
        // Another version is served; in it the other namespace is listed first.
        let mut looking = Looking::new(&names, Version::V1beta1, before.clone());
        looking.hear(1, Event::Init);
        looking.hear(1, Event::InitDone);
        assert_eq!(looking.all(), before);
        looking.hear(0, Event::Init);
        looking.hear(0, Event::InitDone);
        assert!(looking.all().is_empty(), "it is listed, and nobody asks");
    }

    #[test]
    fn a_namespace_that_is_named_twice_is_watched_once() {
        let names: Vec<String> = ["b", "a", "b"].map(str::to_owned).into();
        let looking = Looking::new(&names, Version::V1alpha1, Asked::new());
        assert_eq!(looking.scopes, [Some("a".to_owned()), Some("b".to_owned())]);
    }
}
