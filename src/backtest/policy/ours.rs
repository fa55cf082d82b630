//! Our planner, as it is: the same [`plan()`] that a cluster runs, fed with what it would see there.

use std::fmt;
use std::time::Duration;

use crate::backtest::Setting;
use crate::check::{self, PoolLimits};
use crate::plan::{Memory, Outcome, PlanInput, plan};
use crate::record::{Line, Recorder, WriteOutcome};
use crate::sim::{Orders, Policy, Sight, SimTime, View};
use crate::spec::Mode;
use crate::units::Predictor;

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

    /// The same planner with another predictor.
    #[must_use]
    pub const fn predicting(mut self, predictor: Predictor) -> Self {
        self.setting.predictor = predictor;
        self
    }

    /// What the referee said of its decisions so far: nothing, or there is a fault.
    #[must_use]
    pub fn objections(&self) -> &[String] {
        &self.objections
    }

    fn step(&mut self, view: &View<'_>, mut told: Option<&mut Told<'_>>) -> Orders {
        let Setting { sla, pools, budget, intervals, predictor } = &self.setting;
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
            predictor: *predictor,
            observation: sight.observe(view, |role| pools.get(&role).map(|p| p.gpus)),
        };
        let checkpoint =
            told.as_deref_mut().and_then(|t| t.recorder.checkpoint(&input, &self.memory));
        let memory = std::mem::take(&mut self.memory);
        let Outcome { decision, report, memory } = plan(&input, memory);
        self.memory = memory;
        let notes = check::judge(&limits, input.budget, &input.observation, &decision);
        let mut orders = Orders {
            next: Some(SimTime::from_timestamp(decision.next_tick)),
            forecast: report.demand.map(|d| [d.rate.low, d.rate.point, d.rate.high]),
            ..Orders::default()
        };
        let acts = check::may_act(&notes);
        if acts {
            for pool in &decision.pools {
                if let Some(target) = pool.target {
                    let why = format!("{}: {}", pool.reason.code(), pool.reason);
                    orders.want(pool.role, target.get(), why);
                }
            }
        }
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        if let Some(told) = told {
            let Told { recorder, out } = told;
            if let Some(checkpoint) = checkpoint {
                out(&Line::Checkpoint(Box::new(checkpoint)));
            }
            let writes = if acts { decision.writes() } else { Vec::new() };
            let carried_out = |write| WriteOutcome {
                write,
                path: Some("the simulated cluster".to_owned()),
                error: None,
            };
            let writes = writes.into_iter().map(carried_out).collect();
            let record = recorder.tick(Mode::Act, input, decision, report, notes.clone(), writes);
            out(&Line::Tick(Box::new(record)));
        }
        self.objections.extend(notes);
        orders
    }
}

impl Policy for Ours {
    fn first_tick(&self) -> Duration {
        self.setting.intervals.adjustment
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        self.step(view, None)
    }
}

/// Where the lines of decisions go.
struct Told<'a> {
    recorder: Recorder,
    out: &'a mut dyn FnMut(&Line),
}

/// Our planner, with each decision told as the lines of a record file.
pub struct Recorded<'a> {
    ours: Ours,
    told: Told<'a>,
}

impl<'a> Recorded<'a> {
    /// A planner that has just been started; `out` gets the lines of `recorder`, in order.
    pub fn new(setting: &Setting, recorder: Recorder, out: &'a mut dyn FnMut(&Line)) -> Self {
        Self { ours: Ours::new(setting), told: Told { recorder, out } }
    }

    /// As [`Ours::objections`].
    #[must_use]
    pub fn objections(&self) -> &[String] {
        self.ours.objections()
    }
}

impl fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ours, told: _ } = self;
        f.debug_struct("Recorded").field("ours", ours).finish_non_exhaustive()
    }
}

impl Policy for Recorded<'_> {
    fn first_tick(&self) -> Duration {
        self.ours.first_tick()
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        self.ours.step(view, Some(&mut self.told))
    }
}
