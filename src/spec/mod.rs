//! The validated intent: promise, pools, limits, intervals, where to look and what to write.
//!
//! One YAML schema serves every command. [`load`] parses it at the door: unknown keys, wrong units
//! and impossible limits are refused there with the line at fault, and what it returns is never
//! doubted again. What is not in the file comes from [`Defaults`], which an edge room fills from
//! the environment.

mod check;
mod cluster;
mod config;
mod file;
mod load;
mod text;
mod webhook;

pub use crate::units::{TextError, format_duration, parse_duration};
pub use cluster::{Cluster, ClusterFile};
pub use config::{
    Config, DgdTarget, EngineLimits, ForecastSource, Intervals, Mode, OnConflict, Pool,
    PrometheusSource, Secret, Sla, StatedLoad,
};
pub use file::{File, PoolFile, SlaFile};
pub use load::{ConfigError, Defaults, load};
pub use text::DurationText;
pub use webhook::{Certificate, CertificateFile, StockIdentities, Webhook, WebhookFile, Wording};

/// The JSON schema of the configuration file, from the types that parse it.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}
