//! The planners of NVIDIA Dynamo: 0.9.0, and the loops of 1.6.1.

mod budget;
mod capacity;
mod load;
mod predict;
mod throughput;
mod v09;
mod v16;

pub(super) use capacity::Engine;
pub(super) use v09::V09;
pub(super) use v16::{LOAD, MIXED, THROUGHPUT};
