//! One process that plans for every graph that asks for it, while it holds the lease.
//!
//! Each graph has a planner of its own. They all run within the work that the lease allows, in one task:
//! where the lease is lost they are dropped with every call that they wait for.
//!
//! Where every namespace is served, graphs in one with an operator of its own count as not asking.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use super::edges::Edges;
use super::ready::{Part, Ready};
use super::tick::Planner;
use super::{CALL_DEADLINE, Engines, adapters, seen, tick_of};
use crate::api::names;
use crate::controllers::Stop;
use crate::controllers::asking::{Asked, Asking, GraphName, watch_asking};
use crate::controllers::clock;
use crate::controllers::events::{Note, Publisher};
use crate::controllers::lease::{Told, while_held};
use crate::controllers::restricted::{Restricted, is_left_alone};
use crate::plan::{Account, Memory};
use crate::profile::EngineProfile;
use crate::spec::{Cluster, Config, DgdTarget, Pool};
use crate::units::Role;

/// Before a planner that lacks a right tries again: nobody should wait minutes for what was just
/// granted.
const RIGHTS_AGAIN: Duration = Duration::from_secs(15);

/// Before what a graph asks is tried again where it could not be done.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// What a service of the cluster plans with.
struct Service {
    config: Config,
    cluster: Cluster,
    engines: Engines,
    edges: Edges,
    publisher: Publisher,
    ready: Ready,
    /// The namespaces that are left alone; none where the file names those to serve.
    restricted: Option<watch::Receiver<Restricted>>,
}

/// Plans for all graphs that ask, while the lease is ours, until the stop.
pub(super) async fn plan_while_leading(
    config: Config,
    cluster: Cluster,
    engines: Engines,
    restricted: Option<watch::Receiver<Restricted>>,
    instance: &str,
    (edges, ready, stopped): (Edges, Ready, watch::Receiver<bool>),
) {
    let lease = adapters::lease(names::LEASE_PLANNER, cluster.lease_namespace.clone(), instance);
    let publisher = Publisher::new(edges.kube.clone(), instance.to_owned(), CALL_DEADLINE);
    let service = Service {
        config,
        cluster,
        engines,
        edges: edges.clone(),
        publisher,
        ready: ready.clone(),
        restricted,
    };
    let metrics = edges.metrics.clone();
    metrics.set_leader(false);
    let told = {
        let ready = ready.clone();
        move |told: &Told| {
            adapters::tell(
                told,
                (names::LEASE_PLANNER, "replicas are planned"),
                &metrics,
                |holds| {
                    metrics.set_leader(holds);
                },
            );
            if matches!(told, Told::Waits { .. }) {
                ready.is(Part::Asked);
            }
        }
    };
    let work = |stop| service.plan_all(stop);
    while_held(edges.kube.clone(), lease, seen(stopped.clone()), told, work).await;
}

/// What is planned with for one graph.
#[derive(Clone)]
struct Setting {
    config: Config,
    target: DgdTarget,
    engines: BTreeMap<Role, EngineProfile>,
    /// Which graph of that name: one that was made anew is another one.
    uid: Option<String>,
}

impl Setting {
    /// Whether what was learned with `before` is of use: the same graph, with the same pools but for
    /// their limits.
    fn goes_on_from(&self, before: &Self) -> bool {
        let pools = |setting: &Self| -> Vec<_> {
            let of = |(role, pool): (&Role, &Pool)| {
                let Pool { service, profile, limits, .. } = pool;
                (*role, service.clone(), profile.clone(), *limits)
            };
            setting.config.pools.iter().map(of).collect()
        };
        self.uid == before.uid
            && self.target == before.target
            && self.config.forecast == before.config.forecast
            && pools(self) == pools(before)
    }

    /// What was learned with `before`, without the account of another promise.
    fn keeping_account(&self, before: &Self, memory: Memory) -> Memory {
        if self.config.sla == before.config.sla {
            memory
        } else {
            Memory { account: Account::default(), ..memory }
        }
    }
}

/// One graph that asks, or whose planner has not ended yet.
#[derive(Default)]
struct Planned {
    /// What it asked last; `None` where it asks no more, or is left alone.
    asking: Option<Asking>,
    /// Why that cannot be done. It is tried again: a profile may be added meanwhile.
    refused: Option<String>,
    /// Its planner can be told to end; `None` where none runs.
    ending: Option<Ending>,
    /// Which graph of that name the planner is for.
    uid: Option<String>,
    /// What the planner that runs is to make room for.
    next: Option<Setting>,
}

/// How a planner is told to end.
struct Ending {
    stop: watch::Sender<bool>,
    /// Whether nobody plans for the graph then, so that it takes away what its adapters say of conflicts.
    leaves: watch::Sender<bool>,
}

impl Planned {
    /// Tells its planner to end. What was said before about leaving holds no more.
    fn end(&self, leaving: bool) {
        if let Some(Ending { stop, leaves }) = &self.ending {
            leaves.send_replace(leaving);
            stop.send_replace(true);
        }
    }
}

/// A planner that was told to end, and what it had.
type Ended = (GraphName, Planner, Setting);

/// What goes on beside the watch.
struct Running<'a> {
    planners: FuturesUnordered<BoxFuture<'a, Ended>>,
    /// Events that are being told.
    words: FuturesUnordered<BoxFuture<'a, ()>>,
}

impl Service {
    /// Plans for all graphs that ask until `stop`.
    async fn plan_all(&self, stop: Stop) {
        let (asked, mut asks) = watch::channel(None);
        let namespaces = &self.cluster.namespaces;
        let metrics = &self.edges.metrics;
        let mut looking = pin!(watch_asking(&self.edges.kinds, namespaces, &asked, |error| {
            metrics.error("kubernetes", error.label());
            tracing::warn!(%error, "which graphs ask is not seen");
        }));
        let mut restricted = self.restricted.clone();
        let mut planned: BTreeMap<GraphName, Planned> = BTreeMap::new();
        let mut again = tokio::time::interval(REFUSED_AGAIN);
        let mut running =
            Running { planners: FuturesUnordered::new(), words: FuturesUnordered::new() };
        loop {
            tokio::select! {
                () = stop.clone() => break,
                () = &mut looking => break,
                Ok(()) = asks.changed() => {}
                () = changed(restricted.as_mut()) => {}
                Some(ended) = running.planners.next() => {
                    self.begin_next(ended, &mut planned, &running);
                    continue;
                }
                Some(()) = running.words.next() => continue,
                _ = again.tick() => {
                    let refused = |graph: &Planned| graph.refused.is_some();
                    for (name, graph) in planned.iter_mut().filter(|(_, graph)| refused(graph)) {
                        self.take_in(name, graph, &running);
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
            }
            let all = self.to_plan(asks.borrow_and_update().as_ref());
            let Some(all) = all else { continue };
            self.hear(&all, &mut planned, &running).await;
            self.ready.is(Part::Asked);
        }
        for graph in planned.values() {
            graph.end(false);
        }
        // Each ends by itself within the grace of a tick.
        while running.planners.next().await.is_some() {}
    }

    /// The graphs that ask and are not left alone; `None` while it is not known which these are.
    fn to_plan(&self, asked: Option<&Asked>) -> Option<Asked> {
        let mut all = asked?.clone();
        if let Some(restricted) = &self.restricted {
            let known = restricted.borrow();
            let left_alone = known.as_ref()?;
            all.retain(|graph, _| !left_alone.contains(&graph.namespace));
        }
        Some(all)
    }

    /// Whether a namespace is left alone.
    fn leaves_alone(&self, namespace: &str) -> bool {
        let restricted = self.restricted.as_ref();
        restricted.is_some_and(|known| is_left_alone(&known.borrow(), namespace))
    }

    /// Takes in which graphs ask what.
    async fn hear<'a>(
        &'a self,
        all: &Asked,
        planned: &mut BTreeMap<GraphName, Planned>,
        running: &Running<'a>,
    ) {
        for (name, graph) in planned.iter_mut().filter(|(name, _)| !all.contains_key(name)) {
            tracing::info!(namespace = name.namespace, dgd = name.name, "planned for no more");
            graph.asking = None;
            graph.refused = None;
            graph.next = None;
            // Where an operator of its own has come, nothing is written any more.
            graph.end(!self.leaves_alone(&name.namespace));
        }
        planned.retain(|_, graph| graph.asking.is_some() || graph.ending.is_some());
        for (name, asking) in all {
            let graph = planned.entry(name.clone()).or_default();
            if graph.asking.as_ref() == Some(asking) {
                continue;
            }
            graph.asking = Some(asking.clone());
            self.take_in(name, graph, running);
            // Profiles are read for each: the lease is renewed in between.
            tokio::task::yield_now().await;
        }
    }

    /// Has a graph planned for as it asks.
    fn take_in<'a>(&'a self, name: &GraphName, graph: &mut Planned, running: &Running<'a>) {
        let Some(asking) = graph.asking.clone() else { return };
        let setting = self.setting(name, &asking);
        let told = std::mem::replace(&mut graph.refused, setting.as_ref().err().cloned());
        match setting {
            Ok(setting) if graph.ending.is_some() => {
                graph.next = Some(setting);
                graph.end(false);
            }
            Ok(setting) => self.begin(name, graph, setting, None, running),
            Err(text) => {
                // What the graph asked before holds on, but not what another graph of its name asked.
                let uid = &asking.graph.uid;
                graph.next = graph.next.take().filter(|next| next.uid == *uid);
                if graph.uid != *uid {
                    graph.end(false);
                }
                if told.as_ref() != Some(&text) {
                    running.words.push(self.refuse(asking, text).boxed());
                }
            }
        }
    }

    /// What to plan with for a graph that asks so.
    fn setting(&self, graph: &GraphName, asking: &Asking) -> Result<Setting, String> {
        let GraphName { namespace, name } = graph;
        let config = self
            .cluster
            .config_of(&self.config, namespace, name, &asking.text)
            .map_err(|e| e.to_string())?;
        if config.pools.is_empty() {
            return Err(
                "there are no pools to scale: give `pools.prefill` and `pools.decode`, or \
                        `pools.aggregated`"
                    .to_owned(),
            );
        }
        let engines = (self.engines)(&config)?;
        let target =
            config.target.clone().ok_or_else(|| "there is no graph to scale".to_owned())?;
        Ok(Setting { config, target, engines, uid: asking.graph.uid.clone() })
    }

    /// Says on a graph that what it asks cannot be done.
    async fn refuse(&self, asking: Asking, text: String) {
        let annotation = names::ANNOTATION_CONFIG;
        let message = format!("annotation {annotation}: {text}");
        let (namespace, dgd) = (&asking.graph.namespace, &asking.graph.name);
        tracing::warn!(?namespace, ?dgd, "{message}");
        self.edges.metrics.error("config", "invalid");
        let note = Note::warning(names::EVENT_INVALID_CONFIG, message);
        if let Err(error) = self.publisher.publish(&asking.graph, &note, clock::wall_clock()).await
        {
            tracing::debug!(%error, "an event was not taken");
        }
    }

    /// Starts the planner of a graph; it goes on from `before` where that is of use, and else what that
    /// one told of pools that are no more is taken away first.
    fn begin<'a>(
        &'a self,
        name: &GraphName,
        graph: &mut Planned,
        setting: Setting,
        before: Option<(Planner, Setting)>,
        running: &Running<'a>,
    ) {
        let (memory, old) = match before {
            Some((planner, with)) if setting.goes_on_from(&with) => {
                (Some(setting.keeping_account(&with, planner.into_memory())), None)
            }
            Some((planner, _)) => (None, Some(planner)),
            None => (None, None),
        };
        let goes_on = memory.is_some();
        graph.uid.clone_from(&setting.uid);
        tracing::info!(namespace = name.namespace, dgd = name.name, goes_on, "asks");
        let (stop, stopped) = watch::channel(false);
        let (leaves, mut leaving) = watch::channel(false);
        graph.ending = Some(Ending { stop, leaves });
        let name = name.clone();
        let interval = setting.config.intervals.adjustment;
        let wait = if goes_on { Duration::ZERO } else { offset(&name, interval) };
        running.planners.push(
            async move {
                if let Some(mut old) = old {
                    tokio::select! {
                        () = old.leave(Some(&setting.config)) => {}
                        () = seen(stopped.clone()) => {}
                    }
                }
                let Setting { config, target, engines, uid: _ } = setting.clone();
                let mut planner = Planner::new(config, target, engines, self.edges.clone());
                planner.go_on_from(memory.unwrap_or_default());
                tokio::select! {
                    () = tokio::time::sleep(wait) => self.plan(&mut planner, &name, stopped).await,
                    () = seen(stopped.clone()) => {}
                }
                if *leaving.borrow_and_update() {
                    tokio::select! {
                        () = planner.leave(None) => {}
                        _ = leaving.wait_for(|leaves| !leaves) => {}
                    }
                }
                (name, planner, setting)
            }
            .boxed(),
        );
    }

    /// Ticks until told to stop.
    async fn plan(&self, planner: &mut Planner, name: &GraphName, stopped: watch::Receiver<bool>) {
        loop {
            let began = Instant::now();
            let pause = match tick_of(planner, &stopped).await {
                Some(Ok(())) => planner.interval(),
                Some(Err(error)) => {
                    self.edges.metrics.error("planner", "forbidden");
                    tracing::warn!(namespace = name.namespace, dgd = name.name, %error, "not planned for");
                    RIGHTS_AGAIN
                }
                None => return,
            };
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = seen(stopped.clone()) => return,
            }
        }
    }

    /// A planner has ended, and makes room for the next one of its graph.
    fn begin_next<'a>(
        &'a self,
        (name, planner, setting): Ended,
        planned: &mut BTreeMap<GraphName, Planned>,
        running: &Running<'a>,
    ) {
        let Some(graph) = planned.get_mut(&name) else { return };
        graph.ending = None;
        match graph.next.take() {
            Some(next) => self.begin(&name, graph, next, Some((planner, setting)), running),
            None if graph.asking.is_none() => drop(planned.remove(&name)),
            None => {}
        }
    }
}

/// Completes when other namespaces are left alone; never where none ever is, or nobody is left to tell.
async fn changed(restricted: Option<&mut watch::Receiver<Restricted>>) {
    if let Some(restricted) = restricted
        && restricted.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// When within its interval a planner ticks, so that those of many graphs do not all ask at once.
fn offset(name: &GraphName, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (&name.namespace, &name.name).hash(&mut hasher);
    interval.mul_f64((hasher.finish() % 1000) as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
