//! The scale writer and the inventory with a list of components.

use serde_json::json;
use sla_planner::api::Version;
use sla_planner::controllers::inventory::{self, DesiredSource, InventoryOptions, PodSource};
use sla_planner::controllers::kinds::Kinds;
use sla_planner::controllers::scale::{
    Refusal, ScaleError, ScaleOutcome, ScalePath, ScaleTarget, ScaleWriter,
};
use sla_planner::observe::Role;
use sla_planner::units::{Gpus, Replicas, Timestamp};

use super::scene::{asks_for, counts, create, edit, graph, namespace, patch, three_components};
use crate::bench::{Namespace, eventually};
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{CALL, Controller, DGD, SOON, client_through, planner_rules};

fn n(replicas: u32) -> Replicas {
    Replicas::new(replicas)
}

fn target(ns: &Namespace, service: &str) -> ScaleTarget {
    let (namespace, service) = (ns.name().to_owned(), service.to_owned());
    ScaleTarget { namespace, dgd: DGD.to_owned(), service }
}

fn now() -> Timestamp {
    Timestamp::from_millis(k8s_openapi::jiff::Timestamp::now().as_millisecond())
}

/// With the rights that the planner has anyway.
async fn kinds(ns: &Namespace) -> Kinds {
    Kinds::new(client_through(&ns.token(planner_rules()).await, None).await, CALL)
}

#[tokio::test]
async fn a_decision_goes_to_the_adapter_where_the_marker_is_and_to_the_graph_else() {
    let ns = namespace("written").await;
    create(&ns, three_components()).await;
    let writer = ScaleWriter::new(kinds(&ns).await, CALL);
    let error = writer.write(&target(&ns, "Decode"), n(2), n(4)).await.expect_err("no adapter");
    assert!(matches!(&error, ScaleError::AdapterMissing { .. }), "{error}");
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;

    let wrote = |path, from, to| ScaleOutcome::Wrote { path, from: n(from), to: n(to) };
    let outcome = writer.write(&target(&ns, "Decode"), n(2), n(4)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Scale, 2, 4));
    asks_for(&ns, "Decode", 4).await;
    let before = graph(&ns).await;
    let outcome = writer.write(&target(&ns, "Prefill"), n(1), n(3)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Dgd, 1, 3));
    let mut expected = before.data["spec"].clone();
    expected["components"][2]["replicas"] = json!(3);
    assert_eq!(graph(&ns).await.data["spec"], expected);
    let outcome = writer.write(&target(&ns, "Prefill"), n(1), n(5)).await.expect("answered");
    let why = Refusal::Moved { from: n(1), now: n(3) };
    assert_eq!(outcome, ScaleOutcome::Refused { why });
    let outcome = writer.write(&target(&ns, "prefill"), n(1), n(3)).await.expect("answered");
    let why = Refusal::NoSuchService { dgd: DGD.to_owned(), service: "prefill".to_owned() };
    assert_eq!(outcome, ScaleOutcome::Refused { why });
}

#[tokio::test]
async fn a_decision_onto_a_graph_that_changes_all_the_time_is_overtaken_or_right() {
    let ns = namespace("overtaken").await;
    create(&ns, three_components()).await;
    let writer = ScaleWriter::new(kinds(&ns).await, CALL);
    // The places change, or something else of the graph does, and by two at once.
    let turn = async || {
        loop {
            edit(&ns, |components| components.rotate_left(1)).await;
            let at = now().as_millis().to_string();
            patch(&ns, json!({"metadata": {"annotations": {"turned": at}}})).await;
        }
    };
    let write = async {
        let (mut wrote, mut overtaken) = (0, 0);
        while overtaken < 5 || wrote < 5 {
            match writer.write(&target(&ns, "Prefill"), n(wrote + 1), n(wrote + 2)).await {
                Ok(ScaleOutcome::Wrote { .. }) => wrote += 1,
                Ok(ScaleOutcome::Refused { why: Refusal::Overtaken }) => overtaken += 1,
                other => panic!("{other:?}"),
            }
        }
        wrote
    };
    let wrote = tokio::select! {
        wrote = tokio::time::timeout(SOON, write) => wrote.expect("writes that meet changes"),
        () = turn() => unreachable!("it turns for ever"),
        () = turn() => unreachable!("it turns for ever"),
    };
    let mut left = counts(&graph(&ns).await);
    left.sort();
    let expected = [("Decode", 2), ("Frontend", 1), ("Prefill", u64::from(wrote) + 1)];
    assert_eq!(left, expected.map(|(name, count)| (name.to_owned(), Some(count))));
}

#[tokio::test]
async fn the_inventory_reads_gpus_roles_and_the_model_of_components() {
    let ns = namespace("counted").await;
    ns.node("a", 3).await;
    create(&ns, three_components()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let client = ns.admin().await;
    let _operator =
        OperatorDouble::start_in(Version::V1beta1, client, ns.name(), DGD, PodTimes::default());
    let options = InventoryOptions { call_deadline: CALL };
    let kinds = kinds(&ns).await;
    let found = eventually("all engines to be ready", SOON, async || {
        let found = inventory::read(&kinds, ns.name(), DGD, now(), options).await;
        let found = found.map_err(|error| error.to_string())?;
        let ready = |name: &str| found.services[name].pool.ready.get();
        if (ready("Decode"), ready("Prefill")) == (2, 1) {
            Ok(found)
        } else {
            Err(format!("{:?}", found.services))
        }
    })
    .await;
    assert_eq!(found.pods, PodSource::Pods);
    let decode = &found.services["Decode"];
    assert_eq!(decode.desired_from, DesiredSource::Adapter);
    assert_eq!(decode.pool.gpus_per_replica, Some(Gpus::new(1)));
    assert_eq!(found.services["Prefill"].desired_from, DesiredSource::Dgd);
    assert_eq!(inventory::find(&found.dgd, Role::Decode), Ok("Decode"));
    assert_eq!(inventory::find(&found.dgd, Role::Prefill), Ok("Prefill"));
    let model = inventory::find_model(&found.dgd, &["Decode", "Prefill"]);
    assert_eq!(model.as_deref(), Ok("org/m"));

    // Without the right to list pods the same numbers come from the graph's status.
    let mut rules = planner_rules();
    rules.retain(|rule| rule.resources.iter().flatten().all(|resource| resource != "pods"));
    let blind = Kinds::new(client_through(&ns.token(rules).await, None).await, CALL);
    eventually("the same numbers by the status", SOON, async || {
        let found = inventory::read(&blind, ns.name(), DGD, now(), options).await;
        let found = found.map_err(|error| error.to_string())?;
        assert!(matches!(found.pods, PodSource::DgdStatus { .. }), "{:?}", found.pods);
        let ready = found.services["Decode"].pool.ready;
        if ready == n(2) { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
}
