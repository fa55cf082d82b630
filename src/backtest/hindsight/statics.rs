//! The smallest fleet that never changes and keeps the promise.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::need::Need;
use super::{try_static, unlimited};
use crate::backtest::Ran;
use crate::backtest::run::Case;
use crate::sim::{SimError, Sink};
use crate::trace::Request;
use crate::units::{Role, ceil_to_u32};

/// The best static fleet of a trace.
#[derive(Clone, Debug)]
pub struct BestStatic {
    /// Replicas by pool.
    pub fleet: BTreeMap<Role, u32>,
    /// How it did.
    pub ran: Ran,
    /// Whether it keeps the promise; where no allowed fleet does, it is the largest one.
    pub keeps: bool,
    /// Simulations that it took to find it.
    pub tried: u32,
}

/// Looks for the cheapest static fleet of which at least `target` percent of the requests are good:
/// the smallest count of each pool with the others large, then one engine moved from one pool to the
/// other or taken away, for as long as that keeps the promise at fewer GPUs. A fleet for which the
/// cluster has too few GPUs is shrunk until it has enough. `watch` is told of each try.
///
/// # Errors
///
/// As [`simulate`](crate::sim::simulate).
pub fn best_static(
    case: &Case,
    requests: &[Request],
    target: f64,
    watch: &mut dyn Sink,
) -> Result<BestStatic, SimError<Infallible>> {
    let free = unlimited(case);
    let search = Search { case: &free, requests, target, tried: BTreeMap::new(), watch };
    let mut best = search.run()?;
    let mut fits = best.fleet.clone();
    shrink(case, &mut fits);
    if fits != best.fleet {
        let ran = try_static(&case.starting_with(&fits), requests, watch)?;
        let keeps = ran.score.attainment >= target;
        best = BestStatic { fleet: fits, ran, keeps, tried: best.tried + 1 };
    }
    Ok(best)
}

/// Takes replicas from the pool with the most GPUs until the cluster has enough for all.
fn shrink(case: &Case, fleet: &mut BTreeMap<Role, u32>) {
    let gpus = |role: &Role, n: u32| n * case.sim.pools[role].gpus;
    while case.sim.gpus.is_some_and(|all| fleet.iter().map(|(r, n)| gpus(r, *n)).sum::<u32>() > all)
    {
        let most = fleet
            .iter_mut()
            .filter(|(r, n)| **n > least(case, **r))
            .max_by_key(|(r, n)| gpus(r, **n));
        let Some((_, n)) = most else { return };
        *n -= 1;
    }
}

/// The fewest replicas of a pool: a fleet that never changes needs one.
fn least(case: &Case, role: Role) -> u32 {
    case.setting.pools.get(&role).map_or(1, |pool| pool.min.get().max(1))
}

struct Search<'a> {
    case: &'a Case,
    requests: &'a [Request],
    target: f64,
    tried: BTreeMap<Vec<u32>, Ran>,
    watch: &'a mut dyn Sink,
}

impl Search<'_> {
    fn run(mut self) -> Result<BestStatic, SimError<Infallible>> {
        let most: BTreeMap<Role, u32> = self.largest();
        let mut fleet = most.clone();
        let roles: Vec<Role> = most.keys().copied().collect();
        if !self.keeps(&most)? {
            let ran = self.ran(&most)?;
            let tried = self.count();
            return Ok(BestStatic { fleet: most, ran, keeps: false, tried });
        }
        for role in &roles {
            let (mut low, mut high) = (least(self.case, *role) - 1, fleet[role]);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                let mut tried = fleet.clone();
                tried.insert(*role, middle);
                if self.keeps(&tried)? { high = middle } else { low = middle }
            }
            fleet.insert(*role, high);
        }
        // The bisection had the other pool large at first; with both small a little more may be
        // needed, or another split may be cheaper.
        while !self.keeps(&fleet)? {
            // The largest keeps the promise, so that this ends.
            for (role, n) in &mut fleet {
                *n = (*n + 1).min(most[role]);
            }
        }
        while let Some(better) = self.better(&fleet, &most)? {
            fleet = better;
        }
        let ran = self.ran(&fleet)?;
        Ok(BestStatic { fleet, ran, keeps: true, tried: self.count() })
    }

    /// A fleet twice what the busiest step needs, and at most what is allowed.
    fn largest(&self) -> BTreeMap<Role, u32> {
        let need = Need::of(self.case, self.requests);
        need.pools
            .iter()
            .map(|(role, work)| {
                let peak = work.iter().copied().fold(0.0, f64::max);
                let most = ceil_to_u32(2.0 * peak + 2.0);
                (*role, most.min(self.case.setting.most(*role)).max(least(self.case, *role)))
            })
            .collect()
    }

    fn ran(&mut self, fleet: &BTreeMap<Role, u32>) -> Result<Ran, SimError<Infallible>> {
        let key: Vec<u32> = fleet.values().copied().collect();
        if let Some(ran) = self.tried.get(&key) {
            return Ok(ran.clone());
        }
        let ran = try_static(&self.case.starting_with(fleet), self.requests, self.watch)?;
        self.tried.insert(key, ran.clone());
        Ok(ran)
    }

    fn keeps(&mut self, fleet: &BTreeMap<Role, u32>) -> Result<bool, SimError<Infallible>> {
        Ok(self.ran(fleet)?.score.attainment >= self.target)
    }

    fn gpus(&self, fleet: &BTreeMap<Role, u32>) -> u32 {
        fleet.iter().map(|(role, n)| n * self.case.sim.pools[role].gpus).sum()
    }

    /// A neighbour that keeps the promise with fewer GPUs.
    fn better(
        &mut self,
        fleet: &BTreeMap<Role, u32>,
        most: &BTreeMap<Role, u32>,
    ) -> Result<Option<BTreeMap<Role, u32>>, SimError<Infallible>> {
        let roles: Vec<Role> = fleet.keys().copied().collect();
        let moves = roles.iter().flat_map(|less| {
            let others = roles.iter().filter(move |more| *more != less);
            let swaps = others.flat_map(move |more| [(2, Some((*more, 1))), (3, Some((*more, 1)))]);
            std::iter::once((1, None)).chain(swaps).map(move |(take, give)| (*less, take, give))
        });
        for (less, take, give) in moves.collect::<Vec<_>>() {
            let mut other = fleet.clone();
            let Some(left) =
                other[&less].checked_sub(take).filter(|n| *n >= least(self.case, less))
            else {
                continue;
            };
            other.insert(less, left);
            if let Some((more, n)) = give {
                let grown = other[&more] + n;
                if grown > most[&more] {
                    continue;
                }
                other.insert(more, grown);
            }
            if self.gpus(&other) < self.gpus(fleet) && self.keeps(&other)? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX)
    }
}
