//! What must hold at every tick, checked by hand: the referee is asked beside it.

use std::collections::BTreeMap;

use sla_planner::check::{PoolLimits, judge};
use sla_planner::plan::{Decision, Memory, Outcome, PlanInput, plan};
use sla_planner::units::{Gpus, Replicas, Role, Timestamp};

use super::cases::{Setup, State, Tick};

/// A planner in the middle of a history.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub(crate) setup: Setup,
    pub(crate) now: Timestamp,
    pub(crate) memory: Memory,
    pub(crate) asked: BTreeMap<Role, u32>,
    /// How many of them were asked for before this moment; the others have only just been.
    before: BTreeMap<Role, u32>,
}

impl Play {
    pub(crate) fn begin(setup: &Setup) -> Self {
        Self {
            setup: setup.clone(),
            now: Timestamp::from_millis(1_000_000_000_000),
            memory: Memory::default(),
            asked: setup.asked(),
            before: setup.asked(),
        }
    }

    pub(crate) fn input(&self, tick: &Tick) -> PlanInput<'static> {
        let observation = tick.observation(self.now, &self.setup, &self.asked, &self.before);
        self.setup.input(self.now, observation)
    }

    /// Decides once and checks every rule of a single tick. Nothing is carried out.
    pub(crate) fn decide(&self, tick: &Tick) -> Outcome {
        let input = self.input(tick);
        let outcome = plan(&input, self.memory.clone());
        let limits: Vec<PoolLimits> = input.pools.iter().map(PoolLimits::from).collect();
        let notes = judge(&limits, input.budget, &input.observation, &outcome.decision);
        assert_eq!(notes, [], "the referee objects: {:?}", outcome.decision);
        self.is_legal(tick, &outcome.decision);
        outcome
    }

    /// Carries out what arrives of the writes.
    pub(crate) fn carry_out(&mut self, decision: &Decision, arrive: usize) {
        for write in decision.writes().iter().take(arrive) {
            self.asked.insert(write.role, write.to.get());
        }
    }

    /// Decides, carries out, lets others meddle, and moves the clock.
    pub(crate) fn step(&mut self, tick: &Tick) -> Outcome {
        let outcome = self.decide(tick);
        self.carry_out(&outcome.decision, tick.arrive);
        if let Some((pool, n)) = tick.meddled {
            let role = self.setup.pools[pool % self.setup.pools.len()].role;
            self.asked.insert(role, n);
        }
        self.memory = outcome.memory.clone();
        self.now = Timestamp::from_millis(self.now.as_millis() + tick.step);
        for (role, before) in &mut self.before {
            let asked = self.asked[role];
            *before = if tick.step == 0 { asked.min(*before) } else { asked };
        }
        outcome
    }

    /// I1, I2 and I3 of one decision, and that every pool has a reason.
    fn is_legal(&self, tick: &Tick, decision: &Decision) {
        let setup = &self.setup;
        let mut asked = self.asked.clone();
        let known = |i: usize| matches!(tick.seen[i].0, State::Fresh | State::Late | State::Frozen);
        let all_known = (0..setup.pools.len()).all(known);
        let budget = setup.budget.map(|b| u64::from(b.get()));
        let before = setup.gpus(&asked);
        assert_eq!(decision.pools.len(), setup.pools.len());
        for (i, (pool, d)) in setup.pools.iter().zip(&decision.pools).enumerate() {
            assert_eq!(d.role, pool.role);
            assert!(!d.reason.code().is_empty() && !d.reason.to_string().is_empty());
            assert_eq!(d.current.map(Replicas::get), known(i).then_some(asked[&pool.role]));
            assert!(known(i) || d.target.is_none(), "a count that was not seen: {d:?}");
        }
        for write in decision.writes() {
            let pool = setup.pools.iter().find(|p| p.role == write.role).unwrap();
            let (from, to) = (write.from.get(), write.to.get());
            let max = pool.max.unwrap_or(u32::MAX);
            // I1: inside, or on the way there.
            assert!(to >= pool.min || to > from, "{write:?} below {}", pool.min);
            assert!(to <= max || to < from, "{write:?} above {max}");
            asked.insert(write.role, to);
            // I2: after every single write, what grows stays within the budget.
            if let Some(budget) = budget.filter(|_| to > from) {
                assert!(setup.gpus(&asked) <= budget, "{asked:?} of {budget}: {decision:?}");
                assert!(all_known, "grew beside a pool that was not seen: {decision:?}");
            }
            // I3: fewer only on fresh signals, or for a limit of the user.
            let fresh = tick.window.allows_fewer()
                && (0..setup.pools.len()).all(|i| tick.seen[i].0 == State::Fresh);
            let over = budget.is_some_and(|b| before > b && all_known) || from > max;
            assert!(
                to > from || fresh || over || self.is_over_by_what_is_seen(tick),
                "{decision:?}"
            );
        }
        // The limits of the user are obeyed at once where everything is seen.
        if let Some(budget) = budget.filter(|_| all_known) {
            let least: u64 = setup.pools.iter().map(|p| u64::from(p.min) * u64::from(p.gpus)).sum();
            let total = setup.gpus(&asked);
            assert!(total <= budget.max(least), "{asked:?}: {total} of {budget}: {decision:?}");
        }
        for (i, pool) in setup.pools.iter().enumerate().filter(|(i, _)| known(*i)) {
            let n = asked[&pool.role];
            assert!(pool.max.is_none_or(|max| n <= max), "{i} {decision:?}");
            let waits = budget.is_some() && n < pool.min;
            assert!(n >= pool.min || waits, "{i} {decision:?}");
        }
    }

    /// Whether the pools that are seen alone take more than the budget.
    fn is_over_by_what_is_seen(&self, tick: &Tick) -> bool {
        let seen =
            self.setup.pools.iter().zip(&tick.seen).filter(|(_, (state, _))| {
                matches!(state, State::Fresh | State::Late | State::Frozen)
            });
        let gpus: u64 = seen.map(|(p, _)| u64::from(self.asked[&p.role]) * u64::from(p.gpus)).sum();
        self.setup.budget.is_some_and(|b| gpus > u64::from(b.get()))
    }

    /// The GPUs of the counts that a decision ends at.
    pub(crate) fn gpus_of(&self, decision: &Decision) -> Gpus {
        let mut after = self.clone();
        after.carry_out(decision, usize::MAX);
        Gpus::new(u32::try_from(self.setup.gpus(&after.asked)).unwrap_or(u32::MAX))
    }
}
