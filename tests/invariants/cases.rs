//! Random configurations and histories.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sla_planner::observe::{
    Inventory, LatencySignals, Missing, Observation, PoolInventory, ReplicaStart, Signal,
    StuckReplica, Traffic,
};
use sla_planner::plan::{PlanInput, PoolInput};
use sla_planner::profile::{EngineProfile, library};
use sla_planner::spec::{EngineLimits, Intervals, Sla};
use sla_planner::units::{
    Gpus, Millis, PerSecond, Percentile, Predictor, Replicas, Role, Share, Timestamp, Tokens,
};

/// Every profile that is shipped.
pub(crate) static ENGINES: LazyLock<Vec<EngineProfile>> =
    LazyLock::new(|| library::names().map(|name| library::get(name).unwrap()).collect());

/// What does not change in a history.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) engine: usize,
    pub(crate) pools: Vec<PoolSetup>,
    pub(crate) limits: EngineLimits,
    pub(crate) sla: Sla,
    /// GPUs beyond what the minimums take.
    pub(crate) budget: Option<Gpus>,
    pub(crate) intervals: Intervals,
    pub(crate) startup: Duration,
}

/// One pool of a configuration, and what it is asked to have at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSetup {
    pub(crate) role: Role,
    pub(crate) gpus: u32,
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
    pub(crate) asked: u32,
}

impl Setup {
    pub(crate) fn engine(&self) -> &'static EngineProfile {
        &ENGINES[self.engine]
    }

    pub(crate) fn input(&self, now: Timestamp, observation: Observation) -> PlanInput<'static> {
        let pools = self.pools.iter().map(|p| PoolInput {
            role: p.role,
            engine: self.engine(),
            limits: self.limits,
            gpus_per_replica: Gpus::new(p.gpus),
            min: Replicas::new(p.min),
            max: p.max.map(Replicas::new),
            startup: self.startup,
            measured: true,
        });
        PlanInput {
            now,
            sla: self.sla,
            pools: pools.collect(),
            budget: self.budget,
            intervals: self.intervals,
            predictor: Predictor::default(),
            observation,
        }
    }

    /// The counts at the start.
    pub(crate) fn asked(&self) -> BTreeMap<Role, u32> {
        self.pools.iter().map(|p| (p.role, p.asked)).collect()
    }

    pub(crate) fn gpus(&self, counts: &BTreeMap<Role, u32>) -> u64 {
        let gpus = |p: &PoolSetup| u64::from(counts[&p.role]) * u64::from(p.gpus);
        self.pools.iter().map(gpus).sum()
    }
}

/// A figure, and in which state it is seen.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Late,
    Frozen,
    Contradictory,
    NoSamples,
    NoSeries,
    SourceDown,
    Unusable,
}

impl Figure {
    pub(crate) fn signal<T>(&self, now: Timestamp, make: impl Fn(f64) -> Option<T>) -> Signal<T> {
        let old = now.minus(Duration::from_secs(300));
        let missing = |why| Signal::missing(why);
        let detail = String::from;
        match (self.state, make(self.value)) {
            (State::Contradictory, _) => Signal::Contradictory { detail: detail("two disagree") },
            (State::NoSamples, _) => missing(Missing::NoSamples),
            (State::NoSeries, _) => missing(Missing::NoSeries),
            (State::SourceDown, _) => missing(Missing::SourceDown { detail: detail("refused") }),
            (State::Unusable, _) | (_, None) => {
                missing(Missing::Unusable { detail: detail("NaN") })
            }
            (State::Fresh, Some(value)) => Signal::Fresh { value, at: now },
            (State::Late, Some(value)) => Signal::Late { value, at: old },
            (State::Frozen, Some(value)) => Signal::Frozen { value, since: old },
        }
    }
}

/// The figures of one window.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) rate: Figure,
    pub(crate) isl: Figure,
    pub(crate) osl: Figure,
    pub(crate) ttft: Figure,
    pub(crate) itl: Figure,
    pub(crate) inflight: Figure,
}

impl Window {
    pub(crate) fn traffic(&self, now: Timestamp, setup: &Setup) -> Traffic {
        let percentile = setup.sla.percentile;
        let latency = |figure: &Figure| LatencySignals {
            mean: figure.signal(now, |x| Millis::new(x * 0.6)),
            quantile: figure.signal(now, Millis::new),
            percentile,
        };
        Traffic {
            window: setup.intervals.window,
            arrivals: self.rate.signal(now, PerSecond::new),
            isl: self.isl.signal(now, Tokens::new),
            osl: self.osl.signal(now, Tokens::new),
            ttft: latency(&self.ttft),
            itl: latency(&self.itl),
            request_duration: self.ttft.signal(now, |x| Millis::new(x * 10.0)),
            queued: self.inflight.signal(now, Some),
            inflight: self.inflight.signal(now, Some),
            kv_usage: self.inflight.signal(now, Share::new),
        }
    }

    /// Whether the figures that a way down needs are all there; what had no samples stands in
    /// nobody's way where nothing arrives, and a latency without samples never does.
    pub(crate) fn allows_fewer(&self) -> bool {
        let fresh = |f: &Figure| f.state == State::Fresh && f.value.is_finite() && f.value >= 0.0;
        let idle = fresh(&self.rate) && self.rate.value == 0.0;
        let length = |f: &Figure| fresh(f) || idle && f.state == State::NoSamples;
        let latency = |f: &Figure| fresh(f) || f.state == State::NoSamples;
        let stuck = idle
            && matches!(self.inflight.state, State::Fresh | State::Late | State::Frozen)
            && self.inflight.value > 0.0;
        fresh(&self.rate)
            && length(&self.isl)
            && length(&self.osl)
            && latency(&self.ttft)
            && latency(&self.itl)
            && !stuck
    }
}

/// What happens at one tick.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    /// Milliseconds since the tick before.
    pub(crate) step: i64,
    pub(crate) window: Window,
    /// How each pool is seen, with replicas that start, drain or are stuck.
    pub(crate) seen: [(State, [u32; 3]); 2],
    /// What becomes of the writes: how many of them arrive.
    pub(crate) arrive: usize,
    /// What somebody else makes of the counts afterwards.
    pub(crate) meddled: Option<(usize, u32)>,
}

impl Tick {
    /// What is seen of pools that are asked to have `asked` replicas, `before` of them since some time.
    pub(crate) fn observation(
        &self,
        now: Timestamp,
        setup: &Setup,
        asked: &BTreeMap<Role, u32>,
        before: &BTreeMap<Role, u32>,
    ) -> Observation {
        let pools =
            setup.pools.iter().zip(&self.seen).map(|(pool, (state, [start, drain, stuck]))| {
                let (n, before) = (asked[&pool.role], before[&pool.role]);
                let age = |i| if i < before { u64::from(i) * 90 } else { 0 };
                let value = PoolInventory {
                    desired: Replicas::new(n),
                    ready: Replicas::new(n.saturating_sub(*start)),
                    starting: Replicas::new(n.min(*start)),
                    draining: Replicas::new(*drain),
                    gpus_per_replica: Some(Gpus::new(pool.gpus)),
                    stuck: (0..*stuck)
                        .map(|i| StuckReplica {
                            name: format!("pod-{i}"),
                            why: "Unschedulable".to_owned(),
                            age: Duration::from_secs(9000),
                            no_place: i % 2 == 0,
                        })
                        .collect(),
                    // Some of those that start hang, and some of the others just came up.
                    starts: (0..n.min(20))
                        .map(|i| ReplicaStart {
                            name: format!("pod-{i}"),
                            asked: now.minus(Duration::from_secs(age(i))),
                            ready: (i >= *start).then_some(now),
                        })
                        .collect(),
                };
                let figure = Figure { value: 0.0, state: *state };
                (pool.role, figure.signal(now, |_| Some(value.clone())))
            });
        let inventory = Inventory { pools: pools.collect() };
        Observation { at: now, traffic: self.window.traffic(now, setup), inventory }
    }
}

fn log_uniform(low: f64, high: f64) -> impl Strategy<Value = f64> + Clone {
    (low.ln()..high.ln()).prop_map(f64::exp)
}

fn state() -> impl Strategy<Value = State> + Clone {
    prop_oneof![
        10 => Just(State::Fresh),
        2 => Just(State::Late),
        1 => Just(State::Frozen),
        1 => Just(State::Contradictory),
        2 => Just(State::NoSamples),
        1 => Just(State::NoSeries),
        1 => Just(State::SourceDown),
        1 => Just(State::Unusable),
    ]
}

/// Values by kind: rate, ISL, OSL, TTFT, ITL, requests in flight.
fn values() -> [BoxedStrategy<f64>; 6] {
    [
        prop_oneof![1 => Just(0.0), 6 => log_uniform(1e-3, 300.0)].boxed(),
        log_uniform(1.0, 40_000.0).boxed(),
        log_uniform(1.0, 4_000.0).boxed(),
        log_uniform(1.0, 1e5).boxed(),
        log_uniform(1.0, 1e3).boxed(),
        prop_oneof![Just(0.0), 0.0..100.0_f64].boxed(),
    ]
}

fn window_of(states: impl Strategy<Value = State> + Clone + 'static) -> BoxedStrategy<Window> {
    let figure = |value: BoxedStrategy<f64>| {
        (value, states.clone()).prop_map(|(value, state)| Figure { value, state })
    };
    let [rate, isl, osl, ttft, itl, inflight] = values().map(figure);
    (rate, isl, osl, ttft, itl, inflight)
        .prop_map(|(rate, isl, osl, ttft, itl, inflight)| Window {
            rate,
            isl,
            osl,
            ttft,
            itl,
            inflight,
        })
        .boxed()
}

/// A load with every figure fresh, and latencies well within any promise.
pub(crate) fn clear_window(rate: f64, isl: f64, osl: f64) -> Window {
    let fresh = |value| Figure { value, state: State::Fresh };
    Window {
        rate: fresh(rate),
        isl: fresh(isl),
        osl: fresh(osl),
        ttft: fresh(1.0),
        itl: fresh(0.1),
        inflight: fresh(1.0),
    }
}

/// Nothing comes, and every figure says so.
pub(crate) fn idle_window() -> Window {
    let none = Figure { value: 0.0, state: State::NoSamples };
    let zero = Figure { value: 0.0, state: State::Fresh };
    Window {
        rate: zero.clone(),
        isl: none.clone(),
        osl: none.clone(),
        ttft: none.clone(),
        itl: none,
        inflight: zero,
    }
}

pub(crate) fn any_window() -> BoxedStrategy<Window> {
    let load = (log_uniform(0.01, 300.0), log_uniform(10.0, 20_000.0), log_uniform(1.0, 2000.0));
    prop_oneof![
        6 => load.prop_map(|(rate, isl, osl)| clear_window(rate, isl, osl)),
        3 => window_of(Just(State::Fresh)),
        4 => window_of(state()),
        2 => Just(idle_window()),
        1 => window_of(Just(State::SourceDown)),
    ]
    .boxed()
}

/// Mostly the interval; now and then a clock that stands still, or jumps by an hour or a month.
fn step(adjustment: Duration) -> BoxedStrategy<i64> {
    let usual = i64::try_from(adjustment.as_millis()).unwrap();
    prop_oneof![
        20 => Just(usual),
        3 => 0..2 * usual + 1,
        1 => Just(3_600_000_i64),
        1 => Just(-3_600_000_i64),
        1 => -120_000..120_000_i64,
        1 => prop_oneof![Just(2_592_000_000_i64), Just(-2_592_000_000_i64), Just(0_i64)],
    ]
    .boxed()
}

fn tick(adjustment: Duration) -> BoxedStrategy<Tick> {
    let seen = || {
        let state = prop_oneof![12 => Just(State::Fresh), 3 => state()];
        let odd = prop_oneof![3 => Just([0; 3]), 2 => [0..4_u32, 0..4_u32, 0..2_u32]];
        (state, odd)
    };
    let arrive = prop_oneof![8 => Just(2_usize), 1 => Just(1), 1 => Just(0)];
    let meddled = prop_oneof![12 => Just(None), 1 => (0..2_usize, 0..60_u32).prop_map(Some)];
    (step(adjustment), any_window(), [seen(), seen()], arrive, meddled)
        .prop_map(|(step, window, seen, arrive, meddled)| Tick {
            step,
            window,
            seen,
            arrive,
            meddled,
        })
        .boxed()
}

fn pool(role: Role) -> impl Strategy<Value = PoolSetup> {
    let gpus = prop_oneof![3 => Just(1_u32), 2 => 1..9_u32];
    (gpus, 0..4_u32, option::weighted(0.4, 0..30_u32), 0..60_u32).prop_map(
        move |(gpus, min, room, asked)| PoolSetup {
            role,
            gpus,
            min,
            // A `max` of 0 is one too.
            max: room.map(|room| min + room),
            asked,
        },
    )
}

fn pools() -> BoxedStrategy<Vec<PoolSetup>> {
    prop_oneof![
        6 => (pool(Role::Prefill), pool(Role::Decode)).prop_map(|(p, d)| vec![p, d]),
        2 => pool(Role::Aggregated).prop_map(|p| vec![p]),
        1 => pool(Role::Prefill).prop_map(|p| vec![p]),
        1 => pool(Role::Decode).prop_map(|p| vec![p]),
    ]
    .boxed()
}

fn percentile() -> impl Strategy<Value = Percentile> {
    prop_oneof![Just(95.0), Just(99.0), 1.0..99.99_f64].prop_map(|p| Percentile::new(p).unwrap())
}

pub(crate) fn any_sla() -> impl Strategy<Value = Sla> {
    let ttft = prop_oneof![6 => log_uniform(200.0, 20_000.0), 1 => log_uniform(1.0, 1e6)];
    let itl = prop_oneof![6 => log_uniform(8.0, 200.0), 1 => log_uniform(0.1, 1e4)];
    let own = || option::weighted(0.2, percentile());
    (ttft, itl, percentile(), own(), own()).prop_map(
        |(ttft, itl, percentile, ttft_percentile, itl_percentile)| Sla {
            ttft: Millis::new(ttft).unwrap(),
            itl: Millis::new(itl).unwrap(),
            percentile,
            ttft_percentile,
            itl_percentile,
        },
    )
}

pub(crate) fn setup() -> BoxedStrategy<Setup> {
    let limits = (
        prop_oneof![Just(8192_u32), 64..40_000_u32],
        prop_oneof![Just(256_u32), 1..1024_u32],
        option::weighted(0.3, 1024..200_000_u32),
    );
    let limits = limits.prop_map(|(max_num_batched_tokens, max_num_seqs, context_length)| {
        EngineLimits { max_num_batched_tokens, max_num_seqs, context_length }
    });
    let seconds = |range: std::ops::Range<u64>| range.prop_map(Duration::from_secs);
    let intervals = (
        prop_oneof![Just(Duration::from_secs(10)), seconds(1..300)],
        prop_oneof![Just(Duration::from_secs(20)), seconds(1..400)],
        prop_oneof![Just(Duration::from_secs(60)), seconds(0..900)],
        prop_oneof![Just(Duration::from_secs(4800)), seconds(0..7200)],
    );
    let intervals =
        intervals.prop_map(|(adjustment, window, scale_down_stabilization, longest_hold)| {
            Intervals {
                adjustment,
                window,
                scale_down_stabilization,
                longest_hold,
                ..Intervals::default()
            }
        });
    let budget = option::weighted(0.5, 0..120_u32);
    let all = (0..ENGINES.len(), pools(), limits, any_sla(), budget, intervals, seconds(0..900));
    all.prop_map(|(engine, pools, limits, sla, room, intervals, startup)| {
        // As a configuration has it: never below what the minimums take, nor below 1.
        let least: u32 = pools.iter().map(|p| p.min * p.gpus).sum();
        let budget = room.map(|room| Gpus::new((least + room).max(1)));
        Setup { engine, pools, limits, sla, budget, intervals, startup }
    })
    .boxed()
}

/// A configuration with a history of so many ticks.
pub(crate) fn history(ticks: std::ops::Range<usize>) -> BoxedStrategy<(Setup, Vec<Tick>)> {
    setup()
        .prop_flat_map(move |setup| {
            let ticks = vec(tick(setup.intervals.adjustment), ticks.clone());
            (Just(setup), ticks)
        })
        .boxed()
}

/// A configuration with a history in which everything is fresh, arrives, and the clock is right.
pub(crate) fn calm_history(ticks: std::ops::Range<usize>) -> BoxedStrategy<(Setup, Vec<Window>)> {
    let load = (log_uniform(0.01, 300.0), log_uniform(10.0, 20_000.0), log_uniform(1.0, 2000.0));
    let window = prop_oneof![
        8 => load.prop_map(|(rate, isl, osl)| clear_window(rate, isl, osl)),
        1 => Just(idle_window()),
    ];
    (setup(), vec(window, ticks)).boxed()
}
