use std::time::Duration;

use super::*;
use crate::observe::{Inventory, Missing, PoolInventory, Signal, Traffic};
use crate::plan::PoolDecision;
use crate::units::{PerSecond, Percentile, Timestamp};

fn observation(fresh: bool) -> Observation {
    let t = Timestamp::default();
    let mut traffic =
        Traffic::all_missing(Duration::from_secs(60), Percentile::default(), &Missing::NoSeries);
    if fresh {
        traffic.arrivals = Signal::Fresh { value: PerSecond::ZERO, at: t };
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
