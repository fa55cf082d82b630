//! Fleets at many loads: the TTFT that the queueing model tells and the one that the simulator has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use sla_planner::backtest::policy::Static;
use sla_planner::forecast::{Band, Demand, Lengths, Work};
use sla_planner::plan::{Correction, SizePool, Sizing, assess};
use sla_planner::profile::{EngineProfile, library};
use sla_planner::sim::{
    Ended, EngineTruth, Open, SimConfig, SimPool, Sink, Startup, TruthOptions, simulate,
};
use sla_planner::spec::{EngineLimits, Sla};
use sla_planner::trace::{LengthLaw, Request, Shape, Synthetic};
use sla_planner::units::{Gpus, Replicas, Role, Timestamp, Tokens};

/// What the model takes for the part of a prompt's quadratic time that is attention to itself. A
/// profile does not say it, and the simulator's own default differs, so that an engine of it has up to
/// a tenth more capacity than the model believes. That is no question of queueing.
pub(crate) const ATTENTION: f64 = 0.3;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// Independent gaps of a gamma law: Poisson where the dispersion is 1.
    Gaps,
    /// A geometric number at once, at the times of a Poisson process.
    Groups,
}

/// One fleet under one load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// A shipped profile.
    pub(crate) profile: &'static str,
    /// Mean prompt, tokens.
    pub(crate) isl: f64,
    /// Squared coefficient of variation of prompts (log-normal): 0 where all are alike.
    pub(crate) cv2: f64,
    /// Prefill engines.
    pub(crate) engines: u32,
    /// Work that arrives over what the engines can do in full passes.
    pub(crate) load: f64,
    /// How requests come.
    pub(crate) arrivals: Arrivals,
    /// Index of dispersion of the counts in windows that are long against a gap.
    pub(crate) dispersion: f64,
    /// [`TruthOptions::attention_share`] of the engines.
    pub(crate) attention: f64,
}

/// What came of it. Times in ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// What was played.
    pub(crate) cell: Cell,
    /// TTFT p95 in the simulator: the mean over the runs.
    pub(crate) simulated: f64,
    /// The standard error of that.
    pub(crate) uncertain: f64,
    /// TTFT p95 of the model; infinite where it calls the fleet overloaded.
    pub(crate) model: f64,
    /// Requests that were simulated.
    pub(crate) requests: usize,
}

impl Point {
    /// How far the model is off, as a share of what was simulated.
    pub(crate) fn error(&self) -> f64 {
        self.model / self.simulated - 1.0
    }
}

/// How long to simulate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Requests of one run of an idle fleet; a run at load `x` has `(1 - x)^-1.2` times as many.
    pub(crate) requests: f64,
    /// Runs, at least.
    pub(crate) least: u64,
    /// Runs, at most.
    pub(crate) most: u64,
    /// Runs end when the standard error is at most this share.
    pub(crate) uncertain: f64,
}

impl Cell {
    fn demand(&self, rps: f64) -> Demand {
        let lengths = |mean, cv2| Lengths { mean: Tokens::clamped(mean), cv2 };
        Demand {
            rate: Band::certain(rps),
            isl: lengths(self.isl, self.cv2),
            osl: lengths(1.0, 0.0),
            dispersion: self.dispersion,
            work: Work::default(),
        }
    }

    /// Engines that make the only token of each request: so many that none waits for another.
    fn decoders(&self) -> u32 {
        8 + 2 * self.engines
    }

    fn assess(&self, engine: &EngineProfile, rps: f64) -> Sizing {
        let pools = [Role::Prefill, Role::Decode].map(|role| SizePool {
            role,
            engine,
            limits: EngineLimits::default(),
            gpus_per_replica: Gpus::new(1),
            min: Replicas::new(1),
            max: None,
            correction: Correction::default(),
        });
        let counts = [self.engines, self.decoders()].map(Replicas::new);
        assess(&pools, &counts, &Sla::default(), &self.demand(rps))
    }

    /// Requests a second at which the load is what it is to be.
    fn rps(&self, engine: &EngineProfile) -> f64 {
        let of_one = self.assess(engine, 1e-3).pools[0].utilisation * 1e3;
        // Not a last bit more: the limit of what the model answers is one of the loads.
        self.load / of_one * (1.0 - 1e-9)
    }

    fn law(&self, rps: f64, duration: Duration, seed: u64) -> Synthetic {
        Synthetic {
            shape: Shape::Steady,
            rps,
            duration,
            cv: self.dispersion.sqrt(),
            isl: LengthLaw { mean: self.isl, cv: self.cv2.sqrt() },
            osl: LengthLaw { mean: 1.0, cv: 0.0 },
            seed,
        }
    }

    /// About `count` requests.
    fn requests(&self, rps: f64, count: f64, seed: u64) -> Vec<Request> {
        let duration = Duration::from_secs_f64(count / rps);
        match self.arrivals {
            Arrivals::Gaps => self.law(rps, duration, seed).requests().collect(),
            Arrivals::Groups => {
                // A geometric size of mean m has E[n^2] / E[n] = 2 m - 1.
                let mean = f64::midpoint(self.dispersion, 1.0);
                let times = Synthetic { cv: 1.0, ..self.law(rps / mean, duration, seed) };
                let mut lengths =
                    Synthetic { cv: 1.0, ..self.law(rps, duration * 2, seed + 1_000) }.requests();
                let mut dice = Pcg64Mcg::seed_from_u64(seed);
                let mut all = Vec::new();
                for first in times.requests() {
                    let mut of_group = |at: Timestamp| {
                        all.extend(lengths.next().map(|request| Request { at, ..request }));
                    };
                    of_group(first.at);
                    while dice.random::<f64>() > 1.0 / mean {
                        of_group(first.at);
                    }
                }
                all
            }
        }
    }

    /// Plays it, and asks the model.
    pub(crate) fn point(&self, effort: Effort) -> Point {
        let engine = library::get(self.profile).unwrap();
        let rps = self.rps(&engine);
        let options = TruthOptions { attention_share: self.attention, ..TruthOptions::default() };
        let truth = Arc::new(EngineTruth::new(&engine, EngineLimits::default(), options));
        let count = effort.requests * (1.0 - self.load).powf(-1.2);
        let (mut p95s, mut requests) = (Vec::new(), 0);
        for seed in 1..=effort.most {
            let load = self.requests(rps, count, seed);
            requests += load.len();
            p95s.push(self.simulated(&truth, &load));
            if seed >= effort.least.max(2) && spread(&p95s).1 <= effort.uncertain * spread(&p95s).0
            {
                break;
            }
        }
        let (simulated, uncertain) = spread(&p95s);
        let model = self.assess(&engine, rps).pools[0].ttft.map_or(f64::INFINITY, |t| t.get());
        Point { cell: *self, simulated, uncertain, model, requests }
    }

    /// TTFT p95 of one run, ms, without its first tenth, in which the queues fill.
    fn simulated(&self, truth: &Arc<EngineTruth>, load: &[Request]) -> f64 {
        let pool = |initial| SimPool {
            truth: truth.clone(),
            gpus: 1,
            initial,
            startup: Startup::fixed(Duration::from_secs(60)),
            drain_limit: None,
        };
        let pools = [(Role::Prefill, pool(self.engines)), (Role::Decode, pool(self.decoders()))];
        let never = Duration::from_secs(1_000_000_000);
        let config = SimConfig { scrape_interval: never, ..SimConfig::new(pools.into()) };
        let mut ttfts = Ttfts(Vec::with_capacity(load.len()));
        let mut open = Open(load.iter().map(|r| Ok::<_, Infallible>(*r)));
        simulate(&config, &mut open, &mut Static, &mut ttfts).unwrap();
        let mut steady = ttfts.0.split_off(load.len() / 10);
        let at = steady.len() * 95 / 100;
        *steady.select_nth_unstable_by(at, f64::total_cmp).1
    }
}

/// The TTFT of every request, in the order of their ends.
struct Ttfts(Vec<f64>);

impl Sink for Ttfts {
    fn ended(&mut self, ended: &Ended) {
        self.0.extend(ended.ttft_ms());
    }
}

/// Mean and its standard error.
fn spread(all: &[f64]) -> (f64, f64) {
    let n = all.len() as f64;
    let mean = all.iter().sum::<f64>() / n;
    let squares = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, (squares / (n - 1.0).max(1.0) / n).sqrt())
}

/// Sizes of errors, told as shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errors {
    /// The half are no larger.
    pub(crate) median: f64,
    /// 95 % are no larger.
    pub(crate) p95: f64,
    /// The largest.
    pub(crate) most: f64,
    /// The mean of the errors with their sign.
    pub(crate) bias: f64,
    /// How many there are.
    pub(crate) points: usize,
}

/// The errors of those points that `these` are.
pub(crate) fn errors(points: &[Point], these: impl Fn(&Point) -> bool) -> Errors {
    let signed: Vec<f64> = points.iter().filter(|p| these(p)).map(Point::error).collect();
    let mut sizes: Vec<f64> = signed.iter().map(|e| e.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let rank = (sizes.len() * percent).div_ceil(100).max(1);
        sizes.get(rank - 1).copied().unwrap_or(f64::NAN)
    };
    Errors {
        median: at(50),
        p95: at(95),
        most: at(100),
        bias: signed.iter().sum::<f64>() / signed.len() as f64,
        points: sizes.len(),
    }
}
