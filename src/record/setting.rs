//! The part of a decision's input that stays the same from tick to tick.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observe::Observation;
use crate::plan::{PlanInput, PoolInput};
use crate::profile::EngineProfile;
use crate::spec::{EngineLimits, Intervals, Sla};
use crate::units::{Gpus, Predictor, Replicas, Role, Timestamp};

/// Everything of a [`PlanInput`] but the moment and what was seen then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The promise.
    pub sla: Sla,
    /// GPUs that all pools together may take.
    pub budget: Option<Gpus>,
    /// How often to look, and for how long to hold.
    pub intervals: Intervals,
    /// Who predicts the load.
    pub predictor: Predictor,
    /// The pools, in the order of the input.
    pub pools: Vec<RecordedPool>,
}

/// One pool with the tables of its engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedPool {
    /// What the pool does.
    pub role: Role,
    /// What one engine may take on.
    pub limits: EngineLimits,
    /// GPUs of one replica.
    pub gpus_per_replica: Gpus,
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas, where there is a limit.
    pub max: Option<Replicas>,
    /// From asking for a replica until it serves.
    pub startup: Duration,
    /// Whether the performance was measured on such an engine.
    pub measured: bool,
    /// Performance of one engine, as measured.
    pub engine: EngineProfile,
}

impl RecordedPool {
    fn of(pool: &PoolInput<'_>) -> Self {
        let PoolInput { role, engine, limits, gpus_per_replica, min, max, measured, startup } =
            pool;
        Self {
            role: *role,
            limits: *limits,
            gpus_per_replica: *gpus_per_replica,
            min: *min,
            max: *max,
            startup: *startup,
            measured: *measured,
            engine: (*engine).clone(),
        }
    }

    fn is_of(&self, pool: &PoolInput<'_>) -> bool {
        let Self { role, limits, gpus_per_replica, min, max, startup, measured, engine } = self;
        *role == pool.role
            && *limits == pool.limits
            && *gpus_per_replica == pool.gpus_per_replica
            && *min == pool.min
            && *max == pool.max
            && *startup == pool.startup
            && *measured == pool.measured
            && engine == pool.engine
    }

    fn input(&self) -> PoolInput<'_> {
        let Self { role, limits, gpus_per_replica, min, max, startup, measured, engine } = self;
        PoolInput {
            role: *role,
            engine,
            limits: *limits,
            gpus_per_replica: *gpus_per_replica,
            min: *min,
            max: *max,
            startup: *startup,
            measured: *measured,
        }
    }
}

impl Setting {
    /// That of an input.
    #[must_use]
    pub fn of(input: &PlanInput<'_>) -> Self {
        let PlanInput { now: _, sla, pools, budget, intervals, predictor, observation: _ } = input;
        Self {
            sla: *sla,
            budget: *budget,
            intervals: *intervals,
            predictor: *predictor,
            pools: pools.iter().map(RecordedPool::of).collect(),
        }
    }

    /// Whether it is that of this input.
    #[must_use]
    pub fn is_of(&self, input: &PlanInput<'_>) -> bool {
        let Self { sla, budget, intervals, predictor, pools } = self;
        *sla == input.sla
            && *budget == input.budget
            && *intervals == input.intervals
            && *predictor == input.predictor
            && pools.len() == input.pools.len()
            && pools.iter().zip(&input.pools).all(|(known, pool)| known.is_of(pool))
    }

    /// The input of a decision made `now` on this observation.
    #[must_use]
    pub fn input(&self, now: Timestamp, observation: Observation) -> PlanInput<'_> {
        let Self { sla, budget, intervals, predictor, pools } = self;
        PlanInput {
            now,
            sla: *sla,
            pools: pools.iter().map(RecordedPool::input).collect(),
            budget: *budget,
            intervals: *intervals,
            predictor: *predictor,
            observation,
        }
    }
}
