//! Everything that a decision rests on.

use std::time::Duration;

use crate::observe::Observation;
use crate::profile::EngineProfile;
use crate::spec::{EngineLimits, Intervals, Sla};
use crate::units::{Gpus, Predictor, Replicas, Role, Timestamp};

/// One pool of the plan.
#[derive(Clone, Debug)]
pub struct PoolInput<'a> {
    /// What the pool does.
    pub role: Role,
    /// Performance of one engine.
    pub engine: &'a EngineProfile,
    /// What one engine may take on.
    pub limits: EngineLimits,
    /// GPUs of one replica.
    pub gpus_per_replica: Gpus,
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas, where there is a limit.
    pub max: Option<Replicas>,
    /// Whether the performance was measured on such an engine; not where another one stands in for
    /// it until traffic has shown more.
    pub measured: bool,
    /// From asking for a replica until it serves, as configured.
    pub startup: Duration,
}

/// The input of one decision.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The moment of the decision.
    pub now: Timestamp,
    /// The promise.
    pub sla: Sla,
    /// Prefill and decode, one of the two, or aggregated.
    pub pools: Vec<PoolInput<'a>>,
    /// GPUs that all pools together may take.
    pub budget: Option<Gpus>,
    /// How often to look, and for how long to hold.
    pub intervals: Intervals,
    /// Who predicts the demand.
    pub predictor: Predictor,
    /// What was seen.
    pub observation: Observation,
}
