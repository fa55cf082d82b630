//! What a policy may know before it starts: the promise, the engines' profiles, the limits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::PoolInput;
use crate::profile::EngineProfile;
use crate::spec::{EngineLimits, Intervals, Sla};
use crate::units::{Gpus, Predictor, Replicas, Role};

/// The same for every policy of a comparison.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The promise.
    pub sla: Sla,
    /// Prefill and decode, or aggregated.
    pub pools: BTreeMap<Role, PoolSetting>,
    /// GPUs that all pools together may take; `None` is no limit.
    pub budget: Option<Gpus>,
    /// How often ours looks, and for how long it holds.
    pub intervals: Intervals,
    /// Who predicts the demand for ours.
    pub predictor: Predictor,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolSetting {
    /// What profiling says of one engine: the coarse table, not the simulation's truth.
    pub engine: EngineProfile,
    /// Whether that is of such an engine, and not of another one that stands in for it.
    pub measured: bool,
    /// What one engine may take on.
    pub limits: EngineLimits,
    /// GPUs of one replica.
    pub gpus: Gpus,
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas; `None` has no limit but the budget.
    pub max: Option<Replicas>,
    /// The time that a start is expected to take.
    pub startup: Duration,
    /// Replicas at the start of the trace.
    pub initial: Replicas,
}

impl Setting {
    /// Whether prompts are read and answered by the same engines.
    #[must_use]
    pub fn is_aggregated(&self) -> bool {
        self.pools.contains_key(&Role::Aggregated)
    }

    /// The pools as the planner is told of them.
    #[must_use]
    pub fn pool_inputs(&self) -> Vec<PoolInput<'_>> {
        self.pools
            .iter()
            .map(|(role, pool)| PoolInput {
                role: *role,
                engine: &pool.engine,
                limits: pool.limits,
                gpus_per_replica: pool.gpus,
                min: pool.min,
                max: pool.max,
                startup: pool.startup,
                measured: pool.measured,
            })
            .collect()
    }

    /// The most replicas of a pool, with the others at their minimum: `max`, or what the budget
    /// leaves, or a thousand.
    #[must_use]
    pub fn most(&self, role: Role) -> u32 {
        const UNLIMITED: u32 = 1000;
        let Some(pool) = self.pools.get(&role) else { return 0 };
        let others: u32 = self
            .pools
            .iter()
            .filter(|(other, _)| **other != role)
            .map(|(_, p)| p.min.gpus(p.gpus).get())
            .sum();
        let of_budget = self
            .budget
            .map_or(UNLIMITED, |b| b.get().saturating_sub(others) / pool.gpus.get().max(1));
        pool.max.map_or(of_budget, |max| max.get().min(of_budget))
    }

    /// The most replicas of a pool for a policy that keeps to the budget by itself: `max` alone, or
    /// a thousand where there is no budget either.
    #[must_use]
    pub fn own_max(&self, role: Role) -> Option<u32> {
        let max = self.pools.get(&role)?.max.map(Replicas::get);
        if self.budget.is_some() { max } else { Some(self.most(role)) }
    }
}
