//! One process that plans for every graph that asks, on a real API server. Nobody answers for the metrics:
//! what a graph is brought to is its own `min`, which needs none.

mod ending;
mod load;
mod restricted;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeployment, names};

use crate::bench::{Namespace, User, eventually, free_port, rule};
use crate::deploy::deploy;
use crate::process::Running;
use crate::serving::{
    self, SOON, controller_rules, hpa, namespace, planner_rules, raw_dgds, raw_object, two_services,
};

/// The service for these namespaces (for all, without the adapters, where none is named), as in the pod of this name.
fn start(ns: &Namespace, user: &User, pod: &str, namespaces: &[&str]) -> Running {
    start_with(ns, user, pod, namespaces, !namespaces.is_empty())
}

/// The same, with the adapters or without.
fn start_with(
    ns: &Namespace,
    user: &User,
    pod: &str,
    namespaces: &[&str],
    keeps_adapters: bool,
) -> Running {
    Running::start(ns, user, pod, config(ns, namespaces, keeps_adapters))
}

/// Its configuration: nobody answers for the metrics.
fn config(ns: &Namespace, namespaces: &[&str], keeps_adapters: bool) -> Value {
    let profile = sla_planner::profile::library::DEFAULT;
    let mut config = json!({
        "pools": {"prefill": {"profile": profile}, "decode": {"profile": profile}},
        "intervals": {"adjustment": "1s", "window": "8s", "max_metric_age": "5s"},
        "prometheus": {"url": format!("http://127.0.0.1:{}", free_port()), "timeout": "1s"},
        "cluster": {"lease_namespace": ns.name()},
        "adapter_controller": keeps_adapters,
    });
    if !namespaces.is_empty() {
        config["cluster"]["namespaces"] = namespaces.into();
    }
    config
}

/// What the service may do in a namespace that it serves.
fn rules() -> Vec<PolicyRule> {
    [controller_rules(), planner_rules()].concat()
}

/// A graph of two services, with this annotation if any.
async fn create(ns: &Namespace, name: &str, asks: Option<&str>) {
    let mut graph = raw_object(name, two_services());
    graph.metadata.annotations =
        asks.map(|text| [(names::ANNOTATION_CONFIG.to_owned(), text.to_owned())].into());
    raw_dgds(ns).await.create(&PostParams::default(), &graph).await.expect("a graph");
}

/// Changes what a graph asks; nothing takes the annotation away.
async fn ask(ns: &Namespace, name: &str, asks: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {names::ANNOTATION_CONFIG: asks}}});
    let dgds = raw_dgds(ns).await;
    dgds.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a patch");
}

fn decode_of(min: u32) -> String {
    format!("pools: {{decode: {{min: {min}}}}}")
}

/// The replicas of `Decode` that a graph asks for.
async fn asked(ns: &Namespace, name: &str) -> Result<u32, String> {
    let dgds: Api<DynamoGraphDeployment> = ns.api().await;
    let dgd = dgds.get(name).await.map_err(|error| error.to_string())?;
    Ok(dgd.service("Decode").map_or(0, |service| service.replicas().get()))
}

async fn asks_for(ns: &Namespace, name: &str, replicas: u32) {
    eventually(&format!("{replicas} replicas of Decode in {name}"), SOON, async || {
        let found = asked(ns, name).await?;
        if found == replicas { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

/// Decisions that were recorded for a graph.
fn decisions(service: &Running, ns: &Namespace, name: &str) -> Vec<Value> {
    let dgd = format!("{}/{name}", ns.name());
    let lines = service.process.stdout();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["dgd"] == dgd.as_str() && line.get("decision").is_some()).collect()
}

#[tokio::test]
async fn each_graph_that_asks_is_planned_for_by_what_it_says_and_no_other() {
    let ns = namespace("service-many").await;
    create(&ns, "one", Some(&decode_of(3))).await;
    create(&ns, "two", Some(&decode_of(4))).await;
    create(&ns, "three", None).await;
    let user = ns.token(rules()).await;
    let mut service = start(&ns, &user, "pod-1", &[ns.name()]);
    asks_for(&ns, "one", 3).await;
    asks_for(&ns, "two", 4).await;
    service.is_ready_with("sla_planner_leader{} 1.0\n").await;
    let keeps = format!("sla_planner_adapter_leader{{adapters_of=\"{}\"}} 1.0\n", ns.name());
    service.is_ready_with(&keeps).await;

    // One that comes later, and one that changes its mind.
    ask(&ns, "three", Some(&decode_of(5))).await;
    asks_for(&ns, "three", 5).await;
    ask(&ns, "one", Some(&decode_of(6))).await;
    asks_for(&ns, "one", 6).await;
    assert_eq!(asked(&ns, "two").await, Ok(4));

    // What cannot be used is told on the graph, and the last that could stays.
    ask(&ns, "two", Some("pools: {decode: {min: 9, max: 2}}")).await;
    eventually("an event on the graph", SOON, async || {
        let said = crate::serving::events(&ns, "two").await;
        let told = |(reason, text): &(String, String)| {
            reason == names::EVENT_INVALID_CONFIG && text.contains("min 9 is more than max 2")
        };
        if said.iter().any(told) { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    let before = decisions(&service, &ns, "two").len();
    eventually("two to be planned for", SOON, async || {
        let now = decisions(&service, &ns, "two").len();
        if now > before + 1 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    ask(&ns, "two", Some(&decode_of(7))).await;
    asks_for(&ns, "two", 7).await;

    // Who asks no more, and who is gone, is planned for no more, and its metrics go.
    ask(&ns, "three", None).await;
    raw_dgds(&ns).await.delete("one", &DeleteParams::default()).await.expect("a deletion");
    eventually("their metrics to go", SOON, async || {
        let (_, metrics) = service.page("metrics").await?;
        let of = |name: &str| metrics.contains(&format!("deployment=\"{}/{name}\"", ns.name()));
        let found = ["one", "two", "three"].map(of);
        if found == [false, true, false] { Ok(()) } else { Err(format!("{found:?}: {metrics}")) }
    })
    .await;
    let before = decisions(&service, &ns, "three").len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(decisions(&service, &ns, "three").len(), before);
    assert_eq!(asked(&ns, "three").await, Ok(5), "its replicas stay");

    let began = std::time::Instant::now();
    let status = service.process.terminate(SOON);
    assert_eq!(status.code(), Some(0), "{}", service.process.stderr());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_was_learned_stays_when_only_the_promise_changes() {
    let ns = namespace("service-learned").await;
    create(&ns, "one", Some("")).await;
    let user = ns.token(rules()).await;
    let service = start(&ns, &user, "pod-1", &[ns.name()]);
    service.says("\"goes_on\":false").await;
    ask(&ns, "one", Some("sla: {ttft: 2s}")).await;
    service.says("\"goes_on\":true").await;
    ask(&ns, "one", Some("pools: {decode: {}}")).await;
    eventually("a planner that begins anew", SOON, async || {
        let said = service.process.stderr();
        let begun = said.matches("\"goes_on\":false").count();
        if begun == 2 { Ok(()) } else { Err(said) }
    })
    .await;
}

/// The status of the condition `Conflict` of the adapter of `Decode` of a graph.
async fn conflict(ns: &Namespace, graph: &str) -> Result<Option<String>, String> {
    let found = serving::conflict(ns, &names::adapter_name(graph, "Decode")).await?;
    Ok(found.map(|(status, _)| status))
}

#[tokio::test]
async fn what_was_told_of_an_hpa_is_withdrawn_when_the_graph_asks_no_more_and_stays_at_an_end() {
    let ns = namespace("service-leaves").await;
    for name in ["one", "two"] {
        create(&ns, name, Some(&decode_of(3))).await;
        // It never scales: there are no metrics. It is there.
        let adapter = names::adapter_name(name, "Decode");
        hpa(&ns, &format!("{name}-hpa"), &adapter, (1, 9)).await;
    }
    let user = ns.token(rules()).await;
    let mut service = start(&ns, &user, "pod-1", &[ns.name()]);
    let comes_to = async |name: &str, status: Option<&str>| {
        eventually(&format!("Conflict={status:?} of {name}"), SOON, async || {
            let found = conflict(&ns, name).await?;
            if found.as_deref() == status { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    comes_to("one", Some("True")).await;
    comes_to("two", Some("True")).await;
    ask(&ns, "one", None).await;
    comes_to("one", None).await;
    // Who asks again is told again.
    ask(&ns, "one", Some("")).await;
    comes_to("one", Some("True")).await;
    ask(&ns, "one", None).await;
    comes_to("one", None).await;
    // A pool that is planned for no more, and then again.
    ask(&ns, "two", Some("pools: {prefill: {}}")).await;
    comes_to("two", None).await;
    ask(&ns, "two", Some(&decode_of(3))).await;
    comes_to("two", Some("True")).await;
    // The next process goes on with what this one leaves.
    service.process.terminate(SOON);
    assert_eq!(conflict(&ns, "two").await, Ok(Some("True".to_owned())));
    // Where none follows, the documentation says how to take it away by hand.
    by_hand(&ns, &names::adapter_name("two", "Decode")).await;
    assert_eq!(conflict(&ns, "two").await, Ok(None));
}

/// Takes a condition `Conflict` away as deploy/README.md says.
async fn by_hand(ns: &Namespace, adapter: &str) {
    let readme = std::fs::read_to_string(deploy("README.md")).expect("a text");
    let after = readme.split("```sh\n").find(|block| block.contains("--subresource=status"));
    let block = after.and_then(|text| text.split("```").next()).expect("the command");
    let (command, rest) = block.split_once(" -f - <<'EOF'\n").expect("what is applied");
    let object = rest.split("\nEOF").next().expect("an end").replace("NAME", adapter);
    let file = ns.bench().dir().join(format!("{}-by-hand.json", ns.name()));
    std::fs::write(&file, object).expect("the bench's folder can be written");
    let words = command.split(' ').skip(1);
    let file = file.display().to_string();
    ns.kubectl(&words.chain(["-f", &file]).collect::<Vec<_>>()).await.success();
}

#[tokio::test]
async fn of_two_processes_one_plans_and_the_other_follows_when_it_dies() {
    let ns = namespace("service-two").await;
    create(&ns, "one", Some(&decode_of(3))).await;
    let user = ns.token(rules()).await;
    let mut first = start(&ns, &user, "pod-1", &[ns.name()]);
    asks_for(&ns, "one", 3).await;
    let second = start(&ns, &user, "pod-2", &[ns.name()]);
    second.is_ready_with("sla_planner_leader{} 0.0\n").await;
    assert_eq!(decisions(&second, &ns, "one").len(), 0, "it waits");
    first.process.kill();
    ask(&ns, "one", Some(&decode_of(4))).await;
    asks_for(&ns, "one", 4).await;
    second.is_ready_with("sla_planner_leader{} 1.0\n").await;
    let leases: Api<Lease> = ns.api().await;
    let lease = leases.get(names::LEASE_PLANNER).await.expect("the lease");
    let holder = lease.spec.and_then(|spec| spec.holder_identity).expect("a holder");
    assert!(holder.starts_with("pod-2_"), "{holder}");
}

#[tokio::test]
async fn a_namespace_that_may_not_be_looked_at_stops_nobody_else() {
    let (ns, other) = (namespace("service-sees").await, namespace("service-blind").await);
    create(&ns, "one", Some(&decode_of(3))).await;
    create(&other, "one", Some(&decode_of(3))).await;
    let user = ns.token(rules()).await;
    let mut service = start(&ns, &user, "pod-1", &[ns.name(), other.name()]);
    asks_for(&ns, "one", 3).await;
    service.is_ready_with("sla_planner_leader{} 1.0\n").await;
    let blind = "which graphs ask is not seen";
    service.says(blind).await;
    ask(&ns, "one", Some(&decode_of(4))).await;
    asks_for(&ns, "one", 4).await;
    assert_eq!(service.process.stderr().matches(blind).count(), 1, "told once");
    assert_eq!(asked(&other, "one").await, Ok(2));
    assert_eq!(service.process.ended(), None, "{}", service.process.stderr());
}

#[tokio::test]
async fn a_right_that_is_missing_in_one_namespace_stops_nobody_else() {
    let (ns, other) = (namespace("service-may").await, namespace("service-may-not").await);
    create(&ns, "one", Some(&decode_of(3))).await;
    create(&other, "one", Some(&decode_of(3))).await;
    // It sees what every namespace asks, and may scale in one of them. Nobody keeps adapters here.
    let everywhere = vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "list", "watch"]),
        rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["list"]),
    ];
    let user = ns.token_with_cluster_rules(rules(), everywhere).await;
    for ns in [&ns, &other] {
        let patch =
            json!({"spec": {"services": {"Decode": {"scalingAdapter": {"enabled": false}}}}});
        let dgds = raw_dgds(ns).await;
        dgds.patch("one", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a patch");
    }
    let mut service = start(&ns, &user, "pod-1", &[]);
    asks_for(&ns, "one", 3).await;
    let wanted = format!("\"namespace\":\"{}\",\"dgd\":\"one\"", other.name());
    service.says(&wanted).await;
    service.says("verbs: [\\\"patch\\\"]").await;
    assert_eq!(asked(&other, "one").await, Ok(2));
    assert_eq!(service.process.ended(), None, "{}", service.process.stderr());
}
