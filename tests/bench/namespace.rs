//! A test's own part of the cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::control_plane::Bench;
use super::kubectl::Output;
use super::wait::eventually;

/// The node label that ties a node to the namespace that made it.
pub(super) const OWNER_LABEL: &str = "bench.sla-planner/namespace";

/// A namespace that no other test uses. Its pods run on its own nodes only
/// ([`Namespace::node`]), so tests cannot take each other's GPUs.
pub(crate) struct Namespace {
    bench: &'static Bench,
    name: String,
}

impl Bench {
    /// A new namespace; its name begins with `name`.
    pub(crate) async fn namespace(&'static self, name: &str) -> Namespace {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace: KubeNamespace = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                // Read by the PodNodeSelector admission plugin.
                "annotations": {
                    "scheduler.alpha.kubernetes.io/node-selector": format!("{OWNER_LABEL}={name}"),
                },
            },
        }))
        .expect("a valid namespace");
        let client = self.admin().await;
        let namespaces: Api<KubeNamespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a new namespace");
        let namespace = Namespace { bench: self, name };
        namespace.until_usable(client).await;
        namespace
    }
}

impl Bench {
    /// The namespace of a part that wants just this name.
    pub(super) async fn namespace_called(&'static self, name: &str) -> Namespace {
        self.apply_yaml(
            &json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}
            })
            .to_string(),
        )
        .await;
        let namespace = Namespace { bench: self, name: name.to_owned() };
        namespace.until_usable(self.admin().await).await;
        namespace
    }
}

impl Namespace {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    pub(crate) fn bench(&self) -> &'static Bench {
        self.bench
    }

    /// A client that may do everything, everywhere.
    pub(crate) async fn admin(&self) -> kube::Client {
        self.bench.admin().await
    }

    /// Objects of this namespace, as the administrator sees them.
    pub(crate) async fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.admin().await, &self.name)
    }

    /// Runs kubectl in this namespace as the administrator.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> Output {
        let mut all = vec!["--namespace", &self.name];
        all.extend(args);
        self.bench.kubectl(&all).await
    }

    /// Applies manifests to this namespace as the administrator.
    ///
    /// # Panics
    /// When kubectl refuses them.
    pub(crate) async fn apply_yaml(&self, yaml: &str) {
        self.bench.apply_in(Some(&self.name), yaml).await;
    }

    /// Pods need the default service account, which a controller makes.
    async fn until_usable(&self, client: kube::Client) {
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &self.name);
        let what = format!("the default service account of {}", self.name);
        eventually(&what, Duration::from_secs(30), async || accounts.get("default").await).await;
    }
}
