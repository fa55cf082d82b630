//! The graph of the guide with everything that belongs to it, and somebody who follows the guide.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeployment, DynamoGraphDeploymentScalingAdapter, names};

use crate::bench::{Bench, Namespace, Output, Prometheus, Target, User, eventually, rule};
use crate::deploy::manifests;
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{Controller, client_through, controller_rules, namespace_in};

/// What takes some looks of an HPA, and pods, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(120);

/// How long what stays is watched: eight looks of an HPA, and four ticks of the planner.
const WATCHED: Duration = Duration::from_secs(8);

/// Looks in that time without which nothing was watched.
const LEAST_LOOKS: usize = 5;

/// The graph of the guide.
pub(super) const GRAPH: &str = "sglang-agg";

/// Where the guide and our examples have Prometheus.
const PROMETHEUS: &str = "http://prometheus-kube-prometheus-prometheus.monitoring.svc:9090";

/// Somebody who follows the guide may do this in the namespace of the graph.
fn follower_rules() -> Vec<PolicyRule> {
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &all),
        rule("nvidia.com", &[names::DGDSA_PLURAL], &["get", "list"]),
        rule(
            "nvidia.com",
            &["dynamographdeploymentscalingadapters/scale"],
            &["get", "patch", "update"],
        ),
        rule("autoscaling", &["horizontalpodautoscalers"], &all),
        rule("keda.sh", &["scaledobjects"], &all),
        rule("external.metrics.k8s.io", &["*"], &["get", "list"]),
        rule("", &["events", "pods"], &["get", "list"]),
    ]
}

/// A graph that is served, and somebody who follows the guide on it.
pub(super) struct Scene {
    pub(super) ns: Namespace,
    pub(super) follower: User,
    /// Who carries replicas to the graph, and passes the guard.
    pub(super) operator: User,
    pub(super) graph: String,
    _controller: Controller,
    _operator: OperatorDouble,
}

/// The graph of `deploy/examples/sglang/agg.yaml` without its planner: others scale here.
pub(super) fn graph() -> Value {
    let objects = manifests("examples/sglang/agg.yaml");
    let graph = objects.into_iter().find(|object| object["kind"] == names::DGD_KIND);
    let mut graph = graph.expect("the example has a graph");
    let services = graph["spec"]["services"].as_object_mut().expect("services");
    services.remove("Planner").expect("the example has a planner");
    graph
}

impl Scene {
    /// The graph of the guide in a namespace of its own, with an adapter for each service.
    pub(super) async fn set(bench: &'static Bench, name: &str) -> Self {
        let scene = Self::prepare(bench, name, GRAPH).await;
        scene.applies(&[graph()]).await;
        for service in ["Frontend", "decode"] {
            scene.has(service, 1).await;
        }
        scene
    }

    /// A namespace with everybody in it but the graph.
    pub(super) async fn prepare(bench: &'static Bench, name: &str, graph: &str) -> Self {
        let ns = namespace_in(bench, name).await;
        ns.node("gpus", 32).await;
        let (follower, operator) =
            tokio::join!(ns.token(follower_rules()), ns.token(controller_rules()));
        let controller = Controller::start_with(&ns, client_through(&operator, None).await);
        let double = OperatorDouble::start(ns.admin().await, ns.name(), graph, PodTimes::default());
        Self {
            ns,
            follower,
            operator,
            graph: graph.to_owned(),
            _controller: controller,
            _operator: double,
        }
    }

    /// `kubectl` of the one who follows the guide, in the namespace of the graph.
    pub(super) async fn kubectl(&self, args: &[&str]) -> Output {
        self.ns.bench().kubectl_as(&self.follower, args).await
    }

    /// What a successful `kubectl` printed.
    pub(super) async fn prints(&self, args: &[&str]) -> String {
        self.kubectl(args).await.success()
    }

    /// A command of the guide, its words parted by single spaces, where it says `-n default` in this
    /// namespace.
    pub(super) async fn says(&self, command: &str) -> String {
        let words: Vec<&str> = command
            .split(' ')
            .skip(1)
            .map(|word| if word == "default" { self.ns.name() } else { word })
            .collect();
        self.prints(&words).await
    }

    /// Writes objects to a file, for `kubectl -f`.
    pub(super) fn file(&self, name: &str, objects: &[Value]) -> PathBuf {
        let file = self.ns.bench().dir().join(format!("{}-{name}", self.ns.name()));
        let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
        std::fs::write(&file, texts.join("\n---\n")).expect("the bench's folder can be written");
        file
    }

    /// `kubectl apply -f` of these objects.
    pub(super) async fn apply(&self, objects: &[Value]) -> Output {
        let file = self.file("applied.yaml", objects);
        self.kubectl(&["apply", "-f", file.to_str().expect("a UTF-8 path")]).await
    }

    /// The same, which succeeds.
    pub(super) async fn applies(&self, objects: &[Value]) -> String {
        self.apply(objects).await.success()
    }

    /// Name of the adapter of a service.
    pub(super) fn adapter(&self, service: &str) -> String {
        names::adapter_name(&self.graph, service)
    }

    /// The replicas of a service that its adapter and the graph ask for, and its ready pods.
    pub(super) async fn counts(&self, service: &str) -> Result<[u32; 3], String> {
        self.counts_with(service, is_ready).await
    }

    /// The replicas of a service that its adapter and the graph ask for, and its pods that are like this.
    async fn counts_with(
        &self,
        service: &str,
        like: impl Fn(&Pod) -> bool,
    ) -> Result<[u32; 3], String> {
        let error = |error: kube::Error| error.to_string();
        let adapters: Api<DynamoGraphDeploymentScalingAdapter> = self.ns.api().await;
        let adapter = adapters.get(&self.adapter(service)).await.map_err(error)?;
        let graphs: Api<DynamoGraphDeployment> = self.ns.api().await;
        let graph = graphs.get(&self.graph).await.map_err(error)?;
        let of_graph = graph.service(service).ok_or("no such service")?.replicas();
        let pods = self.pods(service).await?.iter().filter(|pod| like(pod)).count();
        let pods = u32::try_from(pods).expect("few pods");
        Ok([adapter.spec.replicas().get(), of_graph.get(), pods])
    }

    /// The pods of a service that are not ending.
    pub(super) async fn pods(&self, service: &str) -> Result<Vec<Pod>, String> {
        pods(&self.ns.api().await, &self.graph, service).await
    }

    /// Waits until adapter, graph and pods of a service have this many.
    pub(super) async fn has(&self, service: &str, replicas: u32) {
        self.comes_to(service, &format!("{replicas}"), |all| all == [replicas; 3]).await;
    }

    /// Waits until adapter, graph and pods of a service have at least this many.
    pub(super) async fn grows_to(&self, service: &str, replicas: u32) {
        let what = format!("at least {replicas}");
        self.comes_to(service, &what, |all| all.iter().all(|count| *count >= replicas)).await;
    }

    /// Watches that adapter, graph and pods of a service have this many and keep them. A look that
    /// fails says nothing, and neither does a pod that is not ready: that is its node's business.
    pub(super) async fn keeps(&self, service: &str, replicas: u32) {
        let until = tokio::time::Instant::now() + WATCHED;
        let (mut looks, mut failures) = (0, Vec::new());
        while tokio::time::Instant::now() < until {
            match self.counts_with(service, |_| true).await {
                Ok(counts) if counts == [replicas; 3] => looks += 1,
                Ok(counts) => panic!(
                    "adapter, graph, pods of {service}: {counts:?}, expected {replicas}; {}",
                    self.autoscalers().await
                ),
                Err(error) => failures.push(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(looks >= LEAST_LOOKS, "{looks} looks at {service}; {failures:?}");
    }

    async fn comes_to(&self, service: &str, what: &str, wanted: impl Fn([u32; 3]) -> bool) {
        eventually(&format!("{what} replicas of {service} everywhere"), SOON, async || {
            let counts = self.counts(service).await?;
            if wanted(counts) {
                return Ok(());
            }
            Err(format!("adapter, graph, pods: {counts:?}; {}", self.autoscalers().await))
        })
        .await;
    }

    /// What the autoscalers say of their counts, and what happened.
    async fn autoscalers(&self) -> String {
        let hpas = self.ns.kubectl(&["describe", "hpa"]).await.stdout;
        let events = self.ns.kubectl(&["get", "pods,events"]).await.stdout;
        format!("{hpas}{events}")
    }

    /// The objects of a file of `deploy/examples` for this namespace and this Prometheus. Their times
    /// are cut to a twentieth, so that a test need not wait for minutes; all else is as shipped.
    pub(super) fn example(&self, path: &str, prometheus: &Prometheus) -> Vec<Value> {
        let objects = manifests(&format!("examples/{path}"));
        objects
            .into_iter()
            .map(|object| {
                let text = object
                    .to_string()
                    .replace("llm-sglang-agg", &format!("{}-{GRAPH}", self.ns.name()))
                    .replace(PROMETHEUS, &prometheus.url());
                let mut object = serde_json::from_str(&text).expect("JSON as before");
                hurry(&mut object);
                object
            })
            .collect()
    }

    /// A target of Prometheus with the labels that a PodMonitor gives.
    pub(super) fn target(&self, address: &str) -> Target {
        let dynamo_namespace = names::dynamo_namespace(self.ns.name(), &self.graph, false);
        Target::new(address)
            .label("namespace", self.ns.name())
            .label("dynamo_namespace", &dynamo_namespace)
            .label("pod", "frontend-0")
    }
}

/// The pods of a service that are not ending.
pub(super) async fn pods(api: &Api<Pod>, graph: &str, service: &str) -> Result<Vec<Pod>, String> {
    let selector = names::adapter_selector(graph, service);
    let list = api.list(&ListParams::default().labels(&selector)).await;
    let mut pods = list.map_err(|error| error.to_string())?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(pods)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Cuts the times of an autoscaler to a twentieth, and to a second at least.
fn hurry(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_time = [
                    "stabilizationWindowSeconds",
                    "periodSeconds",
                    "pollingInterval",
                    "cooldownPeriod",
                ]
                .contains(&name.as_str());
                match field.as_u64() {
                    // Zero is at once, also here.
                    Some(seconds) if is_time && seconds > 0 => {
                        *field = json!((seconds / 20).max(1))
                    }
                    _ => hurry(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hurry),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
