//! The decision: capacity, sizing, limits, reasons.
//!
//! [`size`](size()) answers "the fewest GPUs that keep this promise under this demand";
//! [`plan`](plan()) turns an observation into a [`Decision`] with it. Both are pure: the controller,
//! a simulator, a replay and a test call the same functions.

mod account;
mod awaited;
mod backlog;
mod capacity;
pub mod compat;
mod decide;
mod decision;
mod input;
mod learn;
mod memory;
mod reason;
mod saturation;
mod size;
mod starting;

pub use account::{Account, ErrorBudget, Spent};
pub use awaited::Awaited;
pub use decide::{learn_history, plan};
pub use decision::{Decision, Outcome, PoolDecision, Report, Write};
pub use input::{PlanInput, PoolInput};
pub use learn::{Correction, Learned, Trust};
pub use memory::Memory;
pub use reason::Reason;
pub use size::{
    Alternative, Bound, IfOnly, Latency, PoolSize, SizePool, Sizing, Verdict, assess, size,
    size_level,
};
pub use starting::{Starting, Starts};
