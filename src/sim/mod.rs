//! A request-level discrete-event simulator of a serving fleet.
//!
//! It drives any [`Policy`] with what an autoscaler sees of a cluster: scraped metrics, replica
//! counts, and what engines say of themselves.

mod metrics;
mod policy;
mod time;

#[cfg(test)]
pub(crate) use metrics::fixture;
pub use metrics::{Counter, Family, Gauge, Histogram, Metrics};
pub use policy::{EngineView, Orders, PassView, Policy, PoolView, Target, View};
pub use time::SimTime;
