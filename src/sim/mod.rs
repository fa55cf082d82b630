//! A request-level discrete-event simulator of a serving fleet.
//!
//! It drives any [`Policy`] with what an autoscaler sees of a cluster: scraped metrics, replica
//! counts, and what engines say of themselves.

mod config;
mod engine;
mod fault;
mod load;
mod metrics;
mod outcome;
mod policy;
mod rng;
mod sighting;
mod time;
mod truth;
mod world;

pub use config::{Router, SimConfig, SimPool, Startup};
pub use fault::Fault;
pub use load::{Closed, Load, Open};
#[cfg(test)]
pub(crate) use metrics::fixture;
pub use metrics::{Counter, Family, Gauge, Histogram, Metrics};
pub use outcome::{End, Ended, SimError, Sink, Summary};
pub use policy::{EngineView, Orders, PassView, Policy, PoolView, StartView, Target, View};
pub use sighting::Sight;
pub use time::SimTime;
pub use truth::{EngineTruth, Resume, TruthOptions};
pub use world::simulate;
