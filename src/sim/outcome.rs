//! What a simulation tells while it runs, and how it can fail.

use thiserror::Error;

use super::{PoolView, SimTime};
use crate::trace::Request;
use crate::units::Role;

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// As it came.
    pub request: Request,
    /// When it came.
    pub arrived: SimTime,
    /// When its first token was made; `None` where it was lost before.
    pub first: Option<SimTime>,
    /// When its last token was made, or it was lost.
    pub at: SimTime,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered in full.
    Complete,
    /// Gone with its worker.
    Lost,
    /// Still not answered when the simulation was given up.
    Unfinished,
}

impl Ended {
    /// Time to first token, ms.
    #[must_use]
    pub fn ttft_ms(&self) -> Option<f64> {
        Some(self.first?.since(self.arrived) as f64 / 1e6)
    }

    /// Mean time between its tokens, ms; `None` with fewer than two of them.
    #[must_use]
    pub fn itl_ms(&self) -> Option<f64> {
        let gaps = self.request.osl.checked_sub(1).filter(|n| *n > 0)?;
        (self.end == End::Complete)
            .then(|| Some(self.at.since(self.first?) as f64 / 1e6 / f64::from(gaps)))
            .flatten()
    }
}

/// Takes in what happens. Everything has a default that ignores it.
pub trait Sink {
    /// A simulation begins: what is told from here on is of it.
    fn began(&mut self) {}

    /// A request arrived.
    fn arrived(&mut self, at: SimTime) {
        let _ = at;
    }

    /// A request ended.
    fn ended(&mut self, ended: &Ended) {
        let _ = ended;
    }

    /// The counts of a pool changed at `at`; `gpus` is what one replica takes.
    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        let _ = (at, role, pool, gpus);
    }

    /// The policy ordered another count.
    fn ordered(&mut self, at: SimTime, role: Role, from: u32, to: u32, why: &str) {
        let _ = (at, role, from, to, why);
    }

    /// The policy planned for this arrival rate (low, expected, high).
    fn forecast(&mut self, at: SimTime, rate: [f64; 3]) {
        let _ = (at, rate);
    }
}

/// Ignores everything.
impl Sink for () {}

/// Tells two.
impl Sink for (&mut dyn Sink, &mut dyn Sink) {
    fn began(&mut self) {
        self.0.began();
        self.1.began();
    }

    fn arrived(&mut self, at: SimTime) {
        self.0.arrived(at);
        self.1.arrived(at);
    }

    fn ended(&mut self, ended: &Ended) {
        self.0.ended(ended);
        self.1.ended(ended);
    }

    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        self.0.fleet(at, role, pool, gpus);
        self.1.fleet(at, role, pool, gpus);
    }

    fn ordered(&mut self, at: SimTime, role: Role, from: u32, to: u32, why: &str) {
        self.0.ordered(at, role, from, to, why);
        self.1.ordered(at, role, from, to, why);
    }

    fn forecast(&mut self, at: SimTime, rate: [f64; 3]) {
        self.0.forecast(at, rate);
        self.1.forecast(at, rate);
    }
}

/// What a simulation was like as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests that arrived.
    pub requests: u64,
    /// The last end of a request.
    pub end: SimTime,
    /// Events that were worked off.
    pub events: u64,
    /// Requests whose prompt was longer than any that was measured.
    pub beyond_profile: u64,
    /// GPU-nanoseconds from order to gone, without the wait for GPUs.
    pub gpu_nanos: u128,
}

/// Why a simulation cannot go on. The text fits after "failed to".
#[derive(Debug, Error)]
pub enum SimError<E> {
    /// The source of requests failed.
    #[error("read the load")]
    Load(#[source] E),
    /// A request that no engine can hold.
    #[error(
        "simulate request {index} of the trace: its {isl} prompt and {osl} output tokens do not \
         fit the {max_kv_tokens} tokens of KV cache of the profile"
    )]
    TooLarge {
        /// Which request, counted from 1.
        index: u64,
        /// Its prompt, tokens.
        isl: u32,
        /// Its output, tokens.
        osl: u32,
        /// What one engine holds.
        max_kv_tokens: u64,
    },
    /// A request that arrives before the one that came before it.
    #[error("simulate request {index} of the trace: it arrives before the one that precedes it")]
    OutOfOrder {
        /// Which request, counted from 1.
        index: u64,
    },
    /// There is no pool that reads prompts, or none that generates.
    #[error("simulate a fleet of {found}: expected prefill and decode, or aggregated")]
    Pools {
        /// The pools that there are.
        found: String,
    },
}
