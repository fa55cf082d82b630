//! A namespace with an operator of its own is left alone, by the planner and by the adapter controller.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::json;
use sla_planner::api::names;
use sla_planner::controllers::restricted::LOOK_EVERY;
use tokio::sync::watch;

use super::{ask, asked, asks_for, create, decisions, decode_of, rules, start_with};
use crate::bench::{Namespace, User, eventually, rule};
use crate::process::Running;
use crate::restricted_double::{Restricted, STANDS};
use crate::serving::{
    Controller, DGD, SOON, adapters, asked_of_dgd, client_through, controller_rules, create_dgd,
    dgd_asks_for, events, namespace, two_services,
};

/// Within this time something would be written where it may be: a watch brings it in well under a second.
const QUIET: Duration = Duration::from_secs(4);

/// What a service of every namespace may see, without the Leases.
fn sees() -> Vec<PolicyRule> {
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "list", "watch"]),
        rule("nvidia.com", &[names::DGDSA_PLURAL], &["get", "list", "watch"]),
    ]
}

fn sees_leases() -> PolicyRule {
    rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["list"])
}

/// Lets a user do the work of the service in one more namespace.
async fn let_in(ns: &Namespace, user: &User) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "served"}, "rules": rules()
    });
    ns.apply_yaml(&role.to_string()).await;
    let user = format!("--user={}", user.name);
    ns.kubectl(&["create", "rolebinding", "served", "--role=served", &user]).await.success();
}

/// Whether nothing was done in a namespace: no adapter, and the replicas of the graph `one` as they were.
async fn is_untouched(ns: &Namespace) {
    let adapter = adapters(ns).await.get_opt("one-decode").await.expect("an answer");
    assert!(adapter.is_none(), "{adapter:?}");
    assert_eq!(asked(ns, "one").await, Ok(2));
    let said = events(ns, "one").await;
    assert!(said.is_empty(), "{said:?}");
}

/// The lines of its log that say this of a namespace.
fn said_of(service: &Running, ns: &Namespace, what: &str) -> Vec<String> {
    let of = format!("\"namespace\":\"{}\"", ns.name());
    let said = service.process.stderr();
    let lines = said.lines().filter(|line| line.contains(what) && line.contains(&of));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_namespace_with_an_operator_of_its_own_is_left_alone_until_its_lease_has_run_out() {
    let (ns, theirs) = (namespace("service-ours").await, namespace("service-theirs").await);
    for ns in [&ns, &theirs] {
        create(ns, "one", Some(&decode_of(3))).await;
    }
    let operator = Restricted::start(&theirs, names::LEASES_RESTRICTED[1]).await;
    let everywhere = [sees(), vec![sees_leases()]].concat();
    let user = ns.token_with_cluster_rules(rules(), everywhere).await;
    let_in(&theirs, &user).await;
    let mut service = start_with(&ns, &user, "pod-1", &[], true);
    asks_for(&ns, "one", 3).await;
    // Longer than a Lease stands that is only seen for the first time.
    tokio::time::sleep(LOOK_EVERY * 2 + STANDS).await;
    is_untouched(&theirs).await;
    assert_eq!(decisions(&service, &theirs, "one").len(), 0);
    assert_eq!(said_of(&service, &theirs, "left alone").len(), 1, "{}", service.process.stderr());
    assert_eq!(said_of(&service, &theirs, "taken back").len(), 0, "{}", service.process.stderr());

    drop(operator);
    asks_for(&theirs, "one", 3).await;
    adapters(&theirs).await.get("one-decode").await.expect("the adapter");
    assert_eq!(said_of(&service, &theirs, "taken back").len(), 1, "{}", service.process.stderr());

    // An operator that comes later, under the other name.
    let _operator = Restricted::start(&theirs, names::LEASES_RESTRICTED[0]).await;
    eventually("the namespace to be left alone again", SOON, async || {
        let said = said_of(&service, &theirs, "left alone");
        if said.len() == 2 { Ok(()) } else { Err(service.process.stderr()) }
    })
    .await;
    for ns in [&ns, &theirs] {
        ask(ns, "one", Some(&decode_of(4))).await;
    }
    asks_for(&ns, "one", 4).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(asked(&theirs, "one").await, Ok(3));
    assert_eq!(service.process.ended(), None, "{}", service.process.stderr());
}

#[tokio::test]
async fn a_service_that_may_not_see_the_leases_does_nothing_and_names_the_right() {
    let ns = namespace("service-blind").await;
    create(&ns, "one", Some(&decode_of(3))).await;
    let user = ns.token_with_cluster_rules(rules(), sees()).await;
    let service = start_with(&ns, &user, "pod-1", &[], true);
    service
        .says(
            "add to the ClusterRole the rule {apiGroups: [\\\"coordination.k8s.io\\\"], \
             resources: [\\\"leases\\\"], verbs: [\\\"list\\\"]}",
        )
        .await;
    tokio::time::sleep(QUIET).await;
    is_untouched(&ns).await;
    let (ready, _) = service.page("readyz").await.expect("an answer");
    assert_ne!(ready, 200);
    let told = service.process.stderr().matches("no graph is planned for").count();
    assert_eq!(told, 1, "{}", service.process.stderr());

    // What is granted is found without a restart.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": ns.name()}, "rules": [sees_leases()]
    });
    ns.bench().apply_yaml(&role.to_string()).await;
    let (role, user) = (format!("--clusterrole={}", ns.name()), format!("--user={}", user.name));
    ns.kubectl(&["create", "clusterrolebinding", ns.name(), &role, &user]).await.success();
    asks_for(&ns, "one", 3).await;
    service.is_ready_with("sla_planner_adapter_leader{adapters_of=\"*\"} 1.0\n").await;
}

#[tokio::test]
async fn the_adapters_of_a_namespace_are_kept_whenever_it_is_not_left_alone() {
    let ns = namespace("left-alone").await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token(controller_rules()).await;
    let (known, restricted) = watch::channel(None);
    let client = client_through(&user, None).await;
    let controller = Controller::start_beside(&ns, client, Some(restricted));
    let none = async || adapters(&ns).await.get_opt("llama-decode").await.expect("an answer");
    tokio::time::sleep(QUIET).await;
    assert!(none().await.is_none(), "nobody knows whether it is left alone");
    let this = BTreeSet::from([ns.name().to_owned()]);
    known.send_replace(Some(this.clone()));
    tokio::time::sleep(QUIET).await;
    assert!(none().await.is_none(), "it is left alone");
    assert!(controller.heard().is_empty(), "{:?}", controller.heard());
    let said = events(&ns, DGD).await;
    assert!(said.is_empty(), "{said:?}");

    known.send_replace(Some(BTreeSet::from(["another".to_owned()])));
    controller.adapter(&ns, "llama-decode").await;
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=3"]).await.success();
    dgd_asks_for(&ns, "Decode", 3).await;

    known.send_replace(Some(this));
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=5"]).await.success();
    tokio::time::sleep(QUIET).await;
    assert_eq!(asked_of_dgd(&ns, "Decode").await, Ok(Some(3)));
    known.send_replace(Some(BTreeSet::new()));
    dgd_asks_for(&ns, "Decode", 5).await;
}
