//! What the planner shows of itself: its metrics, and whether it is alive and ready.
//!
//! [`Metrics`] is the registry, [`DeploymentMetrics`] the part of it that belongs to one deployment,
//! [`Server`] serves both at `/metrics`, `/healthz` and `/readyz`. All names are in one file, as a
//! table that the documentation prints too ([`metric_table`]). A figure that is not known has no
//! series: it is neither zero nor the last value that was known.

mod health;
mod metrics;
mod names;
mod series;
mod server;

pub use health::Health;
pub use metrics::{DeploymentMetrics, ForecastFigures, Metrics};
pub use names::{ALL, Kind, Metric, metric_table};
pub use server::{CONTENT_TYPE, Server};
