//! The rival's demonstrated defects, each as a test of ours that is named for it.
//!
//! `dNN` is a defect that was shown by running Dynamo's planner 0.9.0, `wNN` one of 1.6.1. Each test
//! feeds our core the rival's input and asserts what is right; where the rival printed a number, the
//! test names it, and where [`sla_planner::plan::compat`] or [`sla_planner::profile::compat`] hold
//! the rival's rule, it is run on the same input and must still go wrong in the same way: the two
//! sides differ, and not the inputs.
//!
//! * `sizes`: how many engines (d01, d16 to d21, w01, w02, w08);
//! * `flows`: decisions in a loop with a fleet that carries them out (d02 to d07, d22, w03, w05 to w07,
//!   w09);
//! * `forecasts`: what comes next (d09, d12 to d15, w04);
//! * `wire`: what Prometheus answers, so with the feature `cluster` only (d05, d06, d08, w03).
//!
//! Not here: d10 (an observe-only mode that sees nothing) is `mode: advise`, which
//! `tests/cluster/planner/load.rs` runs against a real Prometheus; d11 (a coroutine that nobody awaits)
//! cannot be written in Rust without a compiler warning; w10 counts the rival's own unit tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

#[path = "../fleet/mod.rs"]
mod fleet;
mod flows;
mod forecasts;
mod sizes;
#[cfg(feature = "cluster")]
mod wire;

use sla_planner::plan::compat::{Corrections, Dynamo09Input, size_dynamo_09};
use sla_planner::profile::compat::{DynamoDecode, DynamoPrefill};
use sla_planner::profile::{EngineProfile, ProfileFile, ProfileFiles, library};
use sla_planner::units::{Gpus, Millis, Replicas, Tokens};

/// The rival's sizing of 0.9.0 on one of its own tables.
struct Rival {
    prefill: DynamoPrefill,
    decode: DynamoDecode,
    gpus: [u32; 2],
    budget: u32,
    corrections: Corrections,
    itl: f64,
}

impl Rival {
    fn of(profile: &EngineProfile) -> Self {
        Self {
            prefill: DynamoPrefill::new(profile).unwrap(),
            decode: DynamoDecode::new(profile).unwrap(),
            gpus: [1, 1],
            budget: u32::MAX,
            corrections: Corrections::NONE,
            itl: 50.0,
        }
    }

    fn h200() -> Self {
        Self::of(&h200())
    }

    /// Prefill and decode engines for so many requests in 180 s.
    fn size(&self, requests: f64, isl: f64, osl: f64) -> [u32; 2] {
        let (prefill, decode) = size_dynamo_09(&Dynamo09Input {
            prefill: &self.prefill,
            decode: &self.decode,
            requests,
            isl: Tokens::clamped(isl),
            osl: Tokens::clamped(osl),
            interval_s: 180.0,
            itl_target: Millis::clamped(self.itl),
            corrections: self.corrections,
            gpus_per_prefill: Gpus::new(self.gpus[0]),
            gpus_per_decode: Gpus::new(self.gpus[1]),
            min_endpoint: Replicas::new(1),
            gpu_budget: Gpus::new(self.budget),
        });
        [prefill.get(), decode.get()]
    }
}

/// Llama 3.1 8B FP8 on one H200, as the rival ships it.
fn h200() -> EngineProfile {
    library::get(library::DEFAULT).unwrap()
}

/// Llama 3.3 70B FP8 on `tp` H100, as the rival ships it.
fn h100(tp: &str) -> EngineProfile {
    let file =
        |name: &str, bytes: &[u8]| ProfileFile { name: name.to_owned(), bytes: bytes.to_vec() };
    EngineProfile::from_files(&ProfileFiles {
        place: "tests/data".to_owned(),
        files: vec![
            file(
                "prefill.npz",
                include_bytes!("../data/profile/dynamo-0.9.0/h100_70b/prefill.npz"),
            ),
            file("decode.npz", include_bytes!("../data/profile/dynamo-0.9.0/h100_70b/decode.npz")),
        ],
        row: vec![("tp".to_owned(), tp.to_owned())],
    })
    .unwrap()
}
