//! An interpolated value that says when it was asked outside its data.

use std::fmt;

use crate::units::{Millis, Tokens};

/// What a performance table answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The latency, in milliseconds; always finite.
    pub value: Millis,
    /// Set where the question left the measured points: then `value` rests on an assumption.
    pub outside: Option<Outside>,
}

/// The axis along which a question left the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Tokens of the prompt.
    Isl,
    /// Sequences decoded together.
    Batch,
    /// Mean tokens of context of a running sequence.
    Context,
}

/// What an answer outside the data assumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumption {
    /// The first slope goes on, but half of the smallest measured value is a fixed cost.
    FixedCost,
    /// Prefill is done in chunks over a growing context: the last slope goes on and grows linearly.
    GrowingSlope,
    /// The last slope goes on unchanged.
    LastSlope,
    /// The nearest measured value, which is then an upper bound.
    Nearest,
}

/// How a question left the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outside {
    /// Below the smallest measured point of an axis.
    BelowData {
        /// The axis.
        axis: Axis,
        /// Its smallest measured value (tokens, or sequences).
        limit: f64,
        /// What the answer assumes.
        assumed: Assumption,
    },
    /// Above the largest measured point of an axis.
    AboveData {
        /// The axis.
        axis: Axis,
        /// Its largest measured value (tokens, or sequences).
        limit: f64,
        /// What the answer assumes.
        assumed: Assumption,
    },
    /// Batch times context is more than the KV cache of an engine holds: not all sequences can run.
    BeyondMemory {
        /// The tokens that the KV cache holds.
        limit: Tokens,
    },
    /// The points form no rows of equal context; a plane was fitted through them by least squares.
    Fitted,
    /// The question was not a number; answered at the upper end of the data.
    NotANumber,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Isl => "input length",
            Self::Batch => "batch",
            Self::Context => "context length",
        })
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FixedCost => "assumed the first slope down to a fixed cost of half the smallest",
            Self::GrowingSlope => "assumed chunked prefill over a growing context",
            Self::LastSlope => "assumed the last slope",
            Self::Nearest => "assumed the nearest measured value",
        })
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowData { axis, limit, assumed } => {
                write!(f, "{axis} below the smallest measured, {limit:.0}: {assumed}")
            }
            Self::AboveData { axis, limit, assumed } => {
                write!(f, "{axis} above the largest measured, {limit:.0}: {assumed}")
            }
            Self::BeyondMemory { limit } => {
                write!(f, "more tokens than the KV cache of an engine holds, {limit:.0}")
            }
            Self::Fitted => f.write_str("points form no rows: least squares plane"),
            Self::NotANumber => f.write_str("not a number: answered at the upper end of the data"),
        }
    }
}
