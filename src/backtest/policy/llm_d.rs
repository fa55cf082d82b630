//! The SLO-aware KEDA guide of llm-d, its recommendation since the workload variant autoscaler was
//! deprecated.
//!
//! Source: llm-d guide (PR `llm-d/llm-d#2011`, RFC WVA `#1018`), techniques.md 1.3. As built:
//!
//! * Signal: p90 TTFT and p90 TPOT over their targets, at most 2, averaged over 45 s. The guide reads
//!   *predictions* of the gateway's latency model; there is no such gateway here, so the observed
//!   p90 of the last minute stands in (a reactive signal, but not a biased one: the guide's own
//!   threads call the predictor optimistic near saturation). Of a pair, prefill follows TTFT and
//!   decode TPOT; one pool follows the larger, as in the guide.
//! * Up above 0.55: `n + ceil(n (s c / 0.55 - 1))`, c the ready share of the n replicas; never below
//!   n. Down below 0.40: `n - floor(n (1 - s / 0.40))`.
//! * Carried out by an HPA on that count (`AverageValue` 1): up the larger of 100 % and 4 in 60 s,
//!   the least of 30 s; down 1 in 120 s, the most of 180 s; its tolerance of 10 % swallows a single
//!   replica of more than ten.
//!
//! Unknown: a quantile without observations, or no series, is 0 (KEDA's `ignoreNullValues`): idle. A
//! source that does not answer holds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::hpa::rule::{Behavior, SYNC, Scaler, Step, propose};
use super::hpa::{latencies, scalers};
use super::known::{Knob, Known};
use super::trigger::{Reading, Sensor, Target, Trigger};
use crate::sim::{Orders, Policy, PoolView, SimTime, View};
use crate::units::{Role, ceil_to_u32, floor_to_u32};

pub(super) const LLM_D: Known = Known {
    name: "llm-d",
    about: "llm-d's SLO-aware scaling on p90 latency over target",
    source: "llm-d guide, SLO-aware autoscaling with KEDA (llm-d/llm-d#2011)",
    knobs: &[
        Knob {
            name: "up",
            default: 0.55,
            about: "grow above this share of the promise",
            sweep: &[0.3, 0.45, 0.55, 0.7, 0.9],
            range: (0.01, 2.0),
        },
        Knob {
            name: "down",
            default: 0.73,
            about: "shrink below this share of `up` (the guide: 0.40 of 0.55)",
            sweep: &[0.5, 0.73, 0.9],
            range: (0.0, 1.0),
        },
    ],
    frontier: "up",
    build: |knobs, setting| {
        let up = Behavior::new(30, &[(Step::Percent(100.0), 60), (Step::Pods(4), 60)]);
        let down = Behavior::new(180, &[(Step::Pods(1), 120)]);
        let mut scalers = scalers(setting, &up, &down);
        let pool = |role: &Role| {
            let triggers = latencies(setting, *role, Target::Value, 1.0, 0.9);
            let signal = Signal { triggers, seen: VecDeque::new() };
            Some((*role, (scalers.remove(role)?, signal)))
        };
        let share = knobs.get("up");
        let low = match knobs.get("down") {
            // The two round numbers of the guide.
            d if d == 0.73 && share == 0.55 => 0.40,
            d => d * share,
        };
        let pools = setting.pools.keys().filter_map(pool).collect();
        Ok(Box::new(LlmD { pools, up: share, down: low }))
    },
};

/// The signal is at most this.
const MOST: f64 = 2.0;

/// It is averaged over this.
const AVERAGE: Duration = Duration::from_secs(45);

/// What the observed quantile is taken over: the shortest window that holds enough requests for a
/// p90 at a request a second.
const WINDOW: Duration = Duration::from_secs(60);

struct Signal {
    triggers: Vec<Trigger>,
    seen: VecDeque<(SimTime, f64)>,
}

impl Signal {
    /// `None` where the source does not answer.
    fn read(&mut self, view: &View<'_>) -> Option<f64> {
        let mut worst = 0.0_f64;
        for trigger in &self.triggers {
            let Target::Value(target) = trigger.target else { continue };
            let sensor = match trigger.sensor {
                Sensor::Quantile { family, q, window: _ } => {
                    Sensor::Quantile { family, q, window: WINDOW }
                }
                other @ (Sensor::Gauge(_) | Sensor::Decoding) => other,
            };
            worst = worst.max(match sensor.read(view.metrics) {
                Reading::Value(value) => value / target,
                Reading::NotANumber | Reading::Empty => 0.0,
                Reading::Down => return None,
            });
        }
        self.seen.retain(|(at, _)| at.plus(AVERAGE) > view.now);
        self.seen.push_back((view.now, worst.min(MOST)));
        Some(self.seen.iter().map(|s| s.1).sum::<f64>() / self.seen.len() as f64)
    }
}

struct LlmD {
    pools: BTreeMap<Role, (Scaler, Signal)>,
    up: f64,
    down: f64,
}

impl LlmD {
    fn wanted(&self, s: f64, pool: PoolView) -> u32 {
        let n = f64::from(pool.desired);
        if s > self.up {
            let ready = f64::from(pool.ready.min(pool.desired)) / n;
            pool.desired.saturating_add(ceil_to_u32(n * (s * ready / self.up - 1.0)))
        } else if s < self.down {
            pool.desired.saturating_sub(floor_to_u32(n * (1.0 - s / self.down)))
        } else {
            pool.desired
        }
    }
}

impl Policy for LlmD {
    fn first_tick(&self) -> Duration {
        SYNC
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(SYNC));
        let mut pools = std::mem::take(&mut self.pools);
        for (role, (scaler, signal)) in &mut pools {
            let pool = view.pool(*role);
            let Some(s) = signal.read(view).filter(|_| pool.desired > 0) else { continue };
            let wanted = f64::from(self.wanted(s, pool));
            let proposal = propose(wanted, Target::AverageValue(1.0), pool);
            if let Some(n) = scaler.step(view.now, pool.desired, &[Some(proposal)]) {
                orders.want(*role, n, format!("p90 at {s:.2} of the promise"));
            }
        }
        self.pools = pools;
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Fleet, aggregated, pair, policy, ready, wanted};
    use super::*;
    use crate::sim::fixture::Load;

    fn load(ttft: f64, itl: f64) -> Load {
        Load { rps: 20.0, finished: 20.0, ttft, itl, osl: 10.0, ..Load::default() }
    }

    #[test]
    fn the_published_law_gives_credit_for_what_starts() {
        let law = LlmD { pools: BTreeMap::new(), up: 0.55, down: 0.40 };
        assert_eq!(law.wanted(1.1, ready(4)), 8);
        assert_eq!(law.wanted(0.56, ready(4)), 5);
        let half = PoolView { desired: 8, ready: 4, starting: 4, draining: 0, pending: 0 };
        assert_eq!(law.wanted(1.1, half), 8, "half of them start");
        assert_eq!(law.wanted(0.6, half), 8, "never fewer than ordered");
        assert_eq!(law.wanted(0.45, ready(4)), 4);
        assert_eq!(law.wanted(0.2, ready(5)), 3);
        assert_eq!(law.wanted(0.0, ready(5)), 0);
    }

    #[test]
    fn one_pool_follows_the_worse_latency_and_a_pair_each_its_own() {
        let mut pair_policy = policy("llm-d", &pair());
        let mut fleet = Fleet::new(&[(Role::Prefill, 2), (Role::Decode, 2)]);
        // p90 of TTFT is 0.21 (42 %), of ITL 0.08 (160 %).
        fleet.source.run(120, &load(0.2, 0.06));
        for now in [120, 135] {
            fleet.now = now;
            assert!(fleet.ask(pair_policy.as_mut()).targets.is_empty(), "the least of 30 s");
        }
        fleet.now = 150;
        let orders = fleet.ask(pair_policy.as_mut());
        assert_eq!(wanted(&orders, Role::Prefill), None);
        assert_eq!(wanted(&orders, Role::Decode), Some(6));
        let mut one = policy("llm-d", &aggregated());
        let mut fleet = Fleet::new(&[(Role::Aggregated, 2)]);
        fleet.source.run(120, &load(0.2, 0.06));
        for now in [120, 135, 150] {
            fleet.now = now;
            fleet.step(one.as_mut());
        }
        assert_eq!(fleet.count(Role::Aggregated), 6);
    }

    #[test]
    fn idle_is_left_one_replica_every_two_minutes_and_an_outage_holds() {
        let mut p = policy("llm-d", &aggregated());
        let mut fleet = Fleet::new(&[(Role::Aggregated, 4)]);
        fleet.source.run(60, &Load::default());
        for now in (15..=600).step_by(15) {
            fleet.now = now;
            fleet.up = now > 300;
            fleet.step(p.as_mut());
            if now <= 300 {
                assert_eq!(fleet.count(Role::Aggregated), 4);
            }
        }
        assert_eq!(fleet.count(Role::Aggregated), 3, "from 315 s on, after 180 s");
    }
}
