//! The adapter controller against a real API server, garbage collector, scheduler and deployment
//! controller.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeployment, DynamoGraphDeploymentScalingAdapter, names};
use sla_planner::controllers::adapter::{self, Told};

use crate::bench::{eventually, rule};
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{
    Controller, DGD, Proxy, SOON, adapters, client_through, controller_rules, create_dgd,
    dgd_asks_for, has_event, namespace, no_adapter, patch_dgd, raw_dgd, raw_dgds, raw_object,
    ready_pods, two_services,
};

#[tokio::test]
async fn an_adapter_is_made_for_the_service_that_enables_one_and_kubectl_shows_it() {
    let ns = namespace("made").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;

    controller.adapter(&ns, "llama-decode").await;
    eventually("the status in kubectl's columns", SOON, async || {
        let table = ns.kubectl(&["get", "dgdsa"]).await.success();
        let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        let [head, row] = rows.as_slice() else { return Err(table) };
        let expected = ["llama-decode", DGD, "Decode", "2"];
        if head == &["NAME", "DGD", "SERVICE", "REPLICAS", "AGE"] && row[..4] == expected {
            Ok(())
        } else {
            Err(table)
        }
    })
    .await;
    let made = adapters(&ns).await.get("llama-decode").await.expect("the adapter");
    assert_eq!(
        made.metadata.labels.expect("labels"),
        [
            ("nvidia.com/dynamo-component".to_owned(), "Decode".to_owned()),
            ("nvidia.com/dynamo-graph-deployment-name".to_owned(), DGD.to_owned()),
        ]
        .into()
    );
    let status = made.status.expect("a status");
    assert_eq!(
        status.selector.as_deref(),
        Some("nvidia.com/dynamo-graph-deployment-name=llama,nvidia.com/dynamo-component=Decode")
    );
    assert_eq!(status.last_scale_time, None, "nothing was scaled");
    has_event(&ns, "AdapterCreated", "Created scaling adapter llama-decode for component Decode")
        .await;
}

#[tokio::test]
async fn scaling_the_adapter_with_kubectl_reaches_the_graph_and_pods_follow() {
    let ns = namespace("scaled").await;
    ns.node("a", 8).await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    let _operator = OperatorDouble::start(
        ns.admin().await,
        ns.name(),
        DGD,
        PodTimes { start_up: Duration::from_millis(200), ..PodTimes::default() },
    );
    controller.adapter(&ns, "llama-decode").await;

    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=3"]).await.success();
    dgd_asks_for(&ns, "Decode", 3).await;
    ready_pods(&ns, "Decode", 3).await;
    let scale = adapters(&ns).await.get_scale("llama-decode").await.expect("its scale");
    let status = scale.status.expect("a status");
    assert_eq!(status.replicas, 3, "what is asked for");
    let selector = status.selector.expect("a selector");
    let pods: Api<Pod> = ns.api().await;
    let selected = pods.list(&ListParams::default().labels(&selector)).await.expect("pods");
    assert_eq!(selected.items.len(), 3, "the selector selects the service's pods");
    has_event(&ns, "Scaled", "Scaled service Decode from 2 to 3 replicas").await;
    let scaled = adapters(&ns).await.get("llama-decode").await.expect("the adapter").status;
    assert!(scaled.expect("a status").last_scale_time.is_some());

    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=0"]).await.success();
    ready_pods(&ns, "Decode", 0).await;
    has_event(&ns, "Scaled", "Scaled service Decode from 3 to 0 replicas").await;
    eventually("the graph to be successful with no replica", SOON, async || {
        let row = ns.kubectl(&["get", "dgd", DGD, "--no-headers"]).await.success();
        let columns: Vec<_> = row.split_whitespace().collect();
        if columns[..3] == [DGD, "True", "vllm"] { Ok(()) } else { Err(row) }
    })
    .await;
}

#[tokio::test]
async fn a_graph_with_fields_that_we_do_not_know_survives_a_scaling_unchanged() {
    let ns = namespace("kept").await;
    let mut spec = two_services();
    spec["priorityClassName"] = json!("gold");
    spec["experimental"] = json!({"componentGroups": [{"name": "a", "members": [1, {"b": null}]}]});
    spec["services"]["Decode"]["futureField"] = json!({"deep": {"er": [1.5, "x"]}});
    spec["services"]["Decode"]["extraPodSpec"] = json!({
        "tolerations": [{"operator": "Exists"}],
        "mainContainer": {"image": "i", "args": ["--model", "m"], "lifecycle": {"preStop": {}}}
    });
    spec["services"]["Prefill"]["multinode"] = json!({"nodeCount": 3, "topology": "ring"});
    create_dgd(&ns, spec).await;
    let before = raw_dgd(&ns).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;

    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=5"]).await.success();
    dgd_asks_for(&ns, "Decode", 5).await;
    let after = raw_dgd(&ns).await;
    let mut expected = before.data["spec"].clone();
    assert_eq!(expected["services"]["Decode"]["futureField"]["deep"]["er"], json!([1.5, "x"]));
    expected["services"]["Decode"]["replicas"] = json!(5);
    assert_eq!(after.data["spec"], expected);
    let ours: Vec<Value> = after
        .metadata
        .managed_fields
        .expect("managed fields")
        .into_iter()
        .filter(|entry| entry.manager.as_deref() == Some("sla-planner"))
        .map(|entry| entry.fields_v1.expect("fields").0)
        .collect();
    assert_eq!(ours, [json!({"f:spec": {"f:services": {"f:Decode": {"f:replicas": {}}}}})]);
}

#[tokio::test]
async fn a_graph_edited_by_hand_is_taken_back_to_what_the_adapter_says() {
    let ns = namespace("drift").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;

    patch_dgd(&ns, json!({"spec": {"services": {"Decode": {"replicas": 7}}}})).await;
    dgd_asks_for(&ns, "Decode", 2).await;
    let adapter = adapters(&ns).await.get("llama-decode").await.expect("the adapter");
    assert_eq!(adapter.spec.replicas, 2, "the graph's number never reaches an adapter that exists");
}

#[tokio::test]
async fn a_graph_that_others_keep_writing_is_scaled_all_the_same() {
    let ns = namespace("busy").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let dgds = raw_dgds(&ns).await;
    let busy = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(20));
        for count in 0_u64.. {
            let patch = json!({"metadata": {"annotations": {"busy": count.to_string()}}});
            drop(dgds.patch(DGD, &PatchParams::default(), &Patch::Merge(&patch)).await);
            every.tick().await;
        }
    });

    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=8"]).await.success();
    dgd_asks_for(&ns, "Decode", 8).await;
    busy.abort();
}

#[tokio::test]
async fn an_adapter_deleted_by_hand_is_made_again_with_the_graphs_replicas() {
    let ns = namespace("again").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    let first = controller.adapter(&ns, "llama-decode").await;
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=4"]).await.success();
    dgd_asks_for(&ns, "Decode", 4).await;

    adapters(&ns).await.delete("llama-decode", &DeleteParams::default()).await.expect("deleted");
    let again = eventually("another adapter", SOON, async || {
        let found = adapters(&ns).await.get("llama-decode").await.map_err(|e| e.to_string())?;
        if found.metadata.uid == first.metadata.uid {
            Err("the first one".to_owned())
        } else {
            Ok(found)
        }
    })
    .await;
    assert_eq!(again.spec.replicas, 4);
}

#[tokio::test]
async fn adapters_go_when_their_service_disables_them_and_with_their_graph() {
    let ns = namespace("gone").await;
    let mut spec = two_services();
    spec["services"]["Prefill"]["scalingAdapter"] = json!({"enabled": true});
    create_dgd(&ns, spec).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    controller.adapter(&ns, "llama-prefill").await;

    let off = json!({"spec": {"services": {"Prefill": {"scalingAdapter": {"enabled": false}}}}});
    patch_dgd(&ns, off).await;
    no_adapter(&ns, "llama-prefill").await;
    has_event(&ns, "AdapterDeleted", "Deleted scaling adapter llama-prefill for component Prefill")
        .await;
    adapters(&ns).await.get("llama-decode").await.expect("the other one stays");

    let dgds: Api<DynamoGraphDeployment> = ns.api().await;
    dgds.delete(DGD, &DeleteParams::default()).await.expect("the graph can be deleted");
    no_adapter(&ns, "llama-decode").await;
}

#[tokio::test]
async fn an_adapter_that_was_there_first_is_adopted_with_its_replicas() {
    let ns = namespace("adopted").await;
    let spec = json!({"replicas": 6, "dgdRef": {"name": DGD, "serviceName": "Decode"}});
    let made_by_hand: DynamoGraphDeploymentScalingAdapter = serde_json::from_value(json!({
        "apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND,
        "metadata": {"name": "llama-decode"}, "spec": spec
    }))
    .expect("an adapter");
    adapters(&ns).await.create(&PostParams::default(), &made_by_hand).await.expect("made");
    let controller = Controller::start(&ns).await;
    create_dgd(&ns, two_services()).await;

    dgd_asks_for(&ns, "Decode", 6).await;
    let adapter = adapters(&ns).await.get("llama-decode").await.expect("the adapter");
    assert_eq!(adapter.spec.replicas, 6);
    let dgd = raw_dgd(&ns).await;
    let owners = adapter.metadata.owner_references.expect("owners");
    assert_eq!(Some(&owners[0].uid), dgd.metadata.uid.as_ref());
    assert_eq!(owners[0].block_owner_deletion, Some(true));
    drop(controller);
}

#[tokio::test]
async fn the_controller_waits_for_the_api_server_and_comes_back_with_it() {
    let ns = namespace("outage").await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token(controller_rules()).await;
    let proxy = Proxy::start(&ns.bench().ready().server).await;
    let client = client_through(&user, Some(&proxy)).await;
    proxy.cut(true);
    let controller = Controller::start_with(&ns, client);
    let notices = async |times: usize| {
        eventually(&format!("{times} outages to be noticed"), SOON, async || {
            let fails = |told: &&Told| matches!(told, Told::WatchFails { label: "transport", .. });
            let heard = controller.heard();
            // Each of the two watches tells of each outage once.
            if heard.iter().filter(fails).count() == 2 * times {
                Ok(())
            } else {
                Err(format!("{heard:?}"))
            }
        })
        .await;
    };
    notices(1).await;
    proxy.cut(false);
    controller.adapter(&ns, "llama-decode").await;

    proxy.cut(true);
    notices(2).await;
    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=9"]).await.success();
    proxy.cut(false);
    dgd_asks_for(&ns, "Decode", 9).await;
}

#[tokio::test]
async fn a_controller_that_is_told_to_stop_ends_soon_even_without_an_api_server() {
    let ns = namespace("stopped").await;
    let user = ns.token(controller_rules()).await;
    let proxy = Proxy::start(&ns.bench().ready().server).await;
    proxy.cut(true);
    let client = client_through(&user, Some(&proxy)).await;
    let mut controller = Controller::start_with(&ns, client);
    drop(controller.stop.take());
    let ended = tokio::time::timeout(SOON, &mut controller.task).await;
    ended.expect("it ends in time").expect("it does not panic");
}

#[tokio::test]
async fn a_controller_without_the_right_says_so_once_and_writes_nothing() {
    let ns = namespace("no-right").await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token(vec![rule("nvidia.com", &[names::DGD_PLURAL], &["list", "watch"])]).await;
    let controller = Controller::start_with(&ns, client_through(&user, None).await);

    let said = eventually("the missing right to be told", SOON, async || {
        let heard = controller.heard();
        let error = heard.iter().find_map(|told| {
            let Told::WatchFails { label: "forbidden", error, .. } = told else { return None };
            Some(error.clone())
        });
        error.ok_or("nothing")
    })
    .await;
    assert_eq!(
        said,
        format!(
            "list dynamographdeploymentscalingadapters in namespace {0}: not allowed; add to the \
             Role of namespace {0} the rule {{apiGroups: [\"nvidia.com\"], resources: \
             [\"dynamographdeploymentscalingadapters\"], verbs: [\"list\"]}}",
            ns.name()
        )
    );
    // The watch is tried again every two seconds: three tries later it was told once.
    let three_tries = tokio::time::Instant::now() + adapter::WATCH_PAUSE * 3;
    tokio::time::sleep_until(three_tries).await;
    assert_eq!(controller.heard().len(), 1, "{:?}", controller.heard());
    let made = adapters(&ns).await.list(&ListParams::default()).await.expect("adapters");
    assert_eq!(made.items.len(), 0);
}

#[tokio::test]
async fn a_graph_that_may_not_be_patched_gives_a_warning_on_the_adapter() {
    let ns = namespace("no-patch").await;
    create_dgd(&ns, two_services()).await;
    let mut rules = controller_rules();
    rules[0].verbs.retain(|verb| verb != "patch");
    let user = ns.token(rules).await;
    let controller = Controller::start_with(&ns, client_through(&user, None).await);
    controller.adapter(&ns, "llama-decode").await;
    let told = async || {
        let status = adapters(&ns).await.get("llama-decode").await.expect("the adapter").status;
        status.and_then(|s| s.replicas)
    };
    eventually("the first status", SOON, async || told().await.ok_or("none")).await;

    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=3"]).await.success();
    let rule = "{apiGroups: [\"nvidia.com\"], resources: [\"dynamographdeployments\"], verbs: [\"patch\"]}";
    has_event(&ns, "UpdateFailed", &format!(
        "Failed to update DGD llama: not allowed; add to the Role of namespace {} the rule {rule}",
        ns.name()
    ))
    .await;
    let dgd = raw_dgd(&ns).await;
    assert_eq!(dgd.data["spec"]["services"]["Decode"]["replicas"], 2);
    assert_eq!(told().await, Some(2), "the graph was not told");
}

#[tokio::test]
async fn the_api_server_refuses_what_the_schemas_forbid() {
    let ns = namespace("refused").await;
    let dgds = raw_dgds(&ns).await;
    for (spec, message) in [
        (json!({"services": {"a": {"replicas": -1}}}), "should be greater than or equal to 0"),
        (json!({"backendFramework": "tgi"}), "Unsupported value: \"tgi\""),
        (
            json!({"pvcs": [{"name": "p", "create": true}]}),
            "When create is true, size, storageClass, and volumeAccessMode are required",
        ),
        (json!({"restart": {"id": ""}}), "spec.restart.id"),
    ] {
        let object = raw_object("odd", spec);
        let error = dgds.create(&PostParams::default(), &object).await.expect_err("refused");
        assert!(error.to_string().contains(message), "{error}");
    }
    let nothing_known = raw_object("fine", json!({"services": {"a": null, "b": {}}}));
    dgds.create(&PostParams::default(), &nothing_known).await.expect("null is a service");
}
