//! The definitions change while the controller and a planner's parts run.

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use sla_planner::api::{Adapter, Version, names};
use sla_planner::controllers::adapter::{Change, Told};
use sla_planner::controllers::kinds::Kinds;
use sla_planner::controllers::scale::{ScaleOutcome, ScalePath, ScaleTarget, ScaleWriter};
use sla_planner::units::Replicas;

use super::scene::{KINDS, adapted, asks_for, patch, three_components};
use crate::bench::{Bench, Namespace, eventually};
use crate::serving::{
    CALL, Controller, DGD, SOON, adapters, client_through, create_dgd, dgd_asks_for, events,
    has_event, install_kinds, planner_rules, two_services,
};

/// The definition of an adapter whose operator has let go of v1alpha1.
const LATER: &str = "tests/cluster/v1beta1/later";

/// What is said of an adapter that was stored before, read in the later version.
const NO_COMPONENT: &str = "spec.dgdRef.componentName is missing";

const DECODE: &str = "llama-decode";
const PREFILL: &str = "llama-prefill";

#[tokio::test]
async fn an_upgrade_of_the_definitions_loses_no_graph_and_no_count() {
    let bench = Bench::of_changing_kinds().await;
    install_kinds(bench, "crds").await;
    let ns = bench.namespace("upgrade").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    let first = controller.adapter(&ns, DECODE).await;
    let kinds = Kinds::new(client_through(&ns.token(planner_rules()).await, None).await, CALL);
    let writer = ScaleWriter::new(kinds, CALL);
    let write = async |from, to| {
        let (namespace, service) = (ns.name().to_owned(), "Decode".to_owned());
        let target = ScaleTarget { namespace, dgd: DGD.to_owned(), service };
        let (from, to) = (Replicas::new(from), Replicas::new(to));
        let outcome = writer.write(&target, from, to).await.expect("written");
        assert_eq!(outcome, ScaleOutcome::Wrote { path: ScalePath::Scale, from, to });
    };
    write(2, 4).await;
    dgd_asks_for(&ns, "Decode", 4).await;

    // The graph as v1beta1, with what was stored before: nobody has converted it yet.
    install_kinds(bench, KINDS).await;
    eventually("the graph to be told", SOON, async || {
        let heard = controller.heard();
        let is_told = |told: &Told| matches!(told, Told::Invalid { why, .. } if why.contains("nobody has converted it"));
        if heard.iter().any(is_told) { Ok(()) } else { Err(format!("{heard:?}")) }
    })
    .await;
    let kept = adapters(&ns).await.get(DECODE).await.expect("it is nobody's orphan");
    assert_eq!((kept.uid(), kept.spec.replicas), (first.uid(), 4));
    // Converted, as the webhook of NVIDIA's operator would.
    let mut components = three_components();
    components[2] = adapted(components[2].take());
    patch(&ns, json!({"spec": {"services": null, "components": components}})).await;
    asks_for(&ns, "Decode", 4).await;
    has_event(&ns, "Scaled", "Scaled component Decode from 2 to 4 replicas").await;
    write(4, 5).await;
    asks_for(&ns, "Decode", 5).await;
    eventually("an owner in the version that is served", SOON, async || {
        let found = adapters(&ns).await.get(DECODE).await.map_err(|e| e.to_string())?;
        let owner = found.owner_references()[0].api_version.clone();
        if owner == "nvidia.com/v1beta1" { Ok(()) } else { Err(owner) }
    })
    .await;

    controller.adapter(&ns, PREFILL).await;

    // The adapter as v1beta1 alone. What is stored in the other form nobody converts here, so that no
    // component is named in it.
    let later: Api<Adapter> = Api::namespaced_with(ns.admin().await, ns.name(), &Version::V1beta1);
    of_two_that_cannot_be_read_one_is_mended(&ns, &controller, &later).await;

    // The other one goes, and is made anew at once.
    let resource = format!("dynamographdeploymentscalingadapters.v1beta1.nvidia.com/{DECODE}");
    ns.kubectl(&["delete", &resource]).await.success();
    let again = eventually("an adapter of the later version", SOON, async || {
        later.get(DECODE).await.map_err(|error| format!("{error}; {:?}", controller.heard()))
    })
    .await;
    assert_eq!((again.spec.replicas, again.version()), (5, Version::V1beta1));
    assert_eq!(again.spec.dgd_ref.service_name, "Decode");
    write(5, 6).await;
    asks_for(&ns, "Decode", 6).await;
    eventually("its status", SOON, async || {
        let scale = later.get_scale(DECODE).await.map_err(|error| error.to_string())?;
        let status = scale.status.ok_or("no status")?;
        let selector = status.selector.unwrap_or_default();
        if status.replicas == 6 && selector.ends_with("=Decode") {
            Ok(())
        } else {
            Err(format!("{} {selector}", status.replicas))
        }
    })
    .await;
}

/// Takes v1alpha1 away from the adapters: both are told of, nothing is made in their place, and the
/// one that is mended goes on.
async fn of_two_that_cannot_be_read_one_is_mended(
    ns: &Namespace,
    controller: &Controller,
    later: &Api<Adapter>,
) {
    let made = adapters(ns).await.get(PREFILL).await.expect("the adapter");
    let before = controller.heard().len();
    install_kinds(ns.bench(), LATER).await;
    for (adapter, component) in [(DECODE, "Decode"), (PREFILL, "Prefill")] {
        let message = names::invalid_adapter_message(adapter, component, NO_COMPONENT);
        has_event(ns, "InvalidAdapter", &message).await;
    }
    assert!(controller.heard()[before..].contains(&Told::InvalidAdapter {
        dgd: format!("{}/{DGD}", ns.name()),
        adapter: DECODE.to_owned(),
        service: "Decode".to_owned(),
        why: NO_COMPONENT.to_owned(),
    }));
    let mend = json!({"spec": {"replicas": 3, "dgdRef": {"componentName": "Prefill"}}});
    let mended = later.patch(PREFILL, &PatchParams::default(), &Patch::Merge(&mend)).await;
    assert_eq!(mended.expect("mended").uid(), made.uid(), "it was never made anew");
    asks_for(ns, "Prefill", 3).await;
    has_event(ns, "Scaled", "Scaled component Prefill from 1 to 3 replicas").await;
    let is_made = |told: &Told| {
        matches!(told, Told::Changed { change: Change::Created { .. }, .. })
            || matches!(told, Told::Failed { error, .. } if error.starts_with("make a scaling adapter"))
    };
    let heard = controller.heard().split_off(before);
    assert!(!heard.iter().any(is_made), "nor was it tried: {heard:?}");
    let told = events(ns, DGD).await;
    let told = told.iter().filter(|(reason, _)| reason == names::EVENT_INVALID_ADAPTER);
    assert_eq!(told.count(), 2, "once for each");
}
