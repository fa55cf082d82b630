//! Settings and views made by hand, for the tests of the rivals.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{PolicySpec, make};
use crate::backtest::{PoolSetting, Setting};
use crate::profile::library;
use crate::sim::fixture::Source;
use crate::sim::{EngineView, Metrics, Orders, Policy, PoolView, SimTime, View};
use crate::spec::{EngineLimits, Intervals, Sla};
use crate::units::{Gpus, Millis, Percentile, Predictor, Replicas, Role};

fn setting(roles: &[Role]) -> Setting {
    let pool = || PoolSetting {
        engine: library::get(library::DEFAULT).unwrap(),
        limits: EngineLimits::default(),
        measured: true,
        gpus: Gpus::new(1),
        min: Replicas::new(1),
        max: Some(Replicas::new(50)),
        startup: Duration::from_secs(60),
        initial: Replicas::new(2),
    };
    Setting {
        sla: Sla {
            ttft: Millis::clamped(500.0),
            itl: Millis::clamped(50.0),
            percentile: Percentile::default(),
            ttft_percentile: None,
            itl_percentile: None,
        },
        pools: roles.iter().map(|role| (*role, pool())).collect(),
        budget: None,
        intervals: Intervals::default(),
        predictor: Predictor::default(),
    }
}

/// Prefill and decode of the H200 profile, at 500 ms and 50 ms.
pub(super) fn pair() -> Setting {
    setting(&[Role::Prefill, Role::Decode])
}

/// The same in one pool.
pub(super) fn aggregated() -> Setting {
    setting(&[Role::Aggregated])
}

pub(super) fn policy(text: &str, setting: &Setting) -> Box<dyn Policy> {
    let spec: PolicySpec = text.parse().unwrap();
    make(&spec, setting).unwrap()
}

/// A fleet that does what it is told, and its metrics.
pub(super) struct Fleet {
    pub(super) source: Source,
    pub(super) pools: BTreeMap<Role, PoolView>,
    pub(super) engines: Vec<EngineView>,
    /// Seconds.
    pub(super) now: u64,
    /// Whether Prometheus answers.
    pub(super) up: bool,
}

pub(super) const fn ready(n: u32) -> PoolView {
    PoolView { desired: n, ready: n, starting: 0, draining: 0, pending: 0 }
}

pub(super) const fn engine(id: u32, role: Role) -> EngineView {
    EngineView {
        id,
        role,
        draining: false,
        waiting: 0,
        waiting_prefill_tokens: 0,
        waiting_kv_tokens: 0,
        running: 0,
        kv_tokens: 0,
        max_kv_tokens: 900_000,
        last_pass: None,
    }
}

impl Fleet {
    pub(super) fn new(pools: &[(Role, u32)]) -> Self {
        Self {
            source: Source::new(),
            pools: pools.iter().map(|(role, n)| (*role, ready(*n))).collect(),
            engines: Vec::new(),
            now: 0,
            up: true,
        }
    }

    /// What the policy orders at `now`, without carrying it out.
    pub(super) fn ask(&mut self, policy: &mut dyn Policy) -> Orders {
        let metrics: &Metrics = if self.up { self.source.up() } else { self.source.down() };
        let now = SimTime::from_millis(self.now * 1000);
        let Self { pools, engines, .. } = self;
        policy.decide(&View { now, metrics, pools, engines, starts: &[] })
    }

    /// Asks, and starts and stops replicas at once.
    pub(super) fn step(&mut self, policy: &mut dyn Policy) -> Orders {
        let orders = self.ask(policy);
        for (role, target) in &orders.targets {
            self.pools.insert(*role, ready(target.replicas));
        }
        orders
    }

    pub(super) fn count(&self, role: Role) -> u32 {
        self.pools[&role].desired
    }
}

/// The replicas ordered of a pool.
pub(super) fn wanted(orders: &Orders, role: Role) -> Option<u32> {
    orders.targets.get(&role).map(|t| t.replicas)
}
