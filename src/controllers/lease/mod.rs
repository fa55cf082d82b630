//! Of the processes that would do the same work, one does it: the one that holds a Lease.
//!
//! * [`state`]: who may work, and what to do next, as a pure function of what was seen and of the time.
//! * `object`: the Lease as a record, and the patches that change it.
//! * `hold`: the loop that reads, writes, and runs the work while the Lease is held.
//!
//! Whether another one's lease has run out is told by our own clock, since we saw its record change,
//! and never by the times written in it: clocks that differ do no harm. A holder takes the time of its
//! last renewal as that of its asking, and gives up well before anybody else may begin. Every write
//! names the version that it was decided on.
//!
//! No crate is used: the one for this version of `kube` (kube-lease-manager) compares the times in the
//! record with its own clock, writes without a version, and has no deadline for a call.

mod hold;
mod object;
pub mod state;

pub use hold::{LeaseOptions, Told, while_held};
pub(super) use object::found;
pub use state::{Lost, Timing};
