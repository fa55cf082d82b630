//! Decisions in a loop with a fleet that carries them out.

use std::time::Duration;

use sla_planner::plan::compat::{Corrections, Dynamo09Observed, correct_dynamo_09};
use sla_planner::plan::{Decision, Reason, Write};
use sla_planner::units::{Millis, Replicas, Role, Tokens};

use super::Rival;
use super::fleet::{Dice, Fleet, INTERVAL, PrefillQueue, Seen, codes, outage};

/// What the rival keeps at (21, 8): 60,000 requests of 3,000 and 150 tokens in 180 s.
const BUSY: f64 = 60_000.0 / 180.0;

fn busy() -> Seen {
    Seen::load(BUSY, 3000.0, 150.0)
}

/// A fleet that grew to this load, and has served it for an hour.
fn settled(seen: Seen) -> Fleet {
    let mut fleet = Fleet::new(1, 1);
    for _ in 0..20 {
        fleet.tick(seen);
    }
    fleet
}

/// The TTFT of `engines` with cache hits of this share, by the rival's own formula.
fn ttft(alone: f64, rate: f64, hit: f64, engines: u32) -> f64 {
    let busy = rate / 1e3 * alone * (1.0 - hit) / f64::from(engines);
    alone * (1.0 - hit) / (1.0 - busy.min(0.999))
}

#[test]
fn d02_a_fleet_whose_first_tokens_are_late_grows() {
    let rival = Rival::h200();
    let alone = rival.prefill.ttft(3000.0);
    // 21 engines: 1,607 ms where 500 are promised, and the rival stays at 21 for ever, since it
    // takes a correction above 1 for 1.
    let per_engine = 1e3 * 3000.0 / rival.prefill.throughput_per_gpu(3000.0);
    let seen = ttft(per_engine, BUSY, 0.0, 21) * alone / per_engine;
    assert!((seen - 1607.0).abs() < 2.0, "{seen}");
    let corrections = Corrections { prefill: seen / alone, decode: 1.0 };
    assert_eq!(Rival { corrections, ..rival }.size(60_000.0, 3000.0, 150.0)[0], 21);

    let mut fleet = Fleet::new(21, 8);
    for _ in 0..10 {
        let late = ttft(alone, BUSY, 0.0, fleet.ready(0).max(21));
        let decision = fleet.tick(busy().with_ttft(late));
        assert!(decision.pools[0].target.is_some_and(|n| n.get() > 21), "{decision:?}");
    }
    let late = ttft(alone, BUSY, 0.0, fleet.ready(0));
    println!("{:?}, {late} ms", fleet.asked);
    assert!(late <= 500.0, "{late} ms with {:?}", fleet.asked);
}

#[test]
fn d03_cache_hits_make_no_cycle() {
    // The rival at constant load, every 180 s, by the share of hits.
    for (hit, cycle) in [(0.5, [20, 21, 20, 21]), (0.7, [9, 19, 9, 19]), (0.8, [6, 13, 6, 13])] {
        let rival = Rival::h200();
        let alone = rival.prefill.ttft(3000.0);
        let mut engines = cycle[1];
        let theirs = cycle.map(|_| {
            let seen = Dynamo09Observed {
                ttft: Millis::clamped(ttft(alone, BUSY, hit, engines)),
                itl: Millis::clamped(10.0),
                requests: 60_000.0,
                duration_s: 3.0,
                isl: Tokens::clamped(3000.0),
                osl: Tokens::clamped(150.0),
                interval_s: 180.0,
                decode_engines: Replicas::new(8),
            };
            let seen = correct_dynamo_09(&rival.prefill, &rival.decode, &seen).unwrap();
            let corrections = Corrections { decode: 1.0, ..seen };
            engines = Rival { corrections, ..Rival::h200() }.size(60_000.0, 3000.0, 150.0)[0];
            engines
        });
        assert_eq!(theirs, cycle, "hits of {hit}");

        let mut fleet = Fleet::new(cycle[0], 8);
        let mut counts = Vec::new();
        for _ in 0..60 {
            let seen = busy().with_ttft(ttft(alone, BUSY, hit, fleet.ready(0).max(1)));
            fleet.tick(seen);
            counts.push(fleet.asked[0]);
        }
        println!("hits of {hit}: {counts:?}");
        // Hits are learnt as engines that take less for a prompt: that moves a fleet to its place, and
        // does not swing it.
        let steps: Vec<i64> = counts
            .windows(2)
            .map(|w| i64::from(w[1]) - i64::from(w[0]))
            .filter(|step| *step != 0)
            .collect();
        let turns = steps.windows(2).filter(|w| w[0].signum() != w[1].signum()).count();
        assert!(turns <= 2, "{counts:?}");
        assert!(counts[35..].windows(2).all(|w| w[0] == w[1]), "{counts:?}");
    }
}

#[test]
fn d04_overload_is_seen_since_arrivals_are_counted() {
    let rival = Rival::h200();
    // Demand worth 5 engines on 2: 14,844 requests come in an interval, 5,938 are answered.
    let rate = 14_844.0 / 180.0;
    let mut fleet = Fleet::new(2, 2);
    let mut queue = PrefillQueue::new(&fleet.engine, 3000.0);
    let (answered, _) = queue.serve(rate, 2, INTERVAL);
    assert!((answered - 5938.0).abs() < 30.0, "{answered}");
    // The rival counts answers: 2 engines again, for ever.
    assert_eq!(rival.size(14_844.0, 3000.0, 150.0)[0], 5);
    assert_eq!(rival.size(answered, 3000.0, 150.0)[0], 2);

    queue.waiting = 0.0;
    let mut worst = 0.0_f64;
    for tick in 0..20 {
        let (_, late) = queue.serve(rate, fleet.ready(0), INTERVAL);
        worst = worst.max(late);
        fleet.tick(Seen::load(rate, 3000.0, 150.0).with_ttft(late));
        assert!(fleet.asked[0] > 5, "tick {tick}: {:?}", fleet.asked);
    }
    let (_, late) = queue.serve(rate, fleet.ready(0), INTERVAL);
    println!("{:?}: {worst} ms, then {late} ms", fleet.asked);
    assert!(worst > 60_000.0 && late < 500.0, "{worst} ms, then {late} ms");
    assert_eq!(queue.waiting, 0.0, "the backlog is gone");
}

#[test]
fn d05_an_idle_fleet_goes_down_to_its_minimum() {
    // The rival: averages of no request are NaN, the tick is skipped; (21, 8) after 20 intervals.
    let mut fleet = settled(busy());
    assert!(fleet.asked[0] >= 21, "{:?}", fleet.asked);
    let mut after = 0;
    for tick in 1..=20 {
        fleet.tick(Seen::IDLE);
        if fleet.asked != [1, 1] {
            after = tick;
        }
    }
    println!("(1, 1) after {} intervals", after + 1);
    assert_eq!(fleet.asked, [1, 1]);
    assert_eq!(codes(&fleet.tick(Seen::IDLE)), ["idle", "idle"]);
}

fn nothing_moves_in_an_outage_of(ticks: u32) {
    let mut fleet = settled(busy());
    let before = fleet.asked;
    for _ in 0..ticks {
        let decision = fleet.tick_on(outage(INTERVAL));
        assert_eq!(codes(&decision), ["hold_no_metrics", "hold_no_metrics"]);
        assert_eq!(fleet.asked, before);
    }
    for _ in 0..4 {
        fleet.tick(busy());
        assert!(fleet.asked >= before, "after the outage: {:?} for {before:?}", fleet.asked);
    }
}

#[test]
fn d06_an_outage_of_the_metrics_moves_nothing() {
    // The rival reads zeros: (21, 8) to (1, 1) in one tick.
    assert_eq!(Rival::h200().size(0.0, 0.0, 0.0), [1, 1]);
    for ticks in [1, 3, 10] {
        nothing_moves_in_an_outage_of(ticks);
    }
}

#[test]
fn w03_a_source_that_is_down_is_no_load_of_zero() {
    // 1.6.1 with the router as its source: 21 to 13 to 5 to 1 in three intervals.
    nothing_moves_in_an_outage_of(3);
    // Half of an answer is no better: arrivals that nobody could ask for, lengths and latencies there.
    let mut fleet = settled(busy());
    let before = fleet.asked;
    for _ in 0..20 {
        let mut traffic = busy().traffic(fleet.now, INTERVAL);
        traffic.arrivals = outage(INTERVAL).arrivals;
        assert_eq!(codes(&fleet.tick_on(traffic)), ["hold_no_metrics", "hold_no_metrics"]);
    }
    assert_eq!(fleet.asked, before);
}

#[test]
fn d07_no_live_decode_engine_is_no_reason_to_stop() {
    let rival = Rival::h200();
    let seen = Dynamo09Observed {
        ttft: Millis::clamped(100.0),
        itl: Millis::clamped(10.0),
        requests: 60_000.0,
        duration_s: 3.0,
        isl: Tokens::clamped(3000.0),
        osl: Tokens::clamped(150.0),
        interval_s: 180.0,
        decode_engines: Replicas::new(0),
    };
    assert_eq!(correct_dynamo_09(&rival.prefill, &rival.decode, &seen), None, "divides by zero");
    // Eight are asked for and none serves; then none is asked for.
    for asked in [8, 0] {
        let mut fleet = Fleet::new(2, asked);
        fleet.starting[1] = vec![fleet.now.plus(Duration::from_secs(1_000_000)); asked as usize];
        let decision = fleet.tick(busy());
        assert_eq!(codes(&decision)[0], "scale_up", "{decision:?}");
        assert!(fleet.asked[0] > 20 && fleet.asked[1] >= asked.max(1), "{:?}", fleet.asked);
    }
}

#[test]
fn d22_decisions_are_made_while_replicas_start_and_half_of_one_is_completed() {
    // The rival drops every decision while a pod starts. Here one never stops starting.
    let mut fleet = settled(Seen::load(BUSY / 20.0, 3000.0, 150.0));
    let low = fleet.asked;
    fleet.starting[0] = vec![fleet.now.plus(Duration::from_secs(1_000_000)); 2];
    assert_eq!(codes(&fleet.tick(busy())), ["scale_up", "scale_up"]);
    let high = fleet.asked;
    assert!(high[0] > 2 * low[0], "{low:?} to {high:?}");
    // Nor does one interval of less load undo it.
    fleet.tick(Seen::load(1.0, 3000.0, 150.0));
    assert_eq!(fleet.asked, high);
    for _ in 0..40 {
        fleet.tick(Seen::load(1.0, 3000.0, 150.0));
    }
    assert!(fleet.asked[0] <= low[0], "but two hours do: {:?}", fleet.asked);

    // Of two writes only one arrived: the next tick says the rest, and the same as before.
    let mut fleet = settled(Seen::load(BUSY / 20.0, 3000.0, 150.0));
    fleet.obeys = false;
    let both = fleet.tick(busy());
    let writes = both.writes();
    let [first, second] = writes[..] else { panic!("{both:?}") };
    fleet.asked[usize::from(first.role == Role::Decode)] = first.to.get();
    let rest = fleet.tick(busy());
    assert_eq!(rest.writes(), [second], "{rest:?}");
}

#[test]
fn w05_the_noise_of_arrivals_changes_nothing() {
    // 1.6.1: 103 changes between 7 and 8 in 200 intervals of 20,510 requests on average.
    let (mut dice, mut fleet) = (Dice(3), Fleet::new(7, 3));
    let mut changes = Vec::new();
    for tick in 0..200 {
        let requests = (20_510.0 + 20_510.0_f64.sqrt() * dice.normal()).round();
        let decision = fleet.tick(Seen::load(requests / 180.0, 3000.0, 150.0));
        changes.extend(decision.writes().iter().map(|w| (tick, *w)));
    }
    println!("{} changes: {changes:?}", changes.len());
    assert!(changes.len() <= 20, "{changes:?}");
}

#[test]
fn w06_a_burst_is_answered_at_once_and_some_late_engines_are_enough() {
    // 1.6.1 adds one engine a tick, and only while every engine is late.
    let calm = Seen::load(BUSY / 10.0, 3000.0, 150.0);
    let mut fleet = settled(calm);
    let (before, full) = (fleet.asked, settled(busy()).asked);
    let decision = fleet.tick(busy());
    assert_eq!(codes(&decision), ["scale_up", "scale_up"]);
    println!("{before:?} to {:?}, {full:?} after an hour", fleet.asked);
    assert!(fleet.asked[0] >= 21 && fleet.asked[0] >= before[0] + 10, "{:?}", fleet.asked);

    // Three of four engines 5 s behind, the fourth idle, at a load that the table says they carry:
    // the mean is 3.8 s, the 95th percentile 5 s. Nothing is given back, and engines are added.
    let mut fleet = settled(calm);
    let before = fleet.asked;
    for _ in 0..20 {
        let mut traffic = calm.with_ttft(5000.0).traffic(fleet.now, INTERVAL);
        let mean = Millis::new(3800.0).unwrap();
        traffic.ttft.mean = traffic.ttft.mean.map(|_| mean);
        fleet.tick_on(traffic);
        assert!(fleet.asked[0] >= before[0], "{before:?} to {:?}", fleet.asked);
    }
    println!("late engines: {before:?} to {:?}", fleet.asked);
    assert!(fleet.asked[0] > before[0], "{before:?} to {:?}", fleet.asked);
}

#[test]
fn w07_a_fleet_comes_back_from_zero() {
    // 1.6.1: load modes see no engine at zero and stay there for ever.
    let mut fleet = settled(Seen::load(20.0, 3000.0, 150.0));
    fleet.min = 0;
    for _ in 0..20 {
        fleet.tick(Seen::IDLE);
    }
    assert_eq!(fleet.asked, [0, 0]);
    assert_eq!(codes(&fleet.tick(Seen::IDLE)), ["idle", "idle"], "and stays there");
    assert_eq!(fleet.asked, [0, 0]);
    let decision = fleet.tick(Seen { lengths: None, latency: None, ..Seen::load(20.0, 0.0, 0.0) });
    assert!(fleet.asked[0] >= 2 && fleet.asked[1] >= 1, "{decision:?}");

    // Of a planner that was started at zero nobody knows how long requests are.
    let mut fleet = Fleet::new(0, 0);
    fleet.min = 0;
    let unknown = Seen { lengths: None, latency: None, ..Seen::load(20.0, 0.0, 0.0) };
    assert_eq!(codes(&fleet.tick(unknown)), ["wake", "wake"]);
    assert_eq!(fleet.asked, [1, 1]);
    assert_eq!(codes(&fleet.tick(Seen::load(20.0, 3000.0, 150.0)))[0], "scale_up");
}

#[test]
fn w09_a_write_that_failed_is_asked_for_again() {
    // 1.6.1: one failed write, and none of the five after it was sent.
    let mut fleet = settled(Seen::load(BUSY / 20.0, 3000.0, 150.0));
    fleet.obeys = false;
    let overloaded = Seen { latency: Some((20_000.0, 400.0)), ..busy() };
    let writes: Vec<Vec<Write>> = (0..6).map(|_| fleet.tick(overloaded).writes()).collect();
    assert_eq!(writes[0].len(), 2, "{writes:?}");
    for again in &writes[1..] {
        for (first, again) in writes[0].iter().zip(again) {
            assert_eq!((first.role, first.from), (again.role, again.from));
            assert!(again.to.get() * 5 >= first.to.get() * 4, "{writes:?}");
        }
        assert_eq!(again.len(), 2, "{writes:?}");
    }
    fleet.obeys = true;
    fleet.tick(busy());
    let same = |d: &Decision| d.pools.iter().all(|p| matches!(p.reason, Reason::Steady { .. }));
    let last = fleet.tick(busy());
    assert!(same(&last), "{last:?}");
}
