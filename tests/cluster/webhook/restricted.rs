//! What is done in a namespace that has an operator of its own passes, for as long as that operator is there.

use std::time::Duration;

use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::controllers::restricted::LOOK_EVERY;

use super::process::{Served, process_rules, serve};
use super::scene::{editor_rules, guide, patch_as, replicas};
use crate::bench::{Namespace, User, eventually, rule};
use crate::restricted_double::{Restricted, STANDS};
use crate::serving::{SOON, create_dgd, namespace, two_services};

/// Twice between two looks, and what is looked at.
const SEEN: Duration = Duration::from_secs(2 * LOOK_EVERY.as_secs() + STANDS.as_secs());

/// A graph, the process that judges it, with or without the right to see Leases, and one who edits.
async fn judged(name: &str, sees_leases: bool, more: Value) -> (Namespace, Served, User) {
    let ns = namespace(name).await;
    let (rules, mut cluster_rules) = process_rules(&ns);
    cluster_rules.retain(|rule| {
        sees_leases || rule.resources.iter().flatten().all(|r| r != names::LEASE_PLURAL)
    });
    let user = ns.service_account("sla-planner", rules, cluster_rules).await;
    let editor = ns.token(editor_rules()).await;
    let served = serve(&ns, &user, more).await;
    create_dgd(&ns, two_services()).await;
    (ns, served, editor)
}

/// A dry run of what the guard refuses: `Ok` where nobody judges it.
async fn edit(ns: &Namespace, editor: &User) -> Result<(), String> {
    patch_as(editor, ns, &replicas("Decode", 5), true).await
}

#[tokio::test]
async fn a_namespace_is_judged_again_when_its_operator_is_gone() {
    let (ns, served, editor) = judged("judged-again", true, json!({})).await;
    assert_eq!(edit(&ns, &editor).await, Err(guide(5)), "no operator is there");
    let operator = Restricted::start(&ns, names::LEASES_RESTRICTED[0]).await;
    eventually("an edit to pass", SOON, async || edit(&ns, &editor).await).await;
    tokio::time::sleep(SEEN).await;
    assert_eq!(edit(&ns, &editor).await, Ok(()), "the operator is there");
    drop(operator);
    eventually("a refusal", SOON, async || match edit(&ns, &editor).await {
        Err(refusal) if refusal == guide(5) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let said = served.process.stderr();
    let of = format!("\"namespace\":\"{}\"", ns.name());
    for what in ["left alone", "taken back"] {
        let lines = said.lines().filter(|line| line.contains(what) && line.contains(&of));
        assert_eq!(lines.count(), 1, "{what}: {said}");
    }
}

#[tokio::test]
async fn every_namespace_is_judged_while_the_leases_are_not_seen_and_the_right_is_named() {
    let (ns, served, editor) = judged("judged-blindly", false, json!({})).await;
    let _operator = Restricted::start(&ns, names::LEASES_RESTRICTED[1]).await;
    assert_eq!(edit(&ns, &editor).await, Err(guide(5)));
    let said = served.process.stderr();
    let rule_to_add = "add to the ClusterRole the rule {apiGroups: [\\\"coordination.k8s.io\\\"], \
                       resources: [\\\"leases\\\"], verbs: [\\\"list\\\"]}";
    assert!(said.contains(rule_to_add), "{said}");
    assert_eq!(said.matches("the webhooks judge every namespace").count(), 1, "{said}");

    // What is granted is found without a restart.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": format!("{}-leases", ns.name())},
        "rules": [rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["list"])]
    });
    ns.bench().apply_yaml(&role.to_string()).await;
    let name = format!("{}-leases", ns.name());
    let account = format!("--serviceaccount={}:sla-planner", ns.name());
    let role = format!("--clusterrole={name}");
    ns.kubectl(&["create", "clusterrolebinding", &name, &role, &account]).await.success();
    eventually("an edit to pass", SOON, async || edit(&ns, &editor).await).await;
}

#[tokio::test]
async fn who_wants_every_namespace_judged_looks_for_no_lease() {
    let more = json!({"leave_restricted": false});
    let (ns, served, editor) = judged("judged-all", true, more).await;
    let _operator = Restricted::start(&ns, names::LEASES_RESTRICTED[0]).await;
    tokio::time::sleep(SEEN).await;
    assert_eq!(edit(&ns, &editor).await, Err(guide(5)));
    let said = served.process.stderr();
    assert!(!said.contains("left alone") && !said.contains("operator of their own"), "{said}");
}
