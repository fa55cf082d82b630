//! What our planner sees of a simulation: the same [`Observation`] that it gets from a real
//! Prometheus and a real API server, with the same states for figures that are old or absent.

use std::time::Duration;

use super::metrics::{Counter, Family, Gauge};
use super::{SimTime, View};
use crate::observe::{
    Inventory, LatencySignals, Missing, Observation, PoolInventory, Signal, Traffic,
};
use crate::units::{Gpus, Millis, PerSecond, Percentile, Replicas, Role, Share, Timestamp, Tokens};

/// Counters that have not moved for this long with requests in flight are frozen: as
/// `prometheus::Rules` has it.
const FROZEN_AFTER: Duration = Duration::from_secs(60);

/// How a planner asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// The window of rates and means.
    pub window: Duration,
    /// The quantile of the latencies.
    pub percentile: Percentile,
    /// A newest sample older than this is late.
    pub max_age: Duration,
}

impl Sight {
    /// Looks at a view. `gpus` says what a replica of a role takes.
    pub fn observe(&self, view: &View<'_>, gpus: impl Fn(Role) -> Option<Gpus>) -> Observation {
        let now = view.timestamp();
        let pools = view
            .pools
            .iter()
            .map(|(role, pool)| {
                let inventory = PoolInventory {
                    desired: Replicas::new(pool.desired),
                    ready: Replicas::new(pool.ready),
                    starting: Replicas::new(pool.starting),
                    draining: Replicas::new(pool.draining),
                    gpus_per_replica: gpus(*role),
                    stuck: Vec::new(),
                };
                (*role, Signal::Fresh { value: inventory, at: now })
            })
            .collect();
        Observation { at: now, traffic: self.traffic(view), inventory: Inventory { pools } }
    }

    fn traffic(&self, view: &View<'_>) -> Traffic {
        let metrics = view.metrics;
        let Self { window, percentile, max_age: _ } = *self;
        if !metrics.is_up() {
            let why = Missing::SourceDown { detail: "no answer".to_owned() };
            return Traffic::all_missing(window, percentile, &why);
        }
        let gate = Gate::new(self, view);
        let latency = |family| LatencySignals {
            mean: gate.pass(gate.over(family, metrics.mean(family, window)), millis),
            quantile: gate.pass(
                gate.over(family, metrics.quantile(family, percentile.share().get(), window)),
                millis,
            ),
            percentile,
        };
        let mean = |family| gate.over(family, metrics.mean(family, window));
        let gauge = |g| metrics.gauge(g).ok_or(Missing::NoSeries);
        Traffic {
            window,
            arrivals: gate.pass(
                metrics.rate(Counter::Started, window).ok_or(Missing::NoSeries),
                PerSecond::new,
            ),
            isl: gate.pass(mean(Family::Isl), Tokens::new),
            osl: gate.pass(mean(Family::Osl), Tokens::new),
            ttft: latency(Family::Ttft),
            itl: latency(Family::Itl),
            request_duration: gate.pass(mean(Family::Duration), millis),
            queued: gate.pass(gauge(Gauge::Queued), Some),
            inflight: gate.pass(gauge(Gauge::Inflight), Some),
            kv_usage: gate.pass(gauge(Gauge::KvUsage), |x| Some(Share::clamped(x))),
        }
    }
}

fn millis(seconds: f64) -> Option<Millis> {
    Millis::new(seconds * 1e3)
}

struct Gate<'a> {
    view: &'a View<'a>,
    sight: Sight,
    at: Option<Timestamp>,
    frozen: Option<SimTime>,
}

impl<'a> Gate<'a> {
    fn new(sight: &Sight, view: &'a View<'_>) -> Self {
        let newest = view.metrics.newest();
        let still = |since: &SimTime| {
            newest.is_some_and(|at| u128::from(at.since(*since)) >= FROZEN_AFTER.as_nanos())
        };
        Self {
            view,
            sight: *sight,
            at: newest.map(SimTime::timestamp),
            frozen: view.metrics.frozen_since().filter(still),
        }
    }

    /// A mean or quantile, which is absent where nothing was counted.
    fn over(&self, family: Family, value: Option<f64>) -> Result<f64, Missing> {
        let counted = self.view.metrics.observations(family, self.sight.window);
        value.ok_or(if counted.is_some() { Missing::NoSamples } else { Missing::NoSeries })
    }

    fn pass<T>(
        &self,
        value: Result<f64, Missing>,
        read: impl FnOnce(f64) -> Option<T>,
    ) -> Signal<T> {
        let number = match value {
            Ok(number) => number,
            Err(why) => return Signal::missing(why),
        };
        let Some(value) = read(number) else {
            return Signal::missing(Missing::Unusable { detail: number.to_string() });
        };
        if let Some(since) = self.frozen {
            return Signal::Frozen { value, since: since.timestamp() };
        }
        match self.at {
            Some(at) => Signal::aged(value, at, self.view.timestamp(), self.sight.max_age),
            None => Signal::missing(Missing::NoSeries),
        }
    }
}
