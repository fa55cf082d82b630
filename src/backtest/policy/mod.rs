//! Policies to compare: ours, fixed fleets, and the documented rules of other autoscalers.

mod fixed;
mod spec;

pub use fixed::{Schedule, Static};
pub use spec::{PolicyError, PolicySpec};
