//! Any history: every rule of a tick (I1, I2, I3), the same again (I5), nothing taken back (I7).

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use sla_planner::plan::{Memory, PoolDecision, Reason, plan};
use sla_planner::record::{Line, Record, VERSION};
use sla_planner::spec::Mode;
use sla_planner::units::{Role, Timestamp};

use super::cases::{self, Tick, calm_history, history};
use super::rules::Play;

proptest! {
    #![proptest_config(super::cases(300))]

    #[test]
    fn i01_i02_i03_every_decision_of_any_history_keeps_the_rules((setup, ticks) in history(1..12)) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            play.step(tick);
        }
    }

    #[test]
    fn i05_what_was_recorded_decides_the_same_again((setup, ticks) in history(1..5)) {
        let mut play = Play::begin(&setup);
        let (last, before) = ticks.split_last().unwrap();
        for tick in before {
            play.step(tick);
        }
        let line = |play: &Play, memory: &Memory, observation: &str| {
            let observation = serde_json::from_str(observation).unwrap();
            let input = play.setup.input(play.now, observation);
            let outcome = plan(&input, memory.clone());
            let record = Record {
                version: VERSION,
                run: "a run".to_owned(),
                seq: 7,
                checkpoint: Some(3),
                at: input.now,
                dgd: "llm/chat".to_owned(),
                mode: Mode::Act,
                sla: input.sla,
                budget: input.budget,
                observation: input.observation,
                decision: outcome.decision,
                report: outcome.report,
                notes: Vec::new(),
                writes: Vec::new(),
            };
            let record = Line::Tick(Box::new(record));
            let line = record.to_text().unwrap();
            prop_assert_eq!(&Line::read(&line).unwrap(), &record);
            Ok((line, serde_json::to_string(&outcome.memory).unwrap()))
        };
        let observation = serde_json::to_string(&play.input(last).observation).unwrap();
        let first = line(&play, &play.memory, &observation)?;
        // From the memory as it was, and from one that was written down and read again.
        let read = serde_json::from_str(&serde_json::to_string(&play.memory).unwrap()).unwrap();
        prop_assert_eq!(&first, &line(&play, &read, &observation)?);
        prop_assert_eq!(&first, &line(&play, &play.memory, &observation)?);
    }

    #[test]
    fn i07_what_was_added_is_not_taken_back_within_the_hold((setup, windows) in calm_history(2..30)) {
        let mut play = Play::begin(&setup);
        let mut grown: BTreeMap<Role, Timestamp> = BTreeMap::new();
        let hold = setup.intervals.hold();
        for window in windows {
            let tick = calm(&play, window);
            let now = play.now;
            let decision = play.step(&tick).decision;
            for write in decision.writes() {
                if write.to > write.from {
                    grown.insert(write.role, now);
                    continue;
                }
                let reason = &decision.pools.iter().find(|p| p.role == write.role).unwrap().reason;
                let since = grown.get(&write.role).map(|at| now.since(*at));
                let limits = matches!(reason, Reason::IntoLimits);
                prop_assert!(limits || since.is_none_or(|s| s > hold), "{since:?} of {hold:?}: {decision:?}");
            }
        }
    }

    #[test]
    fn planning_twice_changes_nothing((setup, ticks) in history(1..8)) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            let mut again = play.clone();
            let tick = Tick { arrive: 2, meddled: None, step: 0, ..tick.clone() };
            let first = again.step(&tick).decision;
            let second = again.step(&tick).decision;
            // A pool that waits for another one to make room gets it now. What waited for one pool waits,
            // by what is seen again, for the other; where it is served, both are sized for what comes
            // alone, and a smaller decode pool, though it is held, steps slower. What was above its limit
            // goes on from there. Nothing else moves.
            let waited = |d: &PoolDecision| matches!(d.reason, Reason::DrainBacklog { .. });
            let drained = first.pools.iter().any(waited);
            for write in second.writes() {
                let was = first.pools.iter().find(|p| p.role == write.role).unwrap();
                let now = second.pools.iter().find(|p| p.role == write.role).unwrap();
                let more =
                    drained || waited(now) || matches!(was.reason, Reason::WaitsForRoom { .. });
                let goes_on = matches!(was.reason, Reason::IntoLimits);
                prop_assert!(
                    goes_on || more && write.to > write.from,
                    "{first:?}, then {second:?}"
                );
            }
            let third = again.step(&tick).decision;
            prop_assert_eq!(third.writes(), vec![], "{:?}, then {:?}", second, third);
            play.step(&Tick { step: tick_ms(&play), ..tick });
        }
    }
}

fn tick_ms(play: &Play) -> i64 {
    i64::try_from(play.setup.intervals.adjustment.max(Duration::from_secs(1)).as_millis()).unwrap()
}

/// A tick at which everything is seen and every write arrives.
pub(super) fn calm(play: &Play, window: cases::Window) -> Tick {
    Tick {
        step: tick_ms(play),
        window,
        seen: [(cases::State::Fresh, [0; 3]); 2],
        arrive: 2,
        meddled: None,
    }
}
