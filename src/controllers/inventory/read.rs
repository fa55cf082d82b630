//! Reads the inventory of one graph from the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use thiserror::Error;

use super::{count, roles};
use crate::api::{Adapter, Graph, names};
use crate::controllers::client::{Call, CallError, within};
use crate::controllers::kinds::Kinds;
use crate::observe::{Inventory, Missing, PoolInventory, Role, Signal};
use crate::units::Timestamp;

/// How an inventory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InventoryOptions {
    /// Longest time for one call.
    pub call_deadline: Duration,
}

/// The inventory of one graph.
#[derive(Clone, Debug)]
pub struct DgdInventory {
    /// The graph as it was read.
    pub dgd: Graph,
    /// Every service, by name.
    pub services: BTreeMap<String, ServiceInventory>,
    /// Where the counts are from.
    pub pods: PodSource,
    /// When it was read, as the caller's clock says.
    pub at: Timestamp,
}

/// The inventory of one service.
#[derive(Clone, Debug)]
pub struct ServiceInventory {
    /// The counts.
    pub pool: PoolInventory,
    /// Whether an adapter holds the replicas.
    pub adapter_enabled: bool,
    /// The adapter, where it is there and could be read.
    pub adapter: Option<Adapter>,
    /// Where the desired number is from.
    pub desired_from: DesiredSource,
}

impl DgdInventory {
    /// The inventory as a plan sees it: by role, the service being the one that the configuration
    /// names or the one that [`roles::find`] finds. A role without a service is missing with the
    /// reason.
    #[must_use]
    pub fn by_role<'a>(
        &self,
        pools: impl IntoIterator<Item = (Role, Option<&'a str>)>,
    ) -> Inventory {
        let pools = pools.into_iter().map(|(role, named)| {
            let found = roles::resolve(&self.dgd, role, named);
            let signal = match found.map(|service| self.services.get(service)) {
                Ok(Some(service)) => Signal::Fresh { value: service.pool.clone(), at: self.at },
                Ok(None) => Signal::missing(Missing::NotAsked),
                Err(error) => Signal::missing(Missing::NoObject { detail: error.to_string() }),
            };
            (role, signal)
        });
        Inventory { pools: pools.collect() }
    }
}

/// Where counts are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodSource {
    /// The pods themselves.
    Pods,
    /// The status of the graph: pods may not be listed. Draining and stuck pods are not seen.
    DgdStatus {
        /// Which right is missing, for people.
        why: String,
    },
}

/// Where a desired number is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredSource {
    /// The adapter of the service.
    Adapter,
    /// The graph: the service has no adapter.
    Dgd,
    /// The graph, although the service has an adapter enabled: the adapter is not there yet or may
    /// not be read.
    DgdInstead {
        /// Why, for people.
        why: String,
    },
}

/// Why there is no inventory.
#[derive(Debug, Error)]
pub enum InventoryError {
    /// The graph could not be read.
    #[error("read the DGD: {0}")]
    Dgd(CallError),
    /// Pods could not be listed, for another reason than a missing right.
    #[error("list the pods: {0}")]
    Pods(CallError),
    /// An adapter could not be read, for another reason than a missing right.
    #[error("read a scaling adapter: {0}")]
    Adapter(CallError),
}

impl InventoryError {
    /// Name of the kind of failure, for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Dgd(call) | Self::Pods(call) | Self::Adapter(call) => call.label(),
        }
    }
}

/// Reads the inventory of one graph.
///
/// # Errors
///
/// Where the graph cannot be read, or a call fails for another reason than a missing right.
pub async fn read(
    kinds: &Kinds,
    namespace: &str,
    name: &str,
    now: Timestamp,
    options: InventoryOptions,
) -> Result<DgdInventory, InventoryError> {
    let InventoryOptions { call_deadline } = options;
    let (dgd, pods) = tokio::join!(
        kinds.get(namespace, name),
        list_pods(kinds.client(), namespace, name, call_deadline)
    );
    let dgd: Graph = dgd.map_err(InventoryError::Dgd)?;
    let (pods, source) = match pods {
        Ok(pods) => (pods, PodSource::Pods),
        Err(error) if error.is_forbidden() => {
            (Vec::new(), PodSource::DgdStatus { why: error.to_string() })
        }
        Err(error) => return Err(InventoryError::Pods(error)),
    };
    let mut services = BTreeMap::new();
    for (service, spec) in dgd.services() {
        let (adapter, desired_from) = if spec.adapter_enabled() {
            read_adapter(kinds, &dgd, service).await?
        } else {
            (None, DesiredSource::Dgd)
        };
        let desired = adapter.as_ref().map_or(spec.replicas(), |a| a.spec.replicas());
        let pool = match &source {
            PodSource::Pods => {
                count::by_pods(count::pods_of(&pods, name, service), spec, desired, now)
            }
            PodSource::DgdStatus { .. } => count::by_status(&dgd, service, spec, desired),
        };
        let adapter_enabled = spec.adapter_enabled();
        let found = ServiceInventory { pool, adapter_enabled, adapter, desired_from };
        services.insert(service.to_owned(), found);
    }
    Ok(DgdInventory { dgd, services, pods: source, at: now })
}

async fn list_pods(
    client: &Client,
    namespace: &str,
    dgd: &str,
    deadline: Duration,
) -> Result<Vec<Pod>, CallError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&names::dgd_selector(dgd));
    let call = Call::all("list", "", "pods", Some(namespace));
    Ok(within(deadline, call, pods.list(&params)).await?.items)
}

async fn read_adapter(
    kinds: &Kinds,
    dgd: &Graph,
    service: &str,
) -> Result<(Option<Adapter>, DesiredSource), InventoryError> {
    let namespace = dgd.namespace().unwrap_or_default();
    let adapter = names::adapter_name(&dgd.name_any(), service);
    match kinds.get(&namespace, &adapter).await {
        Ok(found) => Ok((Some(found), DesiredSource::Adapter)),
        Err(error) if error.is_not_found() || error.is_forbidden() => {
            Ok((None, DesiredSource::DgdInstead { why: error.to_string() }))
        }
        Err(error) => Err(InventoryError::Adapter(error)),
    }
}
