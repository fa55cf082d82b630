//! Does what was planned, in this order: make, put right, delete, carry replicas, write statuses.
//!
//! One step that fails does not hinder the others; the first failure is handed back, and the next
//! plan repeats what is still to be done.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::plan::{Create, Delete, DeleteReason, Plan, Repair, Status, Sync, owner_of};
use crate::api::{Adapter, DgdRef, Graph, Served, Service, Version, names};
use crate::controllers::client::{Call, CallError, CallFailure, patch_params, within};
use crate::controllers::clock::wall_clock;
use crate::controllers::events::{Note, Publisher};
use crate::controllers::kinds::Kinds;
use crate::controllers::replicas;
use crate::units::Replicas;

/// Why a graph or its adapters could not be brought to order.
#[derive(Debug, Error)]
pub enum AdapterError {
    /// An adapter could not be made.
    #[error("make a scaling adapter: {0}")]
    Create(CallError),
    /// Labels or owner of an adapter could not be put right.
    #[error("adopt a scaling adapter: {0}")]
    Repair(CallError),
    /// An adapter could not be deleted.
    #[error("delete a scaling adapter: {0}")]
    Delete(CallError),
    /// A graph or an adapter could not be read again before a write.
    #[error("read before a write: {0}")]
    Read(CallError),
    /// Replicas could not be carried to the graph.
    #[error("carry replicas to the DGD: {0}")]
    Sync(CallError),
    /// The status of an adapter could not be written.
    #[error("write the status of a scaling adapter: {0}")]
    Status(CallError),
}

impl AdapterError {
    const fn call(&self) -> &CallError {
        match self {
            Self::Create(call)
            | Self::Repair(call)
            | Self::Delete(call)
            | Self::Read(call)
            | Self::Sync(call)
            | Self::Status(call) => call,
        }
    }

    /// Name of the kind of failure, for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.call().label()
    }

    /// Whether somebody changed an object in between, so that a new look may succeed at once.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        self.call().is_conflict()
    }
}

/// Something that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An adapter was made.
    Created {
        /// Its name.
        adapter: String,
        /// Its service.
        service: String,
        /// The graph's replicas, with which it begins.
        replicas: Replicas,
    },
    /// Labels or owner of an adapter were put right.
    Adopted {
        /// Its name.
        adapter: String,
        /// Its service.
        service: String,
    },
    /// An adapter was deleted.
    Deleted {
        /// Its name.
        adapter: String,
        /// Its service.
        service: String,
    },
    /// Replicas were carried to the graph.
    Scaled {
        /// The service.
        service: String,
        /// What the graph asked for before.
        from: Replicas,
        /// What it asks for now.
        to: Replicas,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { adapter, service, replicas } => {
                write!(f, "created {adapter} for {service} with {replicas} replicas")
            }
            Self::Adopted { adapter, service } => write!(f, "adopted {adapter} for {service}"),
            Self::Deleted { adapter, service } => write!(f, "deleted {adapter} for {service}"),
            Self::Scaled { service, from, to } => write!(f, "scaled {service} from {from} to {to}"),
        }
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changes: Vec<Change>,
    pub(super) failure: Option<AdapterError>,
}

impl Outcome {
    fn hear<T>(&mut self, result: Result<T, AdapterError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }
}

/// Sends what was planned.
pub(super) struct Applier {
    kinds: Kinds,
    /// The versions in which everything is read and written.
    served: Served,
    publisher: Arc<Publisher>,
    deadline: Duration,
    /// Whether it was said that events are not taken: once is enough for a warning.
    events_fail: AtomicBool,
}

impl Applier {
    pub(super) const fn new(
        kinds: Kinds,
        served: Served,
        publisher: Arc<Publisher>,
        deadline: Duration,
    ) -> Self {
        Self { kinds, served, publisher, deadline, events_fail: AtomicBool::new(false) }
    }

    /// Does the plan for one graph.
    pub(super) async fn apply(&self, dgd: &Graph, plan: Plan) -> Outcome {
        let Plan { create, repair, delete, sync, status, invalid: _, remarks: _ } = plan;
        let here =
            Here { dgd, namespace: dgd.namespace().unwrap_or_default(), name: dgd.name_any() };
        let mut outcome = Outcome::default();
        for step in create {
            let made = self.create(&here, step).await;
            let made = outcome.hear(made);
            outcome.changes.extend(made.flatten());
        }
        for step in repair {
            let adopted = self.repair(&here, step).await;
            let adopted = outcome.hear(adopted);
            outcome.changes.extend(adopted.flatten());
        }
        for step in delete {
            let deleted = self.delete(&here, step).await;
            let deleted = outcome.hear(deleted);
            outcome.changes.extend(deleted.flatten());
        }
        let wanted: BTreeSet<String> = sync.iter().map(|step| step.adapter.clone()).collect();
        let carried = self.carry(&here, sync).await;
        let carried = outcome.hear(carried).unwrap_or_default();
        let done: BTreeSet<String> = carried.iter().map(|step| step.adapter.clone()).collect();
        for Sync { adapter: _, service, from, to } in &carried {
            let (service, from, to) = (service.clone(), *from, *to);
            outcome.changes.push(Change::Scaled { service, from, to });
        }
        for step in status {
            // The status names the replicas that the graph was told: not before it was told.
            if wanted.contains(&step.adapter) && !done.contains(&step.adapter) {
                continue;
            }
            let replicas = carried.iter().find(|c| c.adapter == step.adapter).map(|c| c.to);
            let written = self.write_status(&here, step, replicas).await;
            outcome.hear(written);
        }
        outcome
    }

    /// Makes an adapter, seeded with what the graph says now: the cache may be behind a scaling, and
    /// the seed of today becomes the truth of tomorrow.
    async fn create(&self, here: &Here<'_>, step: Create) -> Result<Option<Change>, AdapterError> {
        let Create { adapter, service, replicas: _ } = step;
        let Some(dgd) = self.read_again(here).await? else { return Ok(None) };
        let Some(found) = dgd.service(&service).filter(|service| service.adapter_enabled()) else {
            return Ok(None);
        };
        let replicas = found.replicas();
        let version = self.served.dgdsa;
        let resource = ApiResource::erase::<Adapter>(&version);
        let object = build_adapter(here, &resource, version, &adapter, &service, replicas);
        let params = PostParams { field_manager: manager(), ..PostParams::default() };
        let client = self.kinds.client().clone();
        let api: Api<DynamicObject> = Api::namespaced_with(client, &here.namespace, &resource);
        let call = adapter_call("create", here, &adapter);
        within(self.deadline, call, api.create(&params, &object))
            .await
            .map_err(AdapterError::Create)?;
        let message = names::adapter_created_message(&adapter, &service);
        self.say(&here.reference(), &Note::normal(names::EVENT_ADAPTER_CREATED, message)).await;
        Ok(Some(Change::Created { adapter, service, replicas }))
    }

    /// Puts labels and owner right, if the graph is still there: an adapter whose graph goes without it
    /// has lost its owner on purpose, and one given back would be collected with it.
    async fn repair(&self, here: &Here<'_>, step: Repair) -> Result<Option<Change>, AdapterError> {
        let Repair { adapter, service, resource_version, owners } = step;
        if self.read_again(here).await?.is_none() {
            return Ok(None);
        }
        let mut metadata = json!({"labels": labels(here, &service)});
        if let Some(version) = resource_version {
            metadata["resourceVersion"] = Value::String(version);
        }
        if let Some(owners) = owners {
            metadata["ownerReferences"] = json!(owners);
        }
        let patch = json!({"metadata": metadata});
        let call = adapter_call("patch", here, &adapter);
        let api = self.adapters(here);
        let (params, patch) = (patch_params(), Patch::Merge(&patch));
        within(self.deadline, call, api.patch(&adapter, &params, &patch))
            .await
            .map_err(AdapterError::Repair)?;
        let message = names::adapter_updated_message(&adapter, &service);
        self.say(&here.reference(), &Note::normal(names::EVENT_ADAPTER_UPDATED, message)).await;
        Ok(Some(Change::Adopted { adapter, service }))
    }

    /// Deletes an adapter, where the graph as it is now does not want it either: the cache may be behind
    /// who has just asked for it, and what it holds would be lost.
    async fn delete(&self, here: &Here<'_>, step: Delete) -> Result<Option<Change>, AdapterError> {
        let Delete { adapter, service, uid, why } = step;
        let Some(dgd) = self.read_again(here).await? else { return Ok(None) };
        let found = dgd.service(&service);
        let is_wanted = match why {
            DeleteReason::Disabled => found.is_some_and(Service::adapter_enabled),
            DeleteReason::Orphan => found.is_some() || dgd.services().next().is_none(),
        };
        if is_wanted {
            return Ok(None);
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let call = adapter_call("delete", here, &adapter);
        let api = self.adapters(here);
        match within(self.deadline, call, api.delete(&adapter, &params)).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(AdapterError::Delete(error)),
        }
        let message = match why {
            DeleteReason::Disabled => names::adapter_deleted_message(&adapter, &service),
            DeleteReason::Orphan => {
                names::orphan_deleted_message(here.dgd.version(), &adapter, &service)
            }
        };
        self.say(&here.reference(), &Note::normal(names::EVENT_ADAPTER_DELETED, message)).await;
        Ok(Some(Change::Deleted { adapter, service }))
    }

    /// Carries replicas to the graph in one write, so that two services change together or not at
    /// all. Graph and adapters are read once more first: the caches may be behind what a user has
    /// just asked for, and the graph must not be taken back to what was asked for before.
    async fn carry(&self, here: &Here<'_>, sync: Vec<Sync>) -> Result<Vec<Sync>, AdapterError> {
        if sync.is_empty() {
            return Ok(sync);
        }
        let Some(dgd) = self.read_again(here).await? else { return Ok(Vec::new()) };
        let mut steps = Vec::new();
        let mut objects = Vec::new();
        for step in sync {
            let adapter: Adapter =
                match self.kinds.get_in(self.served.dgdsa, &here.namespace, &step.adapter).await {
                    Ok(adapter) => adapter,
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(AdapterError::Read(error)),
                };
            let Some(service) = dgd.service(&step.service) else { continue };
            let dgd_ref = &adapter.spec.dgd_ref;
            let (from, to) = (service.replicas(), adapter.spec.replicas());
            if service.adapter_enabled()
                && adapter.meta().deletion_timestamp.is_none()
                && dgd_ref.name == here.name
                && dgd_ref.service_name == step.service
                && to != from
            {
                steps.push(Sync { from, to, ..step });
                objects.push(adapter.object_ref(&adapter.version()));
            }
        }
        if steps.is_empty() {
            return Ok(steps);
        }
        let counts: Vec<(&str, Replicas)> =
            steps.iter().map(|step| (step.service.as_str(), step.to)).collect();
        match replicas::write(&self.kinds, &dgd, &counts, self.deadline).await {
            Ok(()) => {
                for (step, object) in steps.iter().zip(&objects) {
                    let (from, to) = (step.from.get(), step.to.get());
                    let message = names::scaled_message(dgd.version(), &step.service, from, to);
                    self.say(object, &Note::normal(names::EVENT_SCALED, message)).await;
                }
                Ok(steps)
            }
            Err(error) => {
                // A conflict is the normal end of a race, and tried again at once.
                if !matches!(error.failure, CallFailure::Conflict) {
                    let message =
                        names::update_failed_message(&here.name, &error.failure.to_string());
                    let note = Note::warning(names::EVENT_UPDATE_FAILED, message);
                    for object in &objects {
                        self.say(object, &note).await;
                    }
                }
                Err(AdapterError::Sync(error))
            }
        }
    }

    /// The graph as it is now; none where it is gone, going, or another one of the same name.
    async fn read_again(&self, here: &Here<'_>) -> Result<Option<Graph>, AdapterError> {
        let read: Result<Graph, _> =
            self.kinds.get_in(self.served.dgd, &here.namespace, &here.name).await;
        match read {
            Ok(dgd) if dgd.is_going() || dgd.uid() != here.dgd.uid() => Ok(None),
            Ok(dgd) => Ok(Some(dgd)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(AdapterError::Read(error)),
        }
    }

    async fn write_status(
        &self,
        here: &Here<'_>,
        step: Status,
        carried: Option<Replicas>,
    ) -> Result<(), AdapterError> {
        let Status { adapter, replicas, selector, scaled } = step;
        let mut status = json!({
            "replicas": carried.unwrap_or(replicas).get(),
            "selector": selector
        });
        if scaled {
            status["lastScaleTime"] = json!(Time(wall_clock()));
        }
        let patch = json!({"status": status});
        let call = Call { resource: names::DGDSA_STATUS, ..adapter_call("patch", here, &adapter) };
        let api = self.adapters(here);
        let (params, patch) = (patch_params(), Patch::Merge(&patch));
        match within(self.deadline, call, api.patch_status(&adapter, &params, &patch)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(AdapterError::Status(error)),
        }
    }

    /// Publishes an event; one that is not taken is no reason to fail, and the log has what it says.
    pub(super) async fn say(&self, about: &ObjectReference, note: &Note) {
        if let Err(error) = self.publisher.publish(about, note, wall_clock()).await {
            if self.events_fail.swap(true, Ordering::Relaxed) {
                tracing::debug!(%error, reason = note.reason, "event not taken");
            } else {
                tracing::warn!(%error, reason = note.reason, "event not taken");
            }
        }
    }

    fn adapters(&self, here: &Here<'_>) -> Api<Adapter> {
        self.kinds.api(self.served.dgdsa, &here.namespace)
    }
}

/// The graph that is worked on.
struct Here<'a> {
    dgd: &'a Graph,
    namespace: String,
    name: String,
}

impl Here<'_> {
    fn reference(&self) -> ObjectReference {
        self.dgd.object_ref(&self.dgd.version())
    }
}

/// An adapter as it is made, in a version.
fn build_adapter(
    here: &Here<'_>,
    resource: &ApiResource,
    version: Version,
    adapter: &str,
    service: &str,
    replicas: Replicas,
) -> DynamicObject {
    let target = DgdRef { name: here.name.clone(), service_name: service.to_owned() };
    let mut object = DynamicObject::new(adapter, resource).within(&here.namespace);
    object.metadata.labels = Some(
        labels(here, service)
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
            .collect(),
    );
    object.metadata.owner_references = Some(vec![owner_of(here.dgd)]);
    object.data =
        json!({"spec": {"replicas": replicas.get(), "dgdRef": target.in_version(version)}});
    object
}

fn labels(here: &Here<'_>, service: &str) -> Map<String, Value> {
    [(names::LABEL_DGD_NAME, here.name.as_str()), (names::LABEL_COMPONENT, service)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())))
        .collect()
}

fn adapter_call(verb: &'static str, here: &Here<'_>, adapter: &str) -> Call {
    Call::object(verb, names::GROUP, names::DGDSA_PLURAL, &here.namespace, adapter)
}

fn manager() -> Option<String> {
    Some(names::FIELD_MANAGER.to_owned())
}
