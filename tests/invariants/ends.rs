//! Where a history ends: idleness and silence (I8), stuck replicas (I9), restarts (I11).

use std::time::Duration;

use proptest::prelude::*;
use sla_planner::plan::{Decision, Memory, Reason};
use sla_planner::spec::{EngineLimits, Intervals, Sla};
use sla_planner::units::{Gpus, Millis, Percentile, Role};

use super::cases::{self, State, Tick, any_window, clear_window, history, idle_window};
use super::histories::calm;
use super::rules::Play;

/// Ticks until everything that was ever wanted has left the hold.
fn ticks_of_the_longest_hold(play: &Play) -> u32 {
    let intervals = &play.setup.intervals;
    // Rules hold a level for 80 minutes at most, never for less than twice the lead.
    let lead = play.setup.startup + intervals.adjustment;
    let longest = intervals.longest_hold.min((2 * lead).max(Duration::from_secs(4800)));
    let longest = longest + intervals.hold() + intervals.window;
    u32::try_from(longest.as_millis() / intervals.adjustment.as_millis().max(1)).unwrap() + 5
}

proptest! {
    #![proptest_config(super::cases(60))]

    #[test]
    fn i08_idleness_ends_at_the_minimum_and_silence_where_it_began((setup, ticks) in history(1..4)) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            play.step(&Tick { step: calm(&play, idle_window()).step, ..tick.clone() });
        }
        // Silence: only a limit of the user moves anything, and that at once.
        let mut silent = play.clone();
        let down = cases::Figure { value: 0.0, state: State::SourceDown };
        let nothing = cases::Window {
            rate: down.clone(),
            isl: down.clone(),
            osl: down.clone(),
            ttft: down.clone(),
            itl: down.clone(),
            inflight: down,
        };
        let tick = calm(&silent, nothing);
        silent.step(&tick);
        silent.step(&tick);
        let before = silent.asked.clone();
        for _ in 0..30 {
            let decision = silent.step(&tick).decision;
            let waits = |r: &Reason| r.is_hold() || matches!(r, Reason::WaitsForRoom { .. });
            prop_assert!(decision.pools.iter().all(|p| waits(&p.reason)), "{decision:?}");
        }
        prop_assert_eq!(&silent.asked, &before);

        // Idleness that every metric confirms.
        let tick = calm(&play, idle_window());
        let ticks = ticks_of_the_longest_hold(&play);
        // Two hours in steps of a second are left to those who have the time.
        if ticks <= 600 {
            for _ in 0..ticks {
                play.step(&tick);
            }
            for pool in &play.setup.pools {
                prop_assert_eq!(play.asked[&pool.role], pool.min, "{:?}", play.asked);
            }
        }
    }
}

proptest! {
    #![proptest_config(super::cases(200))]

    #[test]
    fn i09_replicas_that_are_stuck_block_nothing(
        (setup, ticks) in history(1..6),
        odd in [0..5_u32, 0..5_u32],
    ) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            let mut stuck = tick.clone();
            for (seen, odd) in stuck.seen.iter_mut().zip(odd) {
                seen.1[2] = odd;
            }
            let (some, other) = (play.decide(tick).decision, play.decide(&stuck).decision);
            for (some, other) in some.pools.iter().zip(&other.pools) {
                let (Some(some), Some(other)) = (some.target, other.target) else { continue };
                // One more beside those that hang.
                prop_assert!(some.get().abs_diff(other.get()) <= 1, "{some} {other}");
            }
            play.step(tick);
        }
    }

    #[test]
    fn i11_a_planner_that_was_restarted_takes_nothing_away_before_it_has_seen_a_whole_hold(
        (setup, ticks) in history(1..6),
        windows in prop::collection::vec(any_window(), 1..12),
    ) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            play.step(tick);
        }
        play.memory = Memory::default();
        let restarted = play.now;
        for window in windows {
            let tick = calm(&play, window);
            let now = play.now;
            let decision = play.step(&tick).decision;
            if now.since(restarted) >= play.setup.intervals.hold() {
                break;
            }
            for write in decision.writes().iter().filter(|w| w.to < w.from) {
                let reason = &decision.pools.iter().find(|p| p.role == write.role).unwrap().reason;
                prop_assert!(matches!(reason, Reason::IntoLimits), "{decision:?}");
            }
        }
    }

    #[test]
    fn i11_half_of_the_writes_is_completed_at_the_next_tick((setup, ticks) in history(1..6)) {
        let mut play = Play::begin(&setup);
        for tick in &ticks {
            let whole = Tick { arrive: 2, meddled: None, step: 0, ..tick.clone() };
            let (mut all, mut half) = (play.clone(), play.clone());
            let first = all.step(&whole).decision;
            let arrived = half.step(&Tick { arrive: 1, ..whole.clone() }).decision.writes().len();
            if arrived == 2 {
                // The process ended between the two: what it knew is gone, or was kept.
                let wanted = all.asked.clone();
                all.step(&whole);
                let next = half.step(&whole).decision;
                // Of two cuts into the budget the first may have been enough by itself.
                let cut = |n: &u32, role| *n > all.asked[role] && n <= &play.asked[role];
                // Of replicas that are there some may hang by now, and one more is asked for; those
                // whose write did not arrive cannot.
                let hangs = |role: &Role| {
                    let i = play.setup.pools.iter().position(|p| p.role == *role).unwrap();
                    whole.seen[i].1[0] > 0 || whole.seen[i].1[2] > 0
                };
                let replaced = |n: &u32, role| n + 1 == all.asked[role] && hangs(role);
                // Whom those who wait wait for follows from what is there: with the first write arrived it
                // may be other pools than before, and both are sized for that.
                let drains = |decision: &Decision| -> Vec<Role> {
                    let pools = decision.pools.iter();
                    let drain = pools.filter(|p| matches!(p.reason, Reason::DrainBacklog { .. }));
                    drain.map(|p| p.role).collect()
                };
                let moved = drains(&first) != drains(&next);
                let awaited = |n: &u32, role| moved && *n >= play.asked[role].min(all.asked[role]);
                for (role, n) in &half.asked {
                    // Where all had arrived, one step more may come of that.
                    let same = *n == wanted[role]
                        || *n == all.asked[role]
                        || cut(n, role)
                        || replaced(n, role)
                        || awaited(n, role);
                    prop_assert!(same, "{half:?} {all:?}");
                }
            }
            play.step(&Tick { step: calm(&play, idle_window()).step, ..tick.clone() });
        }
    }
}

/// What a property found: the budget holds what is to serve and not one more; a decode engine hangs,
/// and prefill has none.
#[test]
fn i09_one_more_beside_what_hangs_takes_no_room_from_a_pool_that_waits() {
    let pool = |role, gpus, min, asked| cases::PoolSetup { role, gpus, min, max: None, asked };
    let setup = cases::Setup {
        engine: 0,
        pools: vec![pool(Role::Prefill, 1, 0, 0), pool(Role::Decode, 3, 2, 59)],
        limits: EngineLimits { max_num_batched_tokens: 24_477, ..EngineLimits::default() },
        sla: Sla {
            ttft: Millis::clamped(5731.0),
            itl: Millis::clamped(2785.0),
            percentile: Percentile::new(99.0).unwrap(),
            ..Sla::default()
        },
        budget: Some(Gpus::new(57)),
        intervals: Intervals { adjustment: Duration::from_secs(225), ..Intervals::default() },
        startup: Duration::from_secs(862),
    };
    let mut play = Play::begin(&setup);
    let mut hanging = calm(&play, clear_window(105.8, 168.0, 1358.0));
    hanging.seen[1].1 = [2, 0, 4];
    let mut waits = 0;
    for _ in 0..40 {
        play.step(&hanging);
        waits = if play.asked[&Role::Prefill] == 0 { waits + 1 } else { 0 };
    }
    assert_eq!(waits, 0, "prefill has engines: {:?}", play.asked);
}
