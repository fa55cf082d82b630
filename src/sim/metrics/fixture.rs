//! Metrics as a fleet under steady load would leave them, for the tests of policies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Metrics, Totals, role_index};
use crate::sim::SimTime;
use crate::units::{Role, round_to_u64};

/// Every five seconds: the stock PodMonitor's interval (kubernetes.md 6.7).
pub(crate) const SCRAPE_S: u64 = 5;

/// What arrives, and how it is served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Requests that arrive a second.
    pub(crate) rps: f64,
    /// Requests that end a second.
    pub(crate) finished: f64,
    /// Seconds.
    pub(crate) ttft: f64,
    /// Seconds.
    pub(crate) itl: f64,
    /// Seconds.
    pub(crate) duration: f64,
    /// Tokens.
    pub(crate) isl: f64,
    /// Tokens.
    pub(crate) osl: f64,
    pub(crate) queued: u64,
    pub(crate) inflight: u64,
    pub(crate) kv: f64,
    /// Busy seconds a second, added over the workers.
    pub(crate) busy: BTreeMap<Role, f64>,
}

/// A Prometheus that has scraped what it was told.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    metrics: Metrics,
    totals: Totals,
    now_s: u64,
}

impl Source {
    pub(crate) fn new() -> Self {
        let mut metrics = Metrics::new(Duration::from_secs(900), Duration::ZERO);
        let totals = Totals::default();
        metrics.scrape(SimTime::ZERO, &totals);
        Self { metrics, totals, now_s: 0 }
    }

    /// `seconds` more of that load, a multiple of the scrape interval.
    pub(crate) fn run(&mut self, seconds: u64, load: &Load) -> &mut Self {
        let times = |rate: f64| round_to_u64(rate * SCRAPE_S as f64);
        for _ in 0..seconds / SCRAPE_S {
            let t = &mut self.totals;
            let (begun, ended) = (times(load.rps), times(load.finished));
            t.started += begun;
            t.finished += ended;
            t.ttft.observe(load.ttft, begun);
            t.isl.observe(load.isl, begun);
            t.itl.observe(load.itl, ended * round_to_u64(load.osl));
            t.osl.observe(load.osl, ended);
            t.duration.observe(load.duration, ended);
            (t.queued, t.inflight) = (load.queued, load.inflight);
            (t.kv_usage, t.kv_usage_max) = (load.kv, load.kv);
            for (role, share) in &load.busy {
                t.busy[role_index(*role)] += times(share * 1e9);
            }
            self.now_s += SCRAPE_S;
            self.metrics.scrape(SimTime::from_millis(self.now_s * 1000), t);
        }
        self
    }

    /// As seen now.
    pub(crate) fn up(&mut self) -> &Metrics {
        self.metrics.look(SimTime::from_millis(self.now_s * 1000), true);
        &self.metrics
    }

    /// As seen while Prometheus does not answer.
    pub(crate) fn down(&mut self) -> &Metrics {
        self.metrics.look(SimTime::from_millis(self.now_s * 1000), false);
        &self.metrics
    }
}
