//! What a simulation has come to so far, for those who watch it.

use std::collections::BTreeMap;

use crate::backtest::Promise;
use crate::sim::{Ended, PoolView, SimTime};
use crate::units::{Role, round_to_u32};

/// Requests, replicas and cost by now.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) promise: Promise,
    /// Replicas of each pool, and the GPUs of one.
    pub(super) pools: BTreeMap<Role, (PoolView, u32)>,
    /// Requests that ended.
    pub(super) requests: u64,
    /// Those of them within the promise.
    pub(super) good: u64,
    gpu_seconds: f64,
    /// Until when they are counted, seconds from the start of the trace.
    accounted: f64,
}

impl Tally {
    pub(super) const fn new(promise: Promise) -> Self {
        Self {
            promise,
            pools: BTreeMap::new(),
            requests: 0,
            good: 0,
            gpu_seconds: 0.0,
            accounted: 0.0,
        }
    }

    /// Counts the GPUs in use until `now`, seconds from the start of the trace.
    pub(super) fn account(&mut self, now: f64) {
        let gpus: u32 = self.pools.values().map(|(p, gpus)| p.holding() * gpus).sum();
        self.gpu_seconds += f64::from(gpus) * (now - self.accounted).max(0.0);
        self.accounted = self.accounted.max(now);
    }

    pub(super) fn ended(&mut self, ended: &Ended) {
        self.requests += 1;
        self.good += u64::from(self.promise.is_kept_by(ended));
    }

    pub(super) fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        self.account(at.as_secs());
        self.pools.insert(role, (pool, gpus));
    }

    /// Share of the requests that were good, percent; 100 of none.
    pub(super) fn attainment(&self) -> f64 {
        if self.requests == 0 { 100.0 } else { 100.0 * self.good as f64 / self.requests as f64 }
    }

    pub(super) fn keeps(&self) -> bool {
        self.attainment() >= self.promise.percentile
    }

    pub(super) fn gpu_hours(&self) -> f64 {
        self.gpu_seconds / 3600.0
    }
}

/// A time of the trace: hours, minutes, seconds.
pub(super) fn clock(seconds: f64) -> String {
    let s = round_to_u32(seconds);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}
