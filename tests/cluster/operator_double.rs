//! Plays Dynamo's operator for one graph: services become Deployments, and the graph's status says
//! how they are. It knows nothing of scaling adapters; those are the adapter controller's.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use sla_planner::api::{Graph, ResourceItem, Service, Version, names};
use tokio::task::JoinHandle;

/// The operator's name in `metadata.managedFields`.
const MANAGER: &str = "operator-double";

/// Annotation of a Deployment: the generation of the graph that it was made of.
const OF_GRAPH: &str = "bench.sla-planner/of-graph";

/// How often it looks. The real operator watches; this one may be as late as this.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// How long the pods of all services take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PodTimes {
    /// From a pod's start to its readiness.
    pub(crate) start_up: Duration,
    /// From the request to delete a pod to its end.
    pub(crate) shut_down: Duration,
}

/// An operator that works until it is dropped. What it made stays.
pub(crate) struct OperatorDouble {
    task: JoinHandle<()>,
}

impl OperatorDouble {
    /// Begins to look after one graph, which need not be there yet.
    pub(crate) fn start(client: Client, namespace: &str, dgd: &str, times: PodTimes) -> Self {
        Self::start_in(Version::V1alpha1, client, namespace, dgd, times)
    }

    /// [`Self::start`] for a graph of this version.
    pub(crate) fn start_in(
        version: Version,
        client: Client,
        namespace: &str,
        dgd: &str,
        times: PodTimes,
    ) -> Self {
        let look = Look {
            dgds: Api::namespaced_with(client.clone(), namespace, &version),
            deployments: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            dgd: dgd.to_owned(),
            times,
        };
        let task = tokio::spawn(async move {
            loop {
                // What fails now (a conflict, a server that is not there) is seen again.
                drop(look.once().await);
                tokio::time::sleep(LOOKS_EVERY).await;
            }
        });
        Self { task }
    }
}

impl Drop for OperatorDouble {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Look {
    dgds: Api<Graph>,
    deployments: Api<Deployment>,
    namespace: String,
    dgd: String,
    times: PodTimes,
}

impl Look {
    async fn once(&self) -> kube::Result<()> {
        let Some(dgd) = self.dgds.get_opt(&self.dgd).await? else { return Ok(()) };
        if dgd.is_going() {
            return Ok(());
        }
        let ours = ListParams::default().labels(&names::dgd_selector(&self.dgd));
        let mut present: BTreeMap<String, Deployment> = self
            .deployments
            .list(&ours)
            .await?
            .into_iter()
            .map(|deployment| (deployment.name_any(), deployment))
            .collect();
        let generation = dgd.metadata.generation.unwrap_or_default().to_string();
        let mut services = BTreeMap::new();
        for (name, service) in dgd.services() {
            let deployment = names::selector_value(&self.dgd, name);
            let found = present.remove(&deployment);
            let of_graph = found.as_ref().and_then(|found| found.annotations().get(OF_GRAPH));
            if of_graph != Some(&generation)
                || found.as_ref().and_then(wanted_replicas) != Some(service.replicas().get())
            {
                let object = self.build_deployment(&dgd, name, service);
                let params = PatchParams::apply(MANAGER).force();
                self.deployments.patch(&deployment, &params, &Patch::Apply(&object)).await?;
            }
            services.insert(name.to_owned(), service_status(&deployment, found.as_ref(), service));
        }
        for orphan in present.keys() {
            self.deployments.delete(orphan, &DeleteParams::default()).await?;
        }
        self.write_status(&dgd, &services).await
    }

    fn build_deployment(&self, dgd: &Graph, name: &str, service: &Service) -> Value {
        let selector = names::selector_value(&self.dgd, name);
        let mut labels = BTreeMap::from([
            (names::LABEL_SELECTOR, selector.clone()),
            (names::LABEL_DGD_NAME, self.dgd.clone()),
            (names::LABEL_COMPONENT, name.to_owned()),
            (
                names::LABEL_DYNAMO_NAMESPACE,
                names::dynamo_namespace(&self.namespace, &self.dgd, false),
            ),
            (names::LABEL_METRICS_ENABLED, "true".to_owned()),
        ]);
        for (label, value) in [
            (names::LABEL_COMPONENT_TYPE, &service.component_type),
            (names::LABEL_SUB_COMPONENT_TYPE, &service.sub_component_type),
        ] {
            labels.extend(value.clone().map(|value| (label, value)));
        }
        let resources = service.resources.clone().unwrap_or_default();
        let quantities = |item: Option<ResourceItem>| -> BTreeMap<_, _> {
            let item = item.unwrap_or_default();
            [("cpu", item.cpu), ("memory", item.memory), (names::GPU_RESOURCE, item.gpu)]
                .into_iter()
                .filter_map(|(name, quantity)| Some((name, quantity?)))
                .collect()
        };
        let (requests, limits) = (quantities(resources.requests), quantities(resources.limits));
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": selector,
                "labels": labels,
                "annotations": {
                    OF_GRAPH: dgd.metadata.generation.unwrap_or_default().to_string()
                },
                "ownerReferences": [{
                    "apiVersion": dgd.version().api_version(),
                    "kind": names::DGD_KIND,
                    "name": self.dgd,
                    "uid": dgd.uid(),
                    "controller": true,
                    "blockOwnerDeletion": true
                }]
            },
            "spec": {
                "replicas": service.replicas().get(),
                "selector": {"matchLabels": {names::LABEL_SELECTOR: selector}},
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {
                            "bench.sla-planner/start-up-ms": millis(self.times.start_up),
                            "bench.sla-planner/shut-down-ms": millis(self.times.shut_down)
                        }
                    },
                    "spec": {"containers": [{
                        "name": "main",
                        "image": "none",
                        "resources": {"requests": requests, "limits": limits}
                    }]}
                }
            }
        })
    }

    async fn write_status(
        &self,
        dgd: &Graph,
        services: &BTreeMap<String, Value>,
    ) -> kube::Result<()> {
        let told = dgd.status.clone().unwrap_or_default();
        let ready = dgd.services().all(|(name, service)| {
            let wanted = service.replicas().get();
            ["updatedReplicas", "readyReplicas", "availableReplicas"]
                .iter()
                .all(|field| services[name][*field] == wanted)
        });
        let same = serde_json::to_value(told.services.unwrap_or_default()).ok()
            == serde_json::to_value(services).ok();
        if same && dgd.is_ready() == Some(ready) {
            return Ok(());
        }
        let (state, status, reason) = if ready {
            (names::STATE_SUCCESSFUL, "True", names::REASON_ALL_READY)
        } else {
            (names::STATE_PENDING, "False", names::REASON_SOME_NOT_READY)
        };
        let patch = json!({"status": {
            "state": state,
            (format!("{}s", dgd.version().part())): services,
            "conditions": [{
                "type": names::CONDITION_READY,
                "status": status,
                "reason": reason,
                "message": "",
                "lastTransitionTime": k8s_openapi::jiff::Timestamp::now().to_string()
            }]
        }});
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.dgds.patch_status(&self.dgd, &params, &Patch::Merge(&patch)).await?;
        Ok(())
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn wanted_replicas(deployment: &Deployment) -> Option<u32> {
    u32::try_from(deployment.spec.as_ref()?.replicas?).ok()
}

/// The status of a service in the shape of the operator, with the keys in our type's order.
fn service_status(name: &str, deployment: Option<&Deployment>, service: &Service) -> Value {
    let status = deployment.and_then(|deployment| deployment.status.clone()).unwrap_or_default();
    // A Deployment that has not seen its newest spec yet tells of the one before.
    let seen = deployment.is_some_and(|deployment| {
        status.observed_generation == deployment.metadata.generation
            && wanted_replicas(deployment) == Some(service.replicas().get())
    });
    let updated = if seen { status.updated_replicas.unwrap_or(0) } else { 0 };
    json!({
        "componentKind": "Deployment",
        "componentName": name,
        "componentNames": [name],
        "replicas": status.replicas.unwrap_or(0),
        "updatedReplicas": updated,
        "readyReplicas": status.ready_replicas.unwrap_or(0),
        "availableReplicas": status.available_replicas.unwrap_or(0)
    })
}
