//! The fewest GPUs that keep the promise under a given demand.

use serde::{Deserialize, Serialize};

use super::capacity::{AggregatedModel, DecodeModel, PrefillModel};
use crate::forecast::Demand;
use crate::profile::EngineProfile;
use crate::spec::{EngineLimits, Sla};
use crate::units::{Gpus, Millis, Replicas, Role, Share};

/// The most replicas that a search goes up to. Ten times the largest fleet that one DGD has been
/// reported with; without a limit a slip of a unit in the load would run on for ever.
const MOST_REPLICAS: u32 = 10_000;

/// One pool as the sizing sees it.
#[derive(Clone, Copy, Debug)]
pub struct SizePool<'a> {
    /// What the pool does.
    pub role: Role,
    /// Performance of one engine.
    pub engine: &'a EngineProfile,
    /// What one engine may take on.
    pub limits: EngineLimits,
    /// GPUs of one replica.
    pub gpus_per_replica: Gpus,
    /// Fewest replicas.
    pub min: Replicas,
    /// Most replicas, where there is a limit.
    pub max: Option<Replicas>,
}

/// What decided the size of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The wait before the first token.
    TtftWait,
    /// The latency of a token in a batch of this size.
    ItlBatch,
    /// Slots or KV memory of the engines.
    Room,
    /// The configured minimum.
    Min,
    /// The configured maximum: fewer replicas than the promise wants.
    Max,
    /// The GPU budget: fewer replicas than the promise wants.
    Budget,
}

/// The size of one pool, and what it then does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolSize {
    /// What the pool does.
    pub role: Role,
    /// Its replicas.
    pub replicas: Replicas,
    /// Their GPUs.
    pub gpus: Gpus,
    /// Share of the pool's capacity in use.
    pub utilisation: f64,
    /// Share of the requests that this pool makes late.
    pub late: Share,
    /// TTFT at the percentile of the promise; `None` for a decode pool, or where it has no steady
    /// state.
    pub ttft: Option<Millis>,
    /// Mean ITL of a request at the percentile of the promise; `None` for a prefill pool, or where
    /// it has no steady state.
    pub itl: Option<Millis>,
    /// What decided the size.
    pub bound: Bound,
}

/// Whether the promise is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Kept,
    /// Adding replicas cannot help: a request alone on an engine is too slow already.
    CannotBeMet {
        /// Which latency.
        latency: Latency,
        /// The best that can be reached at the percentile.
        best: Millis,
        /// What was promised.
        target: Millis,
    },
    /// One request does not fit an engine's KV cache.
    DoesNotFit {
        /// Tokens of the request.
        context: f64,
        /// Tokens that the cache holds.
        max_kv_tokens: f64,
    },
    /// More replicas would help, but the limits (a `max`, the GPU budget) do not allow them.
    LimitsTooTight {
        /// GPUs that would be needed.
        needed: Gpus,
    },
    /// A fleet that was given, not chosen, makes more requests late than promised.
    NotKept,
}

/// One of the two latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// Time to first token.
    Ttft,
    /// Inter-token latency.
    Itl,
}

/// The answer of [`size`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizing {
    /// Whether the promise is kept by these pools.
    pub verdict: Verdict,
    /// The pools, in the order given.
    pub pools: Vec<PoolSize>,
    /// GPUs of all pools.
    pub total_gpus: Gpus,
    /// Share of the requests within both targets.
    pub good: Share,
    /// Whether an answer of a profile lay outside its data.
    pub extrapolated: bool,
}

impl Sizing {
    /// Whether the promise is kept.
    #[must_use]
    pub const fn feasible(&self) -> bool {
        matches!(self.verdict, Verdict::Kept)
    }
}

/// The allowed shares of late requests: of both targets together, and of each alone.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    both: f64,
    ttft: f64,
    itl: f64,
}

impl Allowed {
    fn of(sla: &Sla) -> Self {
        let late = |p: Option<crate::units::Percentile>| p.map_or(1.0, |p| p.share().rest().get());
        Self {
            both: sla.percentile.share().rest().get(),
            ttft: late(sla.ttft_percentile),
            itl: late(sla.itl_percentile),
        }
    }

    fn ttft_alone(self) -> f64 {
        self.both.min(self.ttft)
    }

    fn itl_alone(self) -> f64 {
        self.both.min(self.itl)
    }
}

/// What one pool does at a given size.
#[derive(Clone, Copy, Debug)]
struct Effect {
    /// Share late in TTFT by this pool.
    ttft: f64,
    /// Share late in ITL by this pool.
    itl: f64,
    utilisation: f64,
    bound: Bound,
}

impl Effect {
    fn good(self) -> f64 {
        (1.0 - self.ttft) * (1.0 - self.itl)
    }
}

/// One pool under one demand: its effect at any size.
enum Model<'a> {
    Prefill { model: PrefillModel, first_step: f64 },
    Decode(DecodeModel<'a>),
    Aggregated(AggregatedModel<'a>),
}

struct Candidate<'a> {
    pool: SizePool<'a>,
    model: Model<'a>,
    sla: &'a Sla,
    /// Requests per ms.
    rate: f64,
    dispersion: f64,
}

impl<'a> Candidate<'a> {
    fn new(pool: SizePool<'a>, sla: &'a Sla, demand: &Demand) -> Self {
        let SizePool { role, engine, limits, .. } = pool;
        let model = match role {
            Role::Prefill => Model::Prefill {
                model: PrefillModel::new(engine.prefill(), limits, demand.isl, 0.0),
                first_step: 0.0,
            },
            Role::Decode => Model::Decode(DecodeModel::new(
                engine.decode(),
                limits,
                demand.isl,
                demand.osl,
                sla.itl,
                0.0,
            )),
            Role::Aggregated => {
                Model::Aggregated(AggregatedModel::new(engine, limits, *demand, sla.itl))
            }
        };
        let dispersion =
            if demand.dispersion.is_finite() { demand.dispersion.max(0.1) } else { 1.0 };
        Self { pool, model, sla, rate: demand.rate.high.max(0.0) / 1e3, dispersion }
    }

    fn effect(&self, replicas: u32) -> Effect {
        let engines = f64::from(replicas);
        if replicas == 0 {
            let late = if self.rate > 0.0 { 1.0 } else { 0.0 };
            return Effect { ttft: late, itl: 0.0, utilisation: late, bound: Bound::Min };
        }
        match &self.model {
            Model::Prefill { model, first_step } => {
                let budget = self.sla.ttft.get() - first_step;
                let out = model.late(engines, self.rate, self.dispersion, budget);
                Effect {
                    ttft: out.late,
                    itl: 0.0,
                    utilisation: out.utilisation,
                    bound: Bound::TtftWait,
                }
            }
            Model::Decode(model) => {
                let (out, no_room) = model.late(engines, self.rate, self.dispersion);
                let bound = if no_room > out.late { Bound::Room } else { Bound::ItlBatch };
                Effect { ttft: no_room, itl: out.late, utilisation: out.utilisation, bound }
            }
            Model::Aggregated(model) => {
                let out = model.late(engines, self.rate, self.sla.ttft);
                let ttft = out.ttft.late.max(out.no_room);
                let bound = if out.no_room > out.itl.late.max(out.ttft.late) {
                    Bound::Room
                } else if out.ttft.late > out.itl.late {
                    Bound::TtftWait
                } else {
                    Bound::ItlBatch
                };
                Effect {
                    ttft,
                    itl: out.itl.late,
                    utilisation: out.ttft.utilisation.max(out.itl.utilisation),
                    bound,
                }
            }
        }
    }

    /// The time of one iteration of a decode pool of this size, ms; `None` for other pools.
    fn first_step(&self, replicas: u32) -> Option<f64> {
        match &self.model {
            Model::Decode(model) => {
                let engines = f64::from(replicas.max(1));
                let state = model.state(engines, self.rate, self.dispersion);
                Some(model.itl(state.map_or(1.0, |s| s.running)))
            }
            Model::Prefill { .. } | Model::Aggregated(_) => None,
        }
    }

    /// The fewest replicas that alone stay within the allowance; `None` above the search limit.
    fn fewest(&self, allowed: Allowed) -> Option<u32> {
        let enough = |n: u32| {
            let e = self.effect(n);
            e.ttft <= allowed.ttft_alone()
                && e.itl <= allowed.itl_alone()
                && 1.0 - e.good() <= allowed.both
        };
        let lowest = if self.rate > 0.0 { self.pool.min.get().max(1) } else { self.pool.min.get() };
        if enough(lowest) {
            return Some(lowest);
        }
        let (mut low, mut high) = (lowest, lowest.saturating_mul(2).max(1));
        while !enough(high) {
            if high >= MOST_REPLICAS {
                return None;
            }
            low = high;
            high = high.saturating_mul(2).min(MOST_REPLICAS);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// TTFT and ITL at which all but `late` of the requests are served, where the pool has them.
    fn latencies(&self, replicas: u32, late: f64) -> (Option<Millis>, Option<Millis>) {
        let engines = f64::from(replicas.max(1));
        let known = |x: f64| x.is_finite().then(|| Millis::clamped(x));
        match &self.model {
            Model::Prefill { model, first_step } => {
                let t = model.quantile(engines, self.rate, self.dispersion, late) + first_step;
                (known(t), None)
            }
            Model::Decode(model) => {
                let state = model.state(engines, self.rate, self.dispersion);
                (None, state.and_then(|s| known(model.quantile(s, late))))
            }
            Model::Aggregated(model) => {
                let (ttft, itl) = model.quantiles(engines, self.rate, late);
                (known(ttft), known(itl))
            }
        }
    }

    /// What no number of replicas can mend.
    fn hopeless(&self, allowed: Allowed) -> Option<Verdict> {
        let miss = |latency, best: f64, target: Millis| {
            (best > target.get()).then(|| Verdict::CannotBeMet {
                latency,
                best: Millis::clamped(best),
                target,
            })
        };
        let does_not_fit = |context| Verdict::DoesNotFit {
            context,
            max_kv_tokens: self.pool.engine.decode().max_kv_tokens().get(),
        };
        match &self.model {
            Model::Prefill { model, first_step } => miss(
                Latency::Ttft,
                model.quantile_alone(allowed.ttft_alone()) + first_step,
                self.sla.ttft,
            ),
            Model::Decode(model) if model.cannot_hold_one() => Some(does_not_fit(model.context())),
            Model::Decode(model) if !model.can_meet() => {
                miss(Latency::Itl, model.itl(1.0), self.sla.itl)
            }
            Model::Decode(_) => None,
            Model::Aggregated(model) if model.cannot_hold_one() => {
                Some(does_not_fit(model.context()))
            }
            Model::Aggregated(model) => {
                let (ttft, itl) = model.alone(allowed.ttft_alone());
                miss(Latency::Ttft, ttft, self.sla.ttft)
                    .or_else(|| miss(Latency::Itl, itl, self.sla.itl))
            }
        }
    }
}

/// Sizes the pools together: the fewest GPUs that keep the promise within the limits, or, where the
/// limits do not allow that, the sizes that make the fewest requests late.
///
/// `pools` are prefill and decode, one of the two, or aggregated.
#[must_use]
pub fn size(pools: &[SizePool<'_>], sla: &Sla, demand: &Demand, budget: Option<Gpus>) -> Sizing {
    let allowed = Allowed::of(sla);
    let mut candidates: Vec<Candidate<'_>> =
        pools.iter().map(|p| Candidate::new(*p, sla, demand)).collect();
    let first_step =
        candidates.iter().find_map(|c| c.first_step(c.fewest(allowed).unwrap_or(1).max(1)));
    set_first_step(&mut candidates, first_step);
    let hopeless = candidates.iter().find_map(|c| c.hopeless(allowed));
    let wanted = if hopeless.is_some() { None } else { fewest_together(&candidates, allowed) };
    let (counts, verdict) = match (wanted, hopeless) {
        (Some(counts), _) if within(&candidates, &counts, budget) => (counts, Verdict::Kept),
        (Some(counts), _) => {
            let needed = gpus(&candidates, &counts);
            let least_bad = least_bad(&candidates, &counts, budget);
            (least_bad, Verdict::LimitsTooTight { needed })
        }
        (None, hopeless) => {
            // Keep the engines from drowning, since no size keeps the promise.
            let enough: Vec<u32> = candidates.iter().map(steady).collect();
            let verdict =
                hopeless.unwrap_or(Verdict::LimitsTooTight { needed: Gpus::new(u32::MAX) });
            (least_bad(&candidates, &enough, budget), verdict)
        }
    };
    describe(&candidates, &counts, verdict, budget, allowed, demand)
}

/// What a fleet that is given does: the judgement of [`size`] over sizes that somebody else chose,
/// in the order of `pools` (a pool without a size counts as empty).
#[must_use]
pub fn assess(pools: &[SizePool<'_>], counts: &[Replicas], sla: &Sla, demand: &Demand) -> Sizing {
    let allowed = Allowed::of(sla);
    let mut candidates: Vec<Candidate<'_>> =
        pools.iter().map(|p| Candidate::new(*p, sla, demand)).collect();
    let counts: Vec<u32> = (0..pools.len()).map(|i| counts.get(i).map_or(0, |n| n.get())).collect();
    let first_step = candidates.iter().zip(&counts).find_map(|(c, n)| c.first_step(*n));
    set_first_step(&mut candidates, first_step);
    let kept = candidates.iter().zip(&counts).all(|(c, n)| {
        let e = c.effect(*n);
        e.ttft <= allowed.ttft && e.itl <= allowed.itl
    }) && 1.0 - joint(&candidates, &counts) <= allowed.both;
    let verdict = if kept { Verdict::Kept } else { Verdict::NotKept };
    describe(&candidates, &counts, verdict, None, allowed, demand)
}

/// The first token is made by prefill, but it also waits for one decode iteration.
fn set_first_step(candidates: &mut [Candidate<'_>], first_step: Option<f64>) {
    for c in candidates {
        if let Model::Prefill { first_step: step, .. } = &mut c.model {
            *step = first_step.unwrap_or(0.0);
        }
    }
}

/// The fewest replicas at which a pool has a steady state at all: within its utilisation limit.
fn steady(c: &Candidate<'_>) -> u32 {
    let lowest = if c.rate > 0.0 { c.pool.min.get().max(1) } else { c.pool.min.get() };
    let calm = |n: u32| c.effect(n).utilisation <= super::capacity::MAX_UTILISATION;
    let mut high = lowest.max(1);
    while !calm(high) && high < MOST_REPLICAS {
        high = high.saturating_mul(2).min(MOST_REPLICAS);
    }
    let mut low = lowest.min(high);
    while low < high {
        let middle = low + (high - low) / 2;
        if calm(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if calm(lowest) { lowest } else { high }
}

/// The cheapest sizes that keep the promise together: each pool alone gives a lower bound, and the
/// requests that both pools make late add up, so that a few more may be needed.
fn fewest_together(candidates: &[Candidate<'_>], allowed: Allowed) -> Option<Vec<u32>> {
    let least: Vec<u32> =
        candidates.iter().map(|c| c.fewest(allowed)).collect::<Option<Vec<u32>>>()?;
    let more = |least: u32| least..=least.saturating_add((least / 8).max(3));
    let mut best: Option<(Gpus, f64, Vec<u32>)> = None;
    let mut consider = |counts: Vec<u32>| {
        let late = 1.0 - joint(candidates, &counts);
        if late > allowed.both {
            return;
        }
        let total = gpus(candidates, &counts);
        if best.as_ref().is_none_or(|(g, l, _)| (total, late) < (*g, *l)) {
            best = Some((total, late, counts));
        }
    };
    match least[..] {
        [a] => more(a).for_each(|a| consider(vec![a])),
        [a, b] => more(a).for_each(|a| more(b).for_each(|b| consider(vec![a, b]))),
        _ => return None,
    }
    best.map(|(_, _, counts)| counts)
}

/// Share of requests that are good with these sizes.
fn joint(candidates: &[Candidate<'_>], counts: &[u32]) -> f64 {
    candidates.iter().zip(counts).map(|(c, n)| c.effect(*n).good()).product()
}

fn gpus(candidates: &[Candidate<'_>], counts: &[u32]) -> Gpus {
    candidates
        .iter()
        .zip(counts)
        .fold(Gpus::new(0), |sum, (c, n)| sum.plus(Replicas::new(*n).gpus(c.pool.gpus_per_replica)))
}

fn within(candidates: &[Candidate<'_>], counts: &[u32], budget: Option<Gpus>) -> bool {
    candidates.iter().zip(counts).all(|(c, n)| c.pool.max.is_none_or(|max| *n <= max.get()))
        && budget.is_none_or(|b| gpus(candidates, counts) <= b)
}

/// The sizes within the limits that make the fewest requests late, none above what is wanted; of
/// equals the cheapest. Where even the minimums exceed the budget, the minimums.
fn least_bad(candidates: &[Candidate<'_>], wanted: &[u32], budget: Option<Gpus>) -> Vec<u32> {
    let top: Vec<u32> = candidates
        .iter()
        .zip(wanted)
        .map(|(c, n)| (*n).min(c.pool.max.map_or(u32::MAX, Replicas::get)).max(c.pool.min.get()))
        .collect();
    if within(candidates, &top, budget) {
        return top;
    }
    let budget = budget.map_or(u32::MAX, Gpus::get);
    let bottom: Vec<u32> = candidates.iter().map(|c| c.pool.min.get()).collect();
    let affordable = |c: &Candidate<'_>, spent: u32, top: u32| {
        let each = c.pool.gpus_per_replica.get().max(1);
        (budget.saturating_sub(spent) / each).clamp(c.pool.min.get(), top)
    };
    match (candidates, &top[..]) {
        ([one], [top]) => vec![affordable(one, 0, *top)],
        ([a, b], [top_a, top_b]) => {
            let mut best: Option<((f64, f64, u32), Vec<u32>)> = None;
            for n in bottom[0]..=affordable(a, 0, *top_a) {
                let spent = n.saturating_mul(a.pool.gpus_per_replica.get());
                let counts = vec![n, affordable(b, spent, *top_b)];
                if gpus(candidates, &counts).get() > budget {
                    continue;
                }
                // Where all are late whatever is done, the evener utilisation drains sooner.
                let late = 1.0 - joint(candidates, &counts);
                let worst = candidates
                    .iter()
                    .zip(&counts)
                    .map(|(c, n)| c.effect(*n).utilisation)
                    .fold(0.0, f64::max);
                let rank = (late, worst, gpus(candidates, &counts).get());
                if best.as_ref().is_none_or(|(r, _)| rank < *r) {
                    best = Some((rank, counts));
                }
            }
            best.map_or(bottom, |(_, counts)| counts)
        }
        _ => bottom,
    }
}

fn describe(
    candidates: &[Candidate<'_>],
    counts: &[u32],
    verdict: Verdict,
    budget: Option<Gpus>,
    allowed: Allowed,
    demand: &Demand,
) -> Sizing {
    let pools = candidates
        .iter()
        .zip(counts)
        .map(|(c, &n)| {
            let e = c.effect(n);
            let (ttft, itl) = c.latencies(n, allowed.both);
            let cut = matches!(verdict, Verdict::LimitsTooTight { .. });
            let bound = if cut && c.pool.max.is_some_and(|max| n == max.get()) {
                Bound::Max
            } else if cut && budget.is_some() {
                Bound::Budget
            } else if n == c.pool.min.get() {
                Bound::Min
            } else if n > 0 {
                c.effect(n - 1).bound
            } else {
                Bound::Min
            };
            PoolSize {
                role: c.pool.role,
                replicas: Replicas::new(n),
                gpus: Replicas::new(n).gpus(c.pool.gpus_per_replica),
                utilisation: e.utilisation,
                late: Share::clamped(1.0 - e.good()),
                ttft,
                itl,
                bound,
            }
        })
        .collect();
    Sizing {
        verdict,
        pools,
        total_gpus: gpus(candidates, counts),
        good: Share::clamped(joint(candidates, counts)),
        extrapolated: candidates.iter().any(|c| extrapolates(c, demand)),
    }
}

/// Whether the mean request lies outside the data of the profile.
fn extrapolates(c: &Candidate<'_>, demand: &Demand) -> bool {
    let prompt = c.pool.engine.prefill().ttft(demand.isl.mean.get()).outside.is_some();
    let context = |model: &DecodeModel<'_>| {
        !c.pool.engine.decode().context_range().contains(&model.context())
    };
    match &c.model {
        Model::Prefill { .. } | Model::Aggregated(_) => prompt,
        Model::Decode(model) => context(model),
    }
}
