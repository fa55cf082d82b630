//! One writer per service: who else sets the replicas of our pools, and what is said and done then.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt};

use super::CALL_DEADLINE;
use super::act::Acted;
use super::look::{Services, Trouble};
use crate::api::{DynamoGraphDeploymentScalingAdapter, names};
use crate::controllers::clock;
use crate::controllers::events::{Note, Publisher};
use crate::controllers::inventory::DgdInventory;
use crate::controllers::rivals::{
    Autoscaler, Claim, Fights, claims, condition, conflict_of, last_to_scale,
};
use crate::spec::{Config, DgdTarget, OnConflict};
use crate::units::{Role, Timestamp};

/// The pools that somebody else sets too, with who it is, for people.
pub(super) type Conflicts = BTreeMap<Role, String>;

/// The watch over who else sets our replicas.
pub(super) struct Rivals {
    kube: Client,
    publisher: Publisher,
    namespace: String,
    on_conflict: OnConflict,
    fights: Fights,
    /// The autoscalers seen last, which count while they cannot be listed.
    claims: BTreeSet<Claim>,
    /// What was told of each adapter.
    told: BTreeMap<String, String>,
    /// What the condition of each adapter was last to say, and was refused.
    refused: BTreeMap<String, Option<String>>,
    /// What did not work when it was last tried, so that it is said once.
    failing: BTreeSet<&'static str>,
}

impl Rivals {
    pub(super) fn new(config: &Config, target: &DgdTarget, kube: Client) -> Self {
        let instance = names::FIELD_MANAGER.to_owned();
        Self {
            publisher: Publisher::new(kube.clone(), instance, CALL_DEADLINE),
            kube,
            namespace: target.namespace.clone(),
            on_conflict: config.on_conflict,
            fights: Fights::new(config.intervals.adjustment),
            claims: BTreeSet::new(),
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
            failing: BTreeSet::new(),
        }
    }

    /// Finds out who else sets the replicas of our pools, and tells what is new of it on the adapters.
    pub(super) async fn look(
        &mut self,
        now: Timestamp,
        found: &DgdInventory,
        services: &Services,
        trouble: &mut Vec<Trouble>,
    ) -> Conflicts {
        self.list_autoscalers(trouble).await;
        let mut conflicts = Conflicts::new();
        for (role, adapter) in adapters(found, services) {
            let name = adapter.name_any();
            let by = last_to_scale(adapter.managed_fields());
            let uid = adapter.uid().unwrap_or_default();
            self.fights.see(now, &name, &uid, adapter.spec.replicas(), by);
            let others = self.others(&name);
            self.tell(adapter, others.as_deref()).await;
            conflicts.extend(others.map(|others| (role, others)));
        }
        conflicts
    }

    /// The conflicts for which a pool is not written.
    pub(super) fn stopped<'a>(&self, conflicts: &'a Conflicts) -> Option<&'a Conflicts> {
        (self.on_conflict == OnConflict::Stop).then_some(conflicts)
    }

    /// Takes in what was written, and tells of changes by others that were written over.
    pub(super) async fn acted(
        &mut self,
        found: &DgdInventory,
        services: &Services,
        acted: &[Acted],
    ) {
        for (role, adapter) in adapters(found, services) {
            let Some(done) = acted.iter().find(|a| a.outcome.write.role == role) else { continue };
            let (name, to) = (adapter.name_any(), done.outcome.write.to);
            match done.label {
                "written" => {
                    if let Some(change) = self.fights.wrote(&name, to) {
                        let message = format!(
                            "{} had set {} replicas; {} asks for {to}",
                            change.who(),
                            change.to,
                            names::FIELD_MANAGER
                        );
                        let note = Note::normal(names::EVENT_OVERWRITTEN, message);
                        self.say(&adapter.object_ref(&()), &note).await;
                    }
                }
                // The answer was lost; the write may have arrived.
                "deadline" | "transport" => self.fights.may_have_written(&name),
                _ => {}
            }
        }
    }

    async fn list_autoscalers(&mut self, trouble: &mut Vec<Trouble>) {
        let seen = claims(&self.kube, &self.namespace, CALL_DEADLINE).await;
        let unseen: Vec<Autoscaler> = seen.unseen.iter().map(|(kind, _)| *kind).collect();
        self.claims.retain(|claim| unseen.contains(&claim.kind));
        self.claims.extend(seen.found);
        for (kind, error) in &seen.unseen {
            let text = format!(
                "whether a {} sets the replicas of our pools too is not seen: {error}",
                kind.kind()
            );
            trouble.push(("kubernetes", "degraded", text));
        }
    }

    /// Who else sets the replicas of an adapter, for people.
    fn others(&self, adapter: &str) -> Option<String> {
        let claims: Vec<String> =
            self.claims.iter().filter(|c| c.adapter == adapter).map(ToString::to_string).collect();
        if !claims.is_empty() {
            return Some(claims.join(" and "));
        }
        let fighting = self.fights.fighting(adapter)?;
        Some(format!("{fighting} (which takes back what we write)"))
    }

    /// Tells on the adapter who else sets its replicas, or that nobody does any more, where that was
    /// not told yet.
    async fn tell(&mut self, adapter: &DynamoGraphDeploymentScalingAdapter, others: Option<&str>) {
        let (name, about) = (adapter.name_any(), adapter.object_ref(&()));
        let present = conflict_of(adapter);
        let was_told = self.told.get(&name).cloned();
        let note = match others {
            Some(others) if was_told.as_deref() == Some(others) => None,
            Some(others) => {
                let stays = match self.on_conflict {
                    OnConflict::Stop => "does not write it until that has ended",
                    OnConflict::Warn => "goes on writing it",
                };
                let we = names::FIELD_MANAGER;
                let message =
                    format!("{others} sets the replicas of this adapter too; {we} {stays}");
                self.told.insert(name.clone(), others.to_owned());
                Some(Note::warning(names::EVENT_CONFLICT, message))
            }
            None if was_told.is_none() && present.is_none_or(|c| !c.is_true()) => None,
            None => {
                self.told.remove(&name);
                let message = "nobody else sets the replicas of this adapter any more".to_owned();
                Some(Note::normal(names::EVENT_CONFLICT_RESOLVED, message))
            }
        };
        if let Some(note) = note {
            if others.is_some() {
                tracing::warn!(adapter = name, "{}", note.message);
            } else {
                tracing::info!(adapter = name, "{}", note.message);
            }
            self.say(&about, &note).await;
        }
        let stands = match (present, others) {
            (Some(present), Some(others)) => present.is_true() && present.message == others,
            (Some(present), None) => !present.is_true(),
            (None, others) => others.is_none(),
        };
        let wanted = others.map(str::to_owned);
        if stands || self.refused.get(&name) == Some(&wanted) {
            return;
        }
        let at = (self.namespace.as_str(), name.as_str());
        let written = condition(&self.kube, at, present, others, CALL_DEADLINE).await;
        // What the schema or a Role refuses is refused at the next tick too.
        match &written {
            Err(error) if !error.may_have_arrived() => drop(self.refused.insert(name, wanted)),
            Ok(()) | Err(_) => drop(self.refused.remove(&name)),
        }
        self.note("its condition", written.err());
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
            None => {
                self.failing.remove(what);
            }
        }
    }
}

/// The adapters of our pools, as far as they were read.
fn adapters<'a>(
    found: &'a DgdInventory,
    services: &'a Services,
) -> impl Iterator<Item = (Role, &'a DynamoGraphDeploymentScalingAdapter)> {
    services.iter().filter_map(|(role, service)| {
        let service = service.as_ref().ok()?;
        Some((*role, found.services.get(service)?.adapter.as_ref()?))
    })
}
