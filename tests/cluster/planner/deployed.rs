//! The planner under the service accounts and rights of `deploy/`.

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeploymentScalingAdapter, names};

use super::scene::{HIGH, MODEL, SOON, Scene, graph};
use super::service::{LEASE, OF_ALL_LEASES, OF_THE_LEASE};
use crate::bench::{Guarded, eventually, rule};
use crate::deploy::{kustomize, manifests, placed, rules_of, text_of};
use crate::serving::{Controller, DGD, adapters, asked_of_dgd, hpa};

/// Deployments that one test plays at once, each with a Prometheus of its own.
pub(super) const AT_ONCE: usize = 3;

const SCALE: &str = names::DGDSA_SCALE;
const STATUS: &str = names::DGDSA_STATUS;

/// What has to happen for a right to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    /// Both workers have an adapter, as everywhere in these tests.
    Adapters,
    /// No worker has one.
    NoAdapters,
    /// An adapter is there that nobody labelled.
    HandMade,
    /// An adapter is there whose service has none enabled.
    LeftOver,
    /// The same thing has to be told twice.
    ToldTwice,
    /// An HPA scales one of the adapters.
    Rival,
    /// It goes, and comes again.
    RivalAgain,
    /// Nothing in these tests uses it; why stands beside it.
    Never,
}

/// A right of the deployed roles.
type Right = (&'static str, &'static str, &'static str, Use);

/// Every right of the planner.
const OF_THE_PLANNER: [Right; 11] = [
    (names::GROUP, names::DGD_PLURAL, "get", Use::Adapters),
    (names::GROUP, names::DGD_PLURAL, "patch", Use::NoAdapters),
    (names::GROUP, names::DGDSA_PLURAL, "get", Use::Adapters),
    (names::GROUP, SCALE, "get", Use::Adapters),
    (names::GROUP, SCALE, "patch", Use::Adapters),
    ("", "pods", "list", Use::Adapters),
    ("autoscaling", "horizontalpodautoscalers", "list", Use::Adapters),
    ("keda.sh", "scaledobjects", "list", Use::Adapters),
    (names::GROUP, STATUS, "patch", Use::Rival),
    ("", "events", "create", Use::Rival),
    ("", "events", "patch", Use::RivalAgain),
];

/// Every right that the adapter controller adds, and the one to patch graphs, which it uses as well.
const OF_THE_CONTROLLER: [Right; 15] = [
    (names::GROUP, names::DGD_PLURAL, "patch", Use::Adapters),
    (names::GROUP, names::DGD_PLURAL, "list", Use::Adapters),
    (names::GROUP, names::DGD_PLURAL, "watch", Use::Adapters),
    (names::GROUP, names::DGDSA_PLURAL, "list", Use::Adapters),
    (names::GROUP, names::DGDSA_PLURAL, "watch", Use::Adapters),
    (names::GROUP, names::DGDSA_PLURAL, "create", Use::Adapters),
    (names::GROUP, names::DGDSA_PLURAL, "patch", Use::HandMade),
    (names::GROUP, names::DGDSA_PLURAL, "delete", Use::LeftOver),
    (names::GROUP, STATUS, "patch", Use::Adapters),
    ("", "events", "create", Use::Adapters),
    ("", "events", "patch", Use::ToldTwice),
    (names::LEASE_GROUP, names::LEASE_PLURAL, "create", Use::Adapters),
    (names::LEASE_GROUP, names::LEASE_PLURAL, "get", Use::Adapters),
    (names::LEASE_GROUP, names::LEASE_PLURAL, "patch", Use::Adapters),
    // The bench runs without the admission plugin that asks for it.
    (names::GROUP, "dynamographdeployments/finalizers", "update", Use::Never),
];

/// The rights of rules, one by one; those to Leases of these names.
fn rights_in(rules: &[PolicyRule], leases: &[&str]) -> Vec<(String, String, String)> {
    let leases: Vec<String> = leases.iter().map(ToString::to_string).collect();
    let mut all = Vec::new();
    for rule in rules {
        // What is to be made cannot be named, and what others made is not known.
        let is_named = rule.verbs != ["create"]
            && rule.verbs != ["list"]
            && rule.resources.iter().flatten().any(|r| r == names::LEASE_PLURAL);
        assert_eq!(rule.resource_names, is_named.then(|| leases.clone()));
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let right = |verb: &String| (group.clone(), resource.clone(), verb.clone());
                all.extend(rule.verbs.iter().map(right));
            }
        }
    }
    all.sort();
    all
}

/// Rules without one right.
pub(super) fn without(mut rules: Vec<PolicyRule>, resource: &str, verb: &str) -> Vec<PolicyRule> {
    for rule in &mut rules {
        if rule.resources.iter().flatten().any(|r| r == resource) {
            rule.verbs.retain(|v| v != verb);
        }
    }
    rules.retain(|rule| !rule.verbs.is_empty());
    rules
}

#[test]
fn every_right_of_the_deployed_roles_is_one_that_a_test_takes_away() {
    let named = |rights: &[(&str, &str, &str)]| {
        let mut all: Vec<_> = rights
            .iter()
            .map(|(g, r, v)| ((*g).to_owned(), (*r).to_owned(), (*v).to_owned()))
            .collect();
        all.sort();
        all.dedup();
        all
    };
    let of = |rights: &[Right]| rights.iter().map(|(g, r, v, _)| (*g, *r, *v)).collect::<Vec<_>>();
    let planner = rules_of(&kustomize("overlays/planner"), "Role");
    assert_eq!(rights_in(&planner, &[]), named(&of(&OF_THE_PLANNER)));

    let mut both = [of(&OF_THE_PLANNER), of(&OF_THE_CONTROLLER)].concat();
    let service = kustomize("overlays/cluster");
    let leases = [names::LEASE_ADAPTERS];
    assert_eq!(rights_in(&rules_of(&service, "ClusterRole"), &leases), named(&both));
    let own = rights_in(&rules_of(&service, "Role"), &[LEASE]);
    assert_eq!(own, named(&OF_THE_LEASE));

    // Where every namespace is served, its Leases are all in its own; it sees those of operators.
    let everywhere = kustomize("overlays/every-namespace");
    both.retain(|(group, ..)| *group != names::LEASE_GROUP);
    both.push(OF_ALL_LEASES);
    assert_eq!(rights_in(&rules_of(&everywhere, "ClusterRole"), &[]), named(&both));
    let leases = [LEASE, names::LEASE_ADAPTERS];
    assert_eq!(rights_in(&rules_of(&everywhere, "Role"), &leases), own);
}

/// What a planner said so far, with the quotes of its JSON log as they were.
pub(super) fn said(planner: &Guarded) -> String {
    planner.stderr().replace("\\\"", "\"")
}

pub(super) async fn says(planner: &Guarded, text: &str) {
    eventually(&format!("{text:?} in the log"), SOON, async || {
        let said = said(planner);
        if said.contains(text) { Ok(()) } else { Err(said) }
    })
    .await;
}

/// An adapter of the decode workers that nobody labelled.
async fn adapter_by_hand(scene: &Scene) {
    let by_hand: DynamoGraphDeploymentScalingAdapter = serde_json::from_value(json!({
        "apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND,
        "metadata": {"name": DECODE},
        "spec": {"replicas": 1, "dgdRef": {"name": DGD, "serviceName": "VllmDecodeWorker"}},
    }))
    .expect("an adapter");
    adapters(&scene.ns).await.create(&PostParams::default(), &by_hand).await.expect("made");
}

/// An HPA that scales the decode workers.
const RIVAL: &str = "decode-hpa";

/// Lets an HPA scale the decode workers, and waits until the planner has said so.
async fn rival_is_told(scene: &Scene, planner: &Guarded) {
    let told = |said: String| said.matches("sets the replicas of this adapter too").count();
    let before = told(said(planner));
    scene.asks("adapters", |(_, decode)| decode > 0).await;
    hpa(&scene.ns, RIVAL, DECODE, (1, 9)).await;
    eventually("the conflict to be told", SOON, async || {
        let said = said(planner);
        if told(said.clone()) > before { Ok(()) } else { Err(said) }
    })
    .await;
}

const PREFILL: &str = "llama-vllmprefillworker";
const DECODE: &str = "llama-vllmdecodeworker";

/// Takes a label off an adapter, and waits until the controller has put it back.
async fn label_is_put_back(scene: &Scene) {
    let gone = format!("{}-", names::LABEL_COMPONENT);
    scene.ns.kubectl(&["label", "dgdsa", DECODE, &gone]).await.success();
    let adapters = adapters(&scene.ns).await;
    eventually("the label to be back", SOON, async || {
        let adapter = adapters.get(DECODE).await.map_err(|error| error.to_string())?;
        let labels = adapter.metadata.labels.unwrap_or_default();
        if labels.contains_key(names::LABEL_COMPONENT) {
            Ok(())
        } else {
            Err(format!("{labels:?}"))
        }
    })
    .await;
}

/// Runs the planner with the rules but for one right, until it says which rule to add.
async fn names_the_right(number: usize, role: &'static str, right: Right) {
    let (group, resource, verb, used) = right;
    // In the cluster it is the planner that keeps the adapters; else somebody else does.
    let embedded = role == "overlays/cluster";
    let kind = if embedded { "ClusterRole" } else { "Role" };
    let rules = without(rules_of(&kustomize(role), kind), resource, verb);
    let adapters = !matches!(used, Use::NoAdapters | Use::LeftOver);
    let scene = Scene::set(&format!("lacks{number}"), graph(adapters)).await;
    if matches!(used, Use::HandMade | Use::LeftOver) {
        adapter_by_hand(&scene).await;
    }
    let user = scene.user(rules).await;
    scene.frontend.set_load(Some(HIGH));
    let _other = if embedded { None } else { Some(Controller::start(&scene.ns).await) };
    let config = scene
        .config(&scene.prometheus.url(), if embedded { "adapter_controller: true" } else { "" });
    let planner = scene.start_with(user.kubeconfig(), &config);
    if matches!(used, Use::Rival | Use::RivalAgain) {
        rival_is_told(&scene, &planner).await;
    }
    if used == Use::RivalAgain {
        scene.ns.kubectl(&["delete", "hpa", RIVAL]).await.success();
        says(&planner, &format!("{RIVAL} is gone")).await;
        rival_is_told(&scene, &planner).await;
    }
    if used == Use::ToldTwice {
        scene.asks("adapters", |(_, decode)| decode > 0).await;
        label_is_put_back(&scene).await;
        label_is_put_back(&scene).await;
    }
    let rule =
        format!(r#"{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}"#);
    says(&planner, &rule).await;
}

#[tokio::test]
async fn the_planner_names_each_right_of_its_role_that_it_lacks() {
    let lacking = stream::iter(OF_THE_PLANNER.into_iter().enumerate());
    let names = |(n, right)| names_the_right(n, "overlays/planner", right);
    lacking.for_each_concurrent(AT_ONCE, names).await;
}

#[tokio::test]
async fn the_adapter_controller_names_each_right_of_its_role_that_it_lacks() {
    let used = OF_THE_CONTROLLER.into_iter().filter(|right| right.3 != Use::Never);
    let lacking = stream::iter(used.enumerate());
    let names = |(n, right)| names_the_right(10 + n, "overlays/cluster", right);
    lacking.for_each_concurrent(AT_ONCE, names).await;
}

/// What it says where it sees less than it could, or may not do something.
const LESS: [&str; 3] = ["not allowed", "pods are not seen", "is not read"];

async fn scales_both(scene: &Scene, planner: &mut Guarded) {
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn the_deployed_planner_scales_with_the_token_of_its_service_account() {
    let scene = Scene::set("account", graph(true)).await;
    let objects = placed(kustomize("overlays/planner"), &[("llm", scene.ns.name())]);
    scene.ns.bench().apply_yaml(&text_of(&objects)).await;
    let of = rules_of(&objects, "Role").remove(0);
    let user = scene.ns.account("sla-planner", &of, scene.ns.name()).await;
    scene.frontend.set_load(Some(HIGH));
    let _controller = with_adapters(&scene).await;
    let config = scene.config(&scene.prometheus.url(), "");
    let mut planner = scene.start_with(user.kubeconfig(), &config);
    scales_both(&scene, &mut planner).await;
    let said = said(&planner);
    assert!(!LESS.iter().any(|less| said.contains(less)), "{said}");
}

/// An adapter controller that has made the adapters.
async fn with_adapters(scene: &Scene) -> Controller {
    let controller = Controller::start(&scene.ns).await;
    for adapter in [PREFILL, DECODE] {
        controller.adapter(&scene.ns, adapter).await;
    }
    controller
}

/// The rules of `planner-role` in Dynamo's operator 0.9, as far as they matter here.
fn stock_rules() -> Vec<PolicyRule> {
    let verbs = ["get", "list", "create", "update", "patch"];
    vec![
        rule(names::GROUP, &["dynamocomponentdeployments", names::DGD_PLURAL], &verbs),
        rule(names::GROUP, &[SCALE], &["patch"]),
        rule("discovery.k8s.io", &["endpointslices"], &["get", "list", "watch"]),
    ]
}

/// Runs as the operator's planner does, with an adapter controller beside it.
async fn as_stock(name: &str, more: &[Value]) -> (Scene, Guarded, Controller) {
    let scene = Scene::set(name, graph(true)).await;
    let account = "planner-serviceaccount";
    let user = scene.ns.service_account(account, stock_rules(), vec![]).await;
    let more = placed(more.to_vec(), &[("llm", scene.ns.name())]);
    if !more.is_empty() {
        scene.ns.apply_yaml(&text_of(&more)).await;
        scene.ns.account(account, &rules_of(&more, "Role").remove(0), scene.ns.name()).await;
    }
    scene.frontend.set_load(Some(HIGH));
    let controller = with_adapters(&scene).await;
    let config = scene.config(&scene.prometheus.url(), "");
    let planner = scene.start_with(user.kubeconfig(), &config);
    (scene, planner, controller)
}

#[tokio::test]
async fn with_the_stock_role_it_scales_and_says_what_it_does_not_see() {
    let (scene, mut planner, _controller) = as_stock("stock", &[]).await;
    scales_both(&scene, &mut planner).await;
    for less in LESS {
        says(&planner, less).await;
    }
    let scale = format!(r#"resources: ["{SCALE}"], verbs: ["get"]"#);
    says(&planner, &scale).await;
}

#[tokio::test]
async fn with_the_rights_of_the_example_the_stock_role_is_enough() {
    let more = manifests("examples/planner-serviceaccount.yaml");
    let (scene, mut planner, _controller) = as_stock("stockmore", &more).await;
    scales_both(&scene, &mut planner).await;
    let said = said(&planner);
    assert!(!LESS.iter().any(|less| said.contains(less)), "{said}");
}

#[tokio::test]
async fn the_example_scales_its_graph_by_the_stock_role_and_the_environment_of_the_operator() {
    let example = manifests("examples/vllm/disagg_planner.yaml");
    let [map, graph] = example.as_slice() else { panic!("{example:#?}") };
    // What is another one here: the model, the profile's place, and the Prometheus, which comes from
    // the environment. Shorter times, as in all these tests.
    let graph = graph["spec"].to_string().replace("Qwen/Qwen3-0.6B", MODEL);
    let graph = serde_json::from_str(&graph).expect("a graph");
    let text = map["data"]["planner.yaml"].as_str().expect("a configuration");
    let (text, _) = text.split_once("# The operator's").expect("what the operator may give");
    let text = text.replace("/workspace/profiling_results", sla_planner::profile::library::DEFAULT);
    let times = "intervals: {adjustment: 2s, window: 8s, max_metric_age: 5s}";
    let scene = Scene::set("example", graph).await;
    let config = scene.ns.bench().dir().join("example.yaml");
    std::fs::write(&config, format!("{text}{times}\n")).expect("a configuration");

    let user = scene.ns.service_account("planner-serviceaccount", stock_rules(), vec![]).await;
    scene.frontend.set_load(Some(HIGH));
    let port = crate::bench::free_port().to_string();
    let planner = Guarded::start(
        "planner-example",
        &scene.ns.bench().ready().logs,
        std::path::Path::new(env!("CARGO_BIN_EXE_sla-planner")),
        ["run", "--config", &config.display().to_string()],
        &[
            ("KUBECONFIG", &user.kubeconfig().display().to_string()),
            ("DYN_NAMESPACE", &names::dynamo_namespace(scene.ns.name(), DGD, false)),
            ("DYN_PARENT_DGD_K8S_NAME", DGD),
            ("DYN_PARENT_DGD_K8S_NAMESPACE", scene.ns.name()),
            ("PLANNER_PROMETHEUS_PORT", &port),
            ("PROMETHEUS_ENDPOINT", &scene.prometheus.url()),
        ],
    );
    eventually("more workers in the graph", SOON, async || {
        let asked = asked_of_dgd(&scene.ns, "VllmPrefillWorker").await?;
        if asked > Some(2) { Ok(()) } else { Err(format!("{asked:?}; {}", planner.stderr())) }
    })
    .await;
    let no_adapters = adapters(&scene.ns).await.list(&ListParams::default()).await;
    assert!(no_adapters.expect("a list").items.is_empty());
}
