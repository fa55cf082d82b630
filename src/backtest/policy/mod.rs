//! Policies to compare: ours, fixed fleets, and the documented rules of other autoscalers.

mod dynamo09;
mod dynamo16;
mod fixed;
mod hpa;
mod keda;
mod kpa;
mod llmd;
mod ours;
mod registry;
mod scaler;
mod spec;
mod wva;

pub use fixed::{Schedule, Static};
pub use ours::Ours;
pub use registry::{Knob, RIVALS, Rival, make, rival};
pub use spec::{PolicyError, PolicySpec};
