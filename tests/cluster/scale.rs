//! The scale writer and the inventory against a real API server.

use std::time::Duration;

use serde_json::json;
use sla_planner::api::names;
use sla_planner::controllers::inventory::{self, DesiredSource, InventoryOptions, PodSource};
use sla_planner::controllers::kinds::Kinds;
use sla_planner::controllers::scale::{
    Refusal, ScaleError, ScaleOutcome, ScalePath, ScaleTarget, ScaleWriter,
};
use sla_planner::observe::{Missing, Role, Signal};
use sla_planner::units::{Gpus, Replicas, Timestamp};

use crate::bench::{Namespace, eventually, rule};
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{
    CALL, Controller, DGD, SOON, client_through, create_dgd, dgd_asks_for, namespace,
    planner_rules, raw_dgd, two_services,
};

#[tokio::test]
async fn a_decision_is_written_to_the_adapter_where_there_is_one_and_to_the_graph_else() {
    let ns = namespace("written").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let user = ns.token(planner_rules()).await;
    let writer = writer(client_through(&user, None).await);

    let outcome = writer.write(&target(&ns, "Decode"), n(2), n(2)).await.expect("written");
    assert_eq!(outcome, ScaleOutcome::Unchanged { replicas: Replicas::new(2) });
    let outcome = writer.write(&target(&ns, "Decode"), n(2), n(4)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Scale, 2, 4));
    dgd_asks_for(&ns, "Decode", 4).await;
    let outcome = writer.write(&target(&ns, "Prefill"), n(1), n(3)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Dgd, 1, 3));
    dgd_asks_for(&ns, "Prefill", 3).await;
    let outcome = writer.write(&target(&ns, "decode"), n(1), n(3)).await.expect("answered");
    let why = Refusal::NoSuchService { dgd: DGD.to_owned(), service: "decode".to_owned() };
    assert_eq!(outcome, ScaleOutcome::Refused { why });
}

#[tokio::test]
async fn the_stock_rights_of_a_planner_are_enough_to_scale() {
    let ns = namespace("stock").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let mut rules = planner_rules();
    rules[1].verbs = vec!["patch".to_owned()];
    let user = ns.token(rules).await;
    let writer = writer(client_through(&user, None).await);

    let outcome = writer.write(&target(&ns, "Decode"), n(2), n(5)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Scale, 2, 5));
    dgd_asks_for(&ns, "Decode", 5).await;
    let outcome = writer.write(&target(&ns, "Decode"), n(2), n(5)).await.expect("written");
    assert_eq!(outcome, ScaleOutcome::Unchanged { replicas: Replicas::new(5) });
}

#[tokio::test]
async fn a_missing_adapter_is_an_error_and_the_graph_is_not_patched_in_its_stead() {
    let ns = namespace("missing").await;
    create_dgd(&ns, two_services()).await;
    let writer = writer(ns.admin().await);
    let error = writer.write(&target(&ns, "Decode"), n(2), n(4)).await.expect_err("no adapter");
    assert!(
        matches!(&error, ScaleError::AdapterMissing { adapter, .. } if adapter == "llama-decode")
    );
    assert_eq!(raw_dgd(&ns).await.data["spec"]["services"]["Decode"]["replicas"], 2);
}

#[tokio::test]
async fn a_writer_without_the_right_names_it_and_writes_nothing() {
    let ns = namespace("no-write").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let user = ns.token(vec![rule("nvidia.com", &[names::DGD_PLURAL], &["get"])]).await;
    let writer = writer(client_through(&user, None).await);

    for (service, from, resource) in [
        ("Decode", 2, "dynamographdeploymentscalingadapters/scale"),
        ("Prefill", 1, "dynamographdeployments"),
    ] {
        let error = writer.write(&target(&ns, service), n(from), n(6)).await.expect_err("refused");
        assert_eq!(error.label(), "forbidden");
        let rule = format!(
            "{{apiGroups: [\"nvidia.com\"], resources: [\"{resource}\"], verbs: [\"patch\"]}}"
        );
        assert!(error.to_string().ends_with(&rule), "{error}");
    }
    let spec = &raw_dgd(&ns).await.data["spec"]["services"];
    assert_eq!((&spec["Decode"]["replicas"], &spec["Prefill"]["replicas"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn a_write_that_a_policy_denies_is_refused_with_the_policys_words() {
    let ns = namespace("denied").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let name = format!("{}-budget", ns.name());
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns.name()}},
                "resourceRules": [{
                    "apiGroups": ["nvidia.com"], "apiVersions": ["v1alpha1"],
                    "operations": ["UPDATE"], "resources": ["dynamographdeploymentscalingadapters/scale"]
                }]
            },
            "validations": [{
                "expression": "object.spec.replicas <= 16", "message": "16 engines are paid for"
            }]
        }
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}
    });
    ns.bench().apply_yaml(&format!("{policy}\n---\n{binding}")).await;

    let writer = writer(ns.admin().await);
    let words = eventually("the policy to be in force", SOON, async || {
        match writer.write(&target(&ns, "Decode"), n(2), n(17)).await {
            Ok(ScaleOutcome::Refused { why: Refusal::Denied(words) }) => Ok(words),
            other => {
                drop(writer.write(&target(&ns, "Decode"), n(17), n(2)).await);
                Err(format!("{other:?}"))
            }
        }
    })
    .await;
    assert!(words.ends_with("16 engines are paid for"), "{words}");
    dgd_asks_for(&ns, "Decode", 2).await;
}

#[tokio::test]
async fn the_inventory_tells_ready_starting_draining_and_unschedulable_replicas_apart() {
    let ns = namespace("counted").await;
    ns.node("a", 5).await;
    let mut spec = two_services();
    spec["services"]["Decode"]["replicas"] = json!(3);
    spec["services"]["Decode"]["resources"] = json!({"limits": {"gpu": "2"}});
    create_dgd(&ns, spec).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let _operator = OperatorDouble::start(
        ns.admin().await,
        ns.name(),
        DGD,
        PodTimes { shut_down: Duration::from_secs(20), ..PodTimes::default() },
    );

    // 5 GPUs: two decode engines of 2 and the prefill one of 1; the third decode engine waits.
    let client = client_through(&ns.token(planner_rules()).await, None).await;
    let kinds = Kinds::new(client, CALL);
    let read = async || {
        inventory::read(&kinds, ns.name(), DGD, now(), InventoryOptions { call_deadline: CALL })
            .await
    };
    let found = eventually("two of three decode engines", SOON, async || {
        let found = read().await.map_err(|error| error.to_string())?;
        let pool = &found.services["Decode"].pool;
        let settled = found.services["Prefill"].pool.ready.get() == 1
            && pool.ready.get() == 2
            && pool.stuck.len() == 1;
        if settled { Ok(found) } else { Err(format!("{:?}", found.services)) }
    })
    .await;
    assert_eq!(found.pods, PodSource::Pods);
    let decode = &found.services["Decode"];
    assert!(decode.adapter_enabled);
    assert_eq!(decode.desired_from, DesiredSource::Adapter);
    assert_eq!(decode.pool.starting, Replicas::new(1));
    assert_eq!(decode.pool.gpus_per_replica, Some(Gpus::new(2)));
    assert!(decode.pool.stuck[0].name.starts_with("llama-decode-"));
    assert!(decode.pool.stuck[0].why.contains("Insufficient nvidia.com/gpu"), "{decode:?}");
    assert_eq!(found.services["Prefill"].desired_from, DesiredSource::Dgd);
    let seen = found.by_role([(Role::Decode, None), (Role::Prefill, Some("Frontend"))]);
    assert_eq!(seen.pool(Role::Decode), Some(&decode.pool), "found by its subComponentType");
    let missing = seen.pools[&Role::Prefill].to_owned();
    let why = "DGD llama has no service Frontend; it has Decode, Prefill".to_owned();
    assert_eq!(missing, Signal::missing(Missing::NoObject { detail: why }));

    // Without the right to list pods the same numbers come from the graph's status.
    let mut rules = planner_rules();
    rules
        .retain(|rule| rule.resources.as_ref().is_none_or(|all| !all.contains(&"pods".to_owned())));
    let kinds = Kinds::new(client_through(&ns.token(rules).await, None).await, CALL);
    let options = InventoryOptions { call_deadline: CALL };
    eventually("the same numbers without the right to see pods", SOON, async || {
        let blind = inventory::read(&kinds, ns.name(), DGD, now(), options).await;
        let blind = blind.map_err(|error| error.to_string())?;
        let PodSource::DgdStatus { why } = &blind.pods else { return Err("pods".to_owned()) };
        assert!(why.contains("list pods"), "{why}");
        let pool = &blind.services["Decode"].pool;
        if (pool.ready.get(), pool.starting.get()) == (2, 1) {
            Ok(())
        } else {
            Err(format!("{pool:?}"))
        }
    })
    .await;

    // Shrunk to one engine: the waiting pod goes at once, one of the two others drains.
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=1"]).await.success();
    eventually("one engine to serve and one to drain", SOON, async || {
        let found = read().await.map_err(|error| error.to_string())?;
        let pool = &found.services["Decode"].pool;
        let counts = (pool.ready.get(), pool.starting.get(), pool.draining.get());
        if counts == (1, 0, 1) { Ok(()) } else { Err(format!("{pool:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_count_that_somebody_else_changed_since_the_decision_is_not_overruled() {
    let ns = namespace("moved").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let user = ns.token(planner_rules()).await;
    let writer = writer(client_through(&user, None).await);

    // Both were decided from a count that is no longer there: 2 and 1 are.
    for (service, there) in [("Decode", 2), ("Prefill", 1)] {
        let outcome = writer.write(&target(&ns, service), n(9), n(4)).await.expect("answered");
        let why = Refusal::Moved { from: n(9), now: n(there) };
        assert_eq!(outcome, ScaleOutcome::Refused { why }, "{service}");
    }
    let outcome = writer.write(&target(&ns, "Decode"), n(9), n(2)).await.expect("answered");
    assert_eq!(outcome, ScaleOutcome::Unchanged { replicas: n(2) }, "it is as wanted");
    dgd_asks_for(&ns, "Decode", 2).await;

    // The scale that is written carries the version that was read: an older one is refused.
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 7}});
    let stale = stale.to_string();
    let patched = ns
        .kubectl(&[
            "patch",
            "dgdsa/llama-decode",
            "--subresource=scale",
            "--type=merge",
            "-p",
            &stale,
        ])
        .await;
    assert!(
        patched.stderr.contains("Conflict") || patched.stderr.contains("modified"),
        "{patched:?}"
    );
    dgd_asks_for(&ns, "Decode", 2).await;
}

fn writer(client: kube::Client) -> ScaleWriter {
    ScaleWriter::new(Kinds::new(client, CALL), CALL)
}

fn n(replicas: u32) -> Replicas {
    Replicas::new(replicas)
}

fn wrote(path: ScalePath, from: u32, to: u32) -> ScaleOutcome {
    ScaleOutcome::Wrote { path, from: Replicas::new(from), to: Replicas::new(to) }
}

fn target(ns: &Namespace, service: &str) -> ScaleTarget {
    ScaleTarget {
        namespace: ns.name().to_owned(),
        dgd: DGD.to_owned(),
        service: service.to_owned(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(k8s_openapi::jiff::Timestamp::now().as_millisecond())
}
