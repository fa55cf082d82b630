//! tmp
mod capacity;
pub(super) use capacity::Engine;
