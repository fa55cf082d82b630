//! Time to first token of a prefill pool.

use super::lengths::shares;
use super::{MAX_UTILISATION, Mean, Outcome, planned, quantile};
use crate::forecast::Lengths;
use crate::profile::PrefillCurve;
use crate::spec::EngineLimits;

/// The most lengths that a mix of prompts is made of.
const LENGTHS: usize = super::lengths::MOST;

/// Sizes of passes whose time is tabulated: the squares of so many equal steps up to a full one, close
/// where fixed costs matter.
const PASSES: u8 = 16;

/// Exponents up to this make no infinity, nor the inverse of one.
const LARGEST: f64 = 700.0;

/// The smallest share of late requests that a time is looked for.
const RAREST: f64 = 1e-13;

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
    /// Mean prompt, tokens.
    tokens: f64,
    /// Passes over several prompts, tokens and ms.
    passes: Vec<(f64, f64)>,
    /// A full pass, ms.
    full_pass: f64,
}

/// How long requests wait on one engine: `P(work ahead > x) = busy * exp(-decay * x)`.
#[derive(Clone, Copy, Debug)]
struct Wait {
    busy: f64,
    /// Per millisecond.
    decay: f64,
    /// The shortest passes that keep up with what arrives, ms.
    pass: f64,
    /// Of each prompt the exponential of what it adds and of its time alone, over those of the longest,
    /// that a share of late requests is the product of few: see [`PrefillModel::late_after`].
    added: [f64; LENGTHS],
    alone: [f64; LENGTHS],
    /// The exponential of each part of a full pass over that of a whole one.
    parts: [f64; PARTS.len()],
}

/// The middles of the parts of a full pass of which a request may wait for each.
const PARTS: [f64; 4] = [0.125, 0.375, 0.625, 0.875];

/// Prefill engines under a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrefillState {
    utilisation: f64,
    /// `None` where they are overloaded.
    wait: Option<Wait>,
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
        let parts = |tokens: f64| (tokens / budget).max(1.0).ceil();
        let longest = limits.context_length.map_or(f64::INFINITY, f64::from);
        let lengths = shares(isl, longest);
        let moment = |power| lengths.iter().map(|(w, tokens)| w * tokens.powi(power)).sum::<f64>();
        let tokens = moment(1);
        // Tokens of its own prompt that one is paired with, on average.
        let paired = moment(2) / tokens;
        let passes = (0..=PASSES)
            .map(|k| {
                let n = budget * (f64::from(k) / f64::from(PASSES)).powi(2);
                (n, alone(n) - c * n * (n - paired).max(0.0) + stretch)
            })
            .collect();
        let prompts: Vec<Prompt> = lengths
            .into_iter()
            .map(|(weight, tokens)| Prompt {
                weight,
                alone: alone(tokens) + stretch * parts(tokens),
                added: per_token * tokens + c * tokens * tokens + stretch * tokens / budget,
            })
            .collect();
        debug_assert!(prompts.len() <= LENGTHS, "{} lengths", prompts.len());
        Self { prompts, tokens, passes, full_pass: full + stretch }
    }

    /// What `engines` are like that take `rate` requests per ms in turn, with counts of dispersion
    /// `idc` (1 is Poisson).
    pub(crate) fn state(&self, engines: f64, rate: f64, idc: f64) -> PrefillState {
        let utilisation = rate / engines * self.mean(|p| p.added);
        let wait = (utilisation <= MAX_UTILISATION).then(|| self.wait(engines, rate, idc));
        PrefillState { utilisation, wait }
    }

    /// The share that is late where a request may take `budget` ms.
    pub(crate) fn late(&self, state: PrefillState, budget: f64) -> Outcome {
        let PrefillState { utilisation, wait } = state;
        let Some(wait) = wait else { return Outcome::overloaded(utilisation) };
        let (late, planned) = self.late_after(&wait, budget);
        Outcome { late, planned, utilisation }
    }

    /// The time within which all but `late` of the requests are served, ms; infinite where the
    /// engines are overloaded.
    pub(crate) fn quantile(&self, state: PrefillState, late: f64) -> f64 {
        let Some(wait) = state.wait else { return f64::INFINITY };
        let Wait { busy, decay, pass, .. } = wait;
        // Behind so much work ahead too many are late, and behind any more too few.
        let ahead = (busy / late.max(RAREST)).ln().max(0.0) / decay.max(1e-9);
        let soonest = self.prompts.iter().map(|p| p.alone.min(p.added)).fold(f64::MAX, f64::min);
        let longest = self.slowest();
        let latest = (longest + (1.0 + busy) * ahead).max(2.0 * pass + ahead);
        quantile(late, soonest + ahead, latest, |t| self.late_after(&wait, t).0)
    }

    /// The time within which all but `late` of the prompts are served on an engine of their own: what
    /// no number of replicas can mend.
    pub(crate) fn quantile_alone(&self, late: f64) -> f64 {
        let mut slowest: Vec<&Prompt> = self.prompts.iter().collect();
        slowest.sort_by(|x, y| y.alone.total_cmp(&x.alone));
        let mut slower = 0.0;
        let found = slowest.into_iter().find(|p| {
            slower += p.weight;
            slower > late
        });
        found.map_or(0.0, |p| p.alone)
    }

    /// The mean time until a request is served. Where the engines are overloaded, that of the most
    /// that they take.
    pub(crate) fn mean_time(&self, engines: f64, rate: f64, idc: f64) -> Mean {
        let used = rate / engines * self.mean(|p| p.added);
        let overloaded = used > MAX_UTILISATION;
        let rate = if used > MAX_UTILISATION { rate * MAX_UTILISATION / used } else { rate };
        let used = used.min(MAX_UTILISATION);
        let Wait { busy, decay, pass, .. } = self.wait(engines, rate, idc);
        // Behind others a prompt ends with the pass that it shares.
        let own = self.mean(|p| (1.0 - busy) * p.alone + busy * p.added);
        let wait = busy * (1.0 / decay.max(1e-9) + pass.min(own) / 2.0);
        let mean = own + wait;
        let answer = (own + wait * (1.0 + 1.0 / (1.0 - used))) / mean;
        Mean { mean, answer, overloaded }
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
    /// Lundberg's: the root of `E[e^(decay * service)] * E[e^(-decay * gap)] = 1`. How often an
    /// engine is found at work is taken from the queue of such gaps whose service is exponential
    /// (GI/M/1), where it is `1 - decay * service`: with regular gaps less than the utilisation, in
    /// bursts more. A prompt costs more alone than in a full pass; it is counted at the middle of both.
    fn wait(&self, engines: f64, rate: f64, idc: f64) -> Wait {
        let gap = engines / rate.max(1e-12);
        let stages = engines / idc.max(1e-3);
        // ln E[e^(-decay * gap)] and its slope.
        let gaps = |decay: f64| {
            let part = decay * gap / stages;
            (-stages * part.ln_1p(), -gap / (1.0 + part))
        };
        let longest = self.most_added();
        let mean = self.mean(|p| p.added).max(1e-9);
        // Were all prompts as the mean one, the root would be larger (Jensen).
        let above = positive_root(1.0 / mean, |decay| {
            let (gaps, slope) = gaps(decay);
            (mean * decay + gaps, mean + slope)
        });
        // ln E[e^(decay * service)] by the largest exponent, which keeps it finite.
        let decay = positive_root(above, |decay| {
            let (mut sum, mut weighted) = (0.0, 0.0);
            for p in &self.prompts {
                let part = p.weight * ((p.added - longest) * decay).exp();
                sum += part;
                weighted += part * p.added;
            }
            let (gaps, slope) = gaps(decay);
            (longest * decay + sum.ln() + gaps, weighted / sum + slope)
        });
        let service = self.mean(|p| f64::midpoint(p.alone, p.added));
        let busy = if service < gap {
            // By its logarithm.
            let root = positive_root(1.0, |x: f64| {
                let (gaps, slope) = gaps(-(-x).exp_m1() / service);
                (x + gaps, 1.0 + slope * (-x).exp() / service)
            });
            (-root).exp()
        } else {
            1.0
        };
        let pass = self.pass_that_keeps_up(gap);
        let (mut added, mut alone) = ([0.0; LENGTHS], [0.0; LENGTHS]);
        let slowest = self.slowest();
        for ((added, alone), p) in added.iter_mut().zip(&mut alone).zip(&self.prompts) {
            *added = (decay * (p.added - longest)).exp();
            *alone = (decay * (p.alone - slowest) / (1.0 + busy)).exp();
        }
        let parts = PARTS.map(|u| (decay * (u - 1.0) * self.full_pass).exp());
        Wait { busy, decay, pass, added, alone, parts }
    }

    /// The longest time of a prompt alone, ms.
    fn slowest(&self) -> f64 {
        self.prompts.iter().map(|p| p.alone).fold(0.0, f64::max)
    }

    /// The longest time that a prompt adds to full passes, ms.
    fn most_added(&self) -> f64 {
        self.prompts.iter().map(|p| p.added).fold(0.0, f64::max)
    }

    /// The shortest pass in which no more tokens arrive than it reads, where a prompt comes every
    /// `gap` ms; a full one where none is fast enough.
    fn pass_that_keeps_up(&self, gap: f64) -> f64 {
        // By how much longer a pass takes than its tokens take to arrive.
        let behind = |(tokens, time): (f64, f64)| time - tokens * gap / self.tokens;
        let steps = self.passes.iter().zip(&self.passes[1..]);
        let first = steps.map(|(a, b)| (*a, *b)).find(|(_, b)| behind(*b) <= 0.0);
        first.map_or(self.full_pass, |(a, b)| {
            let part = behind(a) / (behind(a) - behind(b));
            a.1 + part * (b.1 - a.1)
        })
    }

    /// The share of requests that take longer than `budget` ms: those that are late even alone, and
    /// those behind others. Also the share to plan with: length by length with the reserve of
    /// [`planned`], which only those need that are late for chance, so that it is monotone wherever
    /// the first share is.
    ///
    /// A request ends with its pass, and so with the work of others that came later: of a full pass
    /// any part of it where the queue is long; else what arrives until the pass begins, which at a
    /// busy engine is as much as the part `busy` of the work ahead. Where passes are long for their
    /// fixed costs, it waits for the rest of one and for its own.
    ///
    /// Work of `x` ahead is exceeded with `exp(-decay * x)`; where `x` is the sum, the larger or the
    /// smaller of two times, that is the product, the smaller or the larger of their exponentials. Where
    /// those would overflow, it is taken of the times themselves.
    fn late_after(&self, wait: &Wait, budget: f64) -> (f64, f64) {
        let Wait { busy, decay, pass, added, alone, parts } = wait;
        let beyond = |time: f64| (-decay * time).exp();
        let fits = decay * (self.most_added() + self.full_pass).max(self.slowest()) < LARGEST;
        let long = beyond(budget - self.most_added() - self.full_pass);
        let short = beyond((budget - self.slowest()) / (1.0 + busy));
        let own = PARTS.map(|u| beyond(budget - (1.0 + u) * pass));
        let (mut late, mut to_plan) = (0.0, 0.0);
        for (p, (added, alone)) in self.prompts.iter().zip(added.iter().zip(alone)) {
            let (one, reserved) = if p.alone > budget {
                (1.0, 1.0)
            } else {
                let behind: f64 = if fits {
                    let (short, long) = (short * alone, long * added);
                    let of_parts = own.iter().zip(parts);
                    of_parts.map(|(own, part)| short.min(long * part).max(*own).min(1.0)).sum()
                } else {
                    let short = (budget - p.alone) / (1.0 + busy);
                    let of_part = |u| {
                        let long = budget - p.added - u * self.full_pass;
                        beyond(short.max(long).min(budget - (1.0 + u) * pass).max(0.0))
                    };
                    PARTS.map(of_part).iter().sum()
                };
                let one = busy * behind / 4.0;
                (one, planned(one))
            };
            late += p.weight * one;
            to_plan += p.weight * reserved;
        }
        (late.min(1.0), to_plan.min(1.0))
    }
}

/// A step of Newton's method that is a smaller part of the root than this is the last: the next one
/// would be about its square.
const CLOSE: f64 = 1e-8;

/// The positive root of a convex function that is 0 at 0 and falls there, from its values and slopes:
/// Newton's steps come down to it from any point where the function is positive, such as `from` or a
/// double of it. The function over its argument has the same root and is nearly a straight line, so
/// that the steps are taken on that for as long as they stay above the root.
fn positive_root(from: f64, of: impl Fn(f64) -> (f64, f64)) -> f64 {
    let mut x = from;
    let mut at = of(x);
    for _ in 0..64 {
        if at.0 > 0.0 {
            break;
        }
        x *= 2.0;
        at = of(x);
    }
    let mut bold = true;
    for _ in 0..64 {
        let (value, slope) = at;
        let plain = x - value / slope;
        let straight = x - x * value / (x * slope - value);
        let next = if bold && straight > 0.0 && straight < plain { straight } else { plain };
        // Also where either is not finite.
        if !(next > 0.0 && next < x) {
            break;
        }
        let found = of(next);
        if found.0 < 0.0 && bold {
            bold = false;
            if next < x * (1.0 - CLOSE) {
                continue;
            }
        }
        let done = next > x * (1.0 - CLOSE);
        (x, at) = (next, found);
        if done {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::library;
    use crate::units::Tokens;

    #[test]
    fn a_root_is_found_from_anywhere() {
        // Of a quadratic, of an exponential, and of what is nearly straight far from 0.
        let root = |from, of: fn(f64) -> (f64, f64)| positive_root(from, of);
        for from in [1e-6, 0.1, 3.0, 40.0] {
            let found = [
                (root(from, |x| (x * x - 3.0 * x, 2.0 * x - 3.0)), 3.0),
                (root(from, |x| (x.exp() - 1.0 - 2.0 * x, x.exp() - 2.0)), 1.256_431_208_626),
                (
                    root(from, |x| {
                        let (few, many) = (0.01 * (10.0 * x).exp(), 0.99);
                        ((few + many).ln() - 2.0 * x, 10.0 * few / (few + many) - 2.0)
                    }),
                    0.522_094_746_908,
                ),
            ];
            for (found, right) in found {
                assert!((found / right - 1.0).abs() < 1e-6, "from {from}: {found} for {right}");
            }
        }
    }

    #[test]
    fn products_of_exponentials_are_the_exponentials_of_sums() {
        let engine = library::get(library::DEFAULT).unwrap();
        // The last ones have exponents that do not fit.
        for (engines, used, mean, cv2) in [
            (1.0, 0.2, 3000.0, 1.0),
            (4.0, 0.9, 3000.0, 1.0),
            (16.0, 0.7, 3000.0, 1.0),
            (100.0, 0.05, 3000.0, 1.0),
            (200.0, 0.7, 500.0, 0.0),
            (200.0, 0.85, 500.0, 0.3),
        ] {
            let isl = Lengths { mean: Tokens::new(mean).unwrap(), cv2 };
            let limits = EngineLimits::default();
            let model = PrefillModel::new(engine.prefill(), limits, isl, 0.0, 1.0);
            let wait = model.wait(engines, used * engines / model.mean_added(), 1.0);
            let Wait { busy, decay, pass, .. } = wait;
            let slowest = model.slowest();
            for budget in [10.0, 200.0, 1.001 * slowest, 1.02 * slowest, 2000.0, 20_000.0] {
                let direct: f64 = model
                    .prompts
                    .iter()
                    .map(|p| {
                        let short = (budget - p.alone) / (1.0 + busy);
                        let behind = PARTS.map(|u| {
                            let long = budget - p.added - u * model.full_pass;
                            let ahead = short.max(long).min(budget - (1.0 + u) * pass);
                            (-decay * ahead.max(0.0)).exp()
                        });
                        let behind = busy * behind.iter().sum::<f64>() / 4.0;
                        p.weight * if p.alone > budget { 1.0 } else { behind }
                    })
                    .sum();
                let (late, _) = model.late_after(&wait, budget);
                assert!(
                    (late - direct).abs() <= 1e-12,
                    "{engines} {used} {budget}: {late} {direct}"
                );
            }
        }
    }
}
