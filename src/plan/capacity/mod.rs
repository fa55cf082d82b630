//! The queueing model: what share of requests a fleet of a given size serves too late.
//!
//! It follows how engines work (vLLM, SGLang and TensorRT-LLM alike): a prefill engine takes waiting
//! prompts, first come first served, into passes of at most `max_num_batched_tokens`, and all
//! prompts of a pass finish together; a decode engine runs up to `max_num_seqs` sequences as far as
//! its KV cache holds them, and the more run the longer each token takes. The router deals requests
//! out in turn, so every engine has a queue of its own: a fleet is not one shared queue.
//!
//! All functions are monotone: more replicas never make more requests late, and more load, a
//! tighter target or a slower engine never fewer. Times are milliseconds, rates per millisecond.

mod aggregated;
mod decode;
mod lengths;
mod prefill;

pub(crate) use aggregated::AggregatedModel;
pub(crate) use decode::DecodeModel;
pub(crate) use prefill::{PrefillModel, PrefillState};

/// Utilisation above which a pool counts as overloaded. Near 1 the wait has no steady state within
/// the hours that a load stays steady, so that no formula for one may be trusted there.
pub(crate) const MAX_UTILISATION: f64 = 0.95;

/// How much of the share that may be late for chance is planned with. Among the tens of thousands
/// of requests of half an hour the late ones come in bursts, and their share scatters by about a
/// fifth. More would cost GPUs in quiet times, less breaks every second half hour at the edge.
const PLANNED: f64 = 0.8;

/// The share to plan with where `late` are late for chance.
pub(crate) fn planned(late: f64) -> f64 {
    (late / PLANNED).min(1.0)
}

/// What a pool of a given size does to the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Share of requests that the pool makes late: 0 to 1.
    pub(crate) late: f64,
    /// The same with a reserve for chance: what a promise is planned with. Requests that are late
    /// for certain, since they are too long for any engine, need no reserve.
    pub(crate) planned: f64,
    /// Share of its capacity in use; above [`MAX_UTILISATION`] it is overloaded.
    pub(crate) utilisation: f64,
}

impl Outcome {
    /// The share `late` is late, all of it for chance.
    fn by_chance(late: f64, utilisation: f64) -> Self {
        Self { late, planned: planned(late), utilisation }
    }

    /// Every request is late.
    pub(crate) const fn overloaded(utilisation: f64) -> Self {
        Self { late: 1.0, planned: 1.0, utilisation }
    }
}

/// A mean that the model expects, of a latency or of the use of memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mean {
    /// In ms, or a share.
    pub(crate) mean: f64,
    /// How much of a small slowing down of the engines comes back in it, both as shares.
    pub(crate) answer: f64,
    /// Whether more comes than the engines take, so that it grows for as long as that lasts.
    pub(crate) overloaded: bool,
}

/// Upper tail of the standard normal distribution.
fn normal_tail(z: f64) -> f64 {
    0.5 * statrs::function::erf::erfc(z / std::f64::consts::SQRT_2)
}

/// The smallest latency at which at most `late` of the requests are later, from `soonest` to `latest`
/// ms; `latest` where none is. `late_after` never rises; tails fall exponentially, so that its
/// logarithm is nearly a straight line.
fn quantile(late: f64, soonest: f64, latest: f64, late_after: impl Fn(f64) -> f64) -> f64 {
    crossing(soonest, latest, |t| (late_after(t) / late).ln())
}

/// How near a crossing is looked for: a millionth of it, far below what any profile knows.
const NEAR: f64 = 1e-6;

/// The smallest value from `least` (not below 0) to `most` at which a function that never rises is
/// not above 0, [`NEAR`] or less above it; `most` where there is none.
///
/// Inverse quadratic interpolation where the last three looks lie on a curve that allows it, else
/// bisection (Chandrupatla 1997, Advances in Engineering Software 28, 145).
fn crossing(least: f64, most: f64, of: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = ((least, of(least)), (most, of(most)));
    if low.1 <= 0.0 {
        return least;
    }
    if high.1 > 0.0 {
        return most;
    }
    // The part of the way from the newest end to the other one at which to look next.
    let mut part = 0.5_f64;
    let mut newest_is_low = false;
    // Far more looks than a crossing takes that is not next to 0.
    for _ in 0..100 {
        let width = high.0 - low.0;
        let near = NEAR * high.0;
        if width <= near {
            break;
        }
        // No step is so short that it could not pass the crossing in the end.
        let shortest = (0.4 * near / width).min(0.5);
        let way = part.clamp(shortest, 1.0 - shortest) * width;
        let x = if newest_is_low { low.0 + way } else { high.0 - way };
        let found = (x, of(x));
        newest_is_low = found.1 > 0.0;
        let (end, other) = if newest_is_low { (&mut low, high) } else { (&mut high, low) };
        let replaced = std::mem::replace(end, found);
        part = interpolated(found, other, replaced);
    }
    high.0
}

/// The part of the way from `a` to `b`, which lie on both sides of 0, at which a parabola through them
/// and `c` crosses it; a half where the three do not make one that is monotone in between.
fn interpolated(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> f64 {
    let xi = (a.0 - b.0) / (c.0 - b.0);
    let phi = (a.1 - b.1) / (c.1 - b.1);
    if phi * phi < xi && (1.0 - phi) * (1.0 - phi) < 1.0 - xi {
        let first = a.1 / (b.1 - a.1) * (c.1 / (b.1 - c.1));
        let second = (c.0 - a.0) / (b.0 - a.0) * (a.1 / (c.1 - a.1)) * (b.1 / (c.1 - b.1));
        if (first + second).is_finite() {
            return first + second;
        }
    }
    0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_tail_is_the_textbook_one() {
        assert!((normal_tail(0.0) - 0.5).abs() < 1e-12);
        assert!((normal_tail(1.644_853_6) - 0.05).abs() < 1e-7);
    }

    #[test]
    fn a_quantile_is_where_the_tail_is() {
        let q = quantile(0.05, 0.0, 100.0, |t| (-t).exp());
        assert!((q / 20.0_f64.ln() - 1.0).abs() < 2.0 * NEAR, "{q}");
        assert_eq!(quantile(0.05, 0.0, 100.0, |_| 1.0), 100.0);
        assert_eq!(quantile(0.05, 0.0, 100.0, |_| 0.01), 0.0);
        // Steps, as of prompts that are late for certain, and what is late for none.
        let steps = quantile(0.05, 0.0, 100.0, |t| if t < 40.0 { 1.0 } else { 0.0 });
        assert!((steps / 40.0 - 1.0).abs() < 2.0 * NEAR && steps >= 40.0, "{steps}");
        assert_eq!(quantile(0.0, 0.0, 100.0, |t| (-t).exp()), 100.0);
    }

    #[test]
    fn few_looks_find_a_crossing() {
        let looks = std::cell::Cell::new(0);
        let found = crossing(0.0, 1e5, |x| {
            looks.set(looks.get() + 1);
            3.0 - 0.01 * x - (1.0 + x).ln() / 100.0
        });
        assert!((found - 294.3).abs() < 0.1 && looks.get() < 14, "{found} {looks:?}");
    }
}
