//! The room that wires the edges together: the tick loop, start and shutdown.
//!
//! One tick observes (Prometheus and the API server), plans, lets the referee look, writes, and
//! leaves one record, one log line and the metrics. Whatever is down is said and survived; the loop
//! ends on SIGTERM or SIGINT alone.

mod act;
mod adapters;
mod gpus;
mod look;
mod ready;
mod rivals;
mod sink;
mod tick;
mod webhook;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::controllers::client::{ClientOptions, connect};
use crate::controllers::clock;
use crate::dashboard::{Health, Metrics, Server};
use crate::observe::TrafficStep;
use crate::profile::EngineProfile;
use crate::prometheus::{Client as PrometheusClient, Endpoint};
use crate::spec::{Config, DgdTarget, Mode, format_duration};
use crate::units::{Role, Timestamp};

pub use webhook::{WebhookSetup, webhook};

use ready::{Part, Ready};
use sink::Sink;
use tick::Planner;

/// What a run needs: the validated configuration, with what must not be missing taken out of it.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// What is scaled.
    pub target: DgdTarget,
    /// Where the metrics are.
    pub prometheus: Endpoint,
    /// The profile of each configured pool.
    pub engines: BTreeMap<Role, EngineProfile>,
    /// What to learn from before the first tick.
    pub warmup: Option<Warmup>,
    /// Context of the kubeconfig.
    pub context: Option<String>,
    /// What this process is called among those like it: the name of its pod.
    pub instance: String,
}

/// The load of a time before the first tick.
#[derive(Debug)]
pub struct Warmup {
    /// What each tick would have seen, from the start of the trace.
    pub steps: Vec<TrafficStep>,
    /// The date of its start, where it has one.
    pub began: Option<Timestamp>,
}

/// Why a run ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A right is missing without which nothing can be done.
    #[error("{what}")]
    Forbidden {
        /// Which, and the rule to add.
        what: String,
    },
    /// Something configured cannot be used.
    #[error(transparent)]
    BadInput {
        /// What.
        source: anyhow::Error,
    },
    /// Anything else.
    #[error(transparent)]
    Failed {
        /// What.
        source: anyhow::Error,
    },
}

impl From<anyhow::Error> for RunError {
    fn from(source: anyhow::Error) -> Self {
        Self::Failed { source }
    }
}

/// Longest time for one call to the API server. A tick makes a handful of them one after the other,
/// and must be over well within its interval.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// After the signal, what is being written may finish within this time.
const GRACE: Duration = Duration::from_millis(400);

/// Then the controller and its lease, the webhooks and the metrics within this one: together less than
/// the second within which a shutdown is promised.
const LAST_GRACE: Duration = Duration::from_millis(550);

/// Plans until SIGTERM or SIGINT.
///
/// # Errors
///
/// Where the start fails: a file or address that cannot be used, a port in use, a missing right.
pub async fn run(setup: Setup) -> Result<(), RunError> {
    let Setup { config, target, prometheus, engines, warmup, context, instance } = setup;
    let (stop, stopped) = watch::channel(false);
    let signals = tokio::spawn(until_signal(stop)?);

    let sink = Sink::open(&config.record).map_err(|source| RunError::BadInput { source })?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let health = Health::default();
    let served = serve(config.metrics_port, &metrics, &health, stopped.clone()).await?;
    let kube = connect(&ClientOptions { context })
        .await
        .map_err(|e| RunError::BadInput { source: anyhow!("failed to {:#}", anyhow!(e)) })?;
    let prometheus = PrometheusClient::new(prometheus)
        .await
        .map_err(|e| RunError::BadInput { source: anyhow!("failed to {}", e.chain()) })?;

    let name = format!("{}/{}", target.namespace, target.dgd);
    tracing::info!(
        dgd = name,
        mode = ?config.mode,
        prometheus = prometheus.url(),
        every = format_duration(config.intervals.adjustment),
        adapter_controller = config.adapter_controller,
        "started"
    );
    let runs_controller = config.adapter_controller && config.mode == Mode::Act;
    let serves_webhooks = config.webhook.enabled;
    let parts = [Part::FirstTick].into_iter().chain(serves_webhooks.then_some(Part::Webhooks));
    let ready = Ready::after(health.clone(), parts);
    let webhooks = if serves_webhooks {
        webhook::warn_where_nobody_passes(&config.webhook, runs_controller);
        let (kube, ready) = (kube.clone(), ready.clone());
        Some(webhook::start(&config.webhook, kube, &metrics, ready, stopped.clone()).await?)
    } else {
        None
    };
    let namespace = target.namespace.clone();
    let mut planner =
        Planner::new(config, target, engines, kube.clone(), prometheus, metrics.clone(), sink);
    if let Some(Warmup { steps, began }) = warmup {
        planner.learn_history(clock::now(), steps, began);
    }
    tokio::select! {
        may = planner.may_start() => may?,
        () = seen(stopped.clone()) => return Ok(()),
    }
    let controller = runs_controller
        .then(|| adapters::start(kube, &namespace, &instance, metrics, stopped.clone()));
    let ended = plan_until(&mut planner, &health, &ready, stopped).await;
    tracing::info!(dgd = name, "stopping");
    // Each of these ends by the same signal; what does not within the grace is dropped.
    signals.abort();
    let rest = [controller, webhooks, served].into_iter().flatten();
    drop(tokio::time::timeout(LAST_GRACE, futures::future::join_all(rest)).await);
    ended
}

/// Ticks until told to stop. A tick under way when the signal comes may finish within the grace.
async fn plan_until(
    planner: &mut Planner,
    health: &Health,
    ready: &Ready,
    stopped: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let interval = planner.interval();
    loop {
        let began = Instant::now();
        health.alive_for(interval + CALL_DEADLINE * 12);
        let stop = async {
            seen(stopped.clone()).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            done = planner.tick(clock::now()) => {
                done?;
                ready.is(Part::FirstTick);
            }
            () = stop => {
                tracing::warn!("a tick was cut off by the shutdown");
                return Ok(());
            }
        }
        tokio::select! {
            () = tokio::time::sleep_until(began + interval) => {}
            () = seen(stopped.clone()) => return Ok(()),
        }
    }
}

/// Completes when the stop is told, or when nobody is left to tell it.
async fn seen(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

/// Tells the stop at the first SIGTERM or SIGINT.
fn until_signal(stop: watch::Sender<bool>) -> Result<impl Future<Output = ()>, RunError> {
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
async fn serve(
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
