//! Policies to compare: ours, fixed fleets, and the documented rules of other autoscalers.
//!
//! A rival is made from its name and knobs by [`make`]; [`KNOWN`] lists them, each with the source
//! of its rule. Where a document leaves something open, the reading that serves the rival better is
//! taken, and the module of the rival says so. Two things hold for all of them:
//!
//! * A count is never ordered above the `max` of its pool, nor above what the budget leaves beside the
//!   other pools' minimum ([`super::Setting::most`]), which is what `maxReplicas` would be set to.
//!   Only the planners of Dynamo know a budget of several pools (0.9.0 may exceed it); two objects
//!   of any other autoscaler may together exceed it, as they do on a cluster.
//! * "Unknown" follows the rival's own documents, which is often a zero or a hold.

mod dynamo;
mod fixed;
mod hpa;
mod keda;
mod known;
mod kpa;
mod llm_d;
mod ours;
mod spec;
mod trigger;
mod wva;

pub use fixed::{Schedule, Static};
pub use known::{KNOWN, Knob, Known, RESERVED, check, known, make};
pub use ours::{Ours, Recorded};
pub use spec::{PREDICTOR, PolicyError, PolicySpec};

#[cfg(test)]
mod bench;
#[cfg(test)]
mod swarm;
