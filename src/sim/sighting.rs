//! What our planner sees of a simulation: the same [`Observation`] that it gets from a real
//! Prometheus and a real API server, with the same states for figures that are old or absent.

use std::time::Duration;

use super::metrics::{Counter, Family, Gauge};
use super::{SimTime, StartView, View};
use crate::observe::{
    FROZEN_AFTER, Gate, Inventory, LatencySignals, Missing, Observation, PoolInventory,
    ReplicaStart, Signal, StuckReplica, Traffic,
};
use crate::units::{Gpus, Millis, PerSecond, Percentile, Replicas, Role, Share, Timestamp, Tokens};

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
                    stuck: stuck(view, *role),
                    starts: starts(view, *role),
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
        let gate = gate(self, view);
        // A mean or quantile is absent where nothing was counted.
        let over = |family, value: Option<f64>| {
            let counted = metrics.observations(family, window).is_some();
            value.ok_or(if counted { Missing::NoSamples } else { Missing::NoSeries })
        };
        let latency = |family| LatencySignals {
            mean: gate.pass(over(family, metrics.mean(family, window)), millis),
            quantile: gate.pass(
                over(family, metrics.quantile(family, percentile.share().get(), window)),
                millis,
            ),
            percentile,
        };
        let mean = |family| over(family, metrics.mean(family, window));
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

fn name(worker: &StartView) -> String {
    format!("{}-{}", worker.role, worker.id)
}

fn of_role<'a>(view: &'a View<'_>, role: Role) -> impl Iterator<Item = &'a StartView> {
    view.starts.iter().filter(move |w| w.role == role)
}

fn starts(view: &View<'_>, role: Role) -> Vec<ReplicaStart> {
    of_role(view, role)
        .map(|w| ReplicaStart {
            name: name(w),
            asked: w.ordered.timestamp(),
            ready: w.ready.map(SimTime::timestamp),
        })
        .collect()
}

/// Those that find no GPUs, in the words of the scheduler.
fn stuck(view: &View<'_>, role: Role) -> Vec<StuckReplica> {
    of_role(view, role)
        .filter(|w| w.pending)
        .map(|w| StuckReplica {
            name: name(w),
            why: "Unschedulable: no free GPUs".to_owned(),
            age: view.timestamp().since(w.ordered.timestamp()),
            no_place: true,
        })
        .collect()
}

fn millis(seconds: f64) -> Option<Millis> {
    Millis::new(seconds * 1e3)
}

/// Of the simulated Prometheus: it loses no frontend, so that nothing is incomplete.
fn gate(sight: &Sight, view: &View<'_>) -> Gate {
    let newest = view.metrics.newest();
    let still = |since: &SimTime| {
        newest.is_some_and(|at| u128::from(at.since(*since)) >= FROZEN_AFTER.as_nanos())
    };
    // Its age by the clock of the source, taken from the policy's, as the real observer does it: a
    // policy whose clock was set does not take samples for old or young.
    let age = |at: SimTime| view.metrics.now().timestamp().as_millis() - at.timestamp().as_millis();
    let moment =
        |at: SimTime| Timestamp::from_millis(view.timestamp().as_millis() - age(at).max(0));
    Gate {
        at: newest.map(moment),
        frozen: view.metrics.frozen_since().filter(still).map(moment),
        ..Gate::open(view.timestamp(), sight.max_age)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sim::fixture::{Load, Source};

    #[test]
    fn a_clock_that_was_set_does_not_make_samples_old_or_young() {
        let load = Load { rps: 10.0, inflight: 5, ..Load::default() };
        let mut moving = Source::new();
        moving.run(600, &load);
        let mut still = moving.clone();
        still.run(600, &Load { inflight: 5, ..Load::default() });
        let pools = BTreeMap::new();
        let sight = Sight {
            window: Duration::from_secs(60),
            percentile: Percentile::new(95.0).unwrap(),
            max_age: Duration::from_secs(30),
        };
        for (source, truly, frozen) in [(&mut moving, 600, false), (&mut still, 1200, true)] {
            for by_clock in [truly - 300, truly, truly + 3600] {
                let now = SimTime::from_millis(by_clock * 1000);
                let view =
                    View { now, metrics: source.up(), pools: &pools, engines: &[], starts: &[] };
                let gate = gate(&sight, &view);
                assert_eq!(gate.at, Some(now.timestamp()), "{by_clock}: as new as can be");
                let since = now.timestamp().minus(Duration::from_secs(600));
                assert_eq!(gate.frozen, frozen.then_some(since), "{by_clock}");
            }
        }
    }
}
