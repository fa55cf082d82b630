//! The adapter controller, which one process of a namespace runs at a time.

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{CALL_DEADLINE, seen};
use crate::api::names;
use crate::controllers::adapter::{self, AdapterOptions};
use crate::controllers::clock;
use crate::controllers::lease::{LeaseOptions, Lost, Timing, Told, while_held};
use crate::dashboard::Metrics;

/// Keeps the adapters of a namespace while the lease is ours; the task ends by the stop, when the
/// controller has ended and the lease is handed back.
pub(super) fn start(
    kube: Client,
    namespace: &str,
    instance: &str,
    metrics: Metrics,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let lease = LeaseOptions {
        namespace: namespace.to_owned(),
        name: names::LEASE_ADAPTERS.to_owned(),
        holder: holder(instance),
        timing: Timing::STANDARD,
    };
    let options = AdapterOptions {
        namespace: Some(namespace.to_owned()),
        call_deadline: CALL_DEADLINE,
        instance: instance.to_owned(),
        ..AdapterOptions::default()
    };
    metrics.set_adapter_leader(false);
    let told = move |told: &Told| tell(told, &metrics);
    let client = kube.clone();
    let work = move |stop| adapter::run(client.clone(), options.clone(), stop, |_| {});
    tokio::spawn(while_held(kube, lease, seen(stopped), told, work))
}

/// A name that no other process ever has: a container that is restarted has the pod's name and the
/// process number of the one before.
fn holder(instance: &str) -> String {
    format!("{instance}_{}_{:x}", std::process::id(), clock::wall_clock().as_nanosecond())
}

fn tell(told: &Told, metrics: &Metrics) {
    let lease = names::LEASE_ADAPTERS;
    match told {
        Told::Holds => {
            metrics.set_adapter_leader(true);
            tracing::info!(lease, "the adapters are kept by this process");
        }
        Told::Waits { holder } => {
            tracing::info!(lease, holder, "the adapters are kept by another process; waiting");
        }
        Told::Lost(lost) => {
            metrics.set_adapter_leader(false);
            let why = match lost {
                Lost::NotRenewed => "it could not be renewed in time".to_owned(),
                Lost::Taken { by: Some(by) } => format!("{by} has taken it"),
                Lost::Taken { by: None } => "somebody has emptied it".to_owned(),
            };
            tracing::warn!(lease, why, "lease lost: the adapters are kept by this process no more");
        }
        Told::RightsMissing { what } => {
            for what in what {
                tracing::warn!("the adapters are not kept by this process: {what}");
            }
        }
        Told::Fails { label, error } => {
            metrics.error("lease", label);
            tracing::warn!(lease, label, error, "lease");
        }
        Told::Released => {
            metrics.set_adapter_leader(false);
            tracing::debug!(lease, "lease handed back");
        }
    }
}
