//! Our planner, as it is: the same [`plan()`] that a cluster runs, fed with what it would see there.

use std::time::Duration;

use crate::backtest::Setting;
use crate::check::{self, PoolLimits};
use crate::plan::{Memory, Outcome, PlanInput, plan};
use crate::sim::{Orders, Policy, Sight, SimTime, View};

/// Our planner with one configuration.
#[derive(Clone, Debug)]
pub struct Ours {
    setting: Setting,
    memory: Memory,
    objections: Vec<String>,
}

impl Ours {
    /// A planner that has just been started.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        Self { setting: setting.clone(), memory: Memory::default(), objections: Vec::new() }
    }

    /// What the referee said of its decisions so far: nothing, or there is a fault.
    #[must_use]
    pub fn objections(&self) -> &[String] {
        &self.objections
    }
}

impl Policy for Ours {
    fn first_tick(&self) -> Duration {
        self.setting.intervals.adjustment
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let Setting { sla, pools, budget, intervals } = &self.setting;
        let sight = Sight {
            window: intervals.window,
            percentile: sla.percentile,
            max_age: intervals.max_metric_age,
        };
        let inputs = self.setting.pool_inputs();
        let limits: Vec<PoolLimits> = inputs.iter().map(PoolLimits::from).collect();
        let input = PlanInput {
            now: view.timestamp(),
            sla: *sla,
            pools: inputs,
            budget: *budget,
            intervals: *intervals,
            observation: sight.observe(view, |role| pools.get(&role).map(|p| p.gpus)),
        };
        let Outcome { decision, report, memory } = plan(&input, &self.memory);
        self.memory = memory;
        let notes = check::judge(&limits, input.budget, &input.observation, &decision);
        let mut orders = Orders {
            next: Some(SimTime::from_timestamp(decision.next_tick)),
            forecast: report.demand.map(|d| [d.rate.low, d.rate.point, d.rate.high]),
            ..Orders::default()
        };
        if check::may_act(&notes) {
            for pool in &decision.pools {
                if let Some(target) = pool.target {
                    let why = format!("{}: {}", pool.reason.code(), pool.reason);
                    orders.want(pool.role, target.get(), why);
                }
            }
        }
        self.objections.extend(notes.iter().map(ToString::to_string));
        orders
    }
}
