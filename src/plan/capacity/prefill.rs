//! Time to first token of a prefill pool.

use super::lengths::shares;
use super::{MAX_UTILISATION, Outcome, planned, quantile};
use crate::forecast::Lengths;
use crate::profile::PrefillCurve;
use crate::spec::EngineLimits;

/// The longest pass that a late request ends in, as a share of its budget. At a half, some simulated
/// queues have twice as many late requests as computed; at 1, ten times fewer.
const PASS_SHARE: f64 = 0.6;

/// How much of the quadratic part of a single prompt's curve is attention, which several prompts in
/// one pass do not share; the rest grows with the tokens of the pass, whosever they are. Of four
/// engines timed with eight prompts of 1,024 tokens against one of 8,192 (AISimulate's tables: 8B
/// on H200, 32B on A100 and H100, 70B on H100) it was 0.28, 0.68, 0.69 and 1.09. The least of them
/// prices a full pass 0 to 12 % too high; a larger one would price some too low.
const ATTENTION: f64 = 0.3;

/// One length of prompt.
#[derive(Clone, Copy, Debug)]
struct Prompt {
    /// Share of the requests.
    weight: f64,
    /// Time of the prompt alone on an engine, ms.
    alone: f64,
    /// Time that it adds to passes that are full anyhow, ms: fixed costs are shared there.
    added: f64,
}

/// Prefill engines under one mix of prompts.
#[derive(Clone, Debug)]
pub(crate) struct PrefillModel {
    prompts: Vec<Prompt>,
    /// A full pass, ms.
    full_pass: f64,
}

/// How long requests wait on one engine: `P(work ahead > x) = busy * exp(-decay * x)`.
#[derive(Clone, Copy, Debug)]
struct Wait {
    busy: f64,
    /// Per millisecond.
    decay: f64,
}

impl PrefillModel {
    /// Engines with this curve under prompts of these lengths.
    ///
    /// `stretch` is the time that each pass takes besides the prompts: 0 for a prefill engine, one
    /// decode iteration for an aggregated one (whose passes do both). The engines are `slower` times
    /// as slow as the curve.
    pub(crate) fn new(
        curve: &PrefillCurve,
        limits: EngineLimits,
        isl: Lengths,
        stretch: f64,
        slower: f64,
    ) -> Self {
        let budget = f64::from(limits.max_num_batched_tokens);
        let alone = |tokens: f64| slower * curve.ttft(tokens).value.get();
        // In a pass of many prompts attention costs c * n^2 for each, not c * (sum n)^2
        // (lessons.md a.2); the rest of a full pass is shared by its tokens.
        let full = alone(budget);
        let c = (ATTENTION * slower * curve.fit().c).min(full / (budget * budget) * 0.8);
        let per_token = (full - c * budget * budget) / budget;
        let passes = |tokens: f64| (tokens / budget).max(1.0).ceil();
        let longest = limits.context_length.map_or(f64::INFINITY, f64::from);
        let prompts = shares(isl, longest)
            .into_iter()
            .map(|(weight, tokens)| Prompt {
                weight,
                alone: alone(tokens) + stretch * passes(tokens),
                added: per_token * tokens + c * tokens * tokens + stretch * tokens / budget,
            })
            .collect();
        Self { prompts, full_pass: full + stretch }
    }

    /// The share that is late where `engines` take `rate` requests per ms in turn and a request may
    /// take `budget` ms, with counts of dispersion `idc` (1 is Poisson).
    pub(crate) fn late(&self, engines: f64, rate: f64, idc: f64, budget: f64) -> Outcome {
        let utilisation = rate / engines * self.mean(|p| p.added);
        if utilisation > MAX_UTILISATION {
            return Outcome::overloaded(utilisation);
        }
        let wait = self.wait(engines, rate, idc);
        let (late, planned) = self.late_after(wait, budget);
        Outcome { late, planned, utilisation }
    }

    /// The time within which all but `late` of the requests are served, ms; infinite where the
    /// engines are overloaded.
    pub(crate) fn quantile(&self, engines: f64, rate: f64, idc: f64, late: f64) -> f64 {
        if rate / engines * self.mean(|p| p.added) > MAX_UTILISATION {
            return f64::INFINITY;
        }
        let wait = self.wait(engines, rate, idc);
        let longest = self.prompts.iter().map(|p| p.alone).fold(0.0, f64::max);
        let limit = longest + 2.0 * self.full_pass + 30.0 / wait.decay.max(1e-9);
        quantile(late, limit, |t| self.late_after(wait, t).0)
    }

    /// The share of prompts that take longer than `budget` ms on an engine of their own: what no
    /// number of replicas can mend.
    fn late_alone(&self, budget: f64) -> f64 {
        self.prompts.iter().filter(|p| p.alone > budget).map(|p| p.weight).sum()
    }

    /// The time within which all but `late` of the prompts are served on an engine of their own.
    pub(crate) fn quantile_alone(&self, late: f64) -> f64 {
        let longest = self.prompts.iter().map(|p| p.alone).fold(0.0, f64::max);
        quantile(late, longest, |t| self.late_alone(t))
    }

    /// The mean time until a request is served, ms, and how much of a small slowing down of the
    /// engines comes back in it, both as shares. Where they are overloaded, those of the most that
    /// they take.
    pub(crate) fn mean_time(&self, engines: f64, rate: f64, idc: f64) -> (f64, f64) {
        let used = rate / engines * self.mean(|p| p.added);
        let rate = if used > MAX_UTILISATION { rate * MAX_UTILISATION / used } else { rate };
        let used = used.min(MAX_UTILISATION);
        let Wait { busy, decay } = self.wait(engines, rate, idc);
        // Behind others a prompt ends with the pass that it shares.
        let own = self.mean(|p| (1.0 - busy) * p.alone + busy * p.added);
        let wait = busy * (1.0 / decay.max(1e-9) + self.full_pass.min(own) / 2.0);
        let mean = own + wait;
        (mean, (own + wait * (1.0 + 1.0 / (1.0 - used))) / mean)
    }

    /// Mean time that a prompt adds to full passes, ms.
    pub(crate) fn mean_added(&self) -> f64 {
        self.mean(|p| p.added)
    }

    /// Mean of the squared time that a prompt adds, ms².
    pub(crate) fn mean_added_squared(&self) -> f64 {
        self.mean(|p| p.added * p.added)
    }

    fn mean(&self, f: impl Fn(&Prompt) -> f64) -> f64 {
        self.prompts.iter().map(|p| p.weight * f(p)).sum()
    }

    /// The work ahead of an arriving request.
    ///
    /// Every `engines`-th request comes to one engine, so that its gaps are sums of that many
    /// (Erlang), with as many stages fewer as the arrivals are burstier than Poisson. The decay is
    /// Lundberg's: the root of `E[e^(decay * service)] * E[e^(-decay * gap)] = 1`. An engine is
    /// found busy with the share of time that it works, single passes counted at their own price.
    fn wait(&self, engines: f64, rate: f64, idc: f64) -> Wait {
        let gap = engines / rate.max(1e-12);
        let stages = engines / idc.max(1e-3);
        let busy = (self.mean(|p| p.alone) / gap).min(1.0);
        // ln E[e^(decay * service)] by the largest exponent, which keeps it finite.
        let growth = |decay: f64| {
            let most = self.prompts.iter().map(|p| p.added).fold(0.0, f64::max) * decay;
            let sum: f64 =
                self.prompts.iter().map(|p| p.weight * (p.added * decay - most).exp()).sum();
            most + sum.ln() - stages * (decay * gap / stages).ln_1p()
        };
        let mut high = 1.0 / self.mean(|p| p.added).max(1e-9);
        for _ in 0..64 {
            if growth(high) > 0.0 {
                break;
            }
            high *= 2.0;
        }
        let mut low = 0.0;
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if growth(middle) < 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        Wait { busy, decay: low }
    }

    /// The share of requests that take longer than `budget` ms: those that are late even alone, and
    /// those behind others, whose pass ends up to one pass after their own part of it. Also the
    /// share to plan with: length by length with the reserve of [`planned`], which only those need
    /// that are late for chance, so that it is monotone wherever the first share is.
    ///
    /// How long that pass is: a full one where `budget` leaves room for several. Else a request is
    /// late after two (the one under way at its arrival and its own), so that half of `budget` would
    /// do; simulated queues (1 to 4 engines, loads of 50 to 90 %, budgets of 1 to 1.6 full passes)
    /// lie between that and [`PASS_SHARE`].
    fn late_after(&self, wait: Wait, budget: f64) -> (f64, f64) {
        let pass = self.full_pass.min(PASS_SHARE * budget.max(0.0));
        let (mut late, mut to_plan) = (0.0, 0.0);
        for p in &self.prompts {
            let (one, reserved) = if p.alone > budget {
                (1.0, 1.0)
            } else {
                let spread = [0.125, 0.375, 0.625, 0.875];
                let behind: f64 = spread
                    .iter()
                    .map(|u| (-wait.decay * (budget - p.added - u * pass).max(0.0)).exp())
                    .sum();
                let one = wait.busy * behind / 4.0;
                (one, planned(one))
            };
            late += p.weight * one;
            to_plan += p.weight * reserved;
        }
        (late.min(1.0), to_plan.min(1.0))
    }
}
