//! The back-test: policies on traces in the simulator, scored and compared.
//!
//! A [`Setting`] is what any policy may know; a policy is built from its name and knobs
//! ([`policy`]); a run leaves a [`RunResult`].

mod compare;
pub mod hindsight;
mod play;
pub mod policy;
pub mod report;
mod result;
mod run;
mod score;
mod setting;
mod spread;

pub use compare::{GroupKey, fill_regrets, group_of};
pub use play::{OWN, PlayError, Played, Requests, Source, check, play, play_recorded};
pub use result::{
    Change, Counts, Percentiles, Promise, Recovery, Row, RunKey, RunResult, Score, Timeline,
};
pub use run::{Case, Ran};
pub use score::Scorer;
pub use setting::{PoolSetting, Setting};
pub use spread::Spread;
