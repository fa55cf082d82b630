//! A graph to serve with, the adapter controller beside it, and what tests ask about both.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};
use sla_planner::api::{DynamoGraphDeployment, DynamoGraphDeploymentScalingAdapter, names};
use sla_planner::controllers::adapter::{self, AdapterOptions, Told};
use sla_planner::controllers::client::{client_of, connect_by};
use sla_planner::controllers::restricted::Restricted;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::bench::{Bench, Namespace, User, eventually, rule};

/// What anything in a running cluster takes at most when the machine is busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Longest time for one call.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// Name of the graph.
pub(crate) const DGD: &str = "llama";

/// Two services, of which `Decode` has an adapter.
pub(crate) fn two_services() -> Value {
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
pub(crate) fn controller_rules() -> Vec<PolicyRule> {
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "list", "watch", "patch"]),
        rule(
            "nvidia.com",
            &[names::DGDSA_PLURAL],
            &["get", "list", "watch", "create", "patch", "delete"],
        ),
        rule("nvidia.com", &[names::DGDSA_STATUS], &["patch"]),
        rule("", &["events"], &["create", "patch"]),
        rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["get", "create", "patch"]),
    ]
}

/// The rights that the planner needs for one graph.
pub(crate) fn planner_rules() -> Vec<PolicyRule> {
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "patch"]),
        rule("nvidia.com", &[names::DGDSA_SCALE], &["get", "patch"]),
        rule("nvidia.com", &[names::DGDSA_PLURAL], &["get"]),
        rule("", &["pods"], &["list"]),
        rule("autoscaling", &["horizontalpodautoscalers"], &["list"]),
        rule("keda.sh", &["scaledobjects"], &["list"]),
        rule("nvidia.com", &[names::DGDSA_STATUS], &["patch"]),
        rule("", &["events"], &["create", "patch"]),
    ]
}

/// The controller at work in one namespace, with just the rights it needs.
pub(crate) struct Controller {
    heard: Arc<Mutex<Vec<Told>>>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Controller {
    pub(crate) async fn start(ns: &Namespace) -> Self {
        let user = ns.token(controller_rules()).await;
        Self::start_with(ns, client_through(&user, None).await)
    }

    pub(crate) fn start_with(ns: &Namespace, client: Client) -> Self {
        Self::start_beside(ns, client, None)
    }

    /// One that leaves namespaces alone.
    pub(crate) fn start_beside(
        ns: &Namespace,
        client: Client,
        restricted: Option<watch::Receiver<Restricted>>,
    ) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let options = AdapterOptions {
            namespace: Some(ns.name().to_owned()),
            call_deadline: CALL,
            instance: "test".to_owned(),
            restricted,
            ..AdapterOptions::default()
        };
        let told = {
            let heard = Arc::clone(&heard);
            move |told: &Told| heard.lock().expect("no listener panics").push(told.clone())
        };
        let task = tokio::spawn(adapter::run(client, options, async { drop(stopped.await) }, told));
        Self { heard, stop: Some(stop), task }
    }

    pub(crate) fn heard(&self) -> Vec<Told> {
        self.heard.lock().expect("no listener panics").clone()
    }

    /// The adapter, when the controller has made it.
    pub(crate) async fn adapter(
        &self,
        ns: &Namespace,
        name: &str,
    ) -> DynamoGraphDeploymentScalingAdapter {
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

/// A way to the API server that can be cut, and on which all can hang.
pub(crate) struct Proxy {
    url: String,
    cut: watch::Sender<bool>,
    hang: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> Self {
        let server = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cut, is_cut) = watch::channel(false);
        let (hang, hangs) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (server, mut is_cut) = (server.clone(), is_cut.clone());
                let mut hangs = hangs.clone();
                tokio::spawn(async move {
                    let pass = async {
                        let mut to = TcpStream::connect(server).await?;
                        let mut pass = std::pin::pin!(copy_bidirectional(&mut from, &mut to));
                        loop {
                            drop(hangs.wait_for(|hangs| !hangs).await);
                            tokio::select! {
                                biased;
                                Ok(_) = hangs.wait_for(|hangs| *hangs) => {}
                                ended = &mut pass => return ended,
                            }
                        }
                    };
                    tokio::select! {
                        biased;
                        _ = is_cut.wait_for(|cut| *cut) => {}
                        ended = pass => drop(ended),
                    }
                });
            }
        });
        Self { url: format!("https://{address}"), cut, hang }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts every connection and lets no new one through, or lets them through again.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// Lets nothing pass in either direction, without a word, or lets it pass again.
    pub(crate) fn hang(&self, hang: bool) {
        self.hang.send_replace(hang);
    }
}

/// A client as the product makes it, for a user of the bench.
pub(crate) async fn client_through(user: &User, proxy: Option<&Proxy>) -> Client {
    let file = user.kubeconfig();
    let Some(proxy) = proxy else {
        return connect_by(file, Some("bench")).await.expect("a client");
    };
    let kubeconfig = Kubeconfig::read_from(file).expect("a kubeconfig");
    let first = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &first);
    let mut config = config.await.expect("the bench's kubeconfig is complete");
    config.cluster_url = proxy.url.parse().expect("a URL");
    client_of(config).expect("a client")
}

/// A namespace of the first cluster, which knows our three kinds.
pub(crate) async fn namespace(name: &str) -> Namespace {
    namespace_in(Bench::get().await, name).await
}

/// A namespace of a cluster that knows our three kinds.
pub(crate) async fn namespace_in(bench: &'static Bench, name: &str) -> Namespace {
    let install = async || install_kinds(bench, "crds").await;
    bench.prepared().get_or_init(install).await;
    bench.namespace(name).await
}

/// Defines kinds as the files of a folder of the repository say, and waits until they are served.
pub(crate) async fn install_kinds(bench: &'static Bench, folder: &str) {
    let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    bench.apply_file(&folder).await;
    let established = "--for=condition=Established";
    bench.kubectl(&["wait", established, "--timeout=60s", "--filename", &folder]).await.success();
}

pub(crate) async fn create_dgd(ns: &Namespace, spec: Value) {
    let created = raw_dgds(ns).await.create(&PostParams::default(), &raw_object(DGD, spec)).await;
    created.expect("the API server takes the graph");
}

pub(crate) fn raw_object(name: &str, spec: Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, &DynamoGraphDeployment::api_resource());
    object.data = json!({"spec": spec});
    object
}

pub(crate) async fn raw_dgds(ns: &Namespace) -> Api<DynamicObject> {
    let resource: ApiResource = DynamoGraphDeployment::api_resource();
    Api::namespaced_with(ns.admin().await, ns.name(), &resource)
}

/// The graph as the API server has it, with every field.
pub(crate) async fn raw_dgd(ns: &Namespace) -> DynamicObject {
    raw_dgds(ns).await.get(DGD).await.expect("the graph")
}

pub(crate) async fn patch_dgd(ns: &Namespace, patch: Value) {
    let dgds = raw_dgds(ns).await;
    dgds.patch(DGD, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a patched graph");
}

pub(crate) async fn adapters(ns: &Namespace) -> Api<DynamoGraphDeploymentScalingAdapter> {
    ns.api().await
}

pub(crate) async fn no_adapter(ns: &Namespace, name: &str) {
    let adapters = adapters(ns).await;
    eventually(&format!("adapter {name} to go"), SOON, async || {
        match adapters.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

pub(crate) async fn dgd_asks_for(ns: &Namespace, service: &str, replicas: u32) {
    eventually(&format!("{replicas} replicas of {service} in the graph"), SOON, async || {
        let found = asked_of_dgd(ns, service).await?;
        if found == Some(replicas) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// The replicas of a service that the graph asks for.
pub(crate) async fn asked_of_dgd(ns: &Namespace, service: &str) -> Result<Option<u32>, String> {
    let dgds: Api<DynamoGraphDeployment> = ns.api().await;
    let dgd = dgds.get(DGD).await.map_err(|error| error.to_string())?;
    Ok(dgd.service(service).map(|service| service.replicas().get()))
}

pub(crate) async fn ready_pods(ns: &Namespace, service: &str, count: usize) {
    eventually(&format!("{count} ready pods of {service}"), SOON, async || {
        let found = pods_of(ns, service).await?;
        if found == (count, count) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// The pods of a service, and how many of them are ready.
pub(crate) async fn pods_of(ns: &Namespace, service: &str) -> Result<(usize, usize), String> {
    let pods: Api<Pod> = ns.api().await;
    let selector = names::adapter_selector(DGD, service);
    let list = pods.list(&ListParams::default().labels(&selector)).await;
    let list = list.map_err(|error| error.to_string())?;
    let ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    Ok((list.items.len(), list.items.iter().filter(ready).count()))
}

pub(crate) async fn has_event(ns: &Namespace, reason: &str, message: &str) {
    eventually(&format!("event {reason}: {message}"), SOON, async || {
        let said = events_of(ns, &ListParams::default()).await?;
        if said.iter().any(|(r, m)| r == reason && m == message) {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
}

/// The events about the object of this name: reason and message.
pub(crate) async fn events(ns: &Namespace, about: &str) -> Vec<(String, String)> {
    let params = ListParams::default().fields(&format!("involvedObject.name={about}"));
    events_of(ns, &params).await.expect("events")
}

async fn events_of(ns: &Namespace, params: &ListParams) -> Result<Vec<(String, String)>, String> {
    let events: Api<Event> = ns.api().await;
    let list = events.list(params).await.map_err(|error| error.to_string())?;
    let said = |event: Event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
    Ok(list.into_iter().map(said).collect())
}

/// The condition `Conflict` of an adapter: its status and its message.
pub(crate) async fn conflict(
    ns: &Namespace,
    adapter: &str,
) -> Result<Option<(String, String)>, String> {
    let found = adapters(ns).await.get(adapter).await.map_err(|error| error.to_string())?;
    let all = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let found = all.into_iter().find(|c| c.type_ == names::CONDITION_CONFLICT);
    Ok(found.map(|condition| (condition.status, condition.message)))
}

/// What an autoscaler of an adapter says that it scales.
pub(crate) fn scale_target(adapter: &str) -> Value {
    json!({"apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND, "name": adapter})
}

/// An autoscaler of an adapter that the real controller keeps between two counts.
pub(crate) async fn hpa(ns: &Namespace, name: &str, adapter: &str, (min, max): (u32, u32)) {
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": scale_target(adapter),
            "minReplicas": min, "maxReplicas": max,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}
            }}]
        }
    });
    ns.apply_yaml(&hpa.to_string()).await;
}
