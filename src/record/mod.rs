//! The serial form of decisions: JSON lines from which each can be explained and made again.
//!
//! A file holds lines of two kinds, told apart by `kind`. A [`Checkpoint`] is what decisions rest on
//! beside what is seen: the promise, the pools with their engines' tables, the intervals, and the
//! planner's whole [`Memory`](crate::plan::Memory). A [`Record`] is one decision: what was seen, what
//! was decided and why, and what came of it. [`Recorder`] makes both. Since the plan is a pure
//! function, [`Replay`] walks the lines and decides again: from a checkpoint on it carries its own
//! memory, and compares what it gets with what was recorded, byte for byte.

mod diff;
mod line;
mod recorder;
mod replay;
mod setting;

pub use diff::Difference;
pub use line::{Checkpoint, Head, Kind, Line, Record, RecordError, VERSION, WriteOutcome};
pub use recorder::{CHECKPOINT_EVERY, Recorder};
pub use replay::{Checked, Replay, Why};
pub use setting::{RecordedPool, Setting};

#[cfg(test)]
mod tests;
