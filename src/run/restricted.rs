//! Which namespaces are left alone because they have an operator of their own: watched once for the whole
//! process, and told.

use std::fmt;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ready::{Part, Ready};
use super::{CALL_DEADLINE, seen};
use crate::controllers::restricted::{Restricted, Told, watch_restricted};
use crate::dashboard::Metrics;

/// Who waits for the first look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    /// The planning, and with it the adapters: nothing is done until then.
    Planning,
    /// The webhooks, which judge every namespace until then.
    Webhooks,
    /// The two.
    Both,
}

impl fmt::Display for Waiting {
    /// What is so until then.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planning => "no graph is planned for and no adapter is kept",
            Self::Webhooks => {
                "the webhooks judge every namespace; `webhook.leave_restricted: false` has that so, \
                 and no Lease looked for"
            }
            Self::Both => {
                "no graph is planned for, no adapter is kept, and the webhooks judge every namespace"
            }
        })
    }
}

/// Begins to look; the task ends by the stop.
pub(super) fn start(
    kube: Client,
    metrics: Metrics,
    (ready, stopped): (Ready, watch::Receiver<bool>),
    waiting: Waiting,
) -> (watch::Receiver<Restricted>, JoinHandle<()>) {
    let (sender, restricted) = watch::channel(None);
    let mut known = restricted.clone();
    let watching = async move {
        let told = |told: &Told| tell(told, &metrics, waiting);
        // Whoever waits for the lease has to know it too: it may plan at any moment.
        let known = async {
            if known.wait_for(Option::is_some).await.is_ok() {
                ready.is(Part::Restricted);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = watch_restricted(&kube, CALL_DEADLINE, &sender, told) => {}
            () = seen(stopped) => {}
            () = known => {}
        }
    };
    (restricted, tokio::spawn(watching))
}

fn tell(told: &Told, metrics: &Metrics, waiting: Waiting) {
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
                "which namespaces have an operator of their own is not known; until it is, {waiting}"
            );
        }
    }
}
