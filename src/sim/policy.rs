//! What decides in a simulation: our planner, or the rule of another autoscaler.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Metrics, SimTime};
use crate::units::{Role, Timestamp};

/// Decides how many replicas each pool is to have.
pub trait Policy {
    /// When it wants to look for the first time, from the start of the trace.
    fn first_tick(&self) -> Duration;

    /// Decides once.
    fn decide(&mut self, view: &View<'_>) -> Orders;
}

/// What a policy can see at one moment.
#[derive(Debug)]
pub struct View<'a> {
    /// The time by the policy's own clock, which a fault may have set.
    pub now: SimTime,
    /// What Prometheus answers.
    pub metrics: &'a Metrics,
    /// What the API server says of the pools.
    pub pools: &'a BTreeMap<Role, PoolView>,
    /// What each worker says of itself (Dynamo's forward pass metrics; vLLM's own gauges), by
    /// growing id. Not from Prometheus: it is as of now. Workers that start are not in it.
    pub engines: &'a [EngineView],
    /// The starts of the workers that were ordered and are still there, by growing id.
    pub starts: &'a [StartView],
}

impl View<'_> {
    /// The time by the policy's own clock, as a planner is told.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.now.timestamp()
    }

    /// The pool of a role; all zero where there is none.
    #[must_use]
    pub fn pool(&self, role: Role) -> PoolView {
        self.pools.get(&role).copied().unwrap_or_default()
    }

    /// The workers of a role that serve.
    pub fn engines_of(&self, role: Role) -> impl Iterator<Item = &EngineView> {
        self.engines.iter().filter(move |e| e.role == role && !e.draining)
    }
}

/// Replica counts of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolView {
    /// As many as were ordered.
    pub desired: u32,
    /// As many as serve.
    pub ready: u32,
    /// As many as start, stuck ones and those that wait for GPUs included.
    pub starting: u32,
    /// As many as finish what they have, and take nothing new.
    pub draining: u32,
    /// As many of those that start as wait for GPUs, and hold none.
    pub pending: u32,
}

impl PoolView {
    /// Replicas that hold GPUs.
    #[must_use]
    pub const fn holding(&self) -> u32 {
        self.ready + self.starting + self.draining - self.pending
    }
}

/// The start of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartView {
    /// Its name.
    pub id: u32,
    /// Its pool.
    pub role: Role,
    /// When it was ordered.
    pub ordered: SimTime,
    /// Since when it serves.
    pub ready: Option<SimTime>,
    /// Whether it waits for GPUs.
    pub pending: bool,
}

/// One worker, as it sees itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineView {
    /// Its name.
    pub id: u32,
    /// Its pool.
    pub role: Role,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// Requests that wait to be begun.
    pub waiting: u32,
    /// Prompt tokens not read yet, of requests waiting or begun.
    pub waiting_prefill_tokens: u64,
    /// KV tokens that the waiting requests will need, prompt only.
    pub waiting_kv_tokens: u64,
    /// Requests that generate.
    pub running: u32,
    /// KV tokens held by requests that were begun.
    pub kv_tokens: u64,
    /// KV tokens that fit.
    pub max_kv_tokens: u64,
    /// The forward pass under way, or the last one; `None` before the first.
    pub last_pass: Option<PassView>,
}

/// One forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassView {
    /// Prompt tokens read in it.
    pub prefill_tokens: u64,
    /// Requests that got a token in it.
    pub decode_requests: u32,
    /// KV tokens of those.
    pub decode_kv_tokens: u64,
    /// How long it took, seconds.
    pub wall_s: f64,
}

/// What a policy wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// Replicas wanted in all (serving and starting), by pool; a pool not named is left alone.
    pub targets: BTreeMap<Role, Target>,
    /// When to look again, from the start of the trace by the policy's clock; `None` is never.
    pub next: Option<SimTime>,
    /// The arrival rate it plans for, where it forecasts: low, expected, high; requests a second.
    pub forecast: Option<[f64; 3]>,
}

/// What is wanted of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Replicas in all.
    pub replicas: u32,
    /// Why, in the policy's own words: a short code, then whatever helps a reader.
    pub why: String,
}

impl Orders {
    /// Nothing to change; look again at `next`.
    #[must_use]
    pub fn none(next: SimTime) -> Self {
        Self { next: Some(next), ..Self::default() }
    }

    /// Wants `replicas` of `role`.
    pub fn want(&mut self, role: Role, replicas: u32, why: impl Into<String>) {
        self.targets.insert(role, Target { replicas, why: why.into() });
    }
}
