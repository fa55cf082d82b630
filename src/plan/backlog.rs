//! Requests that wait already: what it takes to serve them in time, at once and not in steps.

use std::time::Duration;

use super::input::PlanInput;
use super::size::{PoolSize, SizePool, assess};
use crate::forecast::{Band, Demand, Work};
use crate::observe::PoolInventory;
use crate::units::{Replicas, Role, seconds_of};

/// A backlog is to be gone within this time after the new replicas serve, or within half of the time
/// that those take, if that is longer. Faster bought nothing in the rival's simulator (lessons.md
/// c): what is late by then is late.
const DRAINED_WITHIN: Duration = Duration::from_secs(20);

/// So many requests wait by chance, whatever the load.
const BY_CHANCE: f64 = 10.0;

/// A decode pool used less than this has room for whoever comes, and keeps no first token waiting.
const FULL: f64 = 0.9;

/// Requests that wait beyond what a promise kept allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Backlog {
    /// How many wait for their first token.
    pub(super) waiting: f64,
    /// The pool that they wait for; `None` is all of them.
    pub(super) role: Option<Role>,
    /// The requests per second that this pool is to be sized for.
    pub(super) rate: f64,
}

/// The backlog, where there is one that the present replicas do not serve before new ones would.
///
/// By Little's law `rate * TTFT` requests wait where everybody waits as long as promised; what is
/// beyond twice of that is late already or will be. `lead` is the time until a replica that is asked
/// for now serves. Of two pools they wait for the one that is used more, and for decode only where it
/// is full; where nothing serves, for both.
pub(super) fn backlog(
    input: &PlanInput<'_>,
    pools: &[SizePool<'_>],
    demand: &Demand,
    lead: Duration,
) -> Option<Backlog> {
    let traffic = &input.observation.traffic;
    let waiting = traffic.queued.known().copied().filter(|n| n.is_finite())?;
    let rate = traffic.arrivals.known().map_or(0.0, |rate| rate.get());
    let in_time = rate * input.sla.ttft.get() / 1e3;
    if waiting <= 2.0 * in_time + BY_CHANCE || rate <= 0.0 {
        return None;
    }
    // Those that start serve for about half of the lead.
    let serving = |seen: &PoolInventory| {
        Replicas::new(seen.ready.get().saturating_add(seen.starting.get() / 2))
    };
    let ready: Vec<Replicas> = pools
        .iter()
        .map(|p| input.observation.inventory.pool(p.role).map(serving))
        .collect::<Option<_>>()?;
    let present = Demand { rate: Band::certain(rate), work: Work::default(), ..*demand };
    let used = assess(pools, &ready, &input.sla, &present);
    let keeps_waiting =
        |p: &&PoolSize| p.role != Role::Decode || p.utilisation >= FULL || pools.len() == 1;
    let busiest = used
        .pools
        .iter()
        .filter(keeps_waiting)
        .max_by(|a, b| a.utilisation.total_cmp(&b.utilisation))?;
    // At a utilisation of 1 the pool serves just what arrives.
    let served = if busiest.replicas.get() == 0 || busiest.utilisation <= 0.0 {
        0.0
    } else {
        rate / busiest.utilisation
    };
    let lead = seconds_of(lead);
    let left = waiting - in_time + (rate - served) * lead;
    if left <= 0.0 {
        return None;
    }
    let time = seconds_of(DRAINED_WITHIN).max(lead / 2.0);
    let nothing_serves = ready.iter().all(|n| n.get() == 0);
    let role = (!nothing_serves).then_some(busiest.role);
    Some(Backlog { waiting, role, rate: rate + left / time })
}

/// The demand with the pool that has a backlog sized for it.
pub(super) fn with_backlog(demand: &Demand, backlog: Backlog) -> Demand {
    let mut demand = *demand;
    let Backlog { role, rate, waiting: _ } = backlog;
    if rate <= demand.upper(role.unwrap_or(Role::Aggregated)) {
        return demand;
    }
    let high = demand.rate.high.max(rate);
    let scale = if high > 0.0 { demand.rate.high / high } else { 1.0 };
    demand.work.prefill *= scale;
    demand.work.decode *= scale;
    let own = rate / high;
    match role {
        Some(Role::Prefill) => demand.work.prefill = own,
        Some(Role::Decode) => demand.work.decode = own,
        Some(Role::Aggregated) | None => {
            demand.work.prefill = demand.work.prefill.max(own);
            demand.work.decode = demand.work.decode.max(own);
        }
    }
    demand.rate.high = high;
    demand
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{PerSecond, Tokens};

    #[test]
    fn only_the_pool_that_is_waited_for_is_sized_for_more() {
        let demand = Demand {
            rate: Band { low: 8.0, point: 10.0, high: 20.0 },
            ..Demand::steady(
                PerSecond::new(10.0).unwrap(),
                Tokens::new(1000.0).unwrap(),
                Tokens::new(100.0).unwrap(),
            )
        };
        let of = |role, rate| {
            let more = with_backlog(&demand, Backlog { waiting: 500.0, role, rate });
            (more.upper(Role::Prefill), more.upper(Role::Decode))
        };
        let near = |(a, b): (f64, f64), (c, d): (f64, f64)| {
            assert!((a - c).abs() < 1e-9 && (b - d).abs() < 1e-9, "{a} {b}");
        };
        near(of(Some(Role::Prefill), 50.0), (50.0, 20.0));
        near(of(Some(Role::Decode), 50.0), (20.0, 50.0));
        near(of(Some(Role::Aggregated), 50.0), (50.0, 50.0));
        near(of(None, 50.0), (50.0, 50.0));
        near(of(Some(Role::Prefill), 15.0), (20.0, 20.0));
    }
}
