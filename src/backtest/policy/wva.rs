//! The workload variant autoscaler of llm-d, its saturation rule (V1).
//!
//! Source: `llm-d/llm-d-workload-variant-autoscaler`, saturation analyzer, and its sample
//! `hpa-integration.yaml`; techniques.md 1.2. As built:
//!
//! * A replica is saturated at a KV cache use of 0.80 or 5 waiting requests. Spare is threshold less
//!   use, averaged over the replicas that are not saturated. One more replica when spare KV is below
//!   0.10 or the spare queue below 3; one fewer when the same load on one fewer of the unsaturated,
//!   of which there are two at least, leaves both spares.
//! * Inputs are the largest values of each replica within a minute. It looks every 30 s; in between
//!   it only reads the gauges, every 5 s, as Prometheus would scrape them.
//! * Replicas that start stop further steps.
//! * One variant a role, so cost decides nothing. The queueing analyzer (V2's token rule and the
//!   "inferno" lineage) is not built.
//! * Carried out by an HPA on that count (`AverageValue` 1) with 10 pods in 15 s either way; the
//!   sample holds nothing back, other pages of its documentation advise 240 s: the knob `hold`.
//!
//! The gauges are vLLM's own, read here from the engines. Unknown: while Prometheus does not answer,
//! nothing is read, and after a minute without a reading nothing is done.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::hpa::rule::{Behavior, SYNC, Scaler, Step, propose};
use super::hpa::scalers;
use super::known::{Knob, Known};
use super::trigger::Target;
use crate::sim::{Orders, Policy, PoolView, SimTime, View};
use crate::units::Role;

pub(super) const WVA: Known = Known {
    name: "wva",
    about: "llm-d's workload variant autoscaler, saturation rule",
    source: "llm-d workload-variant-autoscaler, saturation analyzer V1 (arXiv 2603.09730)",
    knobs: &[
        Knob {
            name: "kv",
            default: 0.80,
            about: "KV cache use at which a replica is saturated, 0 to 1",
            sweep: &[0.4, 0.6, 0.8, 0.9],
            range: (0.01, 1.0),
        },
        Knob {
            name: "queue",
            default: 5.0,
            about: "waiting requests at which a replica is saturated",
            sweep: &[4.0, 5.0, 10.0],
            range: (1.0, 1e6),
        },
        Knob {
            name: "spare-kv",
            default: 0.10,
            about: "spare KV cache use below which a replica is added",
            sweep: &[0.05, 0.1, 0.2],
            range: (0.0, 1.0),
        },
        Knob {
            name: "spare-queue",
            default: 3.0,
            about: "spare waiting requests below which a replica is added",
            sweep: &[1.0, 3.0, 4.0],
            range: (0.0, 1e6),
        },
        Knob {
            name: "hold",
            default: 0.0,
            about: "stabilisation of the HPA either way, seconds",
            sweep: &[0.0, 120.0, 240.0],
            range: (0.0, 3600.0),
        },
    ],
    frontier: "kv",
    build: |knobs, setting| {
        let behavior = Behavior {
            stabilization: knobs.seconds("hold"),
            ..Behavior::new(0, &[(Step::Pods(10), 15)])
        };
        Ok(Box::new(Wva {
            rule: Rule {
                kv: knobs.get("kv"),
                queue: knobs.get("queue"),
                spare_kv: knobs.get("spare-kv"),
                spare_queue: knobs.get("spare-queue"),
            },
            scalers: scalers(setting, &behavior, &behavior),
            seen: BTreeMap::new(),
            wanted: BTreeMap::new(),
            next_look: SimTime::from_start(LOOK),
            next_sync: SimTime::from_start(SYNC),
        }))
    },
};

/// Its reconciliation interval.
const LOOK: Duration = Duration::from_secs(30);
/// Between two scrapes of the gauges: the stock PodMonitor's (kubernetes.md 6.7).
const SCRAPE: Duration = Duration::from_secs(5);
/// `max_over_time(...[1m])`.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Rule {
    kv: f64,
    queue: f64,
    spare_kv: f64,
    spare_queue: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    Up,
    Down,
    Stay,
}

impl Rule {
    /// From (KV use, waiting requests) of each replica.
    fn advise(&self, replicas: &[(f64, f64)]) -> Advice {
        let free: Vec<_> =
            replicas.iter().filter(|(kv, queue)| *kv < self.kv && *queue < self.queue).collect();
        let n = free.len() as f64;
        if free.is_empty() {
            return Advice::Up;
        }
        let kv = free.iter().map(|r| r.0).sum::<f64>();
        let queue = free.iter().map(|r| r.1).sum::<f64>();
        let spare = |n: f64| (self.kv - kv / n, self.queue - queue / n);
        let (spare_kv, spare_queue) = spare(n);
        if spare_kv < self.spare_kv || spare_queue < self.spare_queue {
            return Advice::Up;
        }
        let (spare_kv, spare_queue) = spare(n - 1.0);
        let safe = spare_kv >= self.spare_kv && spare_queue >= self.spare_queue;
        if free.len() > 1 && safe { Advice::Down } else { Advice::Stay }
    }
}

/// One scrape of a replica: when, KV use, waiting requests.
type Seen = (SimTime, f64, f64);

struct Wva {
    rule: Rule,
    scalers: BTreeMap<Role, Scaler>,
    seen: BTreeMap<(Role, u32), VecDeque<Seen>>,
    /// The published count of each pool.
    wanted: BTreeMap<Role, u32>,
    next_look: SimTime,
    next_sync: SimTime,
}

impl Wva {
    fn scrape(&mut self, view: &View<'_>) {
        if view.metrics.is_up() {
            for e in view.engines.iter().filter(|e| !e.draining) {
                let kv = e.kv_tokens as f64 / (e.max_kv_tokens.max(1)) as f64;
                let seen = self.seen.entry((e.role, e.id)).or_default();
                seen.push_back((view.now, kv, f64::from(e.waiting)));
            }
        }
        for seen in self.seen.values_mut() {
            seen.retain(|(at, _, _)| at.plus(WINDOW) > view.now);
        }
        self.seen.retain(|_, seen| !seen.is_empty());
    }

    /// The largest values of each replica that still serves.
    fn replicas(&self, view: &View<'_>, role: Role) -> Vec<(f64, f64)> {
        view.engines_of(role)
            .filter_map(|e| self.seen.get(&(role, e.id)))
            .map(|seen| {
                seen.iter().fold((0.0_f64, 0.0_f64), |(kv, queue), s| (kv.max(s.1), queue.max(s.2)))
            })
            .collect()
    }

    fn look(&mut self, view: &View<'_>, role: Role, pool: PoolView) {
        let replicas = self.replicas(view, role);
        if replicas.is_empty() || pool.starting > 0 {
            self.wanted.insert(role, pool.desired);
            return;
        }
        let n = match self.rule.advise(&replicas) {
            Advice::Up => pool.desired.saturating_add(1),
            Advice::Down => pool.desired.saturating_sub(1),
            Advice::Stay => pool.desired,
        };
        self.wanted.insert(role, n);
    }
}

impl Policy for Wva {
    fn first_tick(&self) -> Duration {
        SCRAPE
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        self.scrape(view);
        let roles: Vec<Role> = self.scalers.keys().copied().collect();
        if view.now >= self.next_look {
            self.next_look = view.now.plus(LOOK);
            for role in &roles {
                self.look(view, *role, view.pool(*role));
            }
        }
        let mut orders = Orders::none(view.now.plus(SCRAPE));
        if view.now < self.next_sync {
            return orders;
        }
        self.next_sync = view.now.plus(SYNC);
        for (role, scaler) in &mut self.scalers {
            let pool = view.pool(*role);
            let proposal = self
                .wanted
                .get(role)
                .filter(|_| view.metrics.is_up())
                .map(|n| propose_exactly(*n, pool));
            if let Some(n) = scaler.step(view.now, pool.desired, &[proposal]) {
                let grows = n > pool.desired;
                orders.want(*role, n, if grows { "saturated" } else { "spare with one fewer" });
            }
        }
        orders
    }
}

/// One replica of more than ten is within the HPA's tolerance of 10 %, which would end this rule at
/// ten replicas. The tolerance of one object can be set since KEP-4951; it is taken as 0 here, which
/// serves the rival better.
fn propose_exactly(n: u32, pool: PoolView) -> u32 {
    match propose(f64::from(n), Target::AverageValue(1.0), pool) {
        kept if kept == pool.desired => n,
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Fleet, aggregated, engine, policy};
    use super::*;

    const RULE: Rule = Rule { kv: 0.8, queue: 5.0, spare_kv: 0.1, spare_queue: 3.0 };

    #[test]
    fn the_spares_of_the_unsaturated_decide() {
        assert_eq!(RULE.advise(&[(0.75, 0.0), (0.75, 0.0)]), Advice::Up);
        assert_eq!(RULE.advise(&[(0.1, 2.5), (0.1, 2.5)]), Advice::Up, "spare queue of 2.5");
        assert_eq!(RULE.advise(&[(0.9, 0.0), (0.95, 9.0)]), Advice::Up, "all are saturated");
        assert_eq!(RULE.advise(&[(0.9, 0.0), (0.3, 0.0)]), Advice::Stay, "one is free");
        assert_eq!(RULE.advise(&[(0.5, 0.0), (0.5, 0.0)]), Advice::Stay, "one could not hold 1.0");
        assert_eq!(RULE.advise(&[(0.3, 1.0), (0.3, 1.0)]), Advice::Down);
        assert_eq!(RULE.advise(&[(0.3, 1.1), (0.3, 1.0)]), Advice::Stay);
    }

    #[test]
    fn it_adds_one_every_half_minute_and_waits_for_it_to_serve() {
        let mut wva = policy("wva", &aggregated());
        let mut fleet = Fleet::new(&[(Role::Aggregated, 2)]);
        for id in 0..2 {
            let mut e = engine(id, Role::Aggregated);
            e.waiting = 7;
            fleet.engines.push(e);
        }
        let mut counts = Vec::new();
        for now in (5..=90).step_by(5) {
            fleet.now = now;
            fleet.step(wva.as_mut());
            counts.push(fleet.count(Role::Aggregated));
        }
        assert_eq!(counts[..5], [2; 5]);
        // The engines' own view does not change here, so each look adds one.
        assert_eq!((counts[5], counts[11], counts[17]), (3, 4, 5));
        let pool = PoolView { desired: 6, ready: 5, starting: 1, draining: 0, pending: 0 };
        fleet.pools.insert(Role::Aggregated, pool);
        fleet.now = 120;
        assert!(fleet.step(wva.as_mut()).targets.is_empty());
    }

    #[test]
    fn a_minute_old_peak_still_counts_and_an_outage_holds() {
        let mut wva = policy("wva", &aggregated());
        let mut fleet = Fleet::new(&[(Role::Aggregated, 3)]);
        for id in 0..3 {
            let mut e = engine(id, Role::Aggregated);
            e.kv_tokens = 500_000;
            fleet.engines.push(e);
        }
        fleet.now = 15;
        fleet.step(wva.as_mut());
        for e in &mut fleet.engines {
            e.kv_tokens = 0;
        }
        for now in (20..=75).step_by(5) {
            fleet.now = now;
            fleet.step(wva.as_mut());
        }
        assert_eq!(fleet.count(Role::Aggregated), 3, "56 % was seen a minute ago");
        fleet.up = false;
        for now in (80..=300).step_by(5) {
            fleet.now = now;
            fleet.step(wva.as_mut());
        }
        assert_eq!(fleet.count(Role::Aggregated), 3);
    }
}
