//! Who else sets the replicas of our adapters: one writer per service, or a fight.
//!
//! * [`claims`]: autoscalers of the namespace that target an adapter, asked for at each tick.
//! * [`last_to_scale`]: who set the replicas of an adapter last, by its `metadata.managedFields`.
//! * [`Fights`]: what was written, what was found in its place, and who did it (a pure account).
//! * [`Watch`]: all of it together, and what there is to say (pure as well).
//! * [`condition`]: `Conflict` in the status of the adapter, and [`withdraw`] by who does not act.
//!
//! One change by hand is no fight: it is written over with the next decision. Three of them by one
//! manager within [`Fights::WINDOW`] are one, and an autoscaler that targets the adapter is one from
//! the start.

mod claims;
mod condition;
mod fights;
mod managers;
mod watch;

pub use self::claims::{Autoscaler, Claim, Claims, claims};
pub use self::condition::{condition, conflict_of, is_ours, withdraw};
pub use self::fights::{Change, Fights};
pub use self::managers::{Scaler, last_to_scale};
pub use self::watch::{News, Watch, stands};
