//! A planner in a loop with a fleet that carries out what it says: what the flows of `defects` and
//! the histories of `invariants` are played on. The referee looks at every decision.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use sla_planner::check::{PoolLimits, judge};
use sla_planner::observe::{
    Inventory, LatencySignals, Missing, Observation, PoolInventory, Signal, Traffic,
};
use sla_planner::plan::{Decision, Memory, Outcome, PlanInput, PoolInput, plan};
use sla_planner::profile::{EngineProfile, library};
use sla_planner::spec::{EngineLimits, Intervals, Sla};
use sla_planner::units::{
    Gpus, Millis, PerSecond, Percentile, Predictor, Replicas, Role, Timestamp, Tokens, millis_of,
    seconds_of,
};

/// The interval of the rival: its windows and its decisions are 180 s long.
pub(crate) const INTERVAL: Duration = Duration::from_secs(180);

/// What the metrics of one window say. A latency of `None` had no samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Mean prompt and mean output; `None` where nobody was measured.
    pub(crate) lengths: Option<(f64, f64)>,
    /// TTFT and ITL in ms, mean and quantile alike.
    pub(crate) latency: Option<(f64, f64)>,
}

impl Seen {
    /// So many requests of these lengths, all answered in good time.
    pub(crate) const fn load(rate: f64, isl: f64, osl: f64) -> Self {
        Self { rate, lengths: Some((isl, osl)), latency: Some((100.0, 10.0)) }
    }

    /// The same, with this TTFT.
    pub(crate) const fn with_ttft(self, ttft: f64) -> Self {
        Self { latency: Some((ttft, 10.0)), ..self }
    }

    /// No request at all.
    pub(crate) const IDLE: Self = Self { rate: 0.0, lengths: None, latency: None };

    /// As fresh signals at `now`.
    pub(crate) fn traffic(&self, now: Timestamp, window: Duration) -> Traffic {
        fn signal<T>(value: Option<T>, at: Timestamp) -> Signal<T> {
            value.map_or(Signal::missing(Missing::NoSamples), |value| Signal::Fresh { value, at })
        }
        let tokens = |n: Option<f64>| signal(n.map(|n| Tokens::new(n).unwrap()), now);
        let latency = |ms: Option<f64>| {
            let seen = signal(ms.map(|ms| Millis::new(ms).unwrap()), now);
            LatencySignals { mean: seen.clone(), quantile: seen, percentile: Percentile::default() }
        };
        Traffic {
            arrivals: signal(PerSecond::new(self.rate), now),
            isl: tokens(self.lengths.map(|l| l.0)),
            osl: tokens(self.lengths.map(|l| l.1)),
            ttft: latency(self.latency.map(|l| l.0)),
            itl: latency(self.latency.map(|l| l.1)),
            ..Traffic::all_missing(window, Percentile::default(), &Missing::NotAsked)
        }
    }
}

/// Metrics that did not come.
pub(crate) fn outage(window: Duration) -> Traffic {
    let why = Missing::SourceDown { detail: "503 Service Unavailable".to_owned() };
    Traffic::all_missing(window, Percentile::default(), &why)
}

/// A prefill and a decode pool of the engine that the rival ships a table of (Llama 3.1 8B FP8 on
/// H200), with the rival's intervals.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) engine: EngineProfile,
    pub(crate) now: Timestamp,
    pub(crate) memory: Memory,
    pub(crate) sla: Sla,
    pub(crate) budget: Option<u32>,
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
    pub(crate) gpus: [u32; 2],
    pub(crate) startup: Duration,
    pub(crate) intervals: Intervals,
    /// Replicas asked for: prefill, decode.
    pub(crate) asked: [u32; 2],
    /// When the ones that start will serve: prefill, decode.
    pub(crate) starting: [Vec<Timestamp>; 2],
    /// Whether what is decided is carried out.
    pub(crate) obeys: bool,
}

pub(crate) const ROLES: [Role; 2] = [Role::Prefill, Role::Decode];

impl Fleet {
    pub(crate) fn new(prefill: u32, decode: u32) -> Self {
        Self {
            engine: library::get(library::DEFAULT).unwrap(),
            now: Timestamp::from_millis(1_000_000_000),
            memory: Memory::default(),
            sla: Sla::default(),
            budget: None,
            min: 1,
            max: None,
            gpus: [1, 1],
            startup: Duration::from_secs(120),
            intervals: Intervals { adjustment: INTERVAL, window: INTERVAL, ..Intervals::default() },
            asked: [prefill, decode],
            starting: [Vec::new(), Vec::new()],
            obeys: true,
        }
    }

    /// Replicas that serve.
    pub(crate) fn ready(&self, pool: usize) -> u32 {
        self.asked[pool] - u32::try_from(self.starting[pool].len()).unwrap()
    }

    pub(crate) fn inventory(&self) -> Inventory {
        let pool = |i: usize| {
            let value = PoolInventory {
                desired: Replicas::new(self.asked[i]),
                ready: Replicas::new(self.ready(i)),
                starting: Replicas::new(self.asked[i] - self.ready(i)),
                ..PoolInventory::default()
            };
            (ROLES[i], Signal::Fresh { value, at: self.now })
        };
        Inventory { pools: BTreeMap::from([pool(0), pool(1)]) }
    }

    pub(crate) fn observation(&self, traffic: Traffic) -> Observation {
        Observation { at: self.now, traffic, inventory: self.inventory() }
    }

    pub(crate) fn input(&self, observation: Observation) -> PlanInput<'_> {
        let pool = |i: usize| PoolInput {
            role: ROLES[i],
            engine: &self.engine,
            limits: EngineLimits::default(),
            gpus_per_replica: Gpus::new(self.gpus[i]),
            min: Replicas::new(self.min),
            max: self.max.map(Replicas::new),
            startup: self.startup,
            measured: true,
        };
        PlanInput {
            now: self.now,
            sla: self.sla,
            pools: vec![pool(0), pool(1)],
            budget: self.budget.map(Gpus::new),
            intervals: self.intervals,
            predictor: Predictor::default(),
            observation,
        }
    }

    /// Decides on this, carries it out, and goes on by one interval.
    pub(crate) fn tick_on(&mut self, traffic: Traffic) -> Decision {
        let now = self.now;
        for starting in &mut self.starting {
            starting.retain(|at| *at > now);
        }
        let observation = self.observation(traffic);
        let input = self.input(observation);
        let Outcome { decision, memory, report: _ } = plan(&input, self.memory.clone());
        let limits: Vec<PoolLimits> = input.pools.iter().map(PoolLimits::from).collect();
        let notes = judge(&limits, input.budget, &input.observation, &decision);
        assert_eq!(notes, [], "{decision:?}");
        self.memory = memory;
        if self.obeys {
            self.carry_out(&decision);
        }
        self.now = self.now.plus(self.intervals.adjustment);
        decision
    }

    pub(crate) fn tick(&mut self, seen: Seen) -> Decision {
        self.tick_on(seen.traffic(self.now, self.intervals.window))
    }

    fn carry_out(&mut self, decision: &Decision) {
        for write in decision.writes() {
            let i = usize::from(write.role == Role::Decode);
            let serves = self.now.plus(self.startup);
            for _ in self.asked[i]..write.to.get() {
                self.starting[i].push(serves);
            }
            for _ in write.to.get()..self.asked[i] {
                self.starting[i].pop();
            }
            self.asked[i] = write.to.get();
        }
    }
}

/// The codes of a decision: prefill, decode.
pub(crate) fn codes(decision: &Decision) -> [&'static str; 2] {
    [decision.pools[0].reason.code(), decision.pools[1].reason.code()]
}

/// The prefill engines of a fleet as one queue: what comes, what waits, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrefillQueue {
    /// Time of one prompt alone, ms.
    pub(crate) alone_ms: f64,
    /// Prompts that wait.
    pub(crate) waiting: f64,
}

impl PrefillQueue {
    pub(crate) fn new(engine: &EngineProfile, isl: f64) -> Self {
        Self { alone_ms: engine.prefill().ttft(isl).value.get(), waiting: 0.0 }
    }

    /// Serves `rate` prompts a second for a while; the prompts that were answered, and the TTFT of
    /// the last of them in ms.
    pub(crate) fn serve(&mut self, rate: f64, engines: u32, time: Duration) -> (f64, f64) {
        let room = f64::from(engines) * millis_of(time) / self.alone_ms;
        let came = rate * seconds_of(time);
        let answered = (self.waiting + came).min(room);
        self.waiting += came - answered;
        let per_ms = f64::from(engines) / self.alone_ms;
        let busy = (rate / 1e3 / per_ms).min(0.999);
        let wait = if self.waiting > 0.0 { self.waiting / per_ms } else { 0.0 };
        (answered, self.alone_ms / (1.0 - busy) + wait)
    }
}

/// A fixed sequence of numbers in (0, 1] of which no two neighbours resemble each other (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Of a standard normal law (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, turn) = ((-2.0 * self.roll().ln()).sqrt(), self.roll());
        radius * (std::f64::consts::TAU * turn).cos()
    }
}
