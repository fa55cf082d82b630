//! The sizing rule and the predictors of Dynamo's planner 0.9.0, to compare with.
//!
//! Reproduced with their faults: the TTFT target is never read, a correction above 1 is ignored for
//! prefill, an unreachable ITL target explodes, and the budget clamp can exceed the budget. Nothing
//! of ours plans with them; back-tests and comparisons do. Its arima and prophet predictors are not
//! reproduced: they are other people's libraries.

mod predictors;
mod size;

pub use predictors::{Constant, Kalman};
pub use size::{Corrections, Dynamo09Input, Dynamo09Observed, correct_dynamo_09, size_dynamo_09};
