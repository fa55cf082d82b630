//! A GitOps tool that applies graphs with a field manager of its own, and graphs that go and come
//! back, beside our adapter controller.

use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeployment, names};

use crate::bench::{Namespace, eventually};
use crate::serving::{
    Controller, DGD, SOON, adapters, create_dgd, dgd_asks_for, namespace, no_adapter, raw_dgd,
    raw_dgds, two_services,
};

/// The field manager of the tool.
const TOOL: &str = "argocd-controller";

const DECODE: &str = "llama-decode";

/// What the repository has: the two services, without or with the replicas of `Decode`, and a
/// variable of the environment that a new commit changes.
fn manifest(decode: Option<u32>, commit: &str) -> Value {
    let mut spec = two_services();
    spec["envs"] = json!([{"name": "COMMIT", "value": commit}]);
    let service = spec["services"]["Decode"].as_object_mut().expect("a service");
    match decode {
        None => drop(service.remove("replicas")),
        Some(replicas) => drop(service.insert("replicas".to_owned(), replicas.into())),
    }
    json!({
        "apiVersion": names::API_VERSION, "kind": names::DGD_KIND,
        "metadata": {"name": DGD}, "spec": spec
    })
}

/// Applies it as the tool does.
async fn apply(ns: &Namespace, manifest: &Value, force: bool) -> kube::Result<DynamicObject> {
    let mut params = PatchParams::apply(TOOL);
    params.force = force;
    raw_dgds(ns).await.patch(DGD, &params, &Patch::Apply(manifest)).await
}

/// The field managers that own the replicas of a service in the graph.
fn owners_of_replicas(dgd: &DynamicObject, service: &str) -> Vec<String> {
    let owns = |fields: &Value| {
        let services = &fields["f:spec"]["f:services"];
        !services[format!("f:{service}")]["f:replicas"].is_null()
    };
    let entries = dgd.managed_fields().iter();
    let owning = entries.filter(|e| e.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)));
    owning.filter_map(|e| e.manager.clone()).collect()
}

#[tokio::test]
async fn a_tool_that_applies_no_replicas_and_the_adapter_controller_share_a_graph() {
    let ns = namespace("gitops").await;
    apply(&ns, &manifest(None, "one"), false).await.expect("applied");
    let controller = Controller::start(&ns).await;
    let adapter = controller.adapter(&ns, DECODE).await;
    assert_eq!(adapter.spec.replicas, 1, "replicas left out are one");
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=4"]).await.success();
    dgd_asks_for(&ns, "Decode", 4).await;

    // The next commits: nothing is in the tool's way, nothing of ours is lost, and nothing of its.
    for commit in ["two", "three"] {
        let applied = apply(&ns, &manifest(None, commit), false).await.expect("no conflict");
        assert_eq!(applied.data["spec"]["services"]["Decode"]["replicas"], 4);
        assert_eq!(applied.data["spec"]["envs"][0]["value"], commit);
        assert_eq!(owners_of_replicas(&applied, "Decode"), [names::FIELD_MANAGER]);
    }
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=6"]).await.success();
    dgd_asks_for(&ns, "Decode", 6).await;
    let dgd = raw_dgd(&ns).await;
    assert_eq!(dgd.data["spec"]["envs"][0]["value"], "three");
    assert_eq!(owners_of_replicas(&dgd, "Prefill"), [TOOL], "what has no adapter is the tool's");
    let failed = controller.heard();
    assert!(!format!("{failed:?}").contains("Failed"), "{failed:?}");
}

#[tokio::test]
async fn a_tool_that_applies_replicas_is_told_whose_they_are_and_by_force_changes_nothing_for_long()
{
    let ns = namespace("gitopsforce").await;
    apply(&ns, &manifest(Some(2), "one"), false).await.expect("applied");
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, DECODE).await;
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=4"]).await.success();
    dgd_asks_for(&ns, "Decode", 4).await;

    let Err(kube::Error::Api(refusal)) = apply(&ns, &manifest(Some(2), "two"), false).await else {
        panic!("the replicas are not the tool's any more")
    };
    assert_eq!(refusal.code, 409);
    let named = format!("conflict with \"{}\"", names::FIELD_MANAGER);
    assert!(refusal.message.contains(&named), "{refusal:?}");
    assert!(refusal.message.contains(".spec.services.Decode.replicas"), "{refusal:?}");

    // By force (as some tools do always) it is taken back, and the commit arrives all the same.
    for commit in ["three", "four"] {
        apply(&ns, &manifest(Some(2), commit), true).await.expect("forced");
        dgd_asks_for(&ns, "Decode", 4).await;
        let dgd = raw_dgd(&ns).await;
        assert_eq!(dgd.data["spec"]["envs"][0]["value"], commit);
    }
    let adapter = adapters(&ns).await.get(DECODE).await.expect("the adapter");
    assert_eq!(adapter.spec.replicas, 4, "the adapter never takes the graph's count");
}

/// The adapter of `Decode`, when it is another object than `former`.
async fn another_adapter(ns: &Namespace, former: Option<&str>) -> i32 {
    let adapters = adapters(ns).await;
    eventually("another adapter", SOON, async || {
        let found = adapters.get(DECODE).await.map_err(|error| error.to_string())?;
        let is_new = found.metadata.uid.as_deref() != former;
        if is_new { Ok(found.spec.replicas) } else { Err("the former one".to_owned()) }
    })
    .await
}

/// Deletes the graph, with what becomes of what it owns.
async fn delete_dgd(ns: &Namespace, policy: PropagationPolicy) {
    let dgds: Api<DynamoGraphDeployment> = ns.api().await;
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    dgds.delete(DGD, &params).await.expect("the graph can be deleted");
    eventually("the graph to go", SOON, async || match dgds.get_opt(DGD).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_graph_made_again_under_its_name_begins_with_its_own_counts() {
    for (name, policy) in [
        ("rebornback", PropagationPolicy::Background),
        ("rebornfore", PropagationPolicy::Foreground),
    ] {
        let ns = namespace(name).await;
        create_dgd(&ns, two_services()).await;
        let controller = Controller::start(&ns).await;
        let first = controller.adapter(&ns, DECODE).await;
        ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=5"]).await.success();
        dgd_asks_for(&ns, "Decode", 5).await;

        delete_dgd(&ns, policy).await;
        // At once: the adapter of the former graph may still be there.
        create_dgd(&ns, two_services()).await;
        let count = another_adapter(&ns, first.metadata.uid.as_deref()).await;
        assert_eq!(count, 2, "the count of the new graph");
        dgd_asks_for(&ns, "Decode", 2).await;
    }
}

#[tokio::test]
async fn an_adapter_that_outlived_its_graph_keeps_its_count_for_the_next_one() {
    let ns = namespace("orphaned").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    let first = controller.adapter(&ns, DECODE).await;
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=5"]).await.success();
    dgd_asks_for(&ns, "Decode", 5).await;

    delete_dgd(&ns, PropagationPolicy::Orphan).await;
    // The garbage collector sets it free; one that it had not heard of yet is collected instead.
    let api = adapters(&ns).await;
    let kept = eventually("the adapter to be free, or to go", SOON, async || {
        match api.get_opt(DECODE).await {
            Ok(None) => Ok(false),
            Ok(Some(left)) if left.owner_references().is_empty() => {
                Ok(left.metadata.uid == first.metadata.uid)
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    create_dgd(&ns, two_services()).await;
    dgd_asks_for(&ns, "Decode", if kept { 5 } else { 2 }).await;
    eventually("an owner that is there", SOON, async || {
        let dgd = raw_dgd(&ns).await;
        let adapter = api.get(DECODE).await.map_err(|error| error.to_string())?;
        let owners = adapter.owner_references();
        let owned = owners.len() == 1 && Some(&owners[0].uid) == dgd.metadata.uid.as_ref();
        if owned { Ok(()) } else { Err(format!("{owners:?}; {:#?}", controller.heard())) }
    })
    .await;
    delete_dgd(&ns, PropagationPolicy::Background).await;
    no_adapter(&ns, DECODE).await;
}
