//! One pool under one demand: what it does at any size.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Bound, IfOnly, Latency, SizePool, Verdict};
use crate::forecast::Demand;
use crate::plan::capacity::{
    AggregatedModel, DecodeModel, MAX_UTILISATION, Mean, PrefillModel, PrefillState, planned,
};
use crate::spec::Sla;
use crate::units::{Millis, Percentile, Replicas, Role, Share};

/// The most replicas that a search goes up to. Ten times the largest fleet that one DGD has been
/// reported with; without a limit a slip of a unit in the load would run on for ever.
pub(super) const MOST_REPLICAS: u32 = 10_000;

/// The allowed shares of late requests: of both targets together, and of each alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) both: f64,
    pub(super) ttft: f64,
    pub(super) itl: f64,
}

impl Allowed {
    /// What is promised.
    pub(super) fn promised(sla: &Sla) -> Self {
        let late = |p: Percentile| p.share().rest().get();
        Self {
            both: late(sla.percentile),
            ttft: sla.ttft_percentile.map_or(1.0, late),
            itl: sla.itl_percentile.map_or(1.0, late),
        }
    }

    /// The share `late` of each latency and of both.
    fn all(late: f64) -> Self {
        Self { both: late, ttft: late, itl: late }
    }

    /// Whether these shares of TTFT, ITL and both are not too many.
    fn allows(self, ttft: f64, itl: f64, both: f64) -> bool {
        ttft <= self.ttft && itl <= self.itl && both <= self.both
    }

    fn ttft_alone(self) -> f64 {
        self.both.min(self.ttft)
    }
}

/// What sizes are to keep.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// Shares as they are expected.
    Expected(Allowed),
    /// Shares with the reserve for chance; or, as they are expected, no more than `level` of
    /// each.
    Planned {
        /// What is promised.
        promised: Allowed,
        /// 0 adds nothing.
        level: f64,
    },
}

impl Goal {
    /// Whether pools with these effects keep it together.
    pub(super) fn is_kept(self, effects: &[Effect]) -> bool {
        match self {
            Self::Expected(allowed) => within(allowed, effects.iter().map(|e| e.late)),
            Self::Planned { promised, level } => {
                within(promised, effects.iter().map(|e| e.planned))
                    || level > 0.0 && within(Allowed::all(level), effects.iter().map(|e| e.late))
            }
        }
    }
}

/// Whether pools that make these requests late stay within what is allowed together.
fn within(allowed: Allowed, pools: impl Iterator<Item = Late> + Clone) -> bool {
    let both = 1.0 - pools.clone().map(Late::good).product::<f64>();
    pools.into_iter().all(|late| allowed.allows(late.ttft, late.itl, both))
}

/// The shares of requests that one pool makes late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    pub(super) ttft: f64,
    pub(super) itl: f64,
}

impl Late {
    pub(super) fn good(self) -> f64 {
        (1.0 - self.ttft) * (1.0 - self.itl)
    }
}

/// What one pool does at a given size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    /// What is expected.
    pub(super) late: Late,
    /// The same with the reserve for chance.
    pub(super) planned: Late,
    pub(super) utilisation: f64,
    pub(super) bound: Bound,
}

impl Effect {
    pub(super) fn good(self) -> f64 {
        self.late.good()
    }
}

/// What is known of sizes that were looked at before: a search comes back to the same few.
struct Known<T>(RefCell<BTreeMap<u32, T>>);

impl<T: Copy> Known<T> {
    fn new() -> Self {
        Self(RefCell::default())
    }

    fn of(&self, replicas: u32, look: impl FnOnce() -> T) -> T {
        *self.0.borrow_mut().entry(replicas).or_insert_with(look)
    }
}

/// One pool under one demand: its effect at any size.
enum Model<'a> {
    Prefill(PrefillModel, Known<PrefillState>),
    /// With the time of one iteration.
    Decode(DecodeModel<'a>, Known<(f64, Effect)>),
    Aggregated(AggregatedModel<'a>, Known<Effect>),
}

pub(super) struct Candidate<'a> {
    pub(super) pool: SizePool<'a>,
    model: Model<'a>,
    sla: &'a Sla,
    /// Requests per ms.
    pub(super) rate: f64,
    dispersion: f64,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(pool: SizePool<'a>, sla: &'a Sla, demand: &Demand) -> Self {
        let SizePool { role, engine, limits, correction, .. } = pool;
        let model = match role {
            Role::Prefill => {
                let slower = correction.prefill;
                let curve = engine.prefill();
                let model = PrefillModel::new(curve, limits, demand.isl, 0.0, slower);
                Model::Prefill(model, Known::new())
            }
            Role::Decode => {
                let (isl, osl) = (demand.isl, demand.osl);
                let surface = engine.decode();
                let model = DecodeModel::new(surface, limits, isl, osl, sla.itl, 0.0, correction);
                Model::Decode(model, Known::new())
            }
            Role::Aggregated => {
                let model = AggregatedModel::new(engine, limits, *demand, sla.itl, correction);
                Model::Aggregated(model, Known::new())
            }
        };
        let dispersion =
            if demand.dispersion.is_finite() { demand.dispersion.max(0.1) } else { 1.0 };
        Self { pool, model, sla, rate: demand.upper(role).max(0.0) / 1e3, dispersion }
    }

    /// What this many replicas do. `first_step` is the decode iteration that the first token waits
    /// for after a prefill pool, ms: the first token is made by prefill, but shown with the second.
    pub(super) fn effect(&self, replicas: u32, first_step: f64) -> Effect {
        let engines = f64::from(replicas);
        if replicas == 0 {
            let late = if self.rate > 0.0 { 1.0 } else { 0.0 };
            let all = Late { ttft: late, itl: 0.0 };
            return Effect { late: all, planned: all, utilisation: late, bound: Bound::Min };
        }
        match &self.model {
            Model::Prefill(model, known) => {
                let state = self.prefill_state(model, known, replicas);
                let out = model.late(state, self.sla.ttft.get() - first_step);
                Effect {
                    late: Late { ttft: out.late, itl: 0.0 },
                    planned: Late { ttft: out.planned, itl: 0.0 },
                    utilisation: out.utilisation,
                    bound: Bound::TtftWait,
                }
            }
            Model::Decode(model, known) => {
                known.of(replicas, || self.look_at_decode(model, replicas)).1
            }
            Model::Aggregated(model, known) => known.of(replicas, || {
                let out = model.late(engines, self.rate, self.sla.ttft);
                let bound = if out.no_room > out.itl.late.max(out.ttft.late) {
                    Bound::Room
                } else if out.ttft.late > out.itl.late {
                    Bound::TtftWait
                } else {
                    Bound::ItlBatch
                };
                let ttft = out.ttft.late.max(out.no_room);
                let to_plan = out.ttft.planned.max(planned(out.no_room));
                Effect {
                    late: Late { ttft, itl: out.itl.late },
                    planned: Late { ttft: to_plan, itl: out.itl.planned },
                    utilisation: out.ttft.utilisation.max(out.itl.utilisation),
                    bound,
                }
            }),
        }
    }

    fn prefill_state(
        &self,
        model: &PrefillModel,
        known: &Known<PrefillState>,
        replicas: u32,
    ) -> PrefillState {
        let replicas = replicas.max(1);
        known.of(replicas, || model.state(f64::from(replicas), self.rate, self.dispersion))
    }

    /// The time of one iteration, and what this many replicas do.
    fn look_at_decode(&self, model: &DecodeModel<'_>, replicas: u32) -> (f64, Effect) {
        let engines = f64::from(replicas.max(1));
        let (out, no_room) = model.late(engines, self.rate, self.dispersion);
        let effect = Effect {
            late: Late { ttft: no_room, itl: out.late },
            planned: Late { ttft: planned(no_room), itl: out.planned },
            utilisation: out.utilisation,
            bound: if no_room > out.late { Bound::Room } else { Bound::ItlBatch },
        };
        let state = model.state(engines, self.rate, self.dispersion);
        (model.itl(state.map_or(1.0, |s| s.running)), effect)
    }

    /// The time of one iteration of a decode pool of this size, ms; `None` for other pools. No
    /// size is faster than that of `u32::MAX`: one sequence alone.
    pub(super) fn first_step(&self, replicas: u32) -> Option<f64> {
        match &self.model {
            Model::Decode(model, known) => {
                Some(known.of(replicas, || self.look_at_decode(model, replicas)).0)
            }
            Model::Prefill(..) | Model::Aggregated(..) => None,
        }
    }

    /// The fewest replicas that alone keep the goal; `None` above the search limit.
    pub(super) fn fewest(&self, goal: Goal, first_step: f64) -> Option<u32> {
        let kept = |n| goal.is_kept(&[self.effect(n, first_step)]);
        fewest_from(self.lowest(), MOST_REPLICAS, kept)
    }

    /// The fewest replicas at which the pool has a steady state at all: within its utilisation
    /// limit; `None` above the search limit.
    pub(super) fn steady(&self) -> Option<u32> {
        fewest_from(self.lowest(), MOST_REPLICAS, |n| {
            self.effect(n, 0.0).utilisation <= MAX_UTILISATION
        })
    }

    /// GPUs of one replica, at least 1.
    pub(super) fn gpus_per_replica(&self) -> u32 {
        self.pool.gpus_per_replica.get().max(1)
    }

    /// The fewest replicas worth looking at: the minimum, and one where there is any load.
    pub(super) fn lowest(&self) -> u32 {
        let min = self.pool.min.get();
        if self.rate > 0.0 { min.max(1) } else { min }
    }

    /// TTFT and ITL at the percentile of the promise, where the pool has them.
    pub(super) fn latencies(
        &self,
        replicas: u32,
        first_step: f64,
    ) -> (Option<Millis>, Option<Millis>) {
        let late = self.sla.percentile.share().rest().get();
        let engines = f64::from(replicas.max(1));
        let known = |x: f64| x.is_finite().then(|| Millis::clamped(x));
        match &self.model {
            Model::Prefill(model, states) => {
                let state = self.prefill_state(model, states, replicas);
                (known(model.quantile(state, late) + first_step), None)
            }
            Model::Decode(model, _) => {
                let state = model.state(engines, self.rate, self.dispersion);
                (None, state.and_then(|s| known(model.quantile(s, late))))
            }
            Model::Aggregated(model, _) => {
                let (ttft, itl) = model.quantiles(engines, self.rate, late);
                (known(ttft), known(itl))
            }
        }
    }

    /// The mean TTFT, ITL, and share of the KV cache in use, where the pool has them.
    pub(super) fn means(&self, replicas: u32, first_step: f64) -> [Option<Mean>; 3] {
        let engines = f64::from(replicas.max(1));
        let (rate, idc) = (self.rate, self.dispersion);
        let of = |time: Mean| (time.mean.is_finite() && time.mean > 0.0).then_some(time);
        match &self.model {
            Model::Prefill(model, _) => {
                let time = model.mean_time(engines, rate, idc);
                [of(Mean { mean: time.mean + first_step, ..time }), None, None]
            }
            Model::Decode(model, _) => {
                let itl = model.mean_time(engines, rate, idc);
                [None, of(itl), of(model.mean_usage(engines, rate, idc))]
            }
            Model::Aggregated(model, _) => model.means(engines, rate).map(of),
        }
    }

    /// What would have to be different for `fewer` replicas to be enough, where the share `late` of
    /// the requests may be late.
    pub(super) fn if_only(&self, fewer: u32, first_step: f64, late: f64) -> Option<IfOnly> {
        let (role, replicas) = (self.pool.role, Replicas::new(fewer));
        let effect = self.effect(fewer, first_step);
        let target = |latency, at_least: f64| {
            let at_least = Millis::new(at_least)?;
            Some(IfOnly::Target { role, replicas, latency, at_least })
        };
        let engines = f64::from(fewer);
        let of_target = match (&self.model, effect.bound) {
            (Model::Prefill(model, known), _) => target(
                Latency::Ttft,
                model.quantile(self.prefill_state(model, known, fewer), late) + first_step,
            ),
            (Model::Decode(model, _), Bound::ItlBatch) => {
                let state = model.state(engines, self.rate, self.dispersion);
                state.and_then(|s| target(Latency::Itl, model.quantile(s, late)))
            }
            (Model::Aggregated(model, _), bound @ (Bound::ItlBatch | Bound::TtftWait)) => {
                let (ttft, itl) = model.quantiles(engines, self.rate, late);
                if bound == Bound::TtftWait {
                    target(Latency::Ttft, ttft)
                } else {
                    target(Latency::Itl, itl)
                }
            }
            (Model::Decode(..) | Model::Aggregated(..), _) => None,
        };
        of_target.or_else(|| {
            // Slots, memory and time are shared out: what a replica fewer leaves of them.
            let at_most = Share::new(engines / (engines + 1.0))?;
            Some(IfOnly::Load { role, replicas, at_most })
        })
    }

    /// What no number of replicas can mend.
    pub(super) fn hopeless(&self, allowed: Allowed, first_step: f64) -> Option<Verdict> {
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
            Model::Prefill(model, _) => miss(
                Latency::Ttft,
                model.quantile_alone(allowed.ttft_alone()) + first_step,
                self.sla.ttft,
            ),
            Model::Decode(model, _) if model.cannot_hold_one() => {
                Some(does_not_fit(model.expected_context()))
            }
            Model::Decode(model, _) if !model.can_meet() => {
                miss(Latency::Itl, model.itl(1.0), self.sla.itl)
            }
            Model::Decode(..) => None,
            Model::Aggregated(model, _) if model.cannot_hold_one() => {
                Some(does_not_fit(model.context()))
            }
            Model::Aggregated(model, _) => {
                let (ttft, itl) = model.alone(allowed.ttft_alone());
                miss(Latency::Ttft, ttft, self.sla.ttft)
                    .or_else(|| miss(Latency::Itl, itl, self.sla.itl))
            }
        }
    }

    /// Whether the mean request lies outside the data of the profile.
    pub(super) fn extrapolates(&self, demand: &Demand) -> bool {
        let engine = self.pool.engine;
        match &self.model {
            Model::Prefill(..) | Model::Aggregated(..) => {
                engine.prefill().ttft(demand.isl.mean.get()).outside.is_some()
            }
            Model::Decode(model, _) => {
                !engine.decode().context_range().contains(&model.expected_context())
            }
        }
    }
}

/// The smallest count from `lowest` to `most` that is enough, where more always is; `None` where not
/// even `most` is.
pub(super) fn fewest_from(lowest: u32, most: u32, enough: impl Fn(u32) -> bool) -> Option<u32> {
    if enough(lowest) {
        return Some(lowest);
    }
    let (mut low, mut high) = (lowest, lowest.saturating_mul(2).max(1));
    while low < most {
        high = high.min(most);
        if enough(high) {
            break;
        }
        low = high;
        high = high.saturating_mul(2);
    }
    if low >= most {
        return None;
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
