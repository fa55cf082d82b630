//! The admission webhooks: their certificate, their server, and who we are to the API server.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{CALL_DEADLINE, RunError, seen, serve, until_signal};
use crate::controllers::client::{ClientOptions, connect};
use crate::dashboard::{Health, Metrics};
use crate::spec::{Certificate, Webhook};
use crate::webhook::certs::{Folder, Keeper, KeeperOptions, Plan};
use crate::webhook::{Identities, Rules, Server, ServerOptions, Serving};

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

/// Between two questions who we are, while the API server does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(3);

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
    let kube = connect(&ClientOptions { context })
        .await
        .map_err(|e| RunError::BadInput { source: anyhow!("failed to {:#}", anyhow!(e)) })?;
    let task = start(&webhook, kube, &metrics, Some(health), stopped).await?;
    drop(task.await);
    tracing::info!("stopping");
    signals.abort();
    if let Some(task) = served {
        drop(tokio::time::timeout(super::GRACE, task).await);
    }
    Ok(())
}

/// Starts the webhooks; the task ends by the stop, when the last request has its answer. `health`
/// becomes ready with the first certificate.
pub(super) async fn start(
    webhook: &Webhook,
    kube: Client,
    metrics: &Metrics,
    health: Option<Health>,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, RunError> {
    let Webhook {
        enabled: _,
        port,
        allowed_users,
        stock_identities,
        message,
        gpu_discovery,
        dynamo_version,
        certificate,
    } = webhook;
    let serving = Serving::default();
    let source = source_of(certificate, &kube, &serving).await?;
    let identities = Identities { exact: allowed_users.clone(), stock: *stock_identities };
    let mut rules = Rules {
        identities,
        wording: *message,
        gpu_discovery: *gpu_discovery,
        dynamo_version: dynamo_version.clone(),
    };
    let listener =
        bind(*port, ServerOptions { rules: rules.clone(), serving: serving.clone() }).await?;
    let (port, metrics) = (*port, metrics.clone());
    Ok(tokio::spawn(async move {
        let certificates = {
            let metrics = metrics.clone();
            tokio::spawn(async move {
                match source {
                    Source::Folder(folder) => folder.follow().await,
                    Source::Own(keeper) => {
                        let told = |kept: &crate::webhook::certs::Kept| {
                            metrics.set_webhook_certificate_end(kept.not_after);
                        };
                        keeper.follow(told).await;
                    }
                }
            })
        };
        let serve = async {
            // Until both are known no request can be judged. The probe keeps the pod out of its
            // Service until then; whoever calls all the same waits in the queue of the socket.
            let own = whoami(&kube).await;
            while !serving.is_set() {
                tokio::time::sleep(READY_EVERY).await;
            }
            own
        };
        let own = tokio::select! {
            own = serve => own,
            () = seen(stopped.clone()) => {
                certificates.abort();
                return;
            }
        };
        tracing::info!(port, own, "webhooks served");
        rules.identities.exact.extend(own);
        if let Some(health) = health {
            health.set_ready();
        }
        let told = move |reviewed: &crate::webhook::Reviewed| {
            let crate::webhook::Reviewed { path, operation, result, reason, took } = reviewed;
            metrics.webhook_review(path, operation, result, reason, *took);
        };
        listener.with_rules(rules).serve(seen(stopped), told).await;
        certificates.abort();
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

/// The name under which the API server knows us: what our own controllers write carries it.
async fn whoami(kube: &Client) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(kube.clone());
    loop {
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let answer = reviews.create(&params, &review);
        match tokio::time::timeout(CALL_DEADLINE, answer).await {
            Ok(Ok(answer)) => {
                return answer.status.and_then(|s| s.user_info).and_then(|user| user.username);
            }
            Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
                let error = &status.message;
                tracing::warn!(
                    error,
                    "we do not know our own name: what this process writes must be let pass by \
                     `webhook.allowed_users`"
                );
                return None;
            }
            Ok(Err(error)) => tracing::warn!(%error, "who we are is not known yet"),
            Err(_) => tracing::warn!("who we are is not known yet: no answer"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
