//! The adapter controller with a list of components.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeploymentScalingAdapter, Version, names};
use sla_planner::controllers::adapter::Told;

use super::scene::{
    adapted, asks_for, counts, create, edit, graph, graphs, namespace, ours, owners_of_replicas,
    patch, three_components, worker,
};
use crate::bench::{Namespace, eventually};
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{Controller, DGD, SOON, adapters, has_event, no_adapter, ready_pods};

const DECODE: &str = "llama-decode";

async fn scale(ns: &Namespace, adapter: &str, replicas: u32) {
    let (name, count) = (format!("dgdsa/{adapter}"), format!("--replicas={replicas}"));
    ns.kubectl(&["scale", &name, &count]).await.success();
}

#[tokio::test]
async fn a_component_with_the_marker_gets_an_adapter_that_its_graph_owns() {
    let ns = namespace("made").await;
    create(&ns, three_components()).await;
    let controller = Controller::start(&ns).await;
    let made = controller.adapter(&ns, DECODE).await;
    assert_eq!(made.spec.replicas, 2);
    assert_eq!(made.spec.dgd_ref.service_name, "Decode");
    assert_eq!(made.labels()[names::LABEL_COMPONENT], "Decode");
    let owner = &made.owner_references()[0];
    let dgd = graph(&ns).await;
    assert_eq!(
        (owner.api_version.as_str(), Some(&owner.uid), owner.controller),
        ("nvidia.com/v1beta1", dgd.metadata.uid.as_ref(), Some(true))
    );
    has_event(&ns, "AdapterCreated", "Created scaling adapter llama-decode for component Decode")
        .await;
    let events: Api<Event> = ns.api().await;
    let of_graph = ListParams::default().fields("involvedObject.kind=DynamoGraphDeployment");
    let told = events.list(&of_graph).await.expect("events").items;
    let version = told[0].involved_object.api_version.as_deref();
    assert_eq!(version, Some("nvidia.com/v1beta1"), "where kubectl finds it");
    let all = adapters(&ns).await.list(&ListParams::default()).await.expect("adapters");
    assert_eq!(all.items.len(), 1, "the other components have no marker");
}

#[tokio::test]
async fn kubectl_scale_changes_the_replicas_of_one_component_and_nothing_else() {
    let ns = namespace("scaled").await;
    ns.node("a", 8).await;
    create(&ns, three_components()).await;
    let before = graph(&ns).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, DECODE).await;

    scale(&ns, DECODE, 3).await;
    asks_for(&ns, "Decode", 3).await;
    has_event(&ns, "Scaled", "Scaled component Decode from 2 to 3 replicas").await;
    let after = graph(&ns).await;
    let mut expected = before.data["spec"].clone();
    let kept = &expected["components"][1]["fieldOfTomorrow"]["kept"][1];
    assert_eq!(kept["it"], 1.5, "the definitions keep what they do not know");
    expected["components"][1]["replicas"] = json!(3);
    assert_eq!(after.data["spec"], expected);
    let meta = |object: &kube::api::DynamicObject| {
        (
            object.metadata.labels.clone(),
            object.metadata.annotations.clone(),
            object.finalizers().to_vec(),
        )
    };
    assert_eq!(meta(&after), meta(&before));
    let replicas = json!({"f:spec": {"f:components": {
        "k:{\"name\":\"Decode\"}": {"f:replicas": {}}
    }}});
    assert_eq!(ours(&after), [replicas], "nothing else is ours");

    let _operator = OperatorDouble::start_in(
        Version::V1beta1,
        ns.admin().await,
        ns.name(),
        DGD,
        PodTimes { start_up: Duration::from_millis(200), ..PodTimes::default() },
    );
    ready_pods(&ns, "Decode", 3).await;
    for (count, from) in [(0, 3), (2, 0)] {
        scale(&ns, DECODE, count).await;
        ready_pods(&ns, "Decode", usize::try_from(count).expect("a small count")).await;
        let message = format!("Scaled component Decode from {from} to {count} replicas");
        has_event(&ns, "Scaled", &message).await;
    }
    let scale = adapters(&ns).await.get_scale(DECODE).await.expect("its scale");
    assert_eq!(scale.status.expect("a status").replicas, 2);
}

#[tokio::test]
async fn components_that_change_places_all_the_time_are_scaled_by_their_names() {
    let ns = namespace("moved").await;
    let others: Vec<Value> = (0..4).map(|i| worker(&format!("w{i}"), "worker", 7)).collect();
    let mut components = three_components();
    components.as_array_mut().expect("a list").extend(others);
    create(&ns, components).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, DECODE).await;
    let graphs = graphs(&ns).await;
    let turning = tokio::spawn(async move {
        loop {
            // As it was read: a conflict is as good as a turn.
            if let Ok(mut found) = graphs.get(DGD).await {
                let list = found.data["spec"]["components"].as_array_mut().expect("components");
                list.rotate_left(1);
                drop(graphs.replace(DGD, &PostParams::default(), &found).await);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    for count in [5, 3, 8, 4] {
        scale(&ns, DECODE, count).await;
        asks_for(&ns, "Decode", u64::from(count)).await;
    }
    turning.abort();
    let mut left = counts(&graph(&ns).await);
    left.sort();
    let mut expected = vec![("Decode", 4), ("Frontend", 1), ("Prefill", 1)];
    expected.extend(["w0", "w1", "w2", "w3"].map(|name| (name, 7)));
    let expected: Vec<_> = expected.iter().map(|(n, c)| ((*n).to_owned(), Some(*c))).collect();
    assert_eq!(left, expected, "no other component was ever touched");
}

#[tokio::test]
async fn two_components_change_together() {
    let ns = namespace("together").await;
    create(
        &ns,
        json!([adapted(worker("Decode", "decode", 2)), adapted(worker("Prefill", "prefill", 1))]),
    )
    .await;
    for (name, replicas, component) in [(DECODE, 5, "Decode"), ("llama-prefill", 0, "Prefill")] {
        let adapter: DynamoGraphDeploymentScalingAdapter = serde_json::from_value(json!({
            "apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND,
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "dgdRef": {"name": DGD, "serviceName": component}}
        }))
        .expect("an adapter");
        adapters(&ns).await.create(&PostParams::default(), &adapter).await.expect("made by hand");
    }
    let before = graph(&ns).await.metadata.generation;
    let _controller = Controller::start(&ns).await;
    asks_for(&ns, "Decode", 5).await;
    asks_for(&ns, "Prefill", 0).await;
    let after = graph(&ns).await;
    assert_eq!(after.metadata.generation, before.map(|n| n + 1), "one write");
    let adopted = adapters(&ns).await.get(DECODE).await.expect("the adapter");
    assert_eq!(adopted.owner_references().len(), 1, "what was made by hand is adopted");
}

#[tokio::test]
async fn adapters_go_with_their_marker_their_component_and_their_graph() {
    let ns = namespace("gone").await;
    create(
        &ns,
        json!([
            adapted(worker("Keeps", "decode", 1)),
            adapted(worker("Unmarked", "decode", 1)),
            adapted(worker("Removed", "decode", 1))
        ]),
    )
    .await;
    let controller = Controller::start(&ns).await;
    for name in ["llama-keeps", "llama-unmarked", "llama-removed"] {
        controller.adapter(&ns, name).await;
    }
    edit(&ns, |components| {
        for component in components.iter_mut().filter(|c| c["name"] == "Unmarked") {
            component.as_object_mut().expect("a component").remove("scalingAdapter");
        }
    })
    .await;
    no_adapter(&ns, "llama-unmarked").await;
    has_event(
        &ns,
        "AdapterDeleted",
        "Deleted scaling adapter llama-unmarked for component Unmarked",
    )
    .await;
    edit(&ns, |components| components.retain(|c| c["name"] != "Removed")).await;
    no_adapter(&ns, "llama-removed").await;
    has_event(
        &ns,
        "AdapterDeleted",
        "Deleted orphaned scaling adapter llama-removed for removed component Removed",
    )
    .await;
    adapters(&ns).await.get("llama-keeps").await.expect("the other one stays");
    graphs(&ns).await.delete(DGD, &DeleteParams::default()).await.expect("deleted");
    no_adapter(&ns, "llama-keeps").await;
}

#[tokio::test]
async fn a_graph_edited_by_hand_is_taken_back_and_a_deleted_adapter_is_made_again() {
    let ns = namespace("drift").await;
    create(&ns, three_components()).await;
    let controller = Controller::start(&ns).await;
    let first = controller.adapter(&ns, DECODE).await;
    edit(&ns, |components| components[1]["replicas"] = json!(7)).await;
    asks_for(&ns, "Decode", 2).await;
    scale(&ns, DECODE, 4).await;
    asks_for(&ns, "Decode", 4).await;
    adapters(&ns).await.delete(DECODE, &DeleteParams::default()).await.expect("deleted");
    let again = eventually("another adapter", SOON, async || {
        let found = adapters(&ns).await.get(DECODE).await.map_err(|e| e.to_string())?;
        if found.uid() == first.uid() { Err("the first one".to_owned()) } else { Ok(found) }
    })
    .await;
    assert_eq!(again.spec.replicas, 4);
}

#[tokio::test]
async fn a_tool_that_applies_a_list_of_components_keeps_what_is_its() {
    let ns = namespace("gitops").await;
    let manifest = |commit: &str| {
        let mut decode = adapted(worker("Decode", "decode", 0));
        decode.as_object_mut().expect("a component").remove("replicas");
        decode["podTemplate"]["metadata"]["annotations"]["commit"] = json!(commit);
        json!({
            "apiVersion": names::API_VERSION_V1BETA1, "kind": names::DGD_KIND,
            "metadata": {"name": DGD},
            "spec": {"components": [decode, worker("Prefill", "prefill", 1)]}
        })
    };
    let apply = async |commit: &str| {
        let params = PatchParams::apply("argocd-controller");
        let patch = manifest(commit);
        graphs(&ns).await.patch(DGD, &params, &Patch::Apply(&patch)).await
    };
    apply("one").await.expect("applied");
    let controller = Controller::start(&ns).await;
    assert_eq!(controller.adapter(&ns, DECODE).await.spec.replicas, 1, "left out is one");
    for (commit, count) in [("two", 4), ("three", 6)] {
        scale(&ns, DECODE, count).await;
        asks_for(&ns, "Decode", u64::from(count)).await;
        let applied = apply(commit).await.expect("no conflict");
        let decode = &applied.data["spec"]["components"][0];
        assert_eq!(decode["replicas"], count, "nothing of ours is lost");
        assert_eq!(decode["podTemplate"]["metadata"]["annotations"]["commit"], commit);
        assert_eq!(owners_of_replicas(&applied, "Decode"), [names::FIELD_MANAGER]);
        assert_eq!(owners_of_replicas(&applied, "Prefill"), ["argocd-controller"]);
    }
}

#[tokio::test]
async fn a_count_that_the_definitions_refuse_is_told_in_their_words() {
    let ns = namespace("refused").await;
    let mut decode = adapted(worker("Decode", "decode", 3));
    decode["minAvailable"] = json!(2);
    create(&ns, json!([decode])).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, DECODE).await;
    scale(&ns, DECODE, 1).await;
    let told = eventually("the refusal to be told", SOON, async || {
        let heard = controller.heard();
        let said = heard.iter().find_map(|told| {
            let Told::Failed { label, error, .. } = told else { return None };
            Some((*label, error.clone()))
        });
        said.ok_or_else(|| format!("{heard:?}"))
    })
    .await;
    assert_eq!(told.0, "refused", "no conflict, which would be tried again at once: {}", told.1);
    assert!(told.1.contains("fewer replicas than minAvailable"), "{}", told.1);
    scale(&ns, DECODE, 4).await;
    asks_for(&ns, "Decode", 4).await;
}

#[tokio::test]
async fn a_graph_that_cannot_be_read_is_told_by_its_name_and_hides_no_other() {
    let ns = namespace("odd").await;
    create(&ns, three_components()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, DECODE).await;
    // As an object that was stored before there were components, and never converted.
    patch(&ns, json!({"spec": {"components": null, "services": {"Decode": {"replicas": 2}}}}))
        .await;
    let why = eventually("the graph to be told", SOON, async || {
        let heard = controller.heard();
        let said = heard.iter().find_map(|told| {
            let Told::Invalid { dgd, why } = told else { return None };
            Some((dgd.clone(), why.clone()))
        });
        said.ok_or_else(|| format!("{heard:?}"))
    })
    .await;
    assert_eq!(why.0, format!("{}/{DGD}", ns.name()));
    assert!(why.1.starts_with("spec.services in an object of v1beta1"), "{}", why.1);
    adapters(&ns).await.get(DECODE).await.expect("its adapter is not taken for an orphan");
    patch(&ns, json!({"spec": {"components": three_components(), "services": null}})).await;
    scale(&ns, DECODE, 5).await;
    asks_for(&ns, "Decode", 5).await;
}
