//! The adapter controller: one scaling adapter for every service with `scalingAdapter.enabled`, and
//! its replicas carried to the graph.
//!
//! For one graph it gathers (from its caches), plans (a pure function), applies, and writes the
//! statuses. An adapter that exists is the source of truth: the graph's replicas seed it when it is
//! made, and are never written back to it. One that cannot be read is left alone, and its service with
//! it; an event on the graph says why. The graph is changed by the smallest patch that carries
//! the replicas and the `resourceVersion` it was decided on, never by a whole object.
//!
//! A namespace with an operator of its own ([`super::restricted`]) is left alone: nothing is written in it
//! until it is taken back.
//!
//! Both kinds are watched in the versions that [`Kinds`] finds served. When these change (an upgrade
//! of the CRDs) everything is listed anew in the others, as at a start.
//!
//! The API server may go and come back: the caches keep what they knew, the watches are renewed every
//! [`WATCH_PAUSE`], and a write that failed is planned anew.

mod apply;
mod plan;
mod told;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action, applier};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::{Notify, watch as channel};

pub use self::apply::{AdapterError, Change};
pub use self::plan::Remark;
pub use self::told::Told;

use self::apply::Applier;
use self::plan::{Invalid, Plan, Unreadable};
use self::told::Teller;
use self::watch::{Watched, taken_back};
use super::Stop;
use super::client;
use super::events::{Note, Publisher};
use super::kinds::{Kinds, api_of};
use super::restricted::{Restricted, is_left_alone};
pub use super::watches::WATCH_PAUSE;
use super::watches::{Pause, until_others};
use crate::api::{self, Graph, Served, names};

/// Pause before a graph is looked at again after somebody changed it in between: the cache hears of
/// the change within this time as a rule.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// Conflicts in a row that are the normal end of a race. What still conflicts after a second is no
/// race, and is treated as any other failure.
const CONFLICTS: u32 = 5;

/// First and longest pause after a failure; it doubles in between. A right that is missing is not
/// there a second later, but an operator who has just granted it should not wait minutes.
const FAILURE_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Graphs worked on at a time. One graph costs at most a handful of calls; more at a time would
/// only queue in the API server's own fairness limits.
const CONCURRENCY: u16 = 16;

/// How the adapter controller is run.
#[derive(Clone, Debug)]
pub struct AdapterOptions {
    /// The namespace to look after; none means all.
    pub namespace: Option<String>,
    /// Longest time for one call.
    pub call_deadline: Duration,
    /// Pause before a graph is looked at again although nothing happened.
    pub slow_requeue: Duration,
    /// Who speaks in events: the name of the pod.
    pub instance: String,
    /// The namespaces to leave alone, as they change; none leaves none alone.
    pub restricted: Option<channel::Receiver<Restricted>>,
}

impl Default for AdapterOptions {
    /// All namespaces and none left alone, 10 s a call, a look every five minutes.
    fn default() -> Self {
        Self {
            namespace: None,
            call_deadline: Duration::from_secs(10),
            slow_requeue: Duration::from_secs(300),
            instance: names::FIELD_MANAGER.to_owned(),
            restricted: None,
        }
    }
}

type Dgd = DeserializeGuard<Graph>;
type Adapter = DeserializeGuard<api::Adapter>;

/// Runs the controller until `shutdown`, then lets what is being written finish.
///
/// `told` hears everything that happens, for metrics and for tests; the log has it too.
pub async fn run(
    client: Client,
    options: AdapterOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
    told: impl Fn(&Told) + Send + Sync + 'static,
) {
    let AdapterOptions { namespace, call_deadline, slow_requeue, instance, restricted } = options;
    let shutdown: Stop = shutdown.boxed().shared();
    let kinds = Kinds::new(client.clone(), call_deadline);
    let all = All {
        publisher: Arc::new(Publisher::new(client, instance, call_deadline)),
        teller: Arc::new(Teller::new(told)),
        kinds,
        namespace,
        call_deadline,
        slow_requeue,
        restricted,
    };
    while shutdown.peek().is_none() {
        let answer = tokio::select! {
            answer = all.kinds.ask() => answer,
            () = shutdown.clone() => break,
        };
        let served = answer.unwrap_or_else(|| all.kinds.last());
        all.work(served, answer.is_some(), shutdown.clone()).await;
    }
    tracing::debug!("adapter controller has ended");
}

/// What stays while the versions change.
struct All {
    kinds: Kinds,
    publisher: Arc<Publisher>,
    teller: Arc<Teller>,
    namespace: Option<String>,
    call_deadline: Duration,
    slow_requeue: Duration,
    restricted: Option<channel::Receiver<Restricted>>,
}

impl All {
    /// Watches and works in these versions until `shutdown`, or until others are served. What is being
    /// written then may finish.
    async fn work(&self, served: Served, is_sure: bool, shutdown: Stop) {
        let doubt = Arc::new(Notify::new());
        let changed = until_others(self.kinds.clone(), served, is_sure, Arc::clone(&doubt));
        let stop: Stop = async { drop(futures::future::select(shutdown, changed.boxed()).await) }
            .boxed()
            .shared();

        let (dgd_writer, adapter_writer) = (Writer::new(served.dgd), Writer::new(served.dgdsa));
        let (dgds, adapters) = (dgd_writer.as_reader(), adapter_writer.as_reader());
        let (client, namespace) = (self.kinds.client(), self.namespace.as_deref());
        let watch = watcher::Config::default().timeout(client::WATCH_SECONDS);
        let from_dgds = watcher(api_of::<Dgd>(client, namespace, served.dgd), watch.clone())
            .modify(forget_managers)
            .reflect(dgd_writer)
            .backoff(Pause)
            .applied_objects()
            .map({
                let watched = self.watched(names::DGD_PLURAL, &doubt);
                move |object| {
                    watched.hear(object).map(|dgd| ObjectRef::from_obj_with(&dgd, served.dgd))
                }
            });
        let from_adapters = watcher(api_of::<Adapter>(client, namespace, served.dgdsa), watch)
            .modify(forget_managers)
            .reflect(adapter_writer)
            .backoff(Pause)
            .touched_objects()
            .flat_map({
                let watched = self.watched(names::DGDSA_PLURAL, &doubt);
                let dgds = dgds.clone();
                move |object| {
                    let adapter = watched.hear(object);
                    let found = adapter.map(|adapter| dgds_of(&adapter, &dgds, served));
                    stream::iter(found.into_iter().flatten().map(Some))
                }
            });
        let back = taken_back(self.restricted.clone(), dgds.clone(), served.dgd);
        let queue = stream::select(stream::select(from_dgds, from_adapters), back)
            .filter_map(|object| std::future::ready(object.map(Ok::<_, std::convert::Infallible>)))
            .take_until(stop.clone());

        let context = Arc::new(Context {
            applier: Applier::new(
                self.kinds.clone(),
                served,
                Arc::clone(&self.publisher),
                self.call_deadline,
            ),
            adapters,
            teller: Arc::clone(&self.teller),
            failures: Mutex::new(BTreeMap::new()),
            slow_requeue: self.slow_requeue,
            restricted: self.restricted.clone(),
            stop: stop.clone(),
        });
        let config = controller::Config::default().concurrency(CONCURRENCY);
        let mut work = std::pin::pin!(applier(
            |dgd, context| reconcile(dgd, context).boxed(),
            |dgd, error, context| after_failure(&dgd, error, &context),
            Arc::clone(&context),
            dgds,
            queue,
            config,
        ));
        // A write that hangs ends at its own deadline.
        let longest = self.call_deadline.saturating_mul(2);
        let mut give_up = std::pin::pin!(stop.then(|()| tokio::time::sleep(longest)));
        loop {
            tokio::select! {
                done = work.next() => match done {
                    Some(Ok(_) | Err(controller::Error::ReconcilerFailed(..))) => {}
                    Some(Err(controller::Error::ObjectNotFound(dgd))) => {
                        context.hear_of_missing_dgd(dgd.namespace.as_deref(), &dgd.name);
                    }
                    Some(Err(error)) => tracing::error!(%error, "adapter queue"),
                    None => break,
                },
                () = &mut give_up => break,
            }
        }
    }

    fn watched(&self, resource: &'static str, doubt: &Arc<Notify>) -> Watched {
        Watched {
            resource,
            namespace: self.namespace.clone(),
            teller: Arc::clone(&self.teller),
            doubt: Arc::clone(doubt),
        }
    }
}

/// What a reconcile needs beside its graph.
struct Context {
    applier: Applier,
    adapters: Store<Adapter>,
    teller: Arc<Teller>,
    failures: Mutex<BTreeMap<String, u32>>,
    slow_requeue: Duration,
    restricted: Option<channel::Receiver<Restricted>>,
    stop: Stop,
}

/// One graph: gather, plan, apply, status.
async fn reconcile(dgd: Arc<Dgd>, context: Arc<Context>) -> Result<Action, AdapterError> {
    let key = key_of(dgd.meta().namespace.as_deref(), dgd.meta().name.as_deref());
    let dgd = match &dgd.0 {
        Ok(dgd) => dgd,
        Err(invalid) => {
            context.teller.tell(Told::Invalid { dgd: key, why: invalid.error.clone() });
            return Ok(Action::await_change());
        }
    };
    let is_ready = tokio::select! {
        ready = context.adapters.wait_until_ready() => ready.is_ok(),
        // What the cache waits for may never come.
        () = context.stop.clone() => false,
    };
    if !is_ready {
        return Ok(Action::await_change());
    }
    if context.leaves_alone(dgd.meta().namespace.as_deref()) {
        return Ok(Action::requeue(context.slow_requeue));
    }
    let cached = context.adapters.state();
    let (mut adapters, mut unreadable) = (Vec::new(), Unreadable::new());
    for adapter in cached.iter().filter(|a| a.meta().namespace == dgd.meta().namespace) {
        match &adapter.0 {
            Ok(adapter) => adapters.push(adapter),
            Err(invalid) => {
                let name = invalid.metadata.name.as_deref().unwrap_or_default();
                unreadable.insert(name, &invalid.error);
            }
        }
    }
    let plan = plan::plan(dgd, &adapters, &unreadable);
    for adapter in adapters.iter().filter(|a| a.spec.dgd_ref.name == dgd.name_any()) {
        context.teller.adapter_is_valid(&key, &adapter.name_any());
    }
    context.tell_of(dgd, &key, &plan).await;
    let outcome = context.applier.apply(dgd, plan).await;
    for change in outcome.changes {
        context.teller.tell(Told::Changed { dgd: key.clone(), change });
    }
    match outcome.failure {
        None => {
            context.forget_failures(&key);
            Ok(Action::requeue(context.slow_requeue))
        }
        Some(error) => Err(error),
    }
}

fn after_failure(dgd: &Dgd, error: &AdapterError, context: &Context) -> Action {
    let key = key_of(dgd.meta().namespace.as_deref(), dgd.meta().name.as_deref());
    let (count, pause) = context.count_failure(&key);
    if error.is_conflict() && count < CONFLICTS {
        tracing::debug!(dgd = key, %error, "changed in between, again");
        return Action::requeue(CONFLICT_PAUSE);
    }
    context.teller.tell(Told::Failed { dgd: key, label: error.label(), error: error.to_string() });
    Action::requeue(pause)
}

impl Context {
    fn leaves_alone(&self, namespace: Option<&str>) -> bool {
        let namespace = namespace.unwrap_or_default();
        self.restricted.as_ref().is_some_and(|known| is_left_alone(&known.borrow(), namespace))
    }

    /// Tells what a plan says of a graph, and publishes what somebody has to look at.
    async fn tell_of(&self, dgd: &Graph, key: &str, plan: &Plan) {
        let mut notes = Vec::new();
        for Invalid { adapter, service, why } in &plan.invalid {
            let message = names::invalid_adapter_message(adapter, service, why);
            let (adapter, service, why) = (adapter.clone(), service.clone(), why.clone());
            let dgd = key.to_owned();
            if self.teller.tell(Told::InvalidAdapter { dgd, adapter, service, why }) {
                notes.push(Note::warning(names::EVENT_INVALID_ADAPTER, message));
            }
        }
        for remark in &plan.remarks {
            let told = Told::Remarked { dgd: key.to_owned(), remark: remark.clone() };
            if self.teller.tell(told) && remark.is_conflict() {
                notes.push(Note::warning(names::EVENT_ADAPTER_CONFLICT, remark.to_string()));
            }
        }
        for note in &notes {
            self.applier.say(&dgd.object_ref(&dgd.version()), note).await;
        }
    }

    /// Failures in a row before this one, and the pause after it.
    fn count_failure(&self, key: &str) -> (u32, Duration) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_insert(0);
        let (first, longest) = FAILURE_PAUSES;
        let before = *count;
        *count = before.saturating_add(1);
        (before, first.saturating_mul(2_u32.saturating_pow(before)).min(longest))
    }

    fn forget_failures(&self, key: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// A graph that is gone is nothing to tell, unless an adapter still names it. When the graph
    /// comes, its first event plans for that adapter too: nothing has to be asked again.
    fn hear_of_missing_dgd(&self, namespace: Option<&str>, name: &str) {
        let key = key_of(namespace, Some(name));
        self.forget_failures(&key);
        let waiting = self.adapters.find(|adapter| {
            adapter.0.as_ref().is_ok_and(|adapter| {
                adapter.meta().namespace.as_deref() == namespace
                    && adapter.spec.dgd_ref.name == name
                    && adapter.meta().deletion_timestamp.is_none()
            })
        });
        if let Some(adapter) = waiting {
            let adapter = adapter.meta().name.clone().unwrap_or_default();
            self.teller.tell(Told::DgdMissing { dgd: key, adapter });
        }
    }
}

/// Half of a cached object is who wrote which field of it; nobody reads that here.
fn forget_managers(object: &mut impl Resource) {
    object.meta_mut().managed_fields = None;
}

/// The graphs that are to be looked at for an adapter: the one that it names. One that cannot be read
/// names none, and is what each graph waits for that wants an adapter of its name.
fn dgds_of(adapter: &Adapter, dgds: &Store<Dgd>, served: Served) -> Vec<ObjectRef<Dgd>> {
    let meta = adapter.meta();
    let Some(namespace) = meta.namespace.as_deref() else { return Vec::new() };
    if let Ok(adapter) = &adapter.0 {
        let name = &adapter.spec.dgd_ref.name;
        return vec![ObjectRef::new_with(name, served.dgd).within(namespace)];
    }
    let name = meta.name.as_deref().unwrap_or_default();
    let waiting = dgds.state_filter(|dgd| {
        dgd.0.as_ref().is_ok_and(|dgd| {
            dgd.meta().namespace.as_deref() == Some(namespace) && plan::wants(dgd, name)
        })
    });
    waiting.iter().map(|dgd| ObjectRef::from_obj_with(dgd.as_ref(), served.dgd)).collect()
}

fn key_of(namespace: Option<&str>, name: Option<&str>) -> String {
    format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
}
