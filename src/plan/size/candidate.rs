//! One pool under one demand: what it does at any size.

use super::{Bound, ExpectedMean, IfOnly, Latency, SizePool, Verdict};
use crate::forecast::Demand;
use crate::plan::capacity::{AggregatedModel, DecodeModel, MAX_UTILISATION, PrefillModel};
use crate::spec::Sla;
use crate::units::{Millis, Percentile, Replicas, Role, Share};

/// The most replicas that a search goes up to. Ten times the largest fleet that one DGD has been
/// reported with; without a limit a slip of a unit in the load would run on for ever.
pub(super) const MOST_REPLICAS: u32 = 10_000;

/// How much of the share that may be late for chance is planned with. Among the tens of thousands
/// of requests of half an hour the late ones come in bursts, and their share scatters by about a
/// fifth. More would cost GPUs in quiet times, less breaks every second half hour at the edge.
const PLANNED: f64 = 0.8;

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

    /// What is planned with where the share `alone` is late in TTFT whatever the size: no reserve
    /// for chance can be had from that.
    pub(super) fn with_reserve(self, alone: f64) -> Self {
        let part = |allowed: f64, sure: f64| sure + PLANNED * (allowed - sure).max(0.0);
        Self {
            both: part(self.both, alone),
            ttft: part(self.ttft, alone),
            itl: part(self.itl, 0.0),
        }
    }

    /// No less than this share of either latency.
    pub(super) fn or_more(self, late: Share) -> Self {
        let late = late.get();
        Self { both: self.both.max(late), ttft: self.ttft.max(late), itl: self.itl.max(late) }
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
pub(super) struct Effect {
    /// Share late in TTFT by this pool.
    pub(super) ttft: f64,
    /// Share late in ITL by this pool.
    pub(super) itl: f64,
    pub(super) utilisation: f64,
    pub(super) bound: Bound,
}

impl Effect {
    pub(super) fn good(self) -> f64 {
        (1.0 - self.ttft) * (1.0 - self.itl)
    }
}

/// One pool under one demand: its effect at any size.
pub(super) enum Model<'a> {
    Prefill(PrefillModel),
    Decode(DecodeModel<'a>),
    Aggregated(AggregatedModel<'a>),
}

pub(super) struct Candidate<'a> {
    pub(super) pool: SizePool<'a>,
    pub(super) model: Model<'a>,
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
                Model::Prefill(PrefillModel::new(engine.prefill(), limits, demand.isl, 0.0, slower))
            }
            Role::Decode => Model::Decode(DecodeModel::new(
                engine.decode(),
                limits,
                demand.isl,
                demand.osl,
                sla.itl,
                0.0,
                correction.decode,
            )),
            Role::Aggregated => Model::Aggregated(AggregatedModel::new(
                engine, limits, *demand, sla.itl, correction,
            )),
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
            return Effect { ttft: late, itl: 0.0, utilisation: late, bound: Bound::Min };
        }
        match &self.model {
            Model::Prefill(model) => {
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

    /// The time of one iteration of a decode pool of this size, ms; `None` for other pools. No
    /// size is faster than that of `u32::MAX`: one sequence alone.
    pub(super) fn first_step(&self, replicas: u32) -> Option<f64> {
        match &self.model {
            Model::Decode(model) => {
                let engines = f64::from(replicas.max(1));
                let state = model.state(engines, self.rate, self.dispersion);
                Some(model.itl(state.map_or(1.0, |s| s.running)))
            }
            Model::Prefill(_) | Model::Aggregated(_) => None,
        }
    }

    /// The fewest replicas that alone stay within the allowance; `None` above the search limit.
    pub(super) fn fewest(&self, allowed: Allowed, first_step: f64) -> Option<u32> {
        fewest_from(self.lowest(), MOST_REPLICAS, |n| {
            let e = self.effect(n, first_step);
            e.ttft <= allowed.ttft_alone()
                && e.itl <= allowed.itl_alone()
                && 1.0 - e.good() <= allowed.both
        })
    }

    /// The fewest replicas at which the pool has a steady state at all: within its utilisation
    /// limit.
    pub(super) fn steady(&self) -> u32 {
        let lowest = self.lowest();
        fewest_from(lowest, MOST_REPLICAS, |n| self.effect(n, 0.0).utilisation <= MAX_UTILISATION)
            .unwrap_or(lowest)
    }

    /// GPUs of one replica, at least 1.
    pub(super) fn gpus_per_replica(&self) -> u32 {
        self.pool.gpus_per_replica.get().max(1)
    }

    /// The fewest replicas worth looking at: the minimum, and one where there is any load.
    fn lowest(&self) -> u32 {
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
            Model::Prefill(model) => {
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

    /// The mean TTFT and ITL, ms, where the pool has them, each with how much of a small slowing down
    /// of the engines comes back in it.
    pub(super) fn mean_times(&self, replicas: u32, first_step: f64) -> [Option<ExpectedMean>; 2] {
        let engines = f64::from(replicas.max(1));
        let (rate, idc) = (self.rate, self.dispersion);
        let of = |(mean, answer): (f64, f64)| {
            (mean.is_finite() && mean > 0.0).then_some(ExpectedMean { mean, answer })
        };
        match &self.model {
            Model::Prefill(model) => {
                let (mean, answer) = model.mean_time(engines, rate, idc);
                [of((mean + first_step, answer)), None]
            }
            Model::Decode(model) => [None, of(model.mean_time(engines, rate, idc))],
            Model::Aggregated(model) => model.mean_times(engines, rate).map(of),
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
            (Model::Prefill(model), _) => target(
                Latency::Ttft,
                model.quantile(engines, self.rate, self.dispersion, late) + first_step,
            ),
            (Model::Decode(model), Bound::ItlBatch) => {
                let state = model.state(engines, self.rate, self.dispersion);
                state.and_then(|s| target(Latency::Itl, model.quantile(s, late)))
            }
            (Model::Aggregated(model), bound @ (Bound::ItlBatch | Bound::TtftWait)) => {
                let (ttft, itl) = model.quantiles(engines, self.rate, late);
                if bound == Bound::TtftWait {
                    target(Latency::Ttft, ttft)
                } else {
                    target(Latency::Itl, itl)
                }
            }
            (Model::Decode(_) | Model::Aggregated(_), _) => None,
        };
        of_target.or_else(|| {
            // Slots, memory and time are shared out: what a replica fewer leaves of them.
            let at_most = Share::new(engines / (engines + 1.0))?;
            Some(IfOnly::Load { role, replicas, at_most })
        })
    }

    /// The share of requests that are late in TTFT even on engines of their own.
    pub(super) fn late_alone(&self, first_step: f64) -> f64 {
        match &self.model {
            Model::Prefill(model) => model.late_alone(self.sla.ttft.get() - first_step),
            Model::Decode(_) => 0.0,
            Model::Aggregated(model) => model.late_alone(self.sla.ttft),
        }
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
            Model::Prefill(model) => miss(
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

    /// Whether the mean request lies outside the data of the profile.
    pub(super) fn extrapolates(&self, demand: &Demand) -> bool {
        let engine = self.pool.engine;
        match &self.model {
            Model::Prefill(_) | Model::Aggregated(_) => {
                engine.prefill().ttft(demand.isl.mean.get()).outside.is_some()
            }
            Model::Decode(model) => !engine.decode().context_range().contains(&model.context()),
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
