//! The adapter controller, which one process runs at a time, and what is told of a lease.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::edges::Edges;
use super::{CALL_DEADLINE, seen};
use crate::api::names;
use crate::controllers::adapter::{self, AdapterOptions};
use crate::controllers::clock;
use crate::controllers::lease::{LeaseOptions, Lost, Timing, Told, while_held};
use crate::controllers::restricted::Restricted;
use crate::dashboard::Metrics;
use crate::spec::Cluster;

/// How every namespace is called in the metrics.
const EVERY: &str = "*";

/// Whose adapters are kept, and where the lease is.
pub(super) struct Scope {
    /// `None` is every namespace.
    namespace: Option<String>,
    lease_namespace: String,
}

impl Scope {
    /// Those of one namespace.
    pub(super) fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), lease_namespace: namespace.to_owned() }
    }

    /// Those of a service of the cluster: of each namespace that it names, else of all.
    pub(super) fn of_cluster(cluster: &Cluster) -> Vec<Self> {
        if cluster.namespaces.is_empty() {
            let lease_namespace = cluster.lease_namespace.clone();
            return vec![Self { namespace: None, lease_namespace }];
        }
        let names: BTreeSet<&String> = cluster.namespaces.iter().collect();
        names.into_iter().map(|name| Self::namespace(name)).collect()
    }
}

/// Keeps the adapters of each scope while its lease is ours, but for those of namespaces that are left
/// alone; a task ends by the stop, when its controller has ended and its lease is handed back.
pub(super) fn start(
    edges: &Edges,
    scopes: Vec<Scope>,
    restricted: Option<&watch::Receiver<Restricted>>,
    instance: &str,
    stopped: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let start = |Scope { namespace, lease_namespace }: Scope| {
        let scope = namespace.clone().unwrap_or_else(|| EVERY.to_owned());
        let lease = lease(names::LEASE_ADAPTERS, lease_namespace, instance);
        let options = AdapterOptions {
            namespace,
            call_deadline: CALL_DEADLINE,
            instance: instance.to_owned(),
            restricted: restricted.cloned(),
            ..AdapterOptions::default()
        };
        let metrics = edges.metrics.clone();
        metrics.set_adapter_leader(&scope, false);
        let told = move |told: &Told| {
            let of = (names::LEASE_ADAPTERS, "the adapters are kept");
            tell(told, of, &metrics, |holds| metrics.set_adapter_leader(&scope, holds));
        };
        let kube = edges.kube.clone();
        let client = kube.clone();
        let work = move |stop| adapter::run(client.clone(), options.clone(), stop, |_| {});
        tokio::spawn(while_held(kube, lease, seen(stopped.clone()), told, work))
    };
    scopes.into_iter().map(start).collect()
}

/// A lease under this name.
pub(super) fn lease(name: &str, namespace: String, instance: &str) -> LeaseOptions {
    LeaseOptions {
        namespace,
        name: name.to_owned(),
        holder: holder(instance),
        timing: Timing::STANDARD,
    }
}

/// A name that no other process ever has: a container that is restarted has the pod's name and the
/// process number of the one before.
fn holder(instance: &str) -> String {
    format!("{instance}_{}_{:x}", std::process::id(), clock::wall_clock().as_nanosecond())
}

/// Tells what became of a lease; its holder does what `done` says, as in "`done` by this process".
pub(super) fn tell(
    told: &Told,
    (lease, done): (&str, &str),
    metrics: &Metrics,
    holds: impl Fn(bool),
) {
    match told {
        Told::Holds => {
            holds(true);
            tracing::info!(lease, "{done} by this process");
        }
        Told::Waits { holder } => {
            tracing::info!(lease, holder, "{done} by another process; waiting");
        }
        Told::Lost(lost) => {
            holds(false);
            let why = match lost {
                Lost::NotRenewed => "it could not be renewed in time".to_owned(),
                Lost::Taken { by: Some(by) } => format!("{by} has taken it"),
                Lost::Taken { by: None } => "somebody has emptied it".to_owned(),
            };
            tracing::warn!(lease, why, "lease lost: {done} by this process no more");
        }
        Told::RightsMissing { what } => {
            for what in what {
                tracing::warn!(lease, "a right is missing by which {done}: {what}");
            }
        }
        Told::Fails { label, error } => {
            metrics.error("lease", label);
            tracing::warn!(lease, label, error, "lease");
        }
        Told::Released => {
            holds(false);
            tracing::debug!(lease, "lease handed back");
        }
    }
}
