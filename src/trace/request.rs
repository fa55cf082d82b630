//! One request.

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// A request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Arrival, from the start of the trace.
    pub at: Timestamp,
    /// Length of the whole prompt, its cached part included; tokens.
    pub isl: u32,
    /// Generated tokens, at least 1.
    pub osl: u32,
    /// The leading part of the prompt that an unbounded prefix cache would have held, at most
    /// [`Request::isl`]; tokens. `None` where the trace does not say.
    pub prefix_hit: Option<u32>,
}
