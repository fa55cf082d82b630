//! The replicas there are, by pool.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Signal;
use crate::units::{Gpus, Replicas, Role, Timestamp};

/// The replicas of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolInventory {
    /// What the scale subresource (or the DGD) asks for at present.
    pub desired: Replicas,
    /// Serving.
    pub ready: Replicas,
    /// Asked for and not serving yet, pods that do not exist yet included.
    pub starting: Replicas,
    /// Told to end, still holding their GPUs.
    pub draining: Replicas,
    /// GPUs of one replica, where the cluster says; `None` where it does not.
    pub gpus_per_replica: Option<Gpus>,
    /// Starting replicas that look stuck, by name.
    pub stuck: Vec<StuckReplica>,
    /// The replicas that are there, where their starts are known: what start-up times are learned
    /// from.
    #[serde(default)]
    pub starts: Vec<ReplicaStart>,
}

impl PoolInventory {
    /// `n` replicas, all serving.
    #[must_use]
    pub fn steady(n: u32) -> Self {
        Self { desired: Replicas::new(n), ready: Replicas::new(n), ..Self::default() }
    }
}

/// The start of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStart {
    /// Name of the pod.
    pub name: String,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Since when it serves; `None` while it starts.
    pub ready: Option<Timestamp>,
}

/// A replica that waits for something which will not come by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckReplica {
    /// Name of the pod.
    pub name: String,
    /// What it waits for, as the cluster says it ("Unschedulable").
    pub why: String,
    /// For how long.
    pub age: Duration,
    /// Whether it finds no place in the cluster, so that another one would find none either.
    #[serde(default)]
    pub no_place: bool,
}

/// The replicas of every pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// By role; a pool that could not be read is missing with its reason.
    pub pools: BTreeMap<Role, Signal<PoolInventory>>,
}

impl Inventory {
    /// One pool; not asked for where the inventory does not hold it.
    #[must_use]
    pub fn pool(&self, role: Role) -> Option<&PoolInventory> {
        self.pools.get(&role).and_then(Signal::known)
    }
}
