//! Placeholder until the rivals are merged.
use super::{PolicyError, PolicySpec};
use crate::backtest::Setting;
use crate::sim::Policy;

/// Makes a policy by its name.
///
/// # Errors
///
/// Where there is none of that name.
pub fn make(spec: &PolicySpec, _: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    Err(PolicyError::Unknown { name: spec.name.clone(), nearest: None })
}
