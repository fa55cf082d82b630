//! Policies to compare: ours, fixed fleets, and the documented rules of other autoscalers.

mod fixed;
mod ours;
mod registry;
mod spec;

pub use fixed::{Schedule, Static};
pub use ours::Ours;
pub use registry::make;
pub use spec::{PolicyError, PolicySpec};
