//! The smallest fleet that never changes and keeps the promise.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::need::Need;
use super::try_static;
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
/// other or taken away, for as long as that keeps the promise at fewer GPUs. `watch` is told of each
/// try.
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
    let mut search = Search { case, requests, target, tried: BTreeMap::new(), watch };
    let most: BTreeMap<Role, u32> = search.largest();
    let mut fleet = most.clone();
    let roles: Vec<Role> = most.keys().copied().collect();
    if !search.keeps(&most)? {
        let ran = search.ran(&most)?;
        let tried = search.count();
        return Ok(BestStatic { fleet: most, ran, keeps: false, tried });
    }
    for role in &roles {
        let (mut low, mut high) = (0, fleet[role]);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut tried = fleet.clone();
            tried.insert(*role, middle);
            if search.keeps(&tried)? { high = middle } else { low = middle }
        }
        fleet.insert(*role, high.max(1));
    }
    // The bisection had the other pool large at first; with both small a little more may be needed,
    // or another split may be cheaper.
    while !search.keeps(&fleet)? {
        for n in fleet.values_mut() {
            *n += 1;
        }
    }
    while let Some(better) = search.better(&fleet, &most)? {
        fleet = better;
    }
    let ran = search.ran(&fleet)?;
    Ok(BestStatic { fleet, ran, keeps: true, tried: search.count() })
}

struct Search<'a> {
    case: &'a Case,
    requests: &'a [Request],
    target: f64,
    tried: BTreeMap<Vec<u32>, Ran>,
    watch: &'a mut dyn Sink,
}

impl Search<'_> {
    /// A fleet twice what the busiest step needs, and at most what is allowed.
    fn largest(&self) -> BTreeMap<Role, u32> {
        let need = Need::of(self.case, self.requests);
        need.pools
            .iter()
            .map(|(role, work)| {
                let peak = work.iter().copied().fold(0.0, f64::max);
                let most = ceil_to_u32(2.0 * peak + 2.0);
                (*role, most.min(self.case.setting.most(*role)).max(1))
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
            let Some(left) = other[&less].checked_sub(take).filter(|n| *n > 0) else { continue };
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
