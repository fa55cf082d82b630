//! Flows with a fake clock: decision, reason and memory step by step.

use std::time::Duration;

use super::*;
use crate::check::{PoolLimits, judge};
use crate::observe::{Inventory, Missing, Observation, ReplicaStart, StuckReplica, Traffic};
use crate::plan::Awaited;
use crate::profile::{EngineProfile, library};
use crate::spec::{EngineLimits, Intervals, Sla};
use crate::units::{PerSecond, Percentile, Predictor, Timestamp, Tokens};

mod history;
mod properties;

const STEP: Duration = Duration::from_secs(60);

struct Bench {
    engine: EngineProfile,
    now: Timestamp,
    memory: Memory,
    budget: Option<Gpus>,
    counts: [u32; 2],
    min: u32,
    max: Option<u32>,
    stabilization: Duration,
    unseen: Option<Role>,
    slots: u32,
    ttft: f64,
    gpus: [u32; 2],
    queued: Option<f64>,
    starts: Vec<ReplicaStart>,
    starts_in: Role,
    stuck: Vec<StuckReplica>,
    measured: bool,
    kv: Option<f64>,
    itl: Option<f64>,
    awaited: Vec<Awaited>,
}

fn fresh_ms(ms: f64, at: Timestamp) -> Signal<Millis> {
    Signal::Fresh { value: Millis::new(ms).unwrap(), at }
}

/// What the metrics say at one tick.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Load(f64),
    Late(f64),
    Slow(f64),
    Shapeless(f64),
    Nothing,
}

impl Bench {
    fn new() -> Self {
        Self {
            engine: library::get(library::DEFAULT).unwrap(),
            now: Timestamp::from_millis(1_000_000),
            memory: Memory::default(),
            budget: None,
            counts: [1, 1],
            min: 1,
            max: None,
            stabilization: 3 * STEP,
            unseen: None,
            slots: EngineLimits::default().max_num_seqs,
            ttft: 500.0,
            gpus: [1, 1],
            queued: None,
            starts: Vec::new(),
            starts_in: Role::Prefill,
            stuck: Vec::new(),
            measured: true,
            kv: None,
            itl: None,
            awaited: Vec::new(),
        }
    }

    fn observation(&self, seen: Seen) -> Observation {
        let gone = Missing::SourceDown { detail: "connection refused".into() };
        let p = Percentile::default();
        let mut traffic = Traffic::all_missing(STEP, p, &gone);
        let age = if matches!(seen, Seen::Late(_)) { 300 } else { 5 };
        let at = self.now.minus(Duration::from_secs(age));
        let limit = Duration::from_secs(30);
        let (rate, ttft) = match seen {
            Seen::Nothing => (None, 0.0),
            Seen::Load(r) | Seen::Late(r) | Seen::Shapeless(r) => (Some(r), 100.0),
            Seen::Slow(r) => (Some(r), 2000.0),
        };
        if let Some(rate) = rate {
            traffic.arrivals = Signal::aged(PerSecond::new(rate).unwrap(), at, self.now, limit);
            if rate > 0.0 && !matches!(seen, Seen::Shapeless(_)) {
                let tokens = |n| Signal::aged(Tokens::new(n).unwrap(), at, self.now, limit);
                let ms = |n| Signal::aged(Millis::new(n).unwrap(), at, self.now, limit);
                traffic.isl = tokens(3000.0);
                traffic.osl = tokens(150.0);
                traffic.ttft.quantile = ms(ttft);
                traffic.itl.quantile = ms(10.0);
            } else {
                traffic.isl = Signal::missing(Missing::NoSamples);
                traffic.osl = Signal::missing(Missing::NoSamples);
                traffic.ttft.quantile = Signal::missing(Missing::NoSamples);
                traffic.itl.quantile = Signal::missing(Missing::NoSamples);
            }
        }
        let fresh = |value| Signal::Fresh { value, at: self.now };
        if let Some(n) = self.queued {
            traffic.queued = fresh(n);
        }
        if let Some(itl) = self.itl {
            traffic.itl.mean = fresh_ms(itl, self.now);
        }
        if let Some(share) = self.kv {
            traffic.kv_usage = Signal::Fresh { value: Share::clamped(share), at: self.now };
        }
        let pool = |role, n| {
            let mut value = PoolInventory::steady(n);
            if role == self.starts_in {
                (value.starts, value.stuck) = (self.starts.clone(), self.stuck.clone());
                let starting = self.starts.iter().filter(|s| s.ready.is_none()).count();
                value.starting = Replicas::new(u32::try_from(starting).unwrap());
                value.ready = Replicas::new(n - value.starting.get());
            }
            let known = Signal::Fresh { value, at: self.now };
            (role, if self.unseen == Some(role) { Signal::missing(gone.clone()) } else { known })
        };
        let [prefill, decode] = self.counts;
        let pools = [pool(Role::Prefill, prefill), pool(Role::Decode, decode)];
        Observation { at: self.now, traffic, inventory: Inventory { pools: pools.into() } }
    }

    /// Decides, carries the decision out, and goes on by one step.
    fn tick(&mut self, seen: Seen) -> Decision {
        let observation = self.observation(seen);
        let [prefill, decode] = self.gpus;
        let pool = |role, gpus| PoolInput {
            role,
            engine: &self.engine,
            limits: EngineLimits { max_num_seqs: self.slots, ..EngineLimits::default() },
            gpus_per_replica: Gpus::new(gpus),
            min: Replicas::new(self.min),
            max: self.max.map(Replicas::new),
            startup: STEP,
            measured: self.measured,
        };
        let input = PlanInput {
            now: self.now,
            sla: Sla { ttft: Millis::new(self.ttft).unwrap(), ..Sla::default() },
            pools: vec![pool(Role::Prefill, prefill), pool(Role::Decode, decode)],
            budget: self.budget,
            intervals: Intervals {
                scale_down_stabilization: self.stabilization,
                adjustment: STEP,
                window: STEP,
                // What is learnt about holding has its own tests in `forecast`.
                longest_hold: STEP / 2,
                ..Intervals::default()
            },
            predictor: Predictor::default(),
            observation,
        };
        let outcome = plan(&input, self.memory.clone());
        assert_eq!(outcome, plan(&input, self.memory.clone()), "same input, same answer");
        let limits: Vec<PoolLimits> = input.pools.iter().map(PoolLimits::from).collect();
        let notes = judge(&limits, input.budget, &input.observation, &outcome.decision);
        assert_eq!(notes, [], "{:?}", outcome.decision);
        self.memory = outcome.memory;
        self.awaited = outcome.report.awaited;
        for (count, p) in self.counts.iter_mut().zip(&outcome.decision.pools) {
            if let Some(n) = p.target {
                *count = n.get();
            }
        }
        self.now = self.now.plus(STEP);
        outcome.decision
    }

    fn codes(&mut self, seen: Seen) -> [&'static str; 2] {
        let d = self.tick(seen);
        [d.pools[0].reason.code(), d.pools[1].reason.code()]
    }
}

#[test]
fn load_up_and_down_is_followed_and_the_way_down_waits_for_the_window() {
    let mut b = Bench::new();
    assert_eq!(b.codes(Seen::Load(60.0))[0], "scale_up");
    let high = b.counts;
    assert!(high[0] > 3, "{high:?}");
    assert_eq!(b.codes(Seen::Load(60.0)), ["steady", "steady"], "planning twice changes nothing");
    for _ in 0..3 {
        assert_eq!(b.codes(Seen::Load(5.0))[0], "hold_stabilizing");
        assert_eq!(b.counts[0], high[0]);
    }
    assert_eq!(b.codes(Seen::Load(5.0))[0], "scale_down");
    assert_eq!(b.counts[0], 1);
}

#[test]
fn no_traffic_by_fresh_metrics_goes_down_to_the_minimum_and_no_data_never_does() {
    let mut b = Bench::new();
    b.tick(Seen::Load(60.0));
    let high = b.counts;
    for _ in 0..30 {
        assert_eq!(b.codes(Seen::Nothing), ["hold_no_metrics", "hold_no_metrics"]);
    }
    assert_eq!(b.counts, high);
    let mut last = ["", ""];
    for _ in 0..4 {
        last = b.codes(Seen::Load(0.0));
    }
    assert_eq!(last[0], "idle");
    assert_eq!(b.counts, [1, 1]);
}

#[test]
fn stale_metrics_may_add_a_replica_but_not_take_one() {
    let mut b = Bench::new();
    for _ in 0..5 {
        b.tick(Seen::Load(20.0));
    }
    let before = b.counts;
    assert_eq!(b.codes(Seen::Late(60.0))[0], "scale_up");
    assert!(b.counts[0] > before[0]);
    for _ in 0..10 {
        assert_eq!(b.codes(Seen::Late(5.0))[0], "hold_not_fresh");
    }
    assert_eq!(b.codes(Seen::Late(0.0))[0], "hold_no_metrics");
}

#[test]
fn a_latency_seen_over_target_takes_no_replica_away() {
    let mut b = Bench::new();
    b.tick(Seen::Load(60.0));
    for _ in 0..4 {
        b.tick(Seen::Slow(5.0));
    }
    assert_eq!(b.codes(Seen::Slow(5.0))[0], "hold_latency");
}

#[test]
fn a_planner_just_started_takes_nothing_away_before_one_window() {
    let mut b = Bench::new();
    b.counts = [9, 9];
    for _ in 0..3 {
        assert_eq!(b.codes(Seen::Load(5.0)), ["hold_stabilizing", "hold_stabilizing"]);
    }
    assert_eq!(b.codes(Seen::Load(5.0)), ["scale_down", "scale_down"]);
}

#[test]
fn after_a_gap_in_the_metrics_a_whole_window_is_seen_before_a_replica_is_taken_away() {
    let mut b = Bench::new();
    for _ in 0..5 {
        b.tick(Seen::Load(60.0));
    }
    let high = b.counts;
    for _ in 0..6 {
        b.tick(Seen::Nothing);
    }
    // The first rates after a gap rest on few samples, and may be far too low.
    assert_eq!(b.codes(Seen::Load(5.0))[0], "hold_stabilizing");
    assert_eq!(b.counts, high);
}

#[test]
fn a_window_that_is_half_empty_takes_no_replica_away_however_short_the_stabilisation() {
    for gap in [0, 1, 5] {
        let mut b = Bench::new();
        b.stabilization = Duration::from_secs(1);
        for _ in 0..5 {
            b.tick(Seen::Load(60.0));
        }
        let high = b.counts;
        for _ in 0..gap {
            b.tick(Seen::Nothing);
        }
        // The same load: the first rate after the gap is over a window with few samples in it.
        for rate in [10.0, 60.0, 60.0, 60.0] {
            b.tick(Seen::Load(rate));
            assert_eq!(b.counts, high, "gap of {gap} ticks, rate {rate}");
        }
    }
}

#[test]
fn limits_are_kept_at_every_step() {
    let mut b = Bench::new();
    b.budget = Some(Gpus::new(6));
    b.max = Some(4);
    let d = b.tick(Seen::Load(500.0));
    assert!(d.pools.iter().all(|p| p.reason.code() == "limited"), "{d:?}");
    assert!(b.counts[0] <= 4 && b.counts[0] + b.counts[1] <= 6, "{:?}", b.counts);
    b.counts = [9, 1];
    b.budget = None;
    assert_eq!(b.codes(Seen::Load(5.0))[0], "into_limits");
    assert_eq!(b.counts[0], 4);
}

#[test]
fn a_pool_that_grows_waits_for_the_one_that_makes_room() {
    let mut b = Bench::new();
    b.budget = Some(Gpus::new(8));
    b.counts = [2, 6];
    let d = b.tick(Seen::Load(40.0));
    assert!(b.counts[0] + b.counts[1] <= 8, "{d:?}");
    let wait = &d.pools[0].reason;
    assert!(matches!(wait, Reason::WaitsForRoom { wanted } if wanted.get() > 2), "{wait:?}");
    for _ in 0..5 {
        b.tick(Seen::Load(40.0));
        assert!(b.counts[0] + b.counts[1] <= 8, "{:?}", b.counts);
    }
    assert!(b.counts[0] > 2 && b.counts[1] < 6, "room was made in the end: {:?}", b.counts);
}

#[test]
fn limits_are_obeyed_without_a_single_metric() {
    let mut b = Bench::new();
    (b.min, b.max, b.counts) = (3, Some(6), [1, 9]);
    assert_eq!(b.codes(Seen::Nothing), ["into_limits", "into_limits"]);
    assert_eq!(b.counts, [3, 6]);
    assert_eq!(b.codes(Seen::Nothing), ["hold_no_metrics", "hold_no_metrics"]);
    b.budget = Some(Gpus::new(7));
    assert_eq!(b.codes(Seen::Nothing), ["hold_no_metrics", "into_limits"]);
    assert_eq!(b.counts, [3, 4]);
}

#[test]
fn requests_whose_length_nobody_knows_wake_a_fleet_of_none() {
    let mut b = Bench::new();
    (b.min, b.counts) = (0, [0, 0]);
    assert_eq!(b.codes(Seen::Nothing), ["hold_no_metrics", "hold_no_metrics"]);
    assert_eq!(b.codes(Seen::Shapeless(3.0)), ["wake", "wake"]);
    assert_eq!(b.counts, [1, 1]);
    assert_eq!(b.codes(Seen::Shapeless(3.0)), ["hold_no_shape", "hold_no_shape"]);
}

#[test]
fn a_budget_lowered_below_what_runs_is_obeyed_on_stale_and_on_slow_metrics() {
    for seen in [Seen::Late(5.0), Seen::Slow(5.0)] {
        let mut b = Bench::new();
        b.counts = [9, 9];
        b.tick(seen);
        assert_eq!(b.counts, [9, 9], "without a budget nothing is urgent");
        b.budget = Some(Gpus::new(13));
        assert_eq!(b.codes(seen), ["into_limits", "into_limits"]);
        assert_eq!(b.counts[0] + b.counts[1], 13, "no more than the budget takes: {:?}", b.counts);
        let before = b.counts;
        b.tick(seen);
        assert_eq!(b.counts, before, "planning twice changes nothing");
    }
}

#[test]
fn a_huge_count_above_the_budget_is_cut_at_once() {
    let mut b = Bench::new();
    b.counts = [u32::MAX / 2, 3];
    b.budget = Some(Gpus::new(5));
    b.tick(Seen::Nothing);
    assert_eq!(b.counts, [2, 3]);
}

#[test]
fn nothing_grows_into_a_budget_of_which_a_share_is_unknown() {
    let mut b = Bench::new();
    b.unseen = Some(Role::Decode);
    b.counts = [1, 40];
    b.budget = Some(Gpus::new(48));
    assert_eq!(b.codes(Seen::Load(60.0)), ["hold_budget_unknown", "hold_no_inventory"]);
    assert_eq!(b.counts, [1, 40]);
    b.budget = None;
    assert_eq!(b.codes(Seen::Load(60.0))[0], "scale_up");
}

#[test]
fn a_late_first_token_holds_a_decode_pool_whose_slots_are_full() {
    for (slots, code) in [(4, "hold_latency"), (256, "scale_down")] {
        let mut b = Bench::new();
        b.slots = slots;
        b.tick(Seen::Load(60.0));
        for _ in 0..4 {
            b.tick(Seen::Slow(30.0));
        }
        b.counts[1] += 20;
        assert_eq!(b.codes(Seen::Slow(30.0)), ["hold_latency", code], "{slots} slots");
    }
}

#[test]
fn what_waits_already_is_answered_at_once_and_where_it_waits() {
    let mut b = Bench::new();
    b.tick(Seen::Load(30.0));
    let before = b.counts;
    b.queued = Some(10.0);
    b.tick(Seen::Load(30.0));
    assert_eq!(b.counts, before, "as many wait as may");
    b.queued = Some(9_000.0);
    assert_eq!(b.codes(Seen::Load(30.0))[0], "drain_backlog");
    // What the fleet has not served when new replicas come is to be gone a minute later.
    assert!(b.counts[0] >= 2 * before[0] && b.counts[0] < 9 * before[0], "{:?}", b.counts);
    assert_eq!(b.counts[1], before[1], "they wait for prefill");
    let grown = b.counts;
    b.tick(Seen::Load(30.0));
    assert_eq!(b.counts, grown, "once");
}

#[test]
fn what_waits_for_a_fleet_of_none_is_answered_by_both_pools_at_once() {
    let mut plain = Bench::new();
    (plain.min, plain.counts) = (0, [0, 0]);
    plain.tick(Seen::Load(30.0));
    let mut b = Bench::new();
    (b.min, b.counts, b.queued) = (0, [0, 0], Some(9_000.0));
    b.tick(Seen::Load(30.0));
    let more = b.counts.iter().zip(plain.counts).all(|(more, plain)| *more > plain);
    assert!(more, "{:?} {:?}", b.counts, plain.counts);
}

fn start(name: &str, asked: Timestamp, ready: Option<Duration>) -> ReplicaStart {
    ReplicaStart { name: name.to_owned(), asked, ready: ready.map(|after| asked.plus(after)) }
}

#[test]
fn a_replica_that_hangs_counts_for_nothing_and_one_more_is_asked_for_beside_it() {
    for no_place in [false, true] {
        let mut b = Bench::new();
        b.tick(Seen::Load(30.0));
        let [prefill, _] = b.counts;
        let asked = b.now;
        b.starts = vec![start("hangs", asked, None)];
        if no_place {
            let why = "Unschedulable".to_owned();
            let age = Duration::from_secs(600);
            b.stuck = vec![StuckReplica { name: "hangs".to_owned(), why, age, no_place }];
        }
        assert_ne!(b.codes(Seen::Load(30.0))[0], "replace_stuck", "it is young");
        let due = b
            .awaited
            .iter()
            .any(|a| matches!(a, Awaited::ReplicaDue { name, .. } if name == "hangs"));
        assert!(due, "{:?}", b.awaited);
        b.tick(Seen::Load(30.0));
        b.tick(Seen::Load(30.0));
        let code = b.codes(Seen::Load(30.0))[0];
        let replaced = u32::from(!no_place);
        assert_eq!(b.counts[0], prefill + replaced, "{code}");
        b.tick(Seen::Load(30.0));
        assert_eq!(b.counts[0], prefill + replaced, "one for all that hang");
    }
}

#[test]
fn one_more_beside_a_replica_that_hangs_takes_no_room_from_what_is_to_serve() {
    let mut free = Bench::new();
    free.tick(Seen::Load(30.0));
    let [prefill, decode] = free.counts;
    let mut b = Bench::new();
    // Just enough for what is to serve; prefill has none yet, and a decode replica hangs.
    (b.budget, b.min, b.counts) = (Some(Gpus::new(prefill + decode)), 0, [0, decode]);
    (b.starts_in, b.starts) = (Role::Decode, vec![start("hangs", b.now.minus(20 * STEP), None)]);
    b.tick(Seen::Load(30.0));
    assert_eq!(b.counts, [prefill, decode]);
    assert_eq!(b.codes(Seen::Load(30.0))[1], "waits_for_room");
    assert_eq!(b.counts, [prefill, decode]);
}

#[test]
fn nor_from_the_minimum_of_a_fleet_without_a_load() {
    let mut b = Bench::new();
    (b.budget, b.counts, b.starts_in) = (Some(Gpus::new(2)), [0, 1], Role::Decode);
    b.starts = vec![start("hangs", b.now.minus(20 * STEP), None)];
    b.tick(Seen::Load(0.0));
    assert_eq!(b.counts, [1, 1]);
}

#[test]
fn start_up_times_are_learned_from_the_replicas_that_were_seen_to_start() {
    let mut b = Bench::new();
    b.tick(Seen::Load(30.0));
    let lead = |b: &Bench| b.memory.starts[&Role::Prefill].lead(STEP);
    assert_eq!(lead(&b), STEP, "as configured");
    let (slow, asked) = (Duration::from_secs(300), b.now);
    let starts = |name: &str, ready| -> Vec<ReplicaStart> {
        (0..20).map(|i| start(&format!("{name}{i}"), asked, ready)).collect()
    };
    b.counts[0] = 20;
    b.starts = starts("old", Some(slow));
    b.tick(Seen::Load(30.0));
    b.starts = starts("old", None);
    b.tick(Seen::Load(30.0));
    b.starts = starts("old", Some(3 * slow));
    b.tick(Seen::Load(30.0));
    assert_eq!(lead(&b), STEP, "they served before, and were out of service for a while");
    b.counts[0] = 20;
    b.starts = starts("new", None);
    b.tick(Seen::Load(30.0));
    b.counts[0] = 20;
    b.starts = starts("new", Some(slow));
    b.tick(Seen::Load(30.0));
    let learned = lead(&b);
    assert!(learned > 4 * STEP, "{learned:?}");
    b.tick(Seen::Load(30.0));
    assert_eq!(lead(&b), learned, "each start counts once");
}

#[test]
fn what_running_sequences_hold_is_learned_from_the_memory_in_use() {
    let learned = |kv: Option<f64>, ticks| {
        let mut b = Bench::new();
        (b.counts, b.min, b.max, b.kv, b.itl) = ([6, 2], 2, Some(6), kv, Some(10.0));
        let mut course = Vec::new();
        for _ in 0..ticks {
            b.counts = [6, 2];
            b.tick(Seen::Load(30.0));
            course.push(b.memory.learned.correction(true).memory);
        }
        course
    };
    assert!(learned(None, 60).iter().all(|memory| *memory == 1.0), "nobody says anything of it");
    let some = learned(Some(0.1), 90);
    let more = learned(Some(0.2), 90);
    let rests = |course: &[f64]| {
        let (before, last) = (course[60], course[89]);
        assert!((last / before - 1.0).abs() < 0.05, "it comes to rest: {before} {last}");
        last
    };
    // Slower tokens for a longer context mean more sequences, so that it is not quite twice.
    let ratio = rests(&more) / rests(&some);
    assert!((1.2..2.1).contains(&ratio), "{ratio}: {some:?} {more:?}");
    // What seems to take less is believed later than what takes more.
    let (less, full) = (learned(Some(0.01), 5), learned(Some(0.95), 5));
    assert!(less[4] > 0.6 && full[4] > 1.5, "{less:?} {full:?}");
}

#[test]
fn engines_without_a_profile_are_sized_by_what_is_full() {
    let mut b = Bench::new();
    (b.measured, b.counts, b.kv) = (false, [4, 4], Some(0.5));
    assert_eq!(b.codes(Seen::Slow(30.0)), ["saturation", "saturation"]);
    assert_eq!(b.counts, [8, 4], "TTFT is four times the target, ITL and memory have room");
    b.kv = Some(0.95);
    b.tick(Seen::Load(30.0));
    assert_eq!(b.counts, [8, 5], "memory is full");
    b.kv = None;
    b.tick(Seen::Load(30.0));
    for _ in 0..25 {
        let before = b.counts[0];
        b.tick(Seen::Load(30.0));
        assert!(b.counts[0] + 1 >= before, "one at a time");
    }
    assert_eq!(b.counts[0], 5, "four were too few a short while ago");
    b.counts = [4, 4];
    assert_eq!(b.codes(Seen::Nothing), ["hold_no_metrics", "hold_no_metrics"]);
}

#[test]
fn without_a_profile_a_fleet_of_none_wakes_and_one_that_hangs_does_not_make_it_grow_for_ever() {
    let mut b = Bench::new();
    (b.measured, b.min, b.counts) = (false, 0, [0, 0]);
    b.tick(Seen::Load(3.0));
    assert_eq!(b.counts, [1, 1]);
    b.counts = [4, 4];
    b.kv = Some(0.5);
    b.starts = vec![start("hangs", b.now.minus(20 * STEP), None)];
    for _ in 0..10 {
        b.tick(Seen::Load(30.0));
    }
    assert!(b.counts[0] <= 4, "{:?}", b.counts);
}

#[test]
fn growth_for_want_of_room_that_does_not_help_is_not_repeated() {
    let mut b = Bench::new();
    (b.measured, b.counts, b.kv) = (false, [2, 2], Some(0.5));
    for _ in 0..10 {
        b.tick(Seen::Slow(30.0));
    }
    assert_eq!(b.counts[0], 4, "a TTFT that does not move with the replicas");
    let mut b = Bench::new();
    (b.measured, b.counts, b.kv) = (false, [2, 2], Some(1.0));
    for _ in 0..10 {
        b.tick(Seen::Load(30.0));
    }
    assert!(b.counts[1] > 6, "memory that stays full is too small still: {:?}", b.counts);
}

#[test]
fn a_pool_that_may_have_none_does_not_wake() {
    let mut b = Bench::new();
    (b.min, b.max, b.counts) = (0, Some(0), [1, 1]);
    assert_eq!(b.codes(Seen::Shapeless(3.0)), ["into_limits", "into_limits"]);
    assert_eq!(b.counts, [0, 0]);
    assert_ne!(b.codes(Seen::Shapeless(3.0))[0], "wake", "nothing could come of it");
}

#[test]
fn a_promise_that_nothing_can_keep_holds_no_replica() {
    let mut b = Bench::new();
    (b.ttft, b.counts) = (10.0, [40, 1]);
    for _ in 0..3 {
        assert_eq!(b.codes(Seen::Slow(5.0))[0], "hold_stabilizing");
    }
    assert_eq!(b.codes(Seen::Slow(5.0))[0], "cannot_be_met");
    assert!(b.counts[0] < 40, "{:?}", b.counts);
}

#[test]
fn a_pool_below_its_minimum_is_not_raised_for_being_idle() {
    let mut b = Bench::new();
    (b.min, b.counts) = (2, [1, 2]);
    assert_eq!(b.codes(Seen::Load(0.0)), ["into_limits", "idle"]);
}

#[test]
fn a_clock_that_is_set_back_neither_freezes_the_forecast_nor_the_way_down() {
    let mut b = Bench::new();
    b.now = b.now.plus(STEP * 600);
    b.tick(Seen::Load(60.0));
    let high = b.counts;
    b.now = b.now.minus(STEP * 500);
    for _ in 0..3 {
        b.tick(Seen::Load(5.0));
        assert_eq!(b.counts, high);
    }
    b.tick(Seen::Load(5.0));
    assert_eq!(b.codes(Seen::Load(5.0)), ["steady", "steady"]);
    assert!(b.counts[0] < high[0], "{:?}", b.counts);
}

#[test]
fn shrinking_writes_come_first() {
    let d = Decision {
        at: Timestamp::default(),
        next_tick: Timestamp::default(),
        pools: [(Role::Prefill, 1, 3), (Role::Decode, 5, 2)]
            .map(|(role, from, to)| PoolDecision {
                role,
                current: Some(Replicas::new(from)),
                target: Some(Replicas::new(to)),
                reason: Reason::Idle,
            })
            .into(),
    };
    let roles: Vec<Role> = d.writes().iter().map(|w| w.role).collect();
    assert_eq!(roles, [Role::Decode, Role::Prefill]);
}
