//! What was seen: traffic over a window, latency, the replica inventory; each with its age.
//!
//! Unknown is not zero here. Every figure is a [`Signal`], which is either a value with the moment
//! it stands for, or the reason why there is none. Only [`Signal::Fresh`] may take a replica away.

mod gate;
mod inventory;
mod signal;
mod traffic;

pub use crate::units::Role;
pub use gate::{FROZEN_AFTER, Gate};
pub use inventory::{Inventory, PoolInventory, ReplicaStart, StuckReplica};
pub use signal::{Missing, Signal};
pub use traffic::{LatencySignals, Observation, Traffic, TrafficStep};
