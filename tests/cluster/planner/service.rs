//! One service that plans for the DGDs that ask for it, with the account, the rights and the
//! configuration of `overlays/cluster`.

use std::path::Path;

use futures::stream::{self, StreamExt as _};
use kube::api::PostParams;
use serde_json::{Value, json};
use sla_planner::api::names;

use super::deployed::{AT_ONCE, said, says, without};
use super::scene::{HIGH, MODEL, SOON, START_UP, graph};
use crate::bench::{Guarded, Namespace, Prometheus, Target, User, eventually};
use crate::deploy::{called_in_the_cluster, config_of, kustomize, placed, rules_of, text_of};
use crate::frontend_double::FrontendDouble;
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{Controller, adapters, namespace, raw_dgds, raw_object};

/// The Lease of the one process that plans.
pub(super) const LEASE: &str = "sla-planner";

/// Every right of the service in its own namespace: group, resource, verb.
pub(super) const OF_THE_LEASE: [(&str, &str, &str); 3] = [
    (names::LEASE_GROUP, names::LEASE_PLURAL, "create"),
    (names::LEASE_GROUP, names::LEASE_PLURAL, "get"),
    (names::LEASE_GROUP, names::LEASE_PLURAL, "patch"),
];

/// The right to see all Leases, which serving every namespace takes.
pub(super) const OF_ALL_LEASES: (&str, &str, &str) =
    (names::LEASE_GROUP, names::LEASE_PLURAL, "list");

/// By this annotation a DGD asks; its value is a configuration, which may be empty.
const ANNOTATION: &str = names::ANNOTATION_CONFIG;

/// Its value that says nothing.
const EMPTY: Option<&str> = Some("");

const PREFILL: &str = "VllmPrefillWorker";
const DECODE: &str = "VllmDecodeWorker";

/// A namespace with DGDs that all have a high load, and the namespace of the service.
struct Fleet {
    served: Namespace,
    service: Namespace,
    prometheus: Prometheus,
    _doubles: Vec<(FrontendDouble, OperatorDouble)>,
}

impl Fleet {
    /// DGDs of these names, each with its annotation if it has one.
    async fn set(name: &str, dgds: &[(&str, Option<&str>)]) -> Self {
        let served = namespace(name).await;
        let service = namespace(&format!("{name}-service")).await;
        served.node("gpus", 80).await;
        let (mut doubles, mut targets) = (Vec::new(), Vec::new());
        for (dgd, annotation) in dgds {
            let mut object = raw_object(dgd, served_model());
            if let Some(text) = annotation {
                let annotations = [(ANNOTATION.to_owned(), (*text).to_owned())];
                object.metadata.annotations = Some(annotations.into());
            }
            let created = raw_dgds(&served).await.create(&PostParams::default(), &object).await;
            created.expect("the API server takes the graph");
            let times = PodTimes { start_up: START_UP, ..PodTimes::default() };
            let operator = OperatorDouble::start(served.admin().await, served.name(), dgd, times);
            let frontend = FrontendDouble::start(MODEL).await;
            frontend.set_load(Some(HIGH));
            let target = Target::new(frontend.address())
                .label("dynamo_namespace", &names::dynamo_namespace(served.name(), dgd, false))
                .label("pod", &format!("{dgd}-frontend-0"));
            targets.push(target);
            doubles.push((frontend, operator));
        }
        let prometheus = Prometheus::start(&targets).await;
        Self { served, service, prometheus, _doubles: doubles }
    }

    /// What the overlay installs, for these namespaces.
    fn objects(&self) -> Vec<Value> {
        let mut objects = kustomize("overlays/cluster");
        objects.retain(|object| object["kind"] != "Namespace");
        let places = [("llm", self.served.name()), ("sla-planner", self.service.name())];
        let own = format!("{}-planner", self.service.name());
        called_in_the_cluster(placed(objects, &places), &own)
    }

    /// Installs the objects, and answers who the account is, when its rights are known.
    async fn install(&self, objects: &[Value]) -> User {
        self.service.bench().apply_yaml(&text_of(objects)).await;
        let own = rules_of(objects, "Role").remove(0);
        self.service.account("sla-planner", &own, self.service.name()).await;
        let served = rules_of(objects, "ClusterRole").remove(0);
        self.service.account("sla-planner", &served, self.served.name()).await
    }

    /// Starts the service with the installed configuration: but for the namespace, the Prometheus and
    /// times that are shorter, as in all these tests.
    fn start(&self, user: &User, objects: &[Value], keeps_adapters: bool) -> Guarded {
        let mut config = config_of(objects, "planner.yaml");
        assert_eq!(config["cluster"]["namespaces"], json!(["llm"]));
        config["cluster"]["namespaces"] = json!([self.served.name()]);
        config["sla"] = json!({"ttft": "500ms", "itl": "12ms"});
        config["pools"] = json!({"prefill": pool(12), "decode": pool(12)});
        config["max_gpu_budget"] = json!(24);
        config["intervals"] = json!({
            "adjustment": "2s", "window": "8s", "max_metric_age": "5s",
            "scale_down_stabilization": "1s", "longest_hold": "1s",
        });
        config["prometheus"] = json!({"url": self.prometheus.url(), "timeout": "5s"});
        config["metrics_port"] = json!(0);
        config["adapter_controller"] = json!(keeps_adapters);
        let name = self.service.name();
        let file = self.service.bench().dir().join(format!("{name}.yaml"));
        std::fs::write(&file, config.to_string()).expect("a configuration");
        Guarded::start(
            name,
            &self.service.bench().ready().logs,
            Path::new(env!("CARGO_BIN_EXE_sla-planner")),
            ["run", "--config", &file.display().to_string()],
            &[
                ("KUBECONFIG", &user.kubeconfig().display().to_string()),
                ("POD_NAMESPACE", name),
                ("HOSTNAME", "sla-planner-0"),
            ],
        )
    }

    /// The replicas that the adapters of both workers of a DGD ask for; 0 where there is none.
    async fn asked(&self, dgd: &str) -> (u32, u32) {
        let adapters = adapters(&self.served).await;
        let of = async |service: &str| {
            let found = adapters.get_opt(&names::adapter_name(dgd, service)).await;
            found.expect("an answer").map_or(0, |adapter| adapter.spec.replicas().get())
        };
        (of(PREFILL).await, of(DECODE).await)
    }

    /// Waits until the adapters of a DGD ask for what is wanted.
    async fn asks(&self, dgd: &str, planner: &Guarded, wanted: impl Fn((u32, u32)) -> bool) {
        eventually(&format!("replicas of {dgd}"), SOON, async || {
            let asked = self.asked(dgd).await;
            if wanted(asked) { Ok(()) } else { Err(format!("{asked:?}; {}", said(planner))) }
        })
        .await;
    }

    /// Puts the annotation on a DGD, or takes it away (`sla-planner/config-`).
    async fn annotate(&self, dgd: &str, annotation: &str) {
        self.served.kubectl(&["annotate", "dgd", dgd, annotation]).await.success();
    }
}

/// The services of a graph whose workers say which model they serve, as real ones do.
fn served_model() -> Value {
    let mut graph = graph(true);
    for worker in [PREFILL, DECODE] {
        graph["services"][worker]["extraPodSpec"] =
            json!({"mainContainer": {"args": ["--model", MODEL]}});
    }
    graph
}

fn pool(max: u32) -> Value {
    json!({"min": 1, "max": max, "profile": sla_planner::profile::library::DEFAULT})
}

#[tokio::test]
async fn the_deployed_service_scales_the_graphs_that_ask_and_no_other() {
    let own_pools = json!({"pools": {"prefill": pool(2), "decode": pool(12)}}).to_string();
    let dgds = [("chat", EMPTY), ("code", Some(own_pools.as_str())), ("idle", None)];
    let fleet = Fleet::set("asking", &dgds).await;
    let objects = fleet.objects();
    let user = fleet.install(&objects).await;
    let mut planner = fleet.start(&user, &objects, true);
    fleet.asks("chat", &planner, |(prefill, decode)| prefill > 2 && decode > 1).await;
    fleet.asks("code", &planner, |(prefill, decode)| prefill == 2 && decode > 1).await;
    // Its adapters are kept all the same, and its load is as high.
    fleet.asks("idle", &planner, |asked| asked == (1, 1)).await;
    let holder = "jsonpath={.spec.holderIdentity}";
    let holder = fleet.service.kubectl(&["get", "lease", LEASE, "-o", holder]).await.success();
    assert!(!holder.is_empty());

    fleet.annotate("idle", &format!("{ANNOTATION}=")).await;
    fleet.annotate("chat", &format!("{ANNOTATION}-")).await;
    fleet.asks("idle", &planner, |(prefill, decode)| prefill > 2 && decode > 1).await;
    let (prefill, decode) = fleet.asked("chat").await;
    assert!(prefill > 2 && decode > 1, "what is planned for no more keeps its replicas");
    assert_eq!(fleet.asked("code").await.0, 2, "its own limit, not that of the file");
    assert_eq!(planner.ended(), None, "{}", said(&planner));
    assert!(!said(&planner).contains("not allowed"), "{}", said(&planner));
}

/// Rights without which the service itself cannot do its work, each with the kind of its role.
const TAKEN: [(&str, (&str, &str, &str)); 6] = [
    ("Role", OF_THE_LEASE[0]),
    ("Role", OF_THE_LEASE[1]),
    ("Role", OF_THE_LEASE[2]),
    ("ClusterRole", (names::GROUP, names::DGD_PLURAL, "list")),
    ("ClusterRole", (names::GROUP, names::DGD_PLURAL, "watch")),
    ("ClusterRole", (names::GROUP, names::DGDSA_SCALE, "patch")),
];

/// Runs the service without one right, until it says which rule to add. The adapters are kept by
/// somebody else, so that it is the planner that says it.
async fn names_the_right(number: usize, kind: &str, (group, resource, verb): (&str, &str, &str)) {
    let fleet = Fleet::set(&format!("unserved{number}"), &[("chat", EMPTY)]).await;
    let mut objects = fleet.objects();
    let rules = without(rules_of(&objects, kind), resource, verb);
    for object in &mut objects {
        if object["kind"] == kind {
            object["rules"] = json!(rules);
        }
    }
    let user = fleet.install(&objects).await;
    let _controller = Controller::start(&fleet.served).await;
    let planner = fleet.start(&user, &objects, false);
    let rule =
        format!(r#"{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}"#);
    says(&planner, &rule).await;
}

#[tokio::test]
async fn the_deployed_service_names_each_right_that_it_lacks() {
    let lacking = stream::iter(TAKEN.into_iter().enumerate());
    let names = |(number, (kind, right))| names_the_right(number, kind, right);
    lacking.for_each_concurrent(AT_ONCE, names).await;
}
