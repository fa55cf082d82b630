//! The admission webhooks: their certificate, their server, and who we are to the API server.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::join;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::edges::{serve, until_signal};
use super::ready::{Part, Ready};
use super::restricted::{self, Waiting};
use super::{CALL_DEADLINE, RunError, seen};
use crate::api::names;
use crate::controllers::client::{ClientOptions, connect};
use crate::controllers::kinds::serves_any;
use crate::controllers::restricted::Restricted;
use crate::dashboard::{Health, Metrics};
use crate::spec::{Certificate, StockIdentities, Webhook};
use crate::webhook::certs::{Folder, Keeper, KeeperOptions, Plan};
use crate::webhook::{Identities, Learnt, Limits, Rules, Server, ServerOptions, Serving};

/// What the webhooks need when they run alone.
#[derive(Debug)]
pub struct WebhookSetup {
    /// The validated configuration.
    pub webhook: Webhook,
    /// Port of the metrics and probes; 0 is off.
    pub metrics_port: u16,
    /// Context of the kubeconfig.
    pub context: Option<String>,
}

/// How long API servers may take to see a changed `caBundle` before a certificate of the new
/// authority is served. They learn of it by a watch, within a second; one that was cut off comes back
/// within tens of them.
const SETTLE: Duration = Duration::from_secs(60);

/// Between two questions for InferencePools.
const POOLS_AGAIN: Duration = Duration::from_secs(30);

/// How the webhooks begin.
#[derive(Clone, Copy, Debug)]
struct FirstLook {
    /// Between two questions for our own name, while the API server does not answer.
    again: Duration,
    /// How long the webhooks wait for that name, and for the namespaces to leave alone, before they are
    /// served without.
    patience: Duration,
}

/// An API server that has just started refuses for some seconds what it allows then, and in that time
/// our own adapter controller, and whoever writes in a namespace that is left alone, had better wait
/// than be refused. Longer than that, a right is missing: the guard then refuses our own writes as those
/// of anybody, and everything in every namespace is judged. Not to serve would have every change of a
/// graph refused.
const FIRST_LOOK: FirstLook =
    FirstLook { again: Duration::from_secs(3), patience: Duration::from_secs(10) };

/// How often the readiness follows from the certificate.
const READY_EVERY: Duration = Duration::from_millis(200);

/// Serves the webhooks until SIGTERM or SIGINT.
///
/// # Errors
///
/// Where the start fails: a port in use, a folder without a certificate, no way to the API server.
pub async fn webhook(setup: WebhookSetup) -> Result<(), RunError> {
    let WebhookSetup { webhook, metrics_port, context } = setup;
    let (stop, stopped) = watch::channel(false);
    let signals = tokio::spawn(until_signal(stop)?);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let health = Health::default();
    let served = serve(metrics_port, &metrics, &health, stopped.clone()).await?;
    warn_where_nobody_passes(&webhook, false);
    let kube = connect(&ClientOptions { context })
        .await
        .map_err(|e| RunError::BadInput { source: anyhow!("failed to {:#}", anyhow!(e)) })?;
    let state = (Ready::after(health, [Part::Webhooks]), stopped);
    let watching = webhook.leave_restricted.then(|| {
        restricted::start(kube.clone(), metrics.clone(), state.clone(), Waiting::Webhooks)
    });
    // The watch ends by the stop.
    let restricted = watching.map(|(restricted, _)| restricted);
    let task = start(&webhook, kube, &metrics, restricted, state).await?;
    drop(task.await);
    tracing::info!("stopping");
    signals.abort();
    if let Some(task) = served {
        drop(tokio::time::timeout(super::GRACE, task).await);
    }
    Ok(())
}

/// Warns where the replica guard would refuse whoever keeps the adapters: NVIDIA's operator, or an
/// adapter controller that is another process.
pub(super) fn warn_where_nobody_passes(webhook: &Webhook, runs_controller: bool) {
    if nobody_passes(webhook, runs_controller) {
        tracing::warn!(
            "nobody may carry the replicas of adapters into the graphs: name the account of the \
             adapter controller (of NVIDIA's operator, or of the planner that runs ours) in \
             `webhook.allowed_users`, as system:serviceaccount:NAMESPACE:NAME, or its scaling is \
             refused"
        );
    }
}

fn nobody_passes(webhook: &Webhook, runs_controller: bool) -> bool {
    let is_none_named = webhook.allowed_users.is_empty();
    is_none_named && webhook.stock_identities == StockIdentities::None && !runs_controller
}

/// Starts the webhooks; the task ends by the stop, when the last request has its answer. They are
/// served with the first certificate, and ready once the API server was told to trust it: in a folder
/// that is somebody else's business. What is done in these restricted namespaces they let pass.
pub(super) async fn start(
    webhook: &Webhook,
    kube: Client,
    metrics: &Metrics,
    restricted: Option<watch::Receiver<Restricted>>,
    state: (Ready, watch::Receiver<bool>),
) -> Result<JoinHandle<()>, RunError> {
    start_with(webhook, kube, metrics, restricted, state, FIRST_LOOK).await
}

async fn start_with(
    webhook: &Webhook,
    kube: Client,
    metrics: &Metrics,
    restricted: Option<watch::Receiver<Restricted>>,
    (ready, stopped): (Ready, watch::Receiver<bool>),
    first_look: FirstLook,
) -> Result<JoinHandle<()>, RunError> {
    let Webhook {
        enabled: _,
        port,
        allowed_users,
        stock_identities,
        message,
        gpu_discovery,
        leave_restricted: _,
        dynamo_version,
        certificate,
    } = webhook;
    let serving = Serving::default();
    let source = source_of(certificate, &kube, &serving).await?;
    let (own, own_name) = watch::channel(None);
    let (pools, inference_pools) = watch::channel(None);
    let rules = Rules {
        identities: Identities {
            exact: allowed_users.clone(),
            stock: *stock_identities,
            own: own_name.into(),
        },
        wording: *message,
        gpu_discovery: *gpu_discovery,
        inference_pools: inference_pools.into(),
        left_alone: restricted.clone().map(Learnt::from).unwrap_or_default(),
        dynamo_version: dynamo_version.clone(),
    };
    let options = ServerOptions { rules, serving: serving.clone(), limits: Limits::default() };
    let listener = bind(*port, options).await?;
    let (port, metrics) = (*port, metrics.clone());
    let (registered, mut is_registered) = watch::channel(false);
    Ok(tokio::spawn(async move {
        let certificates = {
            let metrics = metrics.clone();
            tokio::spawn(async move {
                match source {
                    Source::Folder(folder) => {
                        registered.send_modify(|is| *is = true);
                        folder.follow(|end| metrics.set_webhook_certificate_end(end)).await;
                    }
                    Source::Own(keeper) => {
                        let told = |kept: &crate::webhook::certs::Kept| {
                            metrics.set_webhook_certificate_end(kept.not_after);
                            registered.send_modify(|is| *is = true);
                        };
                        keeper.follow(told).await;
                    }
                }
            })
        };
        let FirstLook { again, patience } = first_look;
        let asking = {
            let kube = kube.clone();
            tokio::spawn(async move { ask_for_pools(&kube, &pools).await })
        };
        let mut named = tokio::spawn(async move {
            if let Some(name) = whoami(&kube, again).await {
                tracing::info!(name, "the name that our own writes carry");
                own.send_replace(Some(name));
            }
        });
        let seen_once = async move {
            if let Some(mut restricted) = restricted {
                drop(restricted.wait_for(Option::is_some).await);
            }
        };
        let can_serve = async {
            // Without a certificate no request can be judged. The probe keeps the pod out of its
            // Service until then; whoever calls all the same waits in the queue of the socket.
            drop(tokio::time::timeout(patience, join(&mut named, seen_once)).await);
            while !serving.is_set() {
                tokio::time::sleep(READY_EVERY).await;
            }
        };
        let is_stopped = tokio::select! {
            () = can_serve => false,
            () = seen(stopped.clone()) => true,
        };
        if is_stopped {
            named.abort();
            certificates.abort();
            asking.abort();
            return;
        }
        tracing::info!(port, "webhooks served");
        let readiness = tokio::spawn(async move {
            let is_registered = is_registered.wait_for(|is| *is).await.is_ok();
            if is_registered {
                ready.is(Part::Webhooks);
            }
        });
        let told = move |reviewed: &crate::webhook::Reviewed| {
            let crate::webhook::Reviewed { path, operation, result, reason, took } = reviewed;
            metrics.webhook_review(path, operation, result, reason, *took);
        };
        listener.serve(seen(stopped), told).await;
        named.abort();
        readiness.abort();
        certificates.abort();
        asking.abort();
    }))
}

/// Where the certificate comes from, ready to be followed.
enum Source {
    Folder(Folder),
    Own(Box<Keeper>),
}

async fn source_of(
    certificate: &Certificate,
    kube: &Client,
    serving: &Serving,
) -> Result<Source, RunError> {
    match certificate {
        Certificate::Folder(path) => {
            let mut folder = Folder::new(PathBuf::from(path), serving.clone());
            // Told at once: a folder that is not mounted will not come by waiting.
            folder.look().await.map_err(|e| RunError::BadInput {
                source: anyhow!(e).context("failed to begin with `webhook.certificate.folder`"),
            })?;
            Ok(Source::Folder(folder))
        }
        Certificate::Own { namespace, secret, registration, names, validity } => {
            let options = KeeperOptions {
                namespace: namespace.clone(),
                secret: secret.clone(),
                registration: registration.clone(),
                plan: Plan { names: names.clone(), validity: *validity, settle: SETTLE },
                every: None,
                call_deadline: CALL_DEADLINE,
            };
            Ok(Source::Own(Box::new(Keeper::new(kube.clone(), options, serving.clone()))))
        }
    }
}

async fn bind(port: u16, options: ServerOptions) -> Result<Server, RunError> {
    let bind = async |address: SocketAddr| Server::bind(address, options.clone()).await;
    let bound = match bind((Ipv6Addr::UNSPECIFIED, port).into()).await {
        // A port in use is in use in both families; a host may have no IPv6 at all.
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, port).into()).await
        }
        bound => bound,
    };
    bound.map_err(|source| RunError::BadInput {
        source: anyhow!(
            "cannot serve webhooks on port {port}: {source}; give another `webhook.port`"
        ),
    })
}

/// The name under which the API server knows us: what our own controllers write carries it. `None`
/// where the API server has no such question (it is of Kubernetes 1.28).
///
/// An API server that has just started may refuse what it allows a moment later, so a refusal is not
/// taken for an answer: it is told once, with what to do where it stays.
async fn whoami(kube: &Client, again: Duration) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(kube.clone());
    let mut is_told = false;
    loop {
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let answer = reviews.create(&params, &review);
        let why = match tokio::time::timeout(CALL_DEADLINE, answer).await {
            Ok(Ok(answer)) => {
                let user = answer.status.and_then(|status| status.user_info);
                // An empty name is nobody's.
                return user.and_then(|user| user.username).filter(|name| !name.is_empty());
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 405) => {
                tracing::warn!(
                    error = status.message,
                    "we do not know our own name: what this process writes must be let pass by \
                     `webhook.allowed_users`"
                );
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if !is_told {
            is_told = true;
            tracing::warn!(
                error = why,
                "who we are is not known yet, and until then the replica guard refuses what this \
                 process writes, unless `webhook.allowed_users` names it; where it stays refused, \
                 the rule {{apiGroups: [\"authentication.k8s.io\"], resources: \
                 [\"selfsubjectreviews\"], verbs: [\"create\"]}} is missing, which \
                 system:basic-user grants by default"
            );
        }
        tokio::time::sleep(again).await;
    }
}

/// Learns, again and again, whether there are InferencePools: their CRDs come and go with another product.
async fn ask_for_pools(kube: &Client, pools: &watch::Sender<Option<bool>>) {
    loop {
        let served = serves_any(kube, &names::INFERENCE_GROUPS, CALL_DEADLINE).await;
        if served.is_some() {
            pools.send_replace(served);
        }
        tokio::time::sleep(POOLS_AGAIN).await;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files and look at the clock")]
mod tests;
