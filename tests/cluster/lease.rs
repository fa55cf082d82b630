//! Of several adapter controllers one works at a time, whatever becomes of it: by the lease, on a real
//! API server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::controllers::adapter::{self, AdapterOptions, Change, Told as Heard};
use sla_planner::controllers::lease::{LeaseOptions, Lost, Timing, Told, while_held};
use tokio::sync::oneshot;

use crate::bench::{Namespace, eventually, rule};
use crate::serving::{
    CALL, Proxy, SOON, adapters, asked_of_dgd, client_through, controller_rules, create_dgd,
    dgd_asks_for, namespace, patch_dgd, two_services,
};

mod process;

/// Others take a lease that was not handed back after so long, from the last time they saw it renewed.
const RUNS_OUT: Duration = Timing::STANDARD.duration;

/// A holder works for so long after its last renewal.
const GIVES_UP: Duration = Timing::STANDARD.give_up;

/// A renewal is as old as this at most.
const EVERY: Duration = Timing::STANDARD.every;

/// An adapter controller that wants the lease, and what it and its lease told.
struct Keeper {
    told: Arc<Mutex<Vec<(Instant, Told)>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Keeper {
    /// Starts one of this name, by a way of its own.
    async fn start(ns: &Namespace, name: &str) -> Self {
        let user = ns.token(controller_rules()).await;
        Self::start_with(ns, name, client_through(&user, None).await)
    }

    fn start_with(ns: &Namespace, name: &str, client: kube::Client) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let lease = LeaseOptions {
            namespace: ns.name().to_owned(),
            name: names::LEASE_ADAPTERS.to_owned(),
            holder: name.to_owned(),
            timing: Timing::STANDARD,
        };
        let options = AdapterOptions {
            namespace: Some(ns.name().to_owned()),
            call_deadline: CALL,
            ..AdapterOptions::default()
        };
        let tell = {
            let told = Arc::clone(&told);
            move |one: &Told| told.lock().unwrap().push((Instant::now(), one.clone()))
        };
        let work = {
            let (client, heard) = (client.clone(), Arc::clone(&heard));
            move |stop| {
                let heard = Arc::clone(&heard);
                let hear = move |one: &Heard| heard.lock().unwrap().push(one.clone());
                adapter::run(client.clone(), options.clone(), stop, hear)
            }
        };
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(while_held(client, lease, stopped, tell, work));
        Self { told, heard, stop: Some(stop), task }
    }

    /// When it told this last.
    fn when(&self, wanted: impl Fn(&Told) -> bool) -> Option<Instant> {
        let told = self.told.lock().unwrap();
        told.iter().rev().find(|(_, one)| wanted(one)).map(|(at, _)| *at)
    }

    async fn tells(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Instant {
        eventually(what, SOON, async || {
            self.when(&wanted).ok_or_else(|| format!("{:?}", self.told.lock().unwrap()))
        })
        .await
    }

    async fn holds(&self) -> Instant {
        self.tells("it to hold the lease", |told| *told == Told::Holds).await
    }

    async fn waits_for(&self, holder: &str) {
        let waits = Told::Waits { holder: holder.to_owned() };
        self.tells(&format!("it to wait for {holder}"), |told| *told == waits).await;
    }

    async fn loses(&self) -> Instant {
        self.tells("it to lose the lease", |told| matches!(told, Told::Lost(_))).await
    }

    /// The replicas that it carried to graphs, in order.
    fn carried(&self) -> Vec<u32> {
        let carried = |heard: &Heard| {
            let Heard::Changed { change: Change::Scaled { to, .. }, .. } = heard else {
                return None;
            };
            Some(to.get())
        };
        self.heard.lock().unwrap().iter().filter_map(carried).collect()
    }

    /// Waits until it has carried these; it tells so a moment after the graph was written.
    async fn has_carried(&self, replicas: &[u32]) {
        eventually(&format!("{replicas:?} to be carried"), SOON, async || {
            let carried = self.carried();
            if carried == replicas { Ok(()) } else { Err(format!("{carried:?}")) }
        })
        .await;
    }

    fn heard_nothing(&self) -> bool {
        self.heard.lock().unwrap().is_empty()
    }

    /// Asks it to end, and waits until it has.
    async fn end(mut self) {
        drop(self.stop.take());
        let ended = tokio::time::timeout(SOON, &mut self.task).await;
        ended.expect("it ends in time").expect("it does not panic");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A graph whose adapter `first` has made, and another one who waits.
async fn two(name: &str) -> (Namespace, Keeper, Keeper) {
    let ns = namespace(name).await;
    create_dgd(&ns, two_services()).await;
    let first = Keeper::start(&ns, "first").await;
    first.holds().await;
    has_adapter(&ns).await;
    let second = Keeper::start(&ns, "second").await;
    second.waits_for("first").await;
    (ns, first, second)
}

async fn has_adapter(ns: &Namespace) {
    let adapters = adapters(ns).await;
    eventually("the adapter", SOON, async || adapters.get("llama-decode").await).await;
}

async fn scale(ns: &Namespace, replicas: u32) {
    let replicas = format!("--replicas={replicas}");
    ns.kubectl(&["scale", "dgdsa/llama-decode", &replicas]).await.success();
}

async fn lease(ns: &Namespace) -> LeaseSpec {
    let leases: Api<Lease> = ns.api().await;
    let lease = leases.get(names::LEASE_ADAPTERS).await.expect("the lease");
    lease.spec.expect("what it says")
}

async fn write_lease(ns: &Namespace, spec: Value) {
    let leases: Api<Lease> = ns.api().await;
    let patch = Patch::Merge(json!({"spec": spec}));
    let written = leases.patch(names::LEASE_ADAPTERS, &PatchParams::default(), &patch).await;
    written.expect("a lease that was rewritten");
}

#[tokio::test]
async fn of_two_one_keeps_the_adapters_and_the_other_takes_over_when_it_ends() {
    let (ns, first, second) = two("lease-handed").await;
    scale(&ns, 4).await;
    dgd_asks_for(&ns, "Decode", 4).await;
    first.has_carried(&[4]).await;
    let held = lease(&ns).await;
    assert_eq!(held.holder_identity.as_deref(), Some("first"));
    assert_eq!((held.lease_duration_seconds, held.lease_transitions), (Some(15), Some(0)));

    let began = Instant::now();
    first.end().await;
    let waited = second.holds().await - began;
    assert!(waited < RUNS_OUT - EVERY, "at once, not after it ran out: {waited:?}");
    scale(&ns, 5).await;
    dgd_asks_for(&ns, "Decode", 5).await;
    second.has_carried(&[5]).await;
    let held = lease(&ns).await;
    assert_eq!(held.holder_identity.as_deref(), Some("second"));
    assert_eq!(held.lease_transitions, Some(1));

    second.end().await;
    let free = lease(&ns).await;
    assert_eq!((free.holder_identity.as_deref(), free.lease_duration_seconds), (Some(""), Some(1)));
}

#[tokio::test]
async fn a_holder_that_is_killed_is_followed_when_its_lease_has_run_out_and_not_before() {
    let (ns, first, second) = two("lease-killed").await;
    let killed = Instant::now();
    first.task.abort();
    scale(&ns, 6).await;
    let held = second.holds().await;
    // Its last renewal was at most so old, and seen when it was done at the earliest.
    let waited = held - killed;
    assert!(waited >= RUNS_OUT - EVERY - CALL.min(EVERY), "{waited:?}");
    dgd_asks_for(&ns, "Decode", 6).await;
    second.has_carried(&[6]).await;
    assert_eq!(first.carried(), [0_u32; 0]);
}

#[tokio::test]
async fn a_holder_whose_lease_is_taken_by_hand_stops_as_soon_as_it_sees_it() {
    let (ns, first, second) = two("lease-taken").await;
    let now = MicroTime(jiff::Timestamp::now());
    write_lease(&ns, json!({"holderIdentity": "thief", "renewTime": now})).await;
    let taken = Instant::now();
    let lost = first.loses().await;
    let by = Some("thief".to_owned());
    assert!(first.when(|told| *told == Told::Lost(Lost::Taken { by: by.clone() })).is_some());
    assert!(lost - taken < EVERY * 3, "at its next renewal: {:?}", lost - taken);

    // Nobody keeps the adapters while the thief may be at work.
    patch_dgd(&ns, json!({"spec": {"services": {"Decode": {"replicas": 9}}}})).await;
    while taken.elapsed() < RUNS_OUT - EVERY {
        if let Ok(asked) = asked_of_dgd(&ns, "Decode").await {
            assert_eq!(asked, Some(9), "after {:?}", taken.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    dgd_asks_for(&ns, "Decode", 2).await;
    let again = [&first, &second].map(|keeper| keeper.when(|told| *told == Told::Holds));
    let again = again.into_iter().flatten().filter(|at| *at > taken).collect::<Vec<_>>();
    assert_eq!(again.len(), 1, "one of them");
    assert!(again[0] - taken >= RUNS_OUT - EVERY, "{:?}", again[0] - taken);
}

/// Whatever is done to the way of the holder to the API server: it stops before another one begins.
async fn stops_before_another_begins(name: &str, spoil: impl Fn(&Proxy, bool)) {
    let ns = namespace(name).await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token(controller_rules()).await;
    let proxy = Proxy::start(&ns.bench().ready().server).await;
    let first = Keeper::start_with(&ns, "first", client_through(&user, Some(&proxy)).await);
    first.holds().await;
    has_adapter(&ns).await;
    let second = Keeper::start(&ns, "second").await;
    second.waits_for("first").await;

    let spoilt = Instant::now();
    spoil(&proxy, true);
    scale(&ns, 7).await;
    let lost = first.loses().await;
    assert!(first.when(|told| *told == Told::Lost(Lost::NotRenewed)).is_some());
    let took = lost - spoilt;
    assert!(took >= GIVES_UP - EVERY - CALL.min(EVERY), "not at the first failure: {took:?}");
    assert!(took < GIVES_UP + EVERY, "{took:?}");
    let held = second.holds().await;
    assert!(held > lost, "{:?} too early", lost - held);
    dgd_asks_for(&ns, "Decode", 7).await;

    // It comes back, sees who holds it, and leaves it alone.
    spoil(&proxy, false);
    first.waits_for("second").await;
    scale(&ns, 8).await;
    dgd_asks_for(&ns, "Decode", 8).await;
    second.has_carried(&[7, 8]).await;
    assert_eq!(first.carried(), [0_u32; 0]);
}

#[tokio::test]
async fn a_holder_that_is_cut_off_stops_before_another_one_begins() {
    stops_before_another_begins("lease-cut", Proxy::cut).await;
}

#[tokio::test]
async fn a_holder_whose_calls_hang_stops_before_another_one_begins() {
    stops_before_another_begins("lease-hangs", Proxy::hang).await;
}

#[tokio::test]
async fn a_short_outage_costs_nobody_the_lease() {
    let ns = namespace("lease-blip").await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token(controller_rules()).await;
    let proxy = Proxy::start(&ns.bench().ready().server).await;
    let first = Keeper::start_with(&ns, "first", client_through(&user, Some(&proxy)).await);
    first.holds().await;
    let second = Keeper::start(&ns, "second").await;
    second.waits_for("first").await;
    proxy.cut(true);
    tokio::time::sleep(EVERY + Duration::from_secs(1)).await;
    proxy.cut(false);
    first.tells("a renewal that failed", |told| matches!(told, Told::Fails { .. })).await;
    tokio::time::sleep(RUNS_OUT).await;
    assert_eq!(first.when(|told| matches!(told, Told::Lost(_))), None);
    assert!(second.heard_nothing());
}

#[tokio::test]
async fn a_deleted_lease_is_made_again_by_its_holder_and_taken_by_nobody() {
    let (ns, first, second) = two("lease-deleted").await;
    ns.kubectl(&["delete", "lease", names::LEASE_ADAPTERS]).await.success();
    eventually("the lease", SOON, async || {
        let leases: Api<Lease> = ns.api().await;
        leases.get(names::LEASE_ADAPTERS).await
    })
    .await;
    tokio::time::sleep(RUNS_OUT).await;
    assert_eq!(lease(&ns).await.holder_identity.as_deref(), Some("first"));
    assert_eq!(first.when(|told| matches!(told, Told::Lost(_))), None);
    assert!(second.heard_nothing());
}

#[tokio::test]
async fn without_the_rights_nothing_is_kept_and_each_missing_one_is_named_until_it_is_granted() {
    let ns = namespace("lease-rights").await;
    create_dgd(&ns, two_services()).await;
    let mut rules = controller_rules();
    rules.retain(|rule| rule.resources.iter().flatten().all(|r| r != names::LEASE_PLURAL));
    let user = ns.token(rules).await;
    let keeper = Keeper::start_with(&ns, "first", client_through(&user, None).await);
    let missing = |told: &Told| matches!(told, Told::RightsMissing { .. });
    keeper.tells("the missing rights", missing).await;
    let told = keeper.told.lock().unwrap().clone();
    let Some((_, Told::RightsMissing { what })) = told.first() else { panic!("{told:?}") };
    let (name, ns_name) = (names::LEASE_ADAPTERS, ns.name());
    let expected =
        [("get", format!(" {name}")), ("create", String::new()), ("patch", format!(" {name}"))]
            .map(|(verb, name)| {
                format!(
                    "{verb} leases{name} in namespace {ns_name}: not allowed; add to the Role of \
                 namespace {ns_name} the rule {{apiGroups: [\"coordination.k8s.io\"], resources: \
                 [\"leases\"], verbs: [\"{verb}\"]}}"
                )
            });
    assert_eq!(*what, expected);

    // What is granted is found without a restart; what was missing was told once.
    let more = rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["get", "create", "patch"]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "more"}, "rules": [more]
    });
    ns.apply_yaml(&role.to_string()).await;
    let user = format!("--user={}", user.name);
    ns.kubectl(&["create", "rolebinding", "more", "--role=more", &user]).await.success();
    keeper.holds().await;
    has_adapter(&ns).await;
    assert_eq!(keeper.told.lock().unwrap().iter().filter(|(_, told)| missing(told)).count(), 1);
}
