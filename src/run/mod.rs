//! The room that wires the edges together: the tick loop, start and shutdown.
//!
//! One tick observes (Prometheus and the API server), plans, lets the referee look, writes, and
//! leaves one record, one log line and the metrics. Whatever is down is said and survived; the loop
//! ends on SIGTERM or SIGINT alone.

mod act;
mod adapters;
mod cluster;
mod edges;
mod gpus;
mod look;
mod ready;
mod restricted;
mod rivals;
mod sink;
mod tick;
mod webhook;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::future::{join, select};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::controllers::clock;
use crate::observe::TrafficStep;
use crate::profile::EngineProfile;
use crate::prometheus::Endpoint;
use crate::spec::{Cluster, Config, DgdTarget, format_duration};
use crate::units::{Role, Timestamp};

pub use webhook::{WebhookSetup, webhook};

use edges::{Begun, keeps_adapters};
use ready::Part;
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

/// Reads the profiles that a configuration names; what it answers where one cannot be used is for people.
pub type Engines =
    Box<dyn Fn(&Config) -> Result<BTreeMap<Role, EngineProfile>, String> + Send + Sync>;

/// What a service of the cluster needs.
pub struct ClusterSetup {
    /// The configuration of the service.
    pub config: Config,
    /// What it plans for.
    pub cluster: Cluster,
    /// Where the metrics are.
    pub prometheus: Endpoint,
    /// The profile of each pool of a graph's configuration.
    pub engines: Engines,
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
    let name = format!("{}/{}", target.namespace, target.dgd);
    let begun = Begun::new(&config, prometheus, context, Part::FirstTick, false).await?;
    tell_start(&config, &begun, &name);
    let namespace = target.namespace.clone();
    let keeps_adapters = keeps_adapters(&config);
    let mut planner = Planner::new(config, target, engines, begun.edges.clone());
    if let Some(Warmup { steps, began }) = warmup {
        planner.learn_history(clock::now(), steps, began);
    }
    tokio::select! {
        may = planner.may_start() => may?,
        () = seen(begun.stopped.clone()) => return Ok(()),
    }
    let scopes = keeps_adapters.then(|| adapters::Scope::namespace(&namespace));
    let scopes = scopes.into_iter().collect();
    let controller = adapters::start(&begun.edges, scopes, None, &instance, &begun.stopped);
    let ended = plan_until(&mut planner, &begun).await;
    tracing::info!(dgd = name, "stopping");
    begun.end(controller).await;
    ended
}

/// Plans for every graph that asks, until SIGTERM or SIGINT.
///
/// # Errors
///
/// Where the start fails: a file or address that cannot be used, a port in use.
pub async fn run_cluster(setup: ClusterSetup) -> Result<(), RunError> {
    let ClusterSetup { config, cluster, prometheus, engines, context, instance } = setup;
    // The namespaces that are named are served, whoever is there too.
    let serves_all = cluster.namespaces.is_empty();
    let begun = Begun::new(&config, prometheus, context, Part::Asked, serves_all).await?;
    tell_start(&config, &begun, "all that ask");
    let scopes = keeps_adapters(&config).then(|| adapters::Scope::of_cluster(&cluster));
    let scopes = scopes.unwrap_or_default();
    let (edges, stopped) = (&begun.edges, &begun.stopped);
    let restricted = begun.restricted.clone().filter(|_| serves_all);
    let controllers = adapters::start(edges, scopes, restricted.as_ref(), &instance, stopped);
    let Begun { edges, health, ready, stopped, .. } = &begun;
    let (health, stopped) = (health.clone(), stopped.clone());
    let planning = cluster::plan_while_leading(
        config,
        cluster,
        engines,
        restricted,
        &instance,
        (edges.clone(), ready.clone(), stopped.clone()),
    );
    // In the same task: where planning hangs, no sign of life comes.
    let lives = async {
        loop {
            health.alive_for(CALL_DEADLINE * 12);
            tokio::time::sleep(CALL_DEADLINE).await;
        }
    };
    let mut planning = pin!(async {
        select(pin!(planning), pin!(lives)).await;
    });
    let grace = async {
        seen(stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    let ended = tokio::select! {
        () = &mut planning => true,
        () = grace => false,
    };
    tracing::info!("stopping");
    let rest = begun.end(controllers);
    if ended {
        rest.await;
    } else {
        // The lease is handed back meanwhile, if the API server answers.
        drop(tokio::time::timeout(LAST_GRACE, join(planning, rest)).await);
    }
    Ok(())
}

fn tell_start(config: &Config, begun: &Begun, dgd: &str) {
    tracing::info!(
        dgd,
        mode = ?config.mode,
        prometheus = begun.edges.prometheus.url(),
        every = format_duration(config.intervals.adjustment),
        adapter_controller = config.adapter_controller,
        "started"
    );
}

/// Ticks until told to stop. A tick under way when the signal comes may finish within the grace.
async fn plan_until(planner: &mut Planner, begun: &Begun) -> Result<(), RunError> {
    let interval = planner.interval();
    loop {
        let began = Instant::now();
        begun.health.alive_for(interval + CALL_DEADLINE * 12);
        let Some(done) = tick_of(planner, &begun.stopped).await else { return Ok(()) };
        done?;
        begun.ready.is(Part::FirstTick);
        tokio::select! {
            () = tokio::time::sleep_until(began + interval) => {}
            () = seen(begun.stopped.clone()) => return Ok(()),
        }
    }
}

/// One tick; where the stop comes while it is under way it may finish within the grace, else it is
/// cut off, and `None`.
async fn tick_of(
    planner: &mut Planner,
    stopped: &watch::Receiver<bool>,
) -> Option<Result<(), RunError>> {
    let stop = async {
        seen(stopped.clone()).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        done = planner.tick(clock::now()) => Some(done),
        () = stop => {
            tracing::warn!("a tick was cut off by the shutdown");
            None
        }
    }
}

/// Completes when the stop is told, or when nobody is left to tell it.
async fn seen(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}
