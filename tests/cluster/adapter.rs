//! The adapter controller, the scale writer and the inventory against a real API server, garbage
//! collector, scheduler and deployment controller.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeployment, DynamoGraphDeploymentScalingAdapter, crds, names};
use sla_planner::controllers::adapter::{self, AdapterOptions, Told};
use sla_planner::controllers::client::client_of;
use sla_planner::controllers::inventory::{
    self, DesiredSource, InventoryOptions, PodSource, roles,
};
use sla_planner::controllers::scale::{
    Refusal, ScaleError, ScaleOutcome, ScalePath, ScaleTarget, ScaleWriter,
};
use sla_planner::observe::Role;
use sla_planner::units::{Gpus, Replicas, Timestamp};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, oneshot, watch};

use crate::bench::{Bench, Namespace, User, eventually, rule};
use crate::operator_double::{OperatorDouble, PodTimes};

/// What anything in a running cluster takes at most when the machine is busy.
const SOON: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);
const DGD: &str = "llama";

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
async fn the_controller_comes_back_with_the_api_server() {
    let ns = namespace("outage").await;
    create_dgd(&ns, two_services()).await;
    let user = ns.token(controller_rules()).await;
    let proxy = Proxy::start(&ns.bench().ready().server).await;
    let client = client_through(&user, Some(&proxy)).await;
    let controller = Controller::start_with(&ns, client);
    controller.adapter(&ns, "llama-decode").await;

    proxy.cut(true);
    eventually("the controller to notice", SOON, async || {
        let fails = |told: &Told| matches!(told, Told::WatchFails { label: "transport", .. });
        if controller.heard().iter().any(fails) { Ok(()) } else { Err("nothing") }
    })
    .await;
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

    ns.kubectl(&["scale", "dgdsa/llama-decode", "--replicas=3"]).await.success();
    let rule = "{apiGroups: [\"nvidia.com\"], resources: [\"dynamographdeployments\"], verbs: [\"patch\"]}";
    has_event(&ns, "UpdateFailed", &format!(
        "Failed to update DGD llama: not allowed; add to the Role of namespace {} the rule {rule}",
        ns.name()
    ))
    .await;
    let dgd = raw_dgd(&ns).await;
    assert_eq!(dgd.data["spec"]["services"]["Decode"]["replicas"], 2);
    let status = adapters(&ns).await.get("llama-decode").await.expect("the adapter").status;
    assert_eq!(status.and_then(|s| s.replicas), Some(2), "the graph was not told");
}

#[tokio::test]
async fn a_decision_is_written_to_the_adapter_where_there_is_one_and_to_the_graph_else() {
    let ns = namespace("written").await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start(&ns).await;
    controller.adapter(&ns, "llama-decode").await;
    let user = ns.token(planner_rules()).await;
    let writer = ScaleWriter::new(client_through(&user, None).await, CALL);

    let outcome = writer.write(&target(&ns, "Decode"), Replicas::new(2)).await.expect("written");
    assert_eq!(outcome, ScaleOutcome::Unchanged { replicas: Replicas::new(2) });
    let outcome = writer.write(&target(&ns, "Decode"), Replicas::new(4)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Scale, 2, 4));
    dgd_asks_for(&ns, "Decode", 4).await;
    let outcome = writer.write(&target(&ns, "Prefill"), Replicas::new(3)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Dgd, 1, 3));
    dgd_asks_for(&ns, "Prefill", 3).await;
    let outcome = writer.write(&target(&ns, "decode"), Replicas::new(3)).await.expect("answered");
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
    let writer = ScaleWriter::new(client_through(&user, None).await, CALL);

    let outcome = writer.write(&target(&ns, "Decode"), Replicas::new(5)).await.expect("written");
    assert_eq!(outcome, wrote(ScalePath::Scale, 2, 5));
    dgd_asks_for(&ns, "Decode", 5).await;
    let outcome = writer.write(&target(&ns, "Decode"), Replicas::new(5)).await.expect("written");
    assert_eq!(outcome, ScaleOutcome::Unchanged { replicas: Replicas::new(5) });
}

#[tokio::test]
async fn a_missing_adapter_is_an_error_and_the_graph_is_not_patched_in_its_stead() {
    let ns = namespace("missing").await;
    create_dgd(&ns, two_services()).await;
    let writer = ScaleWriter::new(ns.admin().await, CALL);
    let error =
        writer.write(&target(&ns, "Decode"), Replicas::new(4)).await.expect_err("no adapter");
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
    let writer = ScaleWriter::new(client_through(&user, None).await, CALL);

    for (service, resource) in [
        ("Decode", "dynamographdeploymentscalingadapters/scale"),
        ("Prefill", "dynamographdeployments"),
    ] {
        let error =
            writer.write(&target(&ns, service), Replicas::new(6)).await.expect_err("refused");
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
    let read = async || {
        inventory::read(&client, ns.name(), DGD, now(), InventoryOptions { call_deadline: CALL })
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
    assert_eq!(roles::find(&found.dgd, Role::Decode), Ok("Decode"));

    // Without the right to list pods the same numbers come from the graph's status.
    let mut rules = planner_rules();
    rules
        .retain(|rule| rule.resources.as_ref().is_none_or(|all| !all.contains(&"pods".to_owned())));
    let client = client_through(&ns.token(rules).await, None).await;
    let options = InventoryOptions { call_deadline: CALL };
    eventually("the same numbers without the right to see pods", SOON, async || {
        let blind = inventory::read(&client, ns.name(), DGD, now(), options).await;
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
async fn the_api_server_refuses_what_the_schemas_forbid() {
    let ns = namespace("refused").await;
    let dgds: Api<DynamicObject> = raw_dgds(&ns).await;
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

// ---- what the tests have in common ----

/// Two services, of which `Decode` has an adapter.
fn two_services() -> Value {
    let gpus = json!({"limits": {"gpu": "1"}});
    json!({
        "backendFramework": "vllm",
        "services": {
            "Decode": {
                "componentType": "worker", "subComponentType": "decode", "replicas": 2,
                "resources": gpus, "scalingAdapter": {"enabled": true}
            },
            "Prefill": {
                "componentType": "worker", "subComponentType": "prefill", "replicas": 1,
                "resources": gpus
            }
        }
    })
}

/// The rights that the adapter controller needs.
fn controller_rules() -> Vec<PolicyRule> {
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "list", "watch", "patch"]),
        rule(
            "nvidia.com",
            &[names::DGDSA_PLURAL],
            &["get", "list", "watch", "create", "patch", "delete"],
        ),
        rule("nvidia.com", &["dynamographdeploymentscalingadapters/status"], &["patch"]),
        rule("", &["events"], &["create", "patch"]),
    ]
}

/// The rights that the planner needs for one graph.
fn planner_rules() -> Vec<PolicyRule> {
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "patch"]),
        rule("nvidia.com", &["dynamographdeploymentscalingadapters/scale"], &["get", "patch"]),
        rule("nvidia.com", &[names::DGDSA_PLURAL], &["get"]),
        rule("", &["pods"], &["list"]),
    ]
}

/// The controller at work in one namespace, with just the rights it needs.
struct Controller {
    heard: Arc<Mutex<Vec<Told>>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Controller {
    async fn start(ns: &Namespace) -> Self {
        let user = ns.token(controller_rules()).await;
        Self::start_with(ns, client_through(&user, None).await)
    }

    fn start_with(ns: &Namespace, client: Client) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let options = AdapterOptions {
            namespace: Some(ns.name().to_owned()),
            call_deadline: CALL,
            instance: "test".to_owned(),
            ..AdapterOptions::default()
        };
        let told = {
            let heard = Arc::clone(&heard);
            move |told: &Told| heard.lock().expect("no listener panics").push(told.clone())
        };
        let task = tokio::spawn(adapter::run(client, options, async { drop(stopped.await) }, told));
        Self { heard, stop: Some(stop), task }
    }

    fn heard(&self) -> Vec<Told> {
        self.heard.lock().expect("no listener panics").clone()
    }

    /// The adapter, when the controller has made it.
    async fn adapter(&self, ns: &Namespace, name: &str) -> DynamoGraphDeploymentScalingAdapter {
        let adapters = adapters(ns).await;
        eventually(&format!("adapter {name}"), SOON, async || {
            let found = adapters.get(name).await;
            found.map_err(|error| format!("{error}; heard {:?}", self.heard()))
        })
        .await
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A way to the API server that can be cut.
struct Proxy {
    url: String,
    cut: watch::Sender<bool>,
}

impl Proxy {
    async fn start(server: &str) -> Self {
        let server = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (server, mut is_cut) = (server.clone(), is_cut.clone());
                tokio::spawn(async move {
                    let pass = async {
                        let mut to = TcpStream::connect(server).await?;
                        copy_bidirectional(&mut from, &mut to).await
                    };
                    tokio::select! {
                        biased;
                        _ = is_cut.wait_for(|cut| *cut) => {}
                        ended = pass => drop(ended),
                    }
                });
            }
        });
        Self { url: format!("https://{address}"), cut }
    }

    /// Cuts every connection and lets no new one through, or lets them through again.
    fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

/// A client as the product makes it, for a user of the bench.
async fn client_through(user: &User, proxy: Option<&Proxy>) -> Client {
    let kubeconfig = Kubeconfig::read_from(Path::new(user.kubeconfig())).expect("a kubeconfig");
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("the bench's kubeconfig is complete");
    if let Some(proxy) = proxy {
        config.cluster_url = proxy.url.parse().expect("a URL");
    }
    client_of(config).expect("a client")
}

/// A namespace of a cluster that knows our three kinds.
async fn namespace(name: &str) -> Namespace {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let bench = Bench::get().await;
    let install = async || {
        bench.apply_file(concat!(env!("CARGO_MANIFEST_DIR"), "/crds")).await;
        let names: Vec<_> = crds()
            .iter()
            .map(|crd| format!("crd/{}", crd.metadata.name.as_deref().unwrap_or_default()))
            .collect();
        let mut args = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        args.extend(names.iter().map(String::as_str));
        bench.kubectl(&args).await.success();
    };
    INSTALLED.get_or_init(install).await;
    bench.namespace(name).await
}

async fn create_dgd(ns: &Namespace, spec: Value) {
    let created = raw_dgds(ns).await.create(&PostParams::default(), &raw_object(DGD, spec)).await;
    created.expect("the API server takes the graph");
}

fn raw_object(name: &str, spec: Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, &DynamoGraphDeployment::api_resource());
    object.data = json!({"spec": spec});
    object
}

async fn raw_dgds(ns: &Namespace) -> Api<DynamicObject> {
    let resource: ApiResource = DynamoGraphDeployment::api_resource();
    Api::namespaced_with(ns.admin().await, ns.name(), &resource)
}

/// The graph as the API server has it, with every field.
async fn raw_dgd(ns: &Namespace) -> DynamicObject {
    raw_dgds(ns).await.get(DGD).await.expect("the graph")
}

async fn patch_dgd(ns: &Namespace, patch: Value) {
    let dgds = raw_dgds(ns).await;
    dgds.patch(DGD, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a patched graph");
}

async fn adapters(ns: &Namespace) -> Api<DynamoGraphDeploymentScalingAdapter> {
    ns.api().await
}

async fn no_adapter(ns: &Namespace, name: &str) {
    let adapters = adapters(ns).await;
    eventually(&format!("adapter {name} to go"), SOON, async || {
        match adapters.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn dgd_asks_for(ns: &Namespace, service: &str, replicas: u32) {
    let dgds: Api<DynamoGraphDeployment> = ns.api().await;
    eventually(&format!("{replicas} replicas of {service} in the graph"), SOON, async || {
        let dgd = dgds.get(DGD).await.map_err(|error| error.to_string())?;
        let found = dgd.service(service).map(|service| service.replicas().get());
        if found == Some(replicas) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn ready_pods(ns: &Namespace, service: &str, count: usize) {
    let pods: Api<Pod> = ns.api().await;
    let selector = names::adapter_selector(DGD, service);
    eventually(&format!("{count} ready pods of {service}"), SOON, async || {
        let list = pods.list(&ListParams::default().labels(&selector)).await;
        let list = list.map_err(|error| error.to_string())?;
        let ready = |pod: &&Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions
                .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        };
        let found = (list.items.len(), list.items.iter().filter(ready).count());
        if found == (count, count) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn has_event(ns: &Namespace, reason: &str, message: &str) {
    let events: Api<Event> = ns.api().await;
    eventually(&format!("event {reason}: {message}"), SOON, async || {
        let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let said: Vec<_> = list
            .into_iter()
            .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect();
        if said.iter().any(|(r, m)| r == reason && m == message) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
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
