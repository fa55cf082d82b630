//! What every run has: its ends towards Kubernetes, Prometheus and those who look on, and its stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, anyhow};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ready::{Part, Ready};
use super::restricted::{self, Waiting};
use super::sink::{Records, Sink};
use super::{CALL_DEADLINE, LAST_GRACE, RunError, seen, webhook};
use crate::controllers::client::{ClientOptions, connect};
use crate::controllers::kinds::Kinds;
use crate::controllers::restricted::Restricted;
use crate::dashboard::{Health, Metrics, Server};
use crate::prometheus::{Client as PrometheusClient, Endpoint};
use crate::spec::{Config, Mode};

/// What planners work with. Clones share it.
#[derive(Clone)]
pub(super) struct Edges {
    pub(super) kube: Client,
    pub(super) kinds: Kinds,
    pub(super) prometheus: PrometheusClient,
    pub(super) metrics: Metrics,
    pub(super) records: Records,
}

/// A run that has begun: its edges, and what goes on beside the planning.
pub(super) struct Begun {
    pub(super) edges: Edges,
    pub(super) health: Health,
    pub(super) ready: Ready,
    pub(super) stopped: watch::Receiver<bool>,
    /// The namespaces that have an operator of their own, where anybody leaves these alone.
    pub(super) restricted: Option<watch::Receiver<Restricted>>,
    signals: JoinHandle<()>,
    beside: Vec<JoinHandle<()>>,
}

impl Begun {
    /// Opens and serves what the configuration says. The process is ready when this part of the planning
    /// is, and what else there is: the webhooks, and where the planning `leaves_restricted` namespaces
    /// alone, the first look at those.
    ///
    /// # Errors
    ///
    /// A file or address that cannot be used, a port in use.
    pub(super) async fn new(
        config: &Config,
        prometheus: Endpoint,
        context: Option<String>,
        planning: Part,
        leaves_restricted: bool,
    ) -> Result<Self, RunError> {
        let (stop, stopped) = watch::channel(false);
        let signals = tokio::spawn(until_signal(stop)?);
        let records =
            Sink::open(&config.record).map_err(|source| RunError::BadInput { source })?.into();
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let health = Health::default();
        let served = serve(config.metrics_port, &metrics, &health, stopped.clone()).await?;
        let mut beside: Vec<_> = served.into_iter().collect();
        let kube = connect(&ClientOptions { context })
            .await
            .map_err(|e| RunError::BadInput { source: anyhow!("failed to {:#}", anyhow!(e)) })?;
        let prometheus = PrometheusClient::new(prometheus)
            .await
            .map_err(|e| RunError::BadInput { source: anyhow!("failed to {}", e.chain()) })?;
        let serves_webhooks = config.webhook.enabled;
        let parts = [
            Some(planning),
            leaves_restricted.then_some(Part::Restricted),
            serves_webhooks.then_some(Part::Webhooks),
        ];
        let ready = Ready::after(health.clone(), parts.into_iter().flatten());
        let judges = serves_webhooks && config.webhook.leave_restricted;
        let waiting = match (leaves_restricted, judges) {
            (true, true) => Some(Waiting::Both),
            (true, false) => Some(Waiting::Planning),
            (false, true) => Some(Waiting::Webhooks),
            (false, false) => None,
        };
        let watching = waiting.map(|waiting| {
            let state = (ready.clone(), stopped.clone());
            restricted::start(kube.clone(), metrics.clone(), state, waiting)
        });
        let (restricted, watching) = watching.unzip();
        beside.extend(watching);
        if serves_webhooks {
            webhook::warn_where_nobody_passes(&config.webhook, keeps_adapters(config));
            let state = (ready.clone(), stopped.clone());
            let (kube, restricted) = (kube.clone(), restricted.clone().filter(|_| judges));
            beside.push(webhook::start(&config.webhook, kube, &metrics, restricted, state).await?);
        }
        let kinds = Kinds::new(kube.clone(), CALL_DEADLINE);
        let edges = Edges { kube, kinds, prometheus, metrics, records };
        Ok(Self { edges, health, ready, stopped, restricted, signals, beside })
    }

    /// Waits, for the last grace, until what goes on beside has ended by the stop, `also` included; what
    /// has not by then is dropped.
    pub(super) async fn end(self, also: impl IntoIterator<Item = JoinHandle<()>>) {
        self.signals.abort();
        let rest = also.into_iter().chain(self.beside);
        drop(tokio::time::timeout(LAST_GRACE, futures::future::join_all(rest)).await);
    }
}

/// Whether the adapter controller runs.
pub(super) fn keeps_adapters(config: &Config) -> bool {
    config.adapter_controller && config.mode == Mode::Act
}

/// Tells the stop at the first SIGTERM or SIGINT.
pub(super) fn until_signal(
    stop: watch::Sender<bool>,
) -> Result<impl Future<Output = ()>, RunError> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.send_replace(true);
        // Held until the process ends, so that nobody takes its end for another signal.
        std::future::pending::<()>().await;
    })
}

/// Starts the metrics and the probes; `None` where the port is 0.
pub(super) async fn serve(
    port: u16,
    metrics: &Metrics,
    health: &Health,
    stopped: watch::Receiver<bool>,
) -> Result<Option<tokio::task::JoinHandle<()>>, RunError> {
    if port == 0 {
        return Ok(None);
    }
    let bind = async |address: IpAddr| {
        Server::bind((address, port).into(), metrics.clone(), health.clone()).await
    };
    let server = match bind(Ipv6Addr::UNSPECIFIED.into()).await {
        // A port in use is in use in both families; a host may have no IPv6 at all.
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            bind(Ipv4Addr::UNSPECIFIED.into()).await
        }
        bound => bound,
    }
    .map_err(|source| {
        let text = format!(
            "cannot serve metrics on port {port}: {source}; give another `metrics_port`, or 0 \
                 for none"
        );
        RunError::BadInput { source: anyhow!(text) }
    })?;
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = server.serve(seen(stopped)).await {
            tracing::error!(%error, "metrics ended");
        }
    })))
}
