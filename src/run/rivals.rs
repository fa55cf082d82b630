//! One writer per service: who else sets the replicas of our pools, and what is said and done then.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt};

use super::CALL_DEADLINE;
use super::act::Acted;
use super::look::{Services, Trouble};
use crate::api::{self, names};
use crate::controllers::clock;
use crate::controllers::events::{Note, Publisher};
use crate::controllers::inventory::DgdInventory;
use crate::controllers::rivals::{
    Fights, News, Watch, claims, condition, conflict_of, is_ours, stands, withdraw,
};
use crate::spec::{Config, DgdTarget, OnConflict};
use crate::units::{Role, Timestamp};

/// The pools of which it is known whether somebody else sets them too, and who, for people.
pub(super) type Conflicts = BTreeMap<Role, Option<String>>;

/// The watch over who else sets our replicas.
pub(super) struct Rivals {
    kube: Client,
    publisher: Publisher,
    namespace: String,
    on_conflict: OnConflict,
    watch: Watch,
    /// When the condition of an adapter was last refused, and what it was to say.
    refused: BTreeMap<String, (Timestamp, Option<String>)>,
    /// What did not work when it was last tried, so that it is said once.
    failing: BTreeSet<&'static str>,
    /// The adapters of which a condition of ours was taken away, or may not be.
    withdrawn: BTreeSet<String>,
}

impl Rivals {
    pub(super) fn new(config: &Config, target: &DgdTarget, kube: Client) -> Self {
        let instance = names::FIELD_MANAGER.to_owned();
        Self {
            publisher: Publisher::new(kube.clone(), instance, CALL_DEADLINE),
            kube,
            namespace: target.namespace.clone(),
            on_conflict: config.on_conflict,
            watch: Watch::new(config.intervals.adjustment),
            refused: BTreeMap::new(),
            failing: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
        }
    }

    /// Finds out who else sets the replicas of our pools.
    pub(super) async fn look(
        &mut self,
        now: Timestamp,
        found: &DgdInventory,
        services: &Services,
        trouble: &mut Vec<Trouble>,
    ) -> Conflicts {
        let adapters: Vec<_> = adapters(found, services).collect();
        if adapters.is_empty() {
            return Conflicts::new();
        }
        let seen = claims(&self.kube, &self.namespace, CALL_DEADLINE).await;
        for (kind, list) in &seen {
            if let Err(error) = list {
                let kind = kind.kind();
                let text = format!(
                    "whether a {kind} sets the replicas of our pools too is not seen: {error}"
                );
                trouble.push(("kubernetes", "degraded", text));
            }
        }
        self.watch.list(&seen);
        let look = |Adapter { role, name, object }| {
            (role, self.watch.look(now, &name, object.map(|adapter| &**adapter)))
        };
        adapters.into_iter().map(look).collect()
    }

    /// The pools that are not written, and for whom.
    pub(super) fn stopped(&self, conflicts: &Conflicts) -> BTreeMap<Role, String> {
        let stops = self.on_conflict == OnConflict::Stop;
        let named = conflicts.iter().filter(|_| stops);
        named.filter_map(|(role, others)| Some((*role, others.clone()?))).collect()
    }

    /// Takes in what was written, and tells on the adapters what is new: who else sets their replicas,
    /// that nobody does any more, and whose change was written over.
    pub(super) async fn tell(
        &mut self,
        now: Timestamp,
        found: &DgdInventory,
        services: &Services,
        conflicts: &Conflicts,
        acted: &[Acted],
    ) {
        for Adapter { role, name, object } in adapters(found, services) {
            let done = acted.iter().find(|a| a.outcome.write.role == role);
            let to = done.map(|done| done.outcome.write.to);
            let mut change = None;
            if let Some((done, to)) = done.zip(to) {
                if done.is_written() {
                    change = self.watch.wrote(&name, to);
                } else if done.may_have_arrived {
                    self.watch.may_have_written(&name, to);
                }
            }
            let Some(adapter) = object else { continue };
            let about = adapter.object_ref(&adapter.version());
            if let Some((change, to)) = change.zip(to) {
                let (who, we) = (change.who(), names::FIELD_MANAGER);
                let message = format!("{who} had set {} replicas; {we} asks for {to}", change.to);
                self.say(&about, &Note::normal(names::EVENT_OVERWRITTEN, message)).await;
            }
            if let Some(others) = conflicts.get(&role) {
                self.tell_of_others(now, &name, adapter, others.as_deref()).await;
            }
        }
    }

    /// Tells on an adapter who else sets its replicas, or that nobody does any more, where that was not
    /// told yet.
    async fn tell_of_others(
        &mut self,
        now: Timestamp,
        name: &str,
        adapter: &api::Adapter,
        others: Option<&str>,
    ) {
        let present = conflict_of(adapter);
        let stays = match self.on_conflict {
            OnConflict::Stop => "does not write it until that has ended",
            OnConflict::Warn => "goes on writing it",
        };
        if let Some(News { note, is_event }) = self.watch.news(name, present, others, stays) {
            if others.is_some() {
                tracing::warn!(adapter = name, "{}", note.message);
            } else {
                tracing::info!(adapter = name, "{}", note.message);
            }
            if is_event {
                self.say(&adapter.object_ref(&adapter.version()), &note).await;
            }
        }
        // What a schema or a Role refuses is refused at the next tick too.
        let refused = self.refused.get(name).is_some_and(|(at, wanted)| {
            wanted.as_deref() == others && *at <= now && now.since(*at) <= Fights::WINDOW
        });
        if stands(present, others) || refused {
            return;
        }
        let at = (self.namespace.as_str(), name);
        let version = adapter.version();
        let written = condition(&self.kube, version, at, present, others, CALL_DEADLINE).await;
        if written.is_err() {
            self.refused.insert(name.to_owned(), (now, others.map(str::to_owned)));
        } else {
            self.refused.remove(name);
        }
        self.note("its condition", written.err());
    }

    /// Takes away what a planner that acted told by conditions: who only advises is in nobody's way, and
    /// does not look who else writes. Once for each adapter, as another planner may act beside us and
    /// tells it again.
    pub(super) async fn withdraw(&mut self, found: &DgdInventory, services: &Services) {
        for Adapter { role: _, name, object } in adapters(found, services) {
            let Some(adapter) = object else { continue };
            if self.withdrawn.contains(&name) {
                continue;
            }
            // One may come later, by a planner that ends while this one starts.
            if conflict_of(adapter).is_none() || !is_ours(adapter) {
                continue;
            }
            let at = (self.namespace.as_str(), name.as_str());
            match withdraw(&self.kube, adapter.version(), at, CALL_DEADLINE).await {
                Ok(()) => tracing::info!(adapter = name, "condition Conflict withdrawn"),
                Err(error) => {
                    if self.failing.insert("a withdrawn condition") {
                        tracing::warn!(%error, "condition Conflict is not withdrawn");
                    }
                    // What a Role refuses is refused at the next tick too.
                    if !error.is_forbidden() {
                        continue;
                    }
                }
            }
            self.withdrawn.insert(name);
        }
    }

    async fn say(&mut self, about: &ObjectReference, note: &Note) {
        let said = self.publisher.publish(about, note, clock::wall_clock()).await;
        self.note("an event", said.err());
    }

    /// Neither an event nor a condition is worth failing for: what they say is in the log.
    fn note(&mut self, what: &'static str, error: Option<impl std::fmt::Display>) {
        match error {
            Some(error) if self.failing.insert(what) => {
                tracing::warn!(%error, "a conflict is not told by {what}");
            }
            Some(error) => tracing::debug!(%error, "a conflict is not told by {what}"),
            None => drop(self.failing.remove(what)),
        }
    }
}

/// The adapter of a pool.
struct Adapter<'a> {
    role: Role,
    name: String,
    /// The object, where it could be read.
    object: Option<&'a api::Adapter>,
}

/// The adapters of our pools.
fn adapters<'a>(
    found: &'a DgdInventory,
    services: &'a Services,
) -> impl Iterator<Item = Adapter<'a>> {
    services.iter().filter_map(|(role, service)| {
        let service = service.as_ref().ok()?;
        let there = found.services.get(service).filter(|there| there.adapter_enabled)?;
        let name = names::adapter_name(&found.dgd.name_any(), service);
        Some(Adapter { role: *role, name, object: there.adapter.as_ref() })
    })
}
