use std::collections::BTreeMap;

use crate::backtest::policy::bench::{Fleet, aggregated, pair, policy, wanted};
use crate::sim::fixture::Load;
use crate::units::Role;

fn load(ttft: f64, itl: f64) -> Load {
    Load { rps: 20.0, finished: 20.0, ttft, itl, osl: 10.0, isl: 1000.0, ..Load::default() }
}

#[test]
fn prefill_follows_ttft_and_decode_itl_two_pods_in_thirty_seconds() {
    let mut hpa = policy("hpa-ttft", &pair());
    let mut fleet = Fleet::new(&[(Role::Prefill, 2), (Role::Decode, 3)]);
    // In the bucket (1, 2.2] s and (0.035, 0.045] s of the promise of 0.5 and 0.05.
    fleet.source.run(300, &load(2.0, 0.043));
    fleet.now = 300;
    let orders = fleet.step(hpa.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), Some(4));
    assert_eq!(wanted(&orders, Role::Decode), None, "p95 of the bucket is 0.044");
    assert!(orders.targets[&Role::Prefill].why.starts_with("metric at 2.1"));
    fleet.now = 315;
    assert_eq!(wanted(&fleet.step(hpa.as_mut()), Role::Prefill), None);
    fleet.now = 330;
    assert_eq!(wanted(&fleet.step(hpa.as_mut()), Role::Prefill), Some(6));
}

#[test]
fn it_goes_down_one_pod_at_a_time_after_a_minute() {
    let mut hpa = policy("hpa-ttft", &aggregated());
    let mut fleet = Fleet::new(&[(Role::Aggregated, 6)]);
    fleet.source.run(300, &load(0.2, 0.02));
    let mut counts = Vec::new();
    for now in (300..=420).step_by(15) {
        fleet.now = now;
        fleet.step(hpa.as_mut());
        counts.push(fleet.count(Role::Aggregated));
    }
    assert_eq!(counts, [6, 6, 6, 6, 5, 5, 4, 4, 3]);
}

#[test]
fn silence_shrinks_and_an_outage_does_not() {
    let mut hpa = policy("hpa-ttft:down=0", &pair());
    let mut fleet = Fleet::new(&[(Role::Prefill, 5), (Role::Decode, 5)]);
    fleet.source.run(300, &load(0.47, 0.045)).run(400, &Load::default());
    fleet.now = 700;
    fleet.up = false;
    assert!(fleet.step(hpa.as_mut()).targets.is_empty());
    fleet.up = true;
    assert_eq!(wanted(&fleet.step(hpa.as_mut()), Role::Prefill), Some(4), "NaN, one pod in 30 s");
}

#[test]
fn the_queue_scales_prefill_and_the_cache_decode() {
    let mut hpa = policy("hpa-queue", &pair());
    let mut fleet = Fleet::new(&[(Role::Prefill, 2), (Role::Decode, 2)]);
    fleet.source.run(60, &Load { queued: 25, kv: 0.9, ..Load::default() });
    fleet.now = 60;
    let orders = fleet.ask(hpa.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), Some(5));
    assert_eq!(wanted(&orders, Role::Decode), Some(3));
    let orders = fleet.ask(policy("hpa-queue:kv=0", &pair()).as_mut());
    assert_eq!(wanted(&orders, Role::Decode), Some(5));
}

#[test]
fn utilisation_is_averaged_over_the_ready() {
    let mut hpa = policy("hpa-cpu", &pair());
    let mut fleet = Fleet::new(&[(Role::Prefill, 4), (Role::Decode, 4)]);
    let busy = BTreeMap::from([(Role::Prefill, 3.9), (Role::Decode, 2.8)]);
    fleet.source.run(60, &Load { busy, ..Load::default() });
    fleet.now = 60;
    let orders = fleet.ask(hpa.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), Some(6), "97 % of 70 % of four");
    assert_eq!(wanted(&orders, Role::Decode), None);
    assert_eq!(orders.targets[&Role::Prefill].why, "utilisation at 98 %");
    fleet.up = false;
    fleet.now = 75;
    assert!(fleet.ask(hpa.as_mut()).targets.is_empty());
}
