//! What an HPA and KEDA need besides the control plane: a Prometheus that all tests share, and the
//! programs that make metrics APIs of it.
//!
//! [`prometheus_adapter`] serves `metrics.k8s.io` in both clusters, [`keda`] the API of external
//! metrics in the first and prometheus-adapter that of the second.

mod keda;
mod prometheus_adapter;

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::Api;
use serde_json::json;
use tokio::net::TcpStream;

use super::control_plane::Bench;
use super::guard::Guarded;
use super::prometheus::Prometheus;
use super::wait::eventually;

/// KEDA takes 8 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Who serves the API of external metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum External {
    /// KEDA.
    Keda,
    /// prometheus-adapter.
    PrometheusAdapter,
}

/// The autoscalers of one cluster.
pub(crate) struct Autoscalers {
    /// What they ask. A test adds its targets, whose series carry its namespace.
    pub(crate) prometheus: Prometheus,
    _parts: Vec<Guarded>,
}

impl Autoscalers {
    /// Starts all of them, and returns when the API server serves their metrics.
    pub(super) async fn start(bench: &'static Bench, external: External) -> Self {
        let prometheus = Prometheus::start_in(bench.dir(), &[], Duration::from_secs(1)).await;
        let mut parts = Vec::new();
        match external {
            External::Keda => {
                let adapter = prometheus_adapter::start(bench, &prometheus, false);
                let (adapter, keda) = tokio::join!(adapter, keda::start(bench));
                parts.push(adapter);
                parts.extend(keda);
            }
            External::PrometheusAdapter => {
                parts.push(prometheus_adapter::start(bench, &prometheus, true).await);
            }
        }
        Self { prometheus, _parts: parts }
    }
}

impl Bench {
    /// Lets a process on a port of the loopback serve `v1beta1` of an API group, as the Service
    /// `service` in `namespace`, and returns when the API server finds it there.
    async fn serve_api(&self, group: &str, namespace: &str, service: &str, port: u16) {
        let name = format!("v1beta1.{group}");
        // An API that nobody serves yet is in the way of everybody who discovers what there is.
        eventually(&format!("port {port} for {name}"), READY_WITHIN, async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
        })
        .await;
        // There is no service network: the name of an external service is looked up as it is.
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": service, "namespace": namespace},
                "spec": {
                    "type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]
                }
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name},
                "spec": {
                    "group": group, "version": "v1beta1",
                    "groupPriorityMinimum": 100, "versionPriority": 100,
                    "insecureSkipTLSVerify": true,
                    "service": {"name": service, "namespace": namespace, "port": port}
                }
            }
        ]});
        self.apply_yaml(&objects.to_string()).await;
        let services: Api<APIService> = Api::all(self.admin().await);
        eventually(&format!("{name} to be served"), READY_WITHIN, async || {
            let found = services.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let available = conditions.iter().any(|c| c.type_ == "Available" && c.status == "True");
            if available { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
}
