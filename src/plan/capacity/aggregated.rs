//! TTFT and ITL of engines that read prompts and generate in the same iterations.

use super::lengths::shares;
use super::{DecodeModel, MAX_UTILISATION, Mean, Outcome, PrefillModel};
use crate::forecast::Demand;
use crate::plan::Correction;
use crate::profile::EngineProfile;
use crate::spec::EngineLimits;
use crate::units::Millis;

/// Aggregated engines under one demand.
#[derive(Clone, Debug)]
pub(crate) struct AggregatedModel<'a> {
    engine: &'a EngineProfile,
    limits: EngineLimits,
    demand: Demand,
    itl: Millis,
    outputs: Vec<(f64, f64)>,
    /// Its engines as they read prompts, without a decode iteration in each pass.
    prompts: PrefillModel,
    correction: Correction,
}

/// What a fleet of aggregated engines does to the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AggregatedOutcome {
    /// Share late in TTFT.
    pub(crate) ttft: Outcome,
    /// Share late in ITL.
    pub(crate) itl: Outcome,
    /// Share that waits for a slot or KV memory.
    pub(crate) no_room: f64,
}

/// The steady state of one engine.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// Share of its time that prefill takes.
    prefill: f64,
    /// Time of one decode iteration, ms.
    iteration: f64,
    no_room: f64,
    utilisation: f64,
}

impl<'a> AggregatedModel<'a> {
    pub(crate) fn new(
        engine: &'a EngineProfile,
        limits: EngineLimits,
        demand: Demand,
        itl: Millis,
        correction: Correction,
    ) -> Self {
        let outputs = shares(demand.osl, f64::INFINITY);
        let slower = correction.prefill;
        let prompts = PrefillModel::new(engine.prefill(), limits, demand.isl, 0.0, slower);
        Self { engine, limits, demand, itl, outputs, prompts, correction }
    }

    fn prefill(&self, stretch: f64) -> PrefillModel {
        let slower = self.correction.prefill;
        PrefillModel::new(self.engine.prefill(), self.limits, self.demand.isl, stretch, slower)
    }

    /// The decode side where prefill takes the share `other` of the time.
    fn decode(&self, other: f64) -> DecodeModel<'a> {
        let Demand { isl, osl, .. } = self.demand;
        let (surface, correction) = (self.engine.decode(), self.correction);
        DecodeModel::new(surface, self.limits, isl, osl, self.itl, other, correction)
    }

    fn steady(&self, engines: f64, rate: f64) -> Option<Steady> {
        let prefill = rate / engines * self.prompts.mean_added();
        if prefill > MAX_UTILISATION {
            return None;
        }
        let decode = self.decode(prefill);
        let (outcome, no_room) = decode.late(engines, rate, self.demand.dispersion);
        let state = decode.state(engines, rate, self.demand.dispersion)?;
        Some(Steady {
            prefill,
            iteration: decode.itl(state.running) * (1.0 - prefill),
            no_room,
            utilisation: outcome.utilisation.max(prefill),
        })
    }

    /// The shares that are late where `engines` take `rate` requests per ms in turn.
    pub(crate) fn late(&self, engines: f64, rate: f64, ttft: Millis) -> AggregatedOutcome {
        let Some(steady) = self.steady(engines, rate) else {
            let over = Outcome::overloaded((rate / engines * self.prompts.mean_added()).max(1.0));
            return AggregatedOutcome { ttft: over, itl: over, no_room: 1.0 };
        };
        // A pass reads prompts and makes one token for each running sequence; an arriving request
        // also waits for the iteration under way.
        let prefill = self.prefill(steady.iteration);
        let state = prefill.state(engines, rate, self.demand.dispersion);
        let first = prefill.late(state, ttft.get() - steady.iteration);
        let slow = self.slow(steady, rate / engines, self.itl.get());
        let itl = Outcome::by_chance(slow, steady.utilisation);
        AggregatedOutcome { ttft: first, itl, no_room: steady.no_room }
    }

    /// The share of requests whose mean latency exceeds `target` ms: prefill passes fall into the
    /// life of a request at random (a compound Poisson sum), which weighs most on short outputs.
    fn slow(&self, steady: Steady, rate_per_engine: f64, target: f64) -> f64 {
        let squared = self.prompts.mean_added_squared();
        let slow: f64 = self
            .outputs
            .iter()
            .map(|&(weight, tokens)| {
                let steps = tokens.max(2.0) - 1.0;
                let life = steps * steady.iteration / (1.0 - steady.prefill);
                let mean = life / steps;
                let spread = (rate_per_engine * life * squared).sqrt() / steps;
                weight * super::decode::tail(target - mean, spread)
            })
            .sum();
        slow.min(1.0)
    }

    /// The mean TTFT, ITL, and share of the KV cache in use.
    pub(crate) fn means(&self, engines: f64, rate: f64) -> [Mean; 3] {
        let idc = self.demand.dispersion;
        let busy = (rate / engines * self.prompts.mean_added()).min(MAX_UTILISATION);
        let decode = self.decode(busy);
        let itl = decode.mean_time(engines, rate, idc);
        let iteration = itl.mean * (1.0 - busy);
        let wait = self.prefill(iteration).mean_time(engines, rate, idc);
        [Mean { mean: wait.mean + iteration, ..wait }, itl, decode.mean_usage(engines, rate, idc)]
    }

    /// The TTFT and ITL that all but `late` of the requests stay within, ms; infinite where the
    /// engines are overloaded.
    pub(crate) fn quantiles(&self, engines: f64, rate: f64, late: f64) -> (f64, f64) {
        let Some(steady) = self.steady(engines, rate) else {
            return (f64::INFINITY, f64::INFINITY);
        };
        let prefill = self.prefill(steady.iteration);
        let state = prefill.state(engines, rate, self.demand.dispersion);
        let first = prefill.quantile(state, late) + steady.iteration;
        let mean = steady.iteration / (1.0 - steady.prefill);
        let limit = 100.0 * mean + 10.0 * self.prompts.mean_added();
        let itl = super::quantile(late, 0.0, limit, |t| self.slow(steady, rate / engines, t));
        (first, itl)
    }

    /// The latencies of a request on an engine of its own, ms: what no number of replicas can mend.
    pub(crate) fn alone(&self, late: f64) -> (f64, f64) {
        let iteration = self.decode(0.0).itl(1.0);
        (self.prompts.quantile_alone(late) + iteration, iteration)
    }

    /// Mean tokens of context of a running sequence.
    pub(crate) fn context(&self) -> f64 {
        self.decode(0.0).expected_context()
    }

    /// Whether not even one sequence fits the KV cache.
    pub(crate) fn cannot_hold_one(&self) -> bool {
        self.decode(0.0).cannot_hold_one()
    }
}
