use super::super::super::bench::{Fleet, aggregated, engine, pair, policy, wanted};
use super::*;
use crate::sim::PassView;
use crate::sim::fixture::Load;
use crate::units::{Gpus, Replicas};

/// 20000 requests of 3000 and 150 tokens in 180 s.
fn load(rps: f64) -> Load {
    let load = Load { rps, finished: rps, ttft: 0.1, itl: 0.01, ..Load::default() };
    Load { duration: 2.0, isl: 3000.0, osl: 150.0, ..load }
}

fn fleet(p: u32, d: u32) -> Fleet {
    Fleet::new(&[(Role::Prefill, p), (Role::Decode, d)])
}

/// Engines as many as are ready, each with `queue` prompt tokens and `running` requests.
fn serve(f: &mut Fleet, queue: u64, running: u32) {
    let mut engines = Vec::new();
    for (role, pool) in &f.pools {
        for _ in 0..pool.ready {
            let mut e = engine(u32::try_from(engines.len()).unwrap(), *role);
            let reads = *role != Role::Decode;
            if reads {
                e.waiting_prefill_tokens = queue;
            }
            if *role != Role::Prefill {
                e.running = running;
                e.kv_tokens = u64::from(running) * 3075;
            }
            e.last_pass = Some(PassView {
                prefill_tokens: 0,
                decode_requests: u32::from(!reads || *role == Role::Aggregated) * 10,
                decode_kv_tokens: 30_750,
                wall_s: 0.01,
            });
            engines.push(e);
        }
    }
    f.engines = engines;
}

#[test]
fn throughput_sizes_for_what_started_eight_at_a_time() {
    let mut p = policy("dynamo-1.6-throughput:predictor=0", &pair());
    let mut f = fleet(1, 1);
    f.source.run(180, &Load { finished: 20.0, ..load(222.0) });
    f.now = 180;
    let orders = f.step(p.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), Some(9), "13 or more, capped at 1 + 8");
    assert!((orders.forecast.unwrap()[1] - 222.0).abs() < 3.0);
    f.source.run(180, &load(222.0));
    f.now = 360;
    f.step(p.as_mut());
    let (prefill, decode) = (f.count(Role::Prefill), f.count(Role::Decode));
    assert!((13..=17).contains(&prefill), "{prefill}");
    assert!((5..=8).contains(&decode), "{decode}");
    f.source.run(180, &load(222.0));
    f.now = 540;
    assert!(f.step(p.as_mut()).targets.is_empty(), "the same again changes nothing");
}

#[test]
fn an_outage_holds_and_idleness_shrinks() {
    let mut p = policy("dynamo-1.6-throughput:predictor=0", &pair());
    let mut f = fleet(9, 4);
    f.source.run(180, &load(111.0));
    f.up = false;
    f.now = 180;
    assert!(f.step(p.as_mut()).targets.is_empty());
    f.up = true;
    f.source.run(180, &load(111.0));
    f.now = 360;
    f.step(p.as_mut());
    f.source.run(360, &Load::default());
    f.now = 720;
    f.step(p.as_mut());
    assert_eq!((f.count(Role::Prefill), f.count(Role::Decode)), (1, 1));
}

#[test]
fn the_budget_is_never_exceeded() {
    let mut setting = pair();
    setting.budget = Some(Gpus::new(8));
    let mut p = policy("dynamo-1.6-throughput:predictor=0", &setting);
    let mut f = fleet(2, 2);
    f.source.run(180, &load(222.0));
    f.now = 180;
    f.step(p.as_mut());
    assert!(f.count(Role::Prefill) + f.count(Role::Decode) <= 8);
    assert!(f.count(Role::Prefill) > 2);
}

#[test]
fn load_adds_one_only_when_every_engine_is_late() {
    let mut p = policy("dynamo-1.6-load", &pair());
    let mut f = fleet(4, 4);
    f.source.run(180, &load(20.0));
    serve(&mut f, 400_000, 60);
    f.engines[0].waiting_prefill_tokens = 0;
    f.now = 180;
    let orders = f.step(p.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), None, "W6: three of four are late");
    serve(&mut f, 400_000, 60);
    f.now = 185;
    let orders = f.step(p.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), Some(5), "one step, however late");
    assert_eq!(orders.next, Some(SimTime::from_millis(190_000)));
}

#[test]
fn load_removes_one_when_one_fewer_would_do() {
    let mut p = policy("dynamo-1.6-load", &pair());
    let mut f = fleet(3, 3);
    f.source.run(180, &load(20.0));
    serve(&mut f, 0, 5);
    f.now = 180;
    f.step(p.as_mut());
    assert_eq!((f.count(Role::Prefill), f.count(Role::Decode)), (2, 2));
    // 900 thousand tokens fit in one engine, and two hold 500 thousand each.
    serve(&mut f, 0, 5);
    for e in &mut f.engines {
        e.kv_tokens = if e.role == Role::Decode { 500_000 } else { 0 };
    }
    f.now = 185;
    f.step(p.as_mut());
    assert_eq!((f.count(Role::Prefill), f.count(Role::Decode)), (1, 2));
    f.now = 190;
    serve(&mut f, 0, 5);
    f.step(p.as_mut());
    f.now = 195;
    serve(&mut f, 0, 0);
    f.step(p.as_mut());
    assert_eq!(f.count(Role::Prefill), 1, "never below one");
}

#[test]
fn an_engine_not_heard_blocks_both_roles() {
    let mut p = policy("dynamo-1.6-load", &pair());
    let mut f = fleet(2, 2);
    f.source.run(180, &load(20.0));
    serve(&mut f, 400_000, 5);
    f.engines.pop();
    f.now = 180;
    assert!(f.ask(p.as_mut()).targets.is_empty(), "worker_count_mismatch");
    f.engines.clear();
    f.now = 185;
    assert!(f.ask(p.as_mut()).targets.is_empty(), "no_fpm_data");
}

#[test]
fn the_throughput_result_is_the_floor_of_the_load_loop() {
    let mut p = policy("dynamo-1.6:predictor=0", &pair());
    let mut f = fleet(7, 4);
    f.source.run(180, &load(111.0));
    for now in [175, 180, 185] {
        serve(&mut f, 0, 5);
        f.now = now;
        f.step(p.as_mut());
    }
    // 175 s: no bound yet, one fewer. From 180 s on the throughput loop asks for seven again.
    assert_eq!(f.count(Role::Prefill), 7);
    assert!((3..=4).contains(&f.count(Role::Decode)), "{}", f.count(Role::Decode));
}

#[test]
fn while_replicas_start_only_a_repeated_cancellation_passes() {
    let mut p = policy("dynamo-1.6-load", &pair());
    let mut f = fleet(3, 2);
    f.source.run(180, &load(20.0));
    serve(&mut f, 400_000, 5);
    let starts = PoolView { desired: 5, ready: 3, starting: 2, draining: 0, pending: 0 };
    f.pools.insert(Role::Prefill, starts);
    f.now = 180;
    let orders = f.ask(p.as_mut());
    assert!(orders.targets.is_empty(), "ups are dropped");
    serve(&mut f, 0, 5);
    f.now = 185;
    assert!(f.ask(p.as_mut()).targets.is_empty(), "recommended once");
    f.now = 190;
    let orders = f.ask(p.as_mut());
    assert_eq!(wanted(&orders, Role::Prefill), Some(2), "and again for the same inventory");
}

#[test]
fn one_pool_goes_up_if_either_side_is_late_and_down_if_both_pass() {
    let mut p = policy("dynamo-1.6-load", &aggregated());
    let mut f = Fleet::new(&[(Role::Aggregated, 3)]);
    f.source.run(180, &load(20.0));
    serve(&mut f, 400_000, 5);
    f.now = 180;
    f.step(p.as_mut());
    assert_eq!(f.count(Role::Aggregated), 4);
    serve(&mut f, 0, 5);
    f.now = 185;
    f.step(p.as_mut());
    assert_eq!(f.count(Role::Aggregated), 3);
}

#[test]
fn floors_are_repaired_whatever_the_load() {
    let mut setting = aggregated();
    for pool in setting.pools.values_mut() {
        pool.min = Replicas::new(3);
    }
    // TS20.
    let mut p = policy("dynamo-1.6-load", &setting);
    let mut f = Fleet::new(&[(Role::Aggregated, 1)]);
    f.source.run(180, &load(20.0));
    serve(&mut f, 0, 5);
    f.now = 180;
    f.step(p.as_mut());
    assert_eq!(f.count(Role::Aggregated), 3);
}
