//! The invariants of a decision, as properties over random histories: configurations, promises,
//! budgets, loads, inventories, every state of every signal, clocks that jump, writes that fail.
//!
//! A few hundred histories a property run with every `cargo test`; a million of each:
//!
//! ```text
//! PROPTEST_CASES=1000000 cargo test --release --test invariants
//! ```
//!
//! | | invariant | property |
//! |---|---|---|
//! | I1 | what is written lies between `min` and `max` | `histories` |
//! | I2 | the GPUs asked for stay within the budget after every single write | `histories` |
//! | I3 | no replica is taken away unless every signal is fresh | `histories` |
//! | I4 | advice writes nothing | outside of `plan`: `tests/cluster/planner/load.rs` |
//! | I5 | the same recorded input gives the same record, byte by byte | `histories` |
//! | I6 | one writer | outside of `plan`: `tests/cluster/scale.rs` (a count that moved is not overruled) |
//! | I7 | what was added is not taken back within the hold | `histories` |
//! | I8 | idleness converges to the minimum, silence never does | `ends` |
//! | I9 | replicas that are stuck block nothing | `ends` |
//! | I10 | more load, a tighter promise, a slower engine never take fewer GPUs | `monotone` |
//! | I11 | a restart, or half of the writes, ends at the same counts or at safer ones | `ends` |
//! | I12 | a mad input gives a reason and no panic, and moves nothing | `mad`, `tests/cli/decide` |
//!
//! I2 counts what is asked for: replicas that start are in it, those that drain are not asked for any
//! more. I7 speaks of the hold of the configuration, not of the start-up time.
//!
//! The referee ([`sla_planner::check`]) judges every decision as well; the properties here do not ask
//! it, so that the two can disagree.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod cases;
mod ends;
mod histories;
mod mad;
mod monotone;
mod rules;

use proptest::prelude::ProptestConfig;

/// So many cases, or as many as `PROPTEST_CASES` says.
#[expect(clippy::disallowed_methods, reason = "the number of cases is told by the environment")]
fn cases(usual: u32) -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig {
        cases: told.unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
