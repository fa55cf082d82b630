//! The admission webhooks as a real API server calls them: registered by the manifest that is
//! shipped, with the rights that it gives, asked by real users.
//!
//! [`scene`] registers and serves; the other files are what users and faults meet. `load` is not run
//! by itself; its head says how.

mod certificates;
mod deployed;
mod embedded;
mod folder;
mod guard;
mod load;
mod process;
mod restricted;
mod scene;

pub(crate) use scene::{Hooks, rules_for};
