//! One run: a policy on a load in the simulator, scored.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Promise, Score, Scorer, Setting, Timeline};
use crate::sim::{EngineTruth, Load, Policy, SimConfig, SimError, Sink, simulate};
use crate::units::Role;

/// What does not change between the policies of a comparison.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the policies may know.
    pub setting: Setting,
    /// The fleet that is simulated.
    pub sim: SimConfig,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The score.
    pub score: Score,
    /// Its course, where rows were asked for.
    pub timeline: Option<Timeline>,
    /// Events of the simulation.
    pub events: u64,
}

impl Case {
    /// The promise in plain numbers.
    #[must_use]
    pub fn promise(&self) -> Promise {
        let sla = &self.setting.sla;
        Promise { ttft_ms: sla.ttft.get(), itl_ms: sla.itl.get(), percentile: sla.percentile.get() }
    }

    /// How long the engines of a pool really take.
    #[must_use]
    pub fn truth(&self, role: Role) -> Option<&Arc<EngineTruth>> {
        self.sim.pools.get(&role).map(|p| &p.truth)
    }

    /// Replicas at the start of the trace.
    #[must_use]
    pub fn initial(&self) -> BTreeMap<Role, u32> {
        self.sim.pools.iter().map(|(role, pool)| (*role, pool.initial)).collect()
    }

    /// The same case with other counts at the start.
    #[must_use]
    pub fn starting_with(&self, counts: &BTreeMap<Role, u32>) -> Self {
        let mut case = self.clone();
        for (role, n) in counts {
            if let Some(pool) = case.sim.pools.get_mut(role) {
                pool.initial = *n;
            }
        }
        case
    }

    /// Runs `policy` on `load`; rows of `step_s` seconds where a timeline is wanted. `watch` is told
    /// what happens on the way; `()` does not care.
    ///
    /// # Errors
    ///
    /// As [`simulate`].
    pub fn run<L: Load>(
        &self,
        load: &mut L,
        policy: &mut dyn Policy,
        step_s: Option<f64>,
        watch: &mut dyn Sink,
    ) -> Result<Ran, SimError<L::Error>> {
        let mut scorer = Scorer::new(self.promise(), step_s);
        let mut both: (&mut dyn Sink, &mut dyn Sink) = (&mut scorer, watch);
        let summary = simulate(&self.sim, load, policy, &mut both)?;
        let (score, timeline) = scorer.finish(&summary);
        Ok(Ran { score, timeline, events: summary.events })
    }
}
