//! The search for sizes that keep the promise together, within the limits.

use super::candidate::{Candidate, Effect, Goal, MOST_REPLICAS, fewest_from};
use crate::units::{Gpus, Replicas};

/// The decode iteration that the first token waits for in a fleet of these sizes, ms; 0 where no
/// decode pool is sized.
pub(super) fn first_step(candidates: &[Candidate<'_>], counts: &[u32]) -> f64 {
    candidates.iter().zip(counts).find_map(|(c, n)| c.first_step(*n)).unwrap_or(0.0)
}

/// The shortest first step that any size of the decode pool reaches, ms.
pub(super) fn shortest_first_step(candidates: &[Candidate<'_>]) -> f64 {
    candidates.iter().find_map(|c| c.first_step(u32::MAX)).unwrap_or(0.0)
}

/// The cheapest sizes that keep the goal together; of equals those with the fewest late
/// requests. `None` where none up to [`MOST_REPLICAS`] does.
///
/// The pools cannot be sized one after the other: the late requests of both add up, and a larger
/// decode pool steps faster, which leaves the prefill pool more of the TTFT. Each size of the second
/// pool has its fewest of the first; the search ends where the second alone costs too much.
pub(super) fn fewest_together(candidates: &[Candidate<'_>], goal: Goal) -> Option<Vec<u32>> {
    let best_step = shortest_first_step(candidates);
    let least: Vec<u32> =
        candidates.iter().map(|c| c.fewest(goal, best_step)).collect::<Option<_>>()?;
    let ([first, second], [least_first, least_second]) = (candidates, &least[..]) else {
        return (candidates.len() == 1).then_some(least);
    };
    let kept = |a: u32, b: u32| is_kept(candidates, &[a, b], goal);
    let (each_first, each_second) = (first.gpus_per_replica(), second.gpus_per_replica());
    let total = |a: u32, b: u32| {
        u64::from(a) * u64::from(each_first) + u64::from(b) * u64::from(each_second)
    };
    let start = fewest_from(*least_second, MOST_REPLICAS, |b| kept(MOST_REPLICAS, b))?;
    let mut best: Option<(u64, f64, [u32; 2])> = None;
    for b in start..=MOST_REPLICAS {
        let affordable = match best {
            None => MOST_REPLICAS,
            Some((cost, ..)) if total(*least_first, b) > cost => break,
            Some((cost, ..)) => {
                let left = (cost - total(0, b)) / u64::from(each_first);
                u32::try_from(left).unwrap_or(MOST_REPLICAS).min(MOST_REPLICAS)
            }
        };
        if !kept(affordable, b) {
            continue;
        }
        let Some(a) = fewest_from(*least_first, affordable, |a| kept(a, b)) else { continue };
        let rank = (total(a, b), 1.0 - joint(candidates, &[a, b]));
        if best.is_none_or(|(cost, late, _)| rank < (cost, late)) {
            best = Some((rank.0, rank.1, [a, b]));
        }
    }
    best.map(|(_, _, counts)| counts.to_vec())
}

/// Whether fleets of these sizes keep the goal.
pub(super) fn is_kept(candidates: &[Candidate<'_>], counts: &[u32], goal: Goal) -> bool {
    let step = first_step(candidates, counts);
    let effects: Vec<Effect> =
        candidates.iter().zip(counts).map(|(c, n)| c.effect(*n, step)).collect();
    goal.is_kept(&effects)
}

/// Share of requests that are good with these sizes.
pub(super) fn joint(candidates: &[Candidate<'_>], counts: &[u32]) -> f64 {
    let step = first_step(candidates, counts);
    candidates.iter().zip(counts).map(|(c, n)| c.effect(*n, step).good()).product()
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
    let affordable = |c: &Candidate<'_>, spent: u32, bottom: u32, top: u32| {
        (budget.saturating_sub(spent) / c.gpus_per_replica()).clamp(bottom, top)
    };
    match (candidates, &bottom[..], &top[..]) {
        ([one], [bottom], [top]) => vec![affordable(one, 0, *bottom, *top)],
        ([a, b], [bottom_a, bottom_b], [top_a, top_b]) => {
            let mut best: Option<((f64, f64, u32), Vec<u32>)> = None;
            for n in *bottom_a..=affordable(a, 0, *bottom_a, *top_a) {
                let spent = n.saturating_mul(a.gpus_per_replica());
                let counts = vec![n, affordable(b, spent, *bottom_b, *top_b)];
                if gpus(candidates, &counts).get() > budget {
                    continue;
                }
                // Where all are late whatever is done, the evener utilisation drains sooner.
                let late = 1.0 - joint(candidates, &counts);
                let worst = candidates
                    .iter()
                    .zip(&counts)
                    .map(|(c, n)| match n {
                        // Nothing drains where nothing serves.
                        0 if c.rate > 0.0 => f64::INFINITY,
                        n => c.effect(*n, 0.0).utilisation,
                    })
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
