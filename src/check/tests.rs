use std::time::Duration;

use super::*;
use crate::observe::{Inventory, Missing, PoolInventory, Signal, Traffic};
use crate::plan::{PoolDecision, Reason};
use crate::units::{PerSecond, Percentile, Timestamp};

fn observation(fresh: bool) -> Observation {
    let t = Timestamp::default();
    let mut traffic =
        Traffic::all_missing(Duration::from_secs(60), Percentile::default(), &Missing::NoSeries);
    if fresh {
        traffic.arrivals = Signal::Fresh { value: PerSecond::ZERO, at: t };
        traffic.isl = Signal::missing(Missing::NoSamples);
        traffic.osl = Signal::missing(Missing::NoSamples);
        traffic.ttft.quantile = Signal::missing(Missing::NoSamples);
        traffic.itl.quantile = Signal::missing(Missing::NoSamples);
    }
    let pool = |n| Signal::Fresh { value: PoolInventory::steady(n), at: t };
    let pools = [(Role::Prefill, pool(3)), (Role::Decode, pool(2))];
    Observation { at: t, traffic, inventory: Inventory { pools: pools.into() } }
}

fn limits() -> [PoolLimits; 2] {
    [Role::Prefill, Role::Decode].map(|role| PoolLimits {
        role,
        min: Replicas::new(1),
        max: Some(Replicas::new(4)),
        gpus_per_replica: Gpus::new(2),
    })
}

fn decision(prefill: u32, decode: u32) -> Decision {
    let pool = |role, from, to| PoolDecision {
        role,
        current: Some(Replicas::new(from)),
        target: Some(Replicas::new(to)),
        reason: Reason::Idle,
    };
    Decision {
        at: Timestamp::default(),
        pools: vec![pool(Role::Prefill, 3, prefill), pool(Role::Decode, 2, decode)],
        next_tick: Timestamp::default(),
    }
}

fn rules(fresh: bool, budget: Option<u32>, d: &Decision) -> Vec<Rule> {
    let notes = judge(&limits(), budget.map(Gpus::new), &observation(fresh), d);
    assert_eq!(may_act(&notes), notes.is_empty());
    notes.into_iter().map(|n| n.rule).collect()
}

#[test]
fn a_sound_decision_has_no_notes() {
    assert_eq!(rules(true, Some(10), &decision(2, 3)), []);
    assert_eq!(rules(false, Some(10), &decision(3, 2)), []);
}

#[test]
fn each_broken_rule_is_noted() {
    assert_eq!(rules(true, None, &decision(0, 5)), [Rule::WithinLimits; 2]);
    assert_eq!(rules(false, None, &decision(2, 2)), [Rule::FreshBeforeDown]);
    assert_eq!(rules(true, Some(10), &decision(4, 2)), [Rule::WithinBudget]);
    let mut d = decision(3, 2);
    d.pools[0].current = Some(Replicas::new(7));
    assert!(rules(true, None, &d).contains(&Rule::SeenBeforeChanged));
    d.pools.pop();
    assert!(rules(true, None, &d).contains(&Rule::EveryPoolOnce));
}

#[test]
fn a_step_towards_the_limits_is_legal_and_one_away_from_them_is_not() {
    let mut limits = limits();
    limits[1].min = Replicas::new(4);
    let notes = |to| judge(&limits, None, &observation(true), &decision(3, to));
    assert_eq!(notes(3), [], "2 to 3, where 4 is the least");
    assert_eq!(notes(1)[0].rule, Rule::WithinLimits);
}

#[test]
fn every_signal_that_a_plan_needs_must_be_fresh_before_a_replica_goes() {
    let spoil: [fn(&mut Observation); 5] = [
        |o| o.traffic.isl = Signal::missing(Missing::NoSeries),
        |o| o.traffic.osl = Signal::missing(Missing::NoSeries),
        |o| o.traffic.ttft.quantile = Signal::missing(Missing::NoSeries),
        |o| o.traffic.inflight = Signal::Fresh { value: 2.0, at: o.at },
        |o| {
            let value = PoolInventory::steady(2);
            let late = Signal::Late { value, at: o.at };
            o.inventory.pools.insert(Role::Decode, late);
        },
    ];
    for (i, spoil) in spoil.iter().enumerate() {
        let mut o = observation(true);
        spoil(&mut o);
        let rules = |d| judge(&limits(), None, &o, &d).iter().map(|n| n.rule).collect::<Vec<_>>();
        assert_eq!(rules(decision(2, 2)), [Rule::FreshBeforeDown], "signal {i}");
        assert_eq!(rules(decision(4, 2)), [], "growth needs none of them");
    }
}

#[test]
fn a_budget_below_what_runs_may_be_obeyed_without_metrics_but_no_further_than_it_asks() {
    // 3 and 2 replicas of 2 GPUs run.
    assert_eq!(rules(false, Some(8), &decision(2, 2)), []);
    assert_eq!(rules(false, Some(7), &decision(2, 1)), []);
    assert_eq!(rules(false, Some(8), &decision(2, 1)), [Rule::FreshBeforeDown; 2]);
    assert_eq!(rules(false, Some(10), &decision(2, 2)), [Rule::FreshBeforeDown]);
}

#[test]
fn nothing_grows_into_a_budget_of_which_a_share_is_unknown() {
    let mut o = observation(true);
    o.inventory.pools.insert(Role::Prefill, Signal::missing(Missing::NoSeries));
    let mut d = decision(3, 3);
    d.pools[0].current = None;
    d.pools[0].target = None;
    let rules = |budget: Option<u32>| {
        let notes = judge(&limits(), budget.map(Gpus::new), &o, &d);
        notes.into_iter().map(|n| n.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules(Some(100)), [Rule::WithinBudget]);
    assert_eq!(rules(None), []);
}

#[test]
fn a_pool_on_hold_is_not_written_whatever_holds_it() {
    let none = String::new;
    for reason in [
        Reason::HoldNoShape { detail: none() },
        Reason::HoldNotFresh { detail: none(), wanted: Replicas::new(1) },
        Reason::HoldStabilizing { wanted: Replicas::new(1), window: Duration::ZERO },
    ] {
        let mut d = decision(4, 2);
        d.pools[0].reason = reason;
        assert_eq!(rules(true, None, &d), [Rule::NoWriteOnHold]);
    }
}
