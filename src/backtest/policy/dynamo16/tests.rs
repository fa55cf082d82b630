//! Against the golden values of the version that ships (dynamo-planner.md 2.8, 2.13).

use super::budget::{Limits, Pair};
use super::*;
use crate::profile::library;
use crate::spec::EngineLimits;
use crate::units::{Gpus, Replicas};

fn limits(floor: u32, min: i64, max: i64) -> Limits {
    Limits { floor, min: u32::try_from(min).ok(), max: u32::try_from(max).ok() }
}

#[test]
fn the_proportional_clamp_has_its_golden_values() {
    type Row = (Pair, Pair, i64, i64, Pair);
    let rows: [Row; 7] = [
        ((5, 5), (1, 1), -1, 4, (2, 2)),
        ((24, 1), (1, 1), -1, 8, (7, 1)),
        ((5, 2), (4, 8), -1, 24, (3, 1)),
        ((2, 2), (8, 8), -1, 8, (0, 0)),
        ((7, 8), (1, 1), -1, 8, (3, 5)),
        ((0, 0), (2, 4), 16, 16, (4, 2)),
        ((1, 10), (16, 1), 27, -1, (2, 10)),
    ];
    for (counts, gpus, min, max, want) in rows {
        assert_eq!(limits(1, min, max).clamp_pair(counts, gpus), want, "{counts:?} {gpus:?}");
    }
}

#[test]
fn the_guard_has_its_golden_values() {
    let one = (1, 1);
    assert_eq!(limits(1, 64, 64).guard_pair((24, 40), (32, 48), one), (24, 40), "at the ceiling");
    assert_eq!(limits(1, 64, 64).guard_pair((24, 40), (23, 48), one), (23, 41));
    assert_eq!(limits(1, -1, 6).guard_pair((1, 1), (4, 4), one), (3, 3));
    assert_eq!(limits(1, -1, 64).guard_pair((40, 40), (41, 41), one), (32, 32), "reconciled");
    assert_eq!(limits(1, -1, -1).guard_pair((3, 5), (9, 2), one), (9, 2), "no budget");
}

fn pool() -> PoolSetting {
    PoolSetting {
        engine: library::get(library::DEFAULT).unwrap(),
        limits: EngineLimits::default(),
        gpus: Gpus::new(1),
        min: Replicas::new(1),
        max: None,
        startup: Duration::from_secs(60),
        initial: Replicas::new(1),
    }
}

#[test]
fn the_ttft_target_hardly_matters_and_an_itl_out_of_reach_collapses() {
    // Its own defects W1 and W2, on the profile that it ships.
    let needed = |role, ttft, itl| {
        let capacity = Capacity { ttft, itl };
        ceil_to_u32(111.1 / capacity.rate(role, &pool(), 3000.0, 150.0))
    };
    let prefill: Vec<u32> =
        [10.0, 100.0, 500.0, 1000.0].iter().map(|t| needed(Role::Prefill, *t, 50.0)).collect();
    assert!(prefill.iter().all(|n| (6..=8).contains(n)), "{prefill:?}");
    let (tight, out_of_reach) =
        (needed(Role::Decode, 500.0, 8.0), needed(Role::Decode, 500.0, 2.0));
    assert!(out_of_reach < tight, "{out_of_reach} {tight}");
}

#[test]
fn the_filter_gives_the_last_value_for_five_points_and_is_never_negative() {
    let mut p = Predictor::new();
    assert_eq!(p.next(1000.0), 1000.0);
    assert_eq!(p.next(700.0), 700.0);
    for value in [400.0, 100.0, 0.0, 0.0] {
        p.next(value);
    }
    assert_eq!(p.next(0.0), 0.0);
}
