//! Which namespaces are left alone because they have an operator of their own: watched once for the whole
//! process, and told.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::edges::Edges;
use super::{CALL_DEADLINE, seen};
use crate::controllers::restricted::{Restricted, Told, watch_restricted};
use crate::dashboard::Metrics;

/// Begins to look; the task ends by the stop.
pub(super) fn start(
    edges: &Edges,
    stopped: &watch::Receiver<bool>,
) -> (watch::Receiver<Restricted>, JoinHandle<()>) {
    let (sender, restricted) = watch::channel(None);
    let (kube, metrics, stopped) = (edges.kube.clone(), edges.metrics.clone(), stopped.clone());
    let watching = async move {
        let told = |told: &Told| tell(told, &metrics);
        tokio::select! {
            () = watch_restricted(&kube, CALL_DEADLINE, &sender, told) => {}
            () = seen(stopped) => {}
        }
    };
    (restricted, tokio::spawn(watching))
}

fn tell(told: &Told, metrics: &Metrics) {
    match told {
        Told::LeftAlone { namespace } => {
            tracing::info!(namespace, "left alone: an operator of its own has a live lease there");
        }
        Told::TakenBack { namespace } => {
            tracing::info!(namespace, "taken back: no operator of its own has a live lease there");
        }
        Told::Fails { error, is_known: true } => {
            metrics.error("kubernetes", error.label());
            tracing::warn!(%error, "which namespaces have an operator of their own is not seen");
        }
        Told::Fails { error, is_known: false } => {
            metrics.error("kubernetes", error.label());
            tracing::warn!(
                %error,
                "which namespaces have an operator of their own is not known: until it is, no graph \
                 is planned for and no adapter is kept"
            );
        }
    }
}
