//! The GPU budget over the decisions of all pools.

use std::cmp::Reverse;

use super::within;
use crate::plan::Reason;
use crate::plan::decision::PoolDecision;
use crate::plan::input::PlanInput;
use crate::plan::size::Sizing;
use crate::units::{Gpus, Replicas};

/// Whether the budget has room for one more replica of a pool beside everything that is to serve.
pub(super) fn has_room_beside(input: &PlanInput<'_>, sizing: Option<&Sizing>, i: usize) -> bool {
    let Some(budget) = input.budget else { return true };
    let serving = (0..input.pools.len()).fold(Gpus::new(0), |sum, j| {
        sum.plus(to_serve(input, sizing, j).gpus(input.pools[j].gpus_per_replica))
    });
    serving.plus(input.pools[i].gpus_per_replica) <= budget
}

/// Keeps what is asked for within the budget.
///
/// Growth waits where another pool's replicas are not known, or where a pool that was to make room
/// may not shrink yet. Where the pools take more than the budget even so, because it was lowered
/// below what runs, replicas go until it is obeyed, those beyond what `sizing` wants first.
pub(super) fn keep_budget(
    input: &PlanInput<'_>,
    mut pools: Vec<PoolDecision>,
    sizing: Option<&Sizing>,
) -> Vec<PoolDecision> {
    let Some(budget) = input.budget else { return pools };
    if let Some(unknown) = pools.iter().find(|p| p.current.is_none()).map(|p| p.role) {
        for pool in &mut pools {
            if let Some((from, wanted)) = growth(pool) {
                pool.target = Some(from);
                pool.reason = Reason::HoldBudgetUnknown { pool: unknown, wanted };
            }
        }
    }
    // One more beside a replica that hangs takes no room from what is to serve.
    for i in 0..pools.len() {
        let Some((from, wanted)) = growth(&pools[i]) else { continue };
        // What is full grows by itself, and has no more than that.
        if matches!(pools[i].reason, Reason::Saturation { .. }) {
            continue;
        }
        let sized = Some(to_serve(input, sizing, i));
        let without = sized.filter(|n| n.get().saturating_add(1) == wanted.get() && *n >= from);
        if let Some(without) = without.filter(|_| asked(input, &pools) > budget) {
            pools[i].target = Some(without);
            if without == from {
                pools[i].reason = Reason::WaitsForRoom { wanted };
            }
        }
    }
    for i in 0..pools.len() {
        let Some((from, wanted)) = growth(&pools[i]) else { continue };
        if asked(input, &pools) <= budget {
            continue;
        }
        // What the others leave, in whole replicas.
        pools[i].target = Some(Replicas::default());
        let left = budget.get().saturating_sub(asked(input, &pools).get());
        let room = left / input.pools[i].gpus_per_replica.get().max(1);
        pools[i].target = Some(Replicas::new(room.clamp(from.get(), wanted.get())));
        pools[i].reason = Reason::WaitsForRoom { wanted };
    }
    while let Some((i, to)) = cut(input, &pools, sizing, budget) {
        pools[i].target = Some(to);
        pools[i].reason = Reason::IntoLimits;
    }
    pools
}

/// What a pool has and is to have, where that is more.
fn growth(pool: &PoolDecision) -> Option<(Replicas, Replicas)> {
    pool.current.zip(pool.target).filter(|(from, to)| to > from)
}

/// The replicas of a pool that are to serve, by the sizing; without a load the fewest.
fn to_serve(input: &PlanInput<'_>, sizing: Option<&Sizing>, i: usize) -> Replicas {
    let pool = &input.pools[i];
    sizing.map_or(pool.min, |s| within(pool, s.pools[i].replicas))
}

/// GPUs of what is asked for; a pool of which nothing is known counts as none.
fn asked(input: &PlanInput<'_>, pools: &[PoolDecision]) -> Gpus {
    input.pools.iter().zip(pools).fold(Gpus::new(0), |sum, (p, d)| {
        sum.plus(d.target.or(d.current).unwrap_or_default().gpus(p.gpus_per_replica))
    })
}

/// The next pool to give replicas up, and what it keeps: the one with the most GPUs beyond what is
/// wanted of it, then the one with the most beyond its minimum. It gives at most half of what is too
/// much, so that no pool pays for all, and at least one.
fn cut(
    input: &PlanInput<'_>,
    pools: &[PoolDecision],
    sizing: Option<&Sizing>,
    budget: Gpus,
) -> Option<(usize, Replicas)> {
    let excess = asked(input, pools).get().checked_sub(budget.get()).filter(|n| *n > 0)?;
    let spare = |i: usize| {
        let pool = &input.pools[i];
        let n = pools[i].target.or(pools[i].current)?.get();
        let wanted = to_serve(input, sizing, i);
        let beyond = |floor: Replicas| n.saturating_sub(floor.get());
        Some((n, beyond(wanted), beyond(pool.min)))
    };
    let gpus = |i: usize, n: u32| Replicas::new(n).gpus(input.pools[i].gpus_per_replica);
    let (i, (n, beyond_wanted, beyond_min)) = (0..pools.len())
        .filter_map(|i| Some((i, spare(i)?)))
        .filter(|(i, (_, _, beyond_min))| gpus(*i, *beyond_min) > Gpus::new(0))
        .max_by_key(|(i, (_, wanted, min))| (gpus(*i, *wanted), gpus(*i, *min), Reverse(*i)))?;
    let most = if beyond_wanted > 0 { beyond_wanted } else { beyond_min };
    let half = excess / input.pools[i].gpus_per_replica.get().max(1) / 2;
    Some((i, Replicas::new(n - half.clamp(1, most))))
}
