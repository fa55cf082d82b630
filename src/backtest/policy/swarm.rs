//! Every rival on fleets that nobody would design.

use std::collections::BTreeMap;

use super::bench::{Fleet, aggregated, engine, pair, policy};
use super::known::KNOWN;
use crate::backtest::Setting;
use crate::sim::fixture::Load;
use crate::sim::{PassView, PoolView, SimTime};
use crate::units::{Gpus, Role};

/// Numbers without pattern: the generator of Knuth's MMIX.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn of(&mut self, choices: &[f64]) -> f64 {
        let n = u64::try_from(choices.len()).unwrap();
        choices[usize::try_from(self.below(n)).unwrap()]
    }
}

fn load(dice: &mut Dice, roles: &[Role]) -> Load {
    let rps = dice.of(&[0.0, 0.4, 5.0, 80.0]);
    let mut busy = BTreeMap::new();
    for role in roles {
        busy.insert(*role, dice.of(&[0.0, 0.5, 3.0, 9.0]));
    }
    Load {
        rps,
        finished: rps * dice.of(&[0.0, 0.5, 1.0]),
        ttft: dice.of(&[0.001, 0.2, 4.0, 900.0]),
        itl: dice.of(&[0.001, 0.03, 0.2, 5.0]),
        duration: 4.0,
        isl: dice.of(&[1.0, 900.0, 200_000.0]),
        osl: dice.of(&[1.0, 150.0]),
        queued: dice.below(300),
        inflight: 300 + dice.below(3000),
        kv: dice.of(&[0.0, 0.5, 1.0]),
        busy,
    }
}

/// Some of what was ordered starts, some engines say nothing.
fn disturb(dice: &mut Dice, fleet: &mut Fleet) {
    let mut engines = Vec::new();
    for (role, pool) in &mut fleet.pools {
        let starting = if dice.below(4) == 0 { pool.desired.min(2) } else { 0 };
        let ready = pool.desired - starting;
        *pool = PoolView { desired: pool.desired, ready, starting, draining: 0, pending: 0 };
        for i in 0..ready {
            let mut e = engine(i, *role);
            e.waiting = u32::try_from(dice.below(12)).unwrap();
            e.waiting_prefill_tokens = dice.below(900_000);
            e.running = u32::try_from(dice.below(200)).unwrap();
            e.kv_tokens = u64::from(e.running) * 3000;
            let pass = PassView {
                prefill_tokens: dice.below(8192),
                decode_requests: e.running,
                decode_kv_tokens: e.kv_tokens,
                wall_s: 0.02,
            };
            e.last_pass = (dice.below(10) > 0).then_some(pass);
            if dice.below(60) > 0 {
                engines.push(e);
            }
        }
    }
    fleet.engines = engines;
}

fn run(name: &str, setting: &Setting, seed: u64) {
    let mut dice = Dice(seed);
    let mut p = policy(name, setting);
    let roles: Vec<Role> = setting.pools.keys().copied().collect();
    let counts: Vec<(Role, u32)> = roles.iter().map(|role| (*role, 2)).collect();
    let mut fleet = Fleet::new(&counts);
    let mut next = SimTime::from_start(p.first_tick());
    for now in (5..=3000).step_by(5) {
        if now % 60 == 5 {
            let load = load(&mut dice, &roles);
            fleet.source.run(60, &load);
            fleet.up = dice.below(8) > 0;
        }
        fleet.now = now;
        if SimTime::from_millis(now * 1000) < next {
            continue;
        }
        disturb(&mut dice, &mut fleet);
        let orders = fleet.step(p.as_mut());
        next = orders.next.unwrap();
        assert!(next > SimTime::from_millis(now * 1000), "{name} at {now}");
        for (role, target) in &orders.targets {
            let most = setting.most(*role);
            assert!(!target.why.is_empty());
            // 0.9.0 overruns its budget: 1.8 #21.
            let over = if name == "dynamo-0.9" { 1 } else { 0 };
            assert!((1..=most + over).contains(&target.replicas), "{name} {role} {target:?}");
        }
        if name.starts_with("dynamo-1.6") {
            let gpus: u32 = fleet.pools.values().map(|pool| pool.desired).sum();
            assert!(setting.budget.is_none_or(|b| gpus <= b.get()), "{name}: {gpus} GPUs");
        }
    }
}

#[test]
fn no_rival_leaves_its_limits_whatever_it_sees() {
    let mut tight = pair();
    tight.budget = Some(Gpus::new(12));
    for known in &KNOWN {
        for seed in 0..6 {
            for setting in [&tight, &pair(), &aggregated()] {
                if known.name != "dynamo-0.9" || !setting.is_aggregated() {
                    run(known.name, setting, seed);
                }
            }
        }
    }
}
