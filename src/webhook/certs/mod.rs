//! The certificate of the webhook: made here and shared through a Secret ([`Keeper`]), or read from
//! a folder that somebody else fills ([`Folder`]).
//!
//! The authority of our own certificate signs it and is forgotten: its key is never kept, so that
//! nobody can make another certificate that the API server would trust. A renewal is therefore a new
//! authority too, and goes in two steps that refuse no request:
//!
//! 1. the next pair is made and put into the Secret beside the present one; the `caBundle` of the
//!    registration trusts both authorities;
//! 2. when the API servers have had time to see that, the next pair becomes the present one, and
//!    every replica serves it from its next look at the Secret on. Whoever has not looked yet serves
//!    the former one, which is still trusted.
//!
//! A Secret that is deleted or broken is put back as it was, by whichever replica looks first: what it
//! held is what they serve, and what API servers trust. To have another certificate before its time,
//! take the annotation `sla-planner/certificate-not-after` off the Secret.
//!
//! Reading order: [`make`] the pair, [`decide`] what to do about a Secret, [`Keeper`] which does it.

pub(super) mod end;
mod folder;
mod keeper;
mod make;
mod secret;
mod state;

pub use folder::{Folder, FolderError};
pub use keeper::{KeepError, Keeper, KeeperOptions, Kept};
pub use make::{Made, MakeError, make};
pub use state::{Plan, Step, Stored, decide};
