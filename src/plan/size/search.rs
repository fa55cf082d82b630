//! The search for sizes that keep the promise together, within the limits.

use super::candidate::{Allowed, Candidate, MOST_REPLICAS};
use crate::units::{Gpus, Replicas};

/// How far above what each pool needs alone a search for sizes that do together goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// An eighth, and three at least: enough nearly always.
    Near,
    /// As far as it takes, up to [`MOST_REPLICAS`].
    Far,
}

/// The cheapest sizes that keep the promise together: each pool alone gives a lower bound, and the
/// requests that both pools make late add up, so that more may be needed.
pub(super) fn fewest_together(
    candidates: &[Candidate<'_>],
    allowed: Allowed,
    reach: Reach,
) -> Option<Vec<u32>> {
    let least: Vec<u32> = candidates.iter().map(|c| c.fewest(allowed)).collect::<Option<_>>()?;
    let most = most_together(candidates, &least, allowed, reach)?;
    let options: Vec<Vec<Choice>> = candidates
        .iter()
        .zip(least.iter().zip(most))
        .map(|(c, (&least, most))| {
            let option = |n| Choice {
                replicas: n,
                gpus: Replicas::new(n).gpus(c.pool.gpus_per_replica),
                good: c.effect(n).good(),
            };
            (least..=most).map(option).collect()
        })
        .collect();
    let mut best: Option<(Gpus, f64, Vec<u32>)> = None;
    let mut consider = |chosen: &[&Choice]| {
        let late = 1.0 - chosen.iter().map(|o| o.good).product::<f64>();
        let total = chosen.iter().fold(Gpus::new(0), |sum, o| sum.plus(o.gpus));
        let kept = late <= allowed.both;
        if kept && best.as_ref().is_none_or(|(g, l, _)| (total, late) < (*g, *l)) {
            best = Some((total, late, chosen.iter().map(|o| o.replicas).collect()));
        }
        kept
    };
    match &options[..] {
        [one] => {
            for a in one {
                if consider(&[a]) {
                    break;
                }
            }
        }
        [first, second] => {
            // The more of the first, the fewer of the second are enough.
            let mut enough = second.len();
            for a in first {
                while enough > 0 && consider(&[a, &second[enough - 1]]) {
                    enough -= 1;
                }
            }
        }
        _ => return None,
    }
    best.map(|(_, _, counts)| counts)
}

/// Sizes that keep the promise together, with no regard to their cost.
fn most_together(
    candidates: &[Candidate<'_>],
    least: &[u32],
    allowed: Allowed,
    reach: Reach,
) -> Option<Vec<u32>> {
    let mut times = 1_u32;
    loop {
        let above = |n: u32| n.saturating_add((n / 8).max(3).saturating_mul(times));
        let most: Vec<u32> = least.iter().map(|n| above(*n).min(MOST_REPLICAS.max(*n))).collect();
        if 1.0 - joint(candidates, &most) <= allowed.both {
            return Some(most);
        }
        if reach == Reach::Near || most.iter().all(|n| *n >= MOST_REPLICAS) {
            return None;
        }
        times = times.saturating_mul(2);
    }
}

/// A size of one pool that may do.
struct Choice {
    replicas: u32,
    gpus: Gpus,
    good: f64,
}

/// Share of requests that are good with these sizes.
pub(super) fn joint(candidates: &[Candidate<'_>], counts: &[u32]) -> f64 {
    candidates.iter().zip(counts).map(|(c, n)| c.effect(*n).good()).product()
}

pub(super) fn gpus(candidates: &[Candidate<'_>], counts: &[u32]) -> Gpus {
    candidates
        .iter()
        .zip(counts)
        .fold(Gpus::new(0), |sum, (c, n)| sum.plus(Replicas::new(*n).gpus(c.pool.gpus_per_replica)))
}

pub(super) fn within(candidates: &[Candidate<'_>], counts: &[u32], budget: Option<Gpus>) -> bool {
    candidates.iter().zip(counts).all(|(c, n)| c.pool.max.is_none_or(|max| *n <= max.get()))
        && budget.is_none_or(|b| gpus(candidates, counts) <= b)
}

/// The sizes within the limits that make the fewest requests late, none above what is wanted; of
/// equals the cheapest. Where even the minimums exceed the budget, the minimums.
pub(super) fn least_bad(
    candidates: &[Candidate<'_>],
    wanted: &[u32],
    budget: Option<Gpus>,
) -> Vec<u32> {
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
