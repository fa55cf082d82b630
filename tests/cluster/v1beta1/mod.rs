//! Graphs of `v1beta1`, in a cluster with the definitions of a later operator (`crds/`).
//!
//! [`scene`] is a namespace with such a graph and what tests ask about it; `adapters` has the adapter
//! controller, `writes` the scale writer and the inventory, `upgrade` a cluster whose definitions
//! change under a running controller. The planner as a process is in `planner::v1beta1`.

mod adapters;
pub(crate) mod scene;
mod upgrade;
mod writes;
