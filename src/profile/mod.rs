//! Performance tables of an engine: read, checked, interpolated.
//!
//! A table is what a profiler measured on real GPUs: time to first token by input length, and
//! inter-token latency by batch and context length. [`EngineProfile`] reads Dynamo's npz and JSON
//! forms ([`EngineProfile::from_files`]), finds one shipped with the binary ([`library`]) or takes
//! explicit points ([`EngineProfile::from_points`], and [`EngineProfile::from_json_points`] for those
//! that come in a message); [`lint()`] tells what looks wrong in it.
//!
//! [`PrefillCurve`] and [`DecodeSurface`] interpolate *latency*, which is smooth and grows with load;
//! throughput follows from it by Little's law (`batch / itl`). Both are monotone, never negative and
//! finite, and each [`Answer`] says when it was asked outside the data and what it then assumed.
//!
//! [`compat`] is what Dynamo's planner 0.9.0 makes of the same tables, overshoot and all, to compare
//! with.

mod answer;
pub mod compat;
mod curve;
mod decode;
mod engine;
mod error;
mod fields;
mod finding;
pub mod library;
mod lint;
mod npz;
mod points;
mod prefill;
mod serial;
mod shape;
mod source;
mod table;

pub use answer::{Answer, Assumption, Axis, Outside};
pub use decode::DecodeSurface;
pub use engine::EngineProfile;
pub use error::ProfileError;
pub(crate) use fields::kind;
pub use finding::{Finding, Severity, Table};
pub use lint::{lint, lint_together};
pub use prefill::{PrefillCurve, ServiceFit};
pub use source::{FILE_NAMES, ProfileFile, ProfileFiles};
pub use table::{DecodePoint, PrefillPoint};

#[cfg(test)]
mod tests;
