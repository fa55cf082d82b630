//! The scale writer: the only way by which a decision becomes replicas.
//!
//! A service with an adapter is scaled through `…/scale` of its adapter, and in no other way: where
//! the adapter is missing although the service declares one, that is an error to tell, and no reason
//! to write the graph behind its back. Only a service without an adapter is scaled by patching the
//! graph.

use std::time::Duration;

use kube::api::{Api, Patch};
use serde_json::json;
use thiserror::Error;

use super::client::{Call, CallError, CallFailure, patch_params, within};
use super::kinds::Kinds;
use super::replicas;
use crate::api::{Adapter, Graph, Service, Version, names};
use crate::units::Replicas;

/// Writes replicas.
#[derive(Clone)]
pub struct ScaleWriter {
    kinds: Kinds,
    deadline: Duration,
}

/// The service to scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleTarget {
    /// Namespace of the graph.
    pub namespace: String,
    /// Name of the graph.
    pub dgd: String,
    /// Key of the service in the graph.
    pub service: String,
}

/// How often a write is tried that something else overtakes: new statuses come in ones and twos, and whoever
/// writes without a pause is left for the next decision.
const ATTEMPTS: usize = 3;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ScaleOutcome {
    /// The service has that many replicas already.
    Unchanged {
        /// How many.
        replicas: Replicas,
    },
    /// Written.
    Wrote {
        /// Through what.
        path: ScalePath,
        /// What was asked for before. Without the right to read the scale this is what the graph
        /// says, which the adapter's controller keeps equal.
        from: Replicas,
        /// What is asked for now.
        to: Replicas,
    },
    /// Not written, and it would not help to try once more.
    Refused {
        /// Why.
        why: Refusal,
    },
}

/// Through what replicas are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalePath {
    /// The scale subresource of the service's adapter.
    Scale,
    /// The graph itself, for a service without an adapter.
    Dgd,
}

/// Why replicas were not written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Somebody else has changed the count since the decision was made, which started from another.
    #[error("{from} replicas were asked for when it was decided, and {now} are now")]
    Moved {
        /// What the decision started from.
        from: Replicas,
        /// What is asked for now.
        now: Replicas,
    },
    /// Somebody else wrote the object between our reading and our writing it, each time that we tried.
    #[error("the object was changed while it was written")]
    Overtaken,
    /// The graph has no such service.
    #[error("DGD {dgd} has no service {service}")]
    NoSuchService {
        /// The graph.
        dgd: String,
        /// The service.
        service: String,
    },
    /// The graph is being deleted.
    #[error("DGD {dgd} is being deleted")]
    DgdGoing {
        /// The graph.
        dgd: String,
    },
    /// Admission said no.
    #[error("{0}")]
    Denied(String),
}

/// Why replicas could not be written.
#[derive(Debug, Error)]
pub enum ScaleError {
    /// The graph could not be read.
    #[error("read the DGD: {0}")]
    ReadDgd(CallError),
    /// The scale of the adapter could not be read.
    #[error("read the scale: {0}")]
    ReadScale(CallError),
    /// The service declares an adapter that is not there.
    #[error(
        "service {service} has scalingAdapter enabled, but its adapter {adapter} does not exist: is \
         the adapter controller running? The DGD is not patched in its stead"
    )]
    AdapterMissing {
        /// The service.
        service: String,
        /// The adapter that should be there.
        adapter: String,
    },
    /// The scale could not be written.
    #[error("write the scale: {0}")]
    WriteScale(CallError),
    /// The graph could not be written.
    #[error("write the DGD: {0}")]
    WriteDgd(CallError),
}

impl ScaleError {
    /// Whether the count may have been written all the same.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::WriteScale(call) | Self::WriteDgd(call) => call.may_have_arrived(),
            Self::AdapterMissing { .. } | Self::ReadDgd(_) | Self::ReadScale(_) => false,
        }
    }

    /// Name of the kind of failure, for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::AdapterMissing { .. } => "adapter_missing",
            Self::ReadDgd(call)
            | Self::ReadScale(call)
            | Self::WriteScale(call)
            | Self::WriteDgd(call) => call.label(),
        }
    }
}

impl ScaleWriter {
    /// A writer that gives each call `deadline`.
    #[must_use]
    pub const fn new(kinds: Kinds, deadline: Duration) -> Self {
        Self { kinds, deadline }
    }

    /// Asks for `wanted` replicas of a service that had `from` when that was decided; writes nothing
    /// where it has them, and refuses where it has another count by now. Without the right to read
    /// the scale, whatever was there is overwritten.
    ///
    /// Where the object was changed while it was written, by a new status say, it is read and written
    /// again, three times in all.
    ///
    /// # Errors
    ///
    /// Where a call fails, or the service's adapter is missing.
    pub async fn write(
        &self,
        target: &ScaleTarget,
        from: Replicas,
        wanted: Replicas,
    ) -> Result<ScaleOutcome, ScaleError> {
        let mut outcome = self.write_once(target, from, wanted).await;
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Ok(ScaleOutcome::Refused { why: Refusal::Overtaken })) {
                break;
            }
            outcome = self.write_once(target, from, wanted).await;
        }
        outcome
    }

    async fn write_once(
        &self,
        target: &ScaleTarget,
        from: Replicas,
        wanted: Replicas,
    ) -> Result<ScaleOutcome, ScaleError> {
        let ScaleTarget { namespace, dgd: name, service } = target;
        let dgd: Graph = self.kinds.get(namespace, name).await.map_err(ScaleError::ReadDgd)?;
        if dgd.is_going() {
            let why = Refusal::DgdGoing { dgd: name.clone() };
            return Ok(ScaleOutcome::Refused { why });
        }
        let Some(found) = dgd.service(service) else {
            let why = Refusal::NoSuchService { dgd: name.clone(), service: service.clone() };
            return Ok(ScaleOutcome::Refused { why });
        };
        if found.adapter_enabled() {
            self.write_scale(target, found, from, wanted).await
        } else {
            self.write_dgd(&dgd, target, found.replicas(), from, wanted).await
        }
    }

    async fn write_scale(
        &self,
        target: &ScaleTarget,
        service: &Service,
        from: Replicas,
        wanted: Replicas,
    ) -> Result<ScaleOutcome, ScaleError> {
        let version = self.kinds.served().await.dgdsa;
        let written = self.write_scale_in(version, target, service, from, wanted).await;
        if !matches!(written, Err(ScaleError::AdapterMissing { .. })) {
            return written;
        }
        // No such adapter, or no such version of it any more.
        match self.kinds.ask().await.map(|served| served.dgdsa) {
            Some(other) if other != version => {
                self.write_scale_in(other, target, service, from, wanted).await
            }
            Some(_) | None => written,
        }
    }

    async fn write_scale_in(
        &self,
        version: Version,
        target: &ScaleTarget,
        service: &Service,
        from: Replicas,
        wanted: Replicas,
    ) -> Result<ScaleOutcome, ScaleError> {
        let adapter = names::adapter_name(&target.dgd, &target.service);
        let adapters: Api<Adapter> = self.kinds.api(version, &target.namespace);
        let missing = || ScaleError::AdapterMissing {
            service: target.service.clone(),
            adapter: adapter.clone(),
        };
        let call = |verb| {
            Call::object(verb, names::GROUP, names::DGDSA_SCALE, &target.namespace, &adapter)
        };

        let read = within(self.deadline, call("get"), adapters.get_scale(&adapter)).await;
        let (present, version) = match read {
            // A scale that leaves its zero out means zero: the field has no default in the API.
            Ok(scale) => {
                let present = replicas_of(scale.spec.and_then(|spec| spec.replicas));
                if let Some(settled) = settled(present, from, wanted) {
                    return Ok(settled);
                }
                (present, scale.metadata.resource_version)
            }
            Err(error) if error.is_not_found() => return Err(missing()),
            // The stock role of a planner allows nothing but the patch.
            Err(error) if error.is_forbidden() => (service.replicas(), None),
            Err(error) => return Err(ScaleError::ReadScale(error)),
        };
        // With the version that was read: whoever scales it in between is not overruled.
        let mut patch = json!({"spec": {"replicas": wanted.get()}});
        if let Some(version) = version {
            patch["metadata"] = json!({"resourceVersion": version});
        }
        let (params, patch) = (patch_params(), Patch::Merge(&patch));
        let written =
            within(self.deadline, call("patch"), adapters.patch_scale(&adapter, &params, &patch));
        match written.await {
            // Without the right to read, the same number is written over and over, which the API
            // server takes as no change.
            Ok(_) if present == wanted => Ok(ScaleOutcome::Unchanged { replicas: wanted }),
            Ok(_) => Ok(ScaleOutcome::Wrote { path: ScalePath::Scale, from: present, to: wanted }),
            Err(error) if error.is_not_found() => Err(missing()),
            Err(error) => refused(error).map_err(ScaleError::WriteScale),
        }
    }

    async fn write_dgd(
        &self,
        dgd: &Graph,
        target: &ScaleTarget,
        present: Replicas,
        from: Replicas,
        wanted: Replicas,
    ) -> Result<ScaleOutcome, ScaleError> {
        if let Some(settled) = settled(present, from, wanted) {
            return Ok(settled);
        }
        // Onto the version that says that the service has no adapter: whoever enables one in between
        // is not overruled.
        let count = [(target.service.as_str(), wanted)];
        match replicas::write(&self.kinds, dgd, &count, self.deadline).await {
            Ok(()) => Ok(ScaleOutcome::Wrote { path: ScalePath::Dgd, from: present, to: wanted }),
            Err(error) => refused(error).map_err(ScaleError::WriteDgd),
        }
    }
}

/// The outcome where nothing is to be written: what is wanted is there, or what is there is not what
/// the decision started from.
fn settled(present: Replicas, from: Replicas, wanted: Replicas) -> Option<ScaleOutcome> {
    if present == wanted {
        return Some(ScaleOutcome::Unchanged { replicas: wanted });
    }
    (present != from)
        .then_some(ScaleOutcome::Refused { why: Refusal::Moved { from, now: present } })
}

/// A denial and a conflict are outcomes; everything else stays an error.
fn refused(error: CallError) -> Result<ScaleOutcome, CallError> {
    match error.failure {
        CallFailure::Denied(message) => Ok(ScaleOutcome::Refused { why: Refusal::Denied(message) }),
        CallFailure::Conflict => Ok(ScaleOutcome::Refused { why: Refusal::Overtaken }),
        failure @ (CallFailure::Deadline(_)
        | CallFailure::Forbidden { .. }
        | CallFailure::NotFound
        | CallFailure::AlreadyExists
        | CallFailure::Refused { .. }
        | CallFailure::Unreadable(_)
        | CallFailure::Transport(_)) => Err(CallError { call: error.call, failure }),
    }
}

fn replicas_of(replicas: Option<i32>) -> Replicas {
    Replicas::new(u32::try_from(replicas.unwrap_or(0)).unwrap_or(0))
}

#[cfg(test)]
mod tests;
