//! The fewest GPUs that keep the promise under a given demand.

mod alternatives;
mod candidate;
mod search;

use serde::{Deserialize, Serialize};

use super::capacity::Mean;
use super::learn::Correction;
use crate::forecast::Demand;
use crate::profile::EngineProfile;
use crate::spec::{EngineLimits, Sla};
use crate::units::{Gpus, Millis, Replicas, Role, Share};

pub use alternatives::{Alternative, IfOnly};
use candidate::{Allowed, Candidate, Goal, MOST_REPLICAS};
use search::{
    fewest_together, first_step, gpus, is_kept, joint, least_bad, shortest_first_step, within,
};

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
    /// What its engines take over what the profile says.
    pub correction: Correction,
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

impl Verdict {
    /// What [`LimitsTooTight`](Self::LimitsTooTight) names where no size at all was found.
    pub const NO_SIZE: Gpus = Gpus::new(u32::MAX);
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

/// Sizes the pools together: the fewest GPUs that keep the promise within the limits, or, where the
/// limits do not allow that, the sizes that make the fewest requests late.
///
/// `pools` are prefill and decode, one of the two, or aggregated.
#[must_use]
pub fn size(pools: &[SizePool<'_>], sla: &Sla, demand: &Demand, budget: Option<Gpus>) -> Sizing {
    size_level(pools, sla, demand, budget, Share::NONE)
}

/// Sizes the pools for a level of the demand that is seldom reached: there, the share `late` of the
/// requests may be late, or the share that the promise allows, where that is more.
#[must_use]
pub fn size_level(
    pools: &[SizePool<'_>],
    sla: &Sla,
    demand: &Demand,
    budget: Option<Gpus>,
    late: Share,
) -> Sizing {
    Fleets::new(pools, sla, *demand).size(budget, late)
}

/// Pools under one demand: fleets of any sizes.
pub(super) struct Fleets<'a> {
    candidates: Vec<Candidate<'a>>,
    sla: &'a Sla,
    demand: Demand,
}

impl<'a> Fleets<'a> {
    pub(super) fn new(pools: &[SizePool<'a>], sla: &'a Sla, demand: Demand) -> Self {
        let candidates = pools.iter().map(|p| Candidate::new(*p, sla, &demand)).collect();
        Self { candidates, sla, demand }
    }

    /// See [`size_level`].
    pub(super) fn size(&self, budget: Option<Gpus>, late: Share) -> Sizing {
        let candidates = &self.candidates;
        let promised = Allowed::promised(self.sla);
        let best_step = shortest_first_step(candidates);
        let hopeless = candidates.iter().find_map(|c| c.hopeless(promised, best_step));
        let wanted = if hopeless.is_some() {
            None
        } else {
            fewest_together(candidates, Goal::Planned { promised, level: late.get() })
        };
        let (wanted, counts, verdict) = match (wanted, hopeless) {
            (Some(wanted), _) if within(candidates, &wanted, budget) => {
                (wanted.clone(), wanted, Verdict::Kept)
            }
            (Some(wanted), _) => {
                let needed = gpus(candidates, &wanted);
                let counts = least_bad(candidates, &wanted, budget);
                // Without the reserve for chance the promise may be kept all the same.
                let kept = is_kept(candidates, &counts, Goal::Expected(promised));
                (
                    wanted,
                    counts,
                    if kept { Verdict::Kept } else { Verdict::LimitsTooTight { needed } },
                )
            }
            (None, hopeless) => {
                // Keep the engines from drowning, and what a pool can keep by itself, since no size of
                // both keeps the promise. Where none is enough, all that the limits allow is least bad,
                // but for requests that no engine takes.
                let too_large = matches!(hopeless, Some(Verdict::DoesNotFit { .. }));
                let enough: Vec<u32> = candidates
                    .iter()
                    .map(|c| {
                        let most = if too_large { 0 } else { MOST_REPLICAS }.max(c.lowest());
                        let alone =
                            c.fewest(Goal::Expected(promised), best_step).unwrap_or_default();
                        c.steady().unwrap_or(most).max(alone)
                    })
                    .collect();
                let verdict =
                    hopeless.unwrap_or(Verdict::LimitsTooTight { needed: Verdict::NO_SIZE });
                let counts = least_bad(candidates, &enough, budget);
                (enough, counts, verdict)
            }
        };
        describe(candidates, &counts, Some(&wanted), verdict, &self.demand)
    }
}

/// What a fleet that is given does: the judgement of [`size`] over sizes that somebody else chose,
/// in the order of `pools` (a pool without a size counts as empty).
#[must_use]
pub fn assess(pools: &[SizePool<'_>], counts: &[Replicas], sla: &Sla, demand: &Demand) -> Sizing {
    let candidates = Fleets::new(pools, sla, *demand).candidates;
    let counts: Vec<u32> = (0..pools.len()).map(|i| counts.get(i).map_or(0, |n| n.get())).collect();
    let kept = is_kept(&candidates, &counts, Goal::Expected(Allowed::promised(sla)));
    let verdict = if kept { Verdict::Kept } else { Verdict::NotKept };
    describe(&candidates, &counts, None, verdict, demand)
}

/// What the model expects a fleet to show.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Expected {
    /// Time to first token.
    pub(super) ttft: Option<Mean>,
    /// Inter-token latency.
    pub(super) itl: Option<Mean>,
    /// Share of the KV cache in use.
    pub(super) kv_usage: Option<Mean>,
}

/// The means that a fleet of these sizes is expected to show.
pub(super) fn expected(
    pools: &[SizePool<'_>],
    counts: &[Replicas],
    sla: &Sla,
    demand: &Demand,
) -> Expected {
    let candidates = Fleets::new(pools, sla, *demand).candidates;
    let counts: Vec<u32> = counts.iter().map(|n| n.get()).collect();
    let step = first_step(&candidates, &counts);
    candidates.iter().zip(&counts).fold(Expected::default(), |all, (c, n)| {
        let [ttft, itl, kv_usage] = c.means(*n, step);
        Expected {
            ttft: all.ttft.or(ttft),
            itl: all.itl.or(itl),
            kv_usage: all.kv_usage.or(kv_usage),
        }
    })
}

/// The sizes with what they do; `wanted` are those before the limits, for a fleet that was chosen.
fn describe(
    candidates: &[Candidate<'_>],
    counts: &[u32],
    wanted: Option<&[u32]>,
    verdict: Verdict,
    demand: &Demand,
) -> Sizing {
    let step = first_step(candidates, counts);
    let pools = candidates
        .iter()
        .zip(counts)
        .enumerate()
        .map(|(i, (c, &n))| {
            let e = c.effect(n, step);
            let (ttft, itl) = c.latencies(n, step);
            let cut = matches!(verdict, Verdict::LimitsTooTight { .. })
                && wanted.is_some_and(|wanted| n < wanted[i]);
            let bound = if cut && c.pool.max.is_some_and(|max| n == max.get()) {
                Bound::Max
            } else if cut {
                Bound::Budget
            } else if n == c.pool.min.get() {
                Bound::Min
            } else if n > 0 {
                c.effect((n - 1).max(1), step).bound
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
        extrapolated: candidates.iter().any(|c| c.extrapolates(demand)),
    }
}

#[cfg(test)]
mod tests;
