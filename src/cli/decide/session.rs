//! One session: what was agreed at its start, and what it remembers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::fields::Wrong;
use super::observe::{self, Known};
use super::protocol::{Answer, Decided, Explained, Init, InitPool, Message, Tick, read};
use crate::backtest::{PoolSetting, Setting};
use crate::check::{self, Note, PoolLimits};
use crate::plan::{Decision, Memory, Outcome, PlanInput, plan};
use crate::profile::EngineProfile;
use crate::spec::Intervals;
use crate::units::{Predictor, Role, Timestamp, Tokens};

/// Between two ticks. Longer, and a burst is answered later by as much; shorter, and a window counts
/// too few requests to tell a burst from chance. A start takes a minute or more: a tick longer than
/// a tenth of it shows in the result.
pub(super) const TICK: Duration = Duration::from_secs(5);

/// The intervals of the plan at a tick whose traffic covers `window`; all that is to be tuned is
/// here. What a line says is never old, so that the age of a metric has no part in it.
fn intervals(window: Duration) -> Intervals {
    Intervals { adjustment: TICK, window, ..Intervals::default() }
}

/// A planner that answers line by line.
#[derive(Debug)]
pub(super) struct Session {
    /// The profile of sessions that bring none.
    profile: Option<EngineProfile>,
    explain: bool,
    agreed: Option<Agreed>,
}

/// A session that has begun.
#[derive(Debug)]
struct Agreed {
    setting: Setting,
    context_length: Option<Tokens>,
    memory: Memory,
    previous: Option<Timestamp>,
}

impl Session {
    /// Nothing agreed yet.
    pub(super) const fn new(profile: Option<EngineProfile>, explain: bool) -> Self {
        Self { profile, explain, agreed: None }
    }

    /// Answers a line.
    pub(super) fn answer(&mut self, line: &str) -> Result<Answer, Wrong> {
        let agreed = self.agreed.as_ref();
        let roles: Vec<Role> =
            agreed.map(|a| a.setting.pools.keys().copied().collect()).unwrap_or_default();
        match (read(line, &roles)?, &mut self.agreed) {
            (Message::Init(init), _) => {
                self.agreed = Some(Agreed::on(*init, self.profile.as_ref())?);
                let initial_tick_ms = u64::try_from(TICK.as_millis()).unwrap_or(u64::MAX);
                Ok(Answer::Ready { initial_tick_ms })
            }
            (Message::Tick(tick), Some(agreed)) => {
                Ok(Answer::Decided(Box::new(agreed.decide(&tick, self.explain))))
            }
            (Message::Tick(_), None) => Err(Wrong::line("a tick before any init", "an init")),
        }
    }
}

impl Agreed {
    fn on(init: Init, profile: Option<&EngineProfile>) -> Result<Self, Wrong> {
        let engine = match (&init.profile, profile) {
            (Some((points, kv)), _) => EngineProfile::from_json_points("the profile", points, *kv)
                .map_err(|e| Wrong::field("profile", e.to_string(), "measured points"))?,
            (None, Some(profile)) => profile.clone(),
            (None, None) => {
                let expected = "points, or `--profile DIR` on the command line";
                return Err(Wrong::field("profile", "null", expected));
            }
        };
        let pools = init.pools.iter().map(|pool| {
            let InitPool { role, gpus, min, max, initial } = *pool;
            let setting = PoolSetting {
                engine: engine.clone(),
                measured: true,
                limits: init.limits,
                gpus,
                min,
                max,
                startup: init.startup,
                initial,
            };
            (role, setting)
        });
        let setting = Setting {
            sla: init.sla,
            pools: pools.collect(),
            budget: init.budget,
            intervals: intervals(TICK),
            predictor: Predictor::default(),
        };
        let context_length = init.context_length;
        Ok(Self { setting, context_length, memory: Memory::default(), previous: None })
    }

    fn decide(&mut self, tick: &Tick, explain: bool) -> Decided {
        let Setting { sla, pools, budget, intervals: _, predictor: _ } = &self.setting;
        let decodes = pools.iter().find(|(role, _)| **role != Role::Prefill).map(|(_, pool)| pool);
        let known = Known {
            percentile: sla.percentile,
            context_length: self.context_length,
            max_kv_tokens: decodes.map(|pool| pool.engine.decode().max_kv_tokens().get()),
            gpus: pools.iter().map(|(role, p)| (*role, p.gpus)).collect(),
            previous: self.previous,
        };
        let observation = observe::observation(tick, &known);
        let now = observation.at;
        let input = PlanInput {
            now,
            sla: *sla,
            pools: self.setting.pool_inputs(),
            budget: *budget,
            intervals: intervals(observation.traffic.window),
            predictor: self.setting.predictor,
            observation,
        };
        self.previous = Some(now);
        // A fault of ours must not end the session, nor move a replica. What was learned goes with it.
        let memory = std::mem::take(&mut self.memory);
        let outcome = catch_unwind(AssertUnwindSafe(|| plan(&input, memory)));
        let Ok(Outcome { decision, report, memory }) = outcome else {
            let next_tick_ms = now.plus(TICK).as_millis();
            return Decided { next_tick_ms, reason: PANIC, ..Decided::default() };
        };
        self.memory = memory;
        let limits: Vec<PoolLimits> = input.pools.iter().map(PoolLimits::from).collect();
        let notes = check::judge(&limits, input.budget, &input.observation, &decision);
        let decided = answer(&decision, &notes);
        let report = explain.then(|| Explained {
            observation: input.observation,
            decision,
            report,
            notes: notes.iter().map(ToString::to_string).collect(),
        });
        Decided { report, ..decided }
    }
}

/// The reason of an answer that our own fault spoiled.
const PANIC: &str = "panic";

/// The counts that change, and why: the reason of the first pool that changes, else of the first of
/// which too little is known, else of the first that is held, else of the first. Where the referee objects nothing changes, and its rule is the
/// reason.
fn answer(decision: &Decision, notes: &[Note]) -> Decided {
    let next_tick_ms = decision.next_tick.as_millis();
    if !check::may_act(notes) {
        let reason = notes.iter().max_by_key(|n| n.severity).map_or("", |n| n.rule.as_str());
        return Decided { next_tick_ms, reason, ..Decided::default() };
    }
    let targets: BTreeMap<Role, u32> =
        decision.writes().iter().map(|w| (w.role, w.to.get())).collect();
    let pools = &decision.pools;
    let moved = pools.iter().find(|p| targets.contains_key(&p.role));
    let unknown = pools.iter().find(|p| p.target.is_none());
    let held = pools.iter().find(|p| p.reason.is_hold());
    Decided {
        target_prefill: targets.get(&Role::Prefill).copied(),
        target_decode: targets.get(&Role::Decode).or(targets.get(&Role::Aggregated)).copied(),
        next_tick_ms,
        reason: moved.or(unknown).or(held).or(pools.first()).map_or("", |p| p.reason.code()),
        ..Decided::default()
    }
}

#[cfg(test)]
mod tests;
