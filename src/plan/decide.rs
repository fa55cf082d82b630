//! From an observation to a decision.

use std::time::Duration;

mod budget;

use budget::{has_room_beside, keep_budget};

use super::awaited::awaited;
use super::backlog::{Backlog, backlog, with_backlog};
use super::decision::{Decision, Outcome, PoolDecision, Report};
use super::input::{PlanInput, PoolInput};
use super::learn::{Correction, Trust};
use super::saturation::by_saturation;
use super::size::{Bound, Fleets, Latency, PoolSize, SizePool, Sizing, Verdict};
use super::starting::{self, Starting, beside_stuck};
use super::{Memory, Reason};
use crate::forecast::{Demand, Engine, Engines, Forecast, Horizon, LATE_AT_LEVEL, Reading, Work};
use crate::observe::{LatencySignals, PoolInventory, Signal, TrafficStep};
use crate::units::{Gpus, Millis, Replicas, Role, Share, round_to_u64};

/// Decides what each pool is to have.
///
/// Holds (leaves the counts alone) where the arrivals, the lengths or the replicas are not known;
/// never takes a replica away on anything but fresh signals, nor before the time of
/// [`Intervals::hold`](crate::spec::Intervals::hold) has passed. The user's limits (`min`, `max`, the
/// budget) need neither metrics nor time to be obeyed. Calling it again with the outcome carried out
/// changes nothing.
///
/// The memory is that of the outcome before; the one to go on with is in the new outcome.
#[must_use]
pub fn plan(input: &PlanInput<'_>, mut memory: Memory) -> Outcome {
    let starting = starting::look(input, &mut memory);
    let traffic = &input.observation.traffic;
    // What is old teaches only that there was more: a counter that stands still is not an idle fleet.
    let known = memory.forecast.rate().unwrap_or_default();
    let rate = traffic.arrivals.fresh().copied();
    let rate = rate.or_else(|| traffic.arrivals.known().copied().filter(|r| r.get() > known));
    let reading = Reading {
        window: traffic.window,
        rate,
        isl: traffic.isl.known().copied(),
        osl: traffic.osl.known().copied(),
    };
    memory.forecast.learn(input.observation.at, reading, horizon(input, &memory));
    memory.account.learn(input.observation.at, traffic, &input.sla);
    let error_budget = memory.account.budget(input.sla.percentile.share().rest());
    let not_fresh = not_fresh(input);
    let (pools, forecast, sized) = match known_demand(input, &memory, error_budget.price) {
        Err(reason) => {
            // What was wanted before a gap says nothing of the time after it.
            memory.since = None;
            let pools = input.pools.iter().map(|p| without_demand(input, p, &reason)).collect();
            (keep_budget(input, pools, None), None, None)
        }
        Ok(forecast) => {
            if let Some(f) = &forecast {
                memory.forecast.follow(f);
                // As they were expected to be: with what was learned before this look.
                let pools = size_pools(input, memory.learned.raw());
                memory.learned.learn(input, &pools, &f.demand);
            }
            let sized = forecast.as_ref().map(|f| size_for(input, f.demand, &memory));
            if let (Some(f), Some(sized)) = (&forecast, &sized) {
                memory.engines = engines(&sized.for_what_comes, &f.demand, memory.engines);
            }
            let trust = trust(input, &memory);
            // A clock that was set back begins anew.
            memory.since = Some(memory.since.map_or(input.now, |since| since.min(input.now)));
            let pools = input
                .pools
                .iter()
                .enumerate()
                .map(|(i, pool)| {
                    let sizing = sized.as_ref().map(Sized::sizing);
                    let of_role = starting.iter().find(|s| s.role == pool.role);
                    let beside = of_role.map(|s| (s, has_room_beside(input, sizing, i)));
                    let sized = sized.as_ref().map(|s| (s, i));
                    decide_pool(input, pool, sized, beside, trust, &not_fresh, &mut memory)
                })
                .collect();
            let pools = keep_budget(input, pools, sized.as_ref().map(Sized::sizing));
            (pools, forecast, sized)
        }
    };
    let next_tick = input.now.plus(input.intervals.adjustment);
    let (alternatives, if_only) = sized.as_ref().map_or_else(Default::default, |sized| {
        let now: Option<Vec<Replicas>> =
            input.pools.iter().map(|p| Some(inventory(input, p.role)?.desired)).collect();
        let late = Share::clamped(LATE_AT_LEVEL);
        sized.fleets.alternatives(sized.sizing(), now.as_deref(), late)
    });
    let report = Report {
        demand: forecast.map(|f| f.demand),
        bands: memory.forecast.bands(),
        standing: forecast.map_or_else(Vec::new, |f| vec![f.prefill, f.decode]),
        current_gpus: current_gpus(input),
        not_fresh,
        error_budget,
        alternatives,
        if_only,
        backlog: sized
            .as_ref()
            .and_then(|s| s.for_what_waits.as_ref())
            .map(|(backlog, _)| backlog.waiting),
        awaited: awaited(input, &memory, &pools, &starting),
        trust: trust(input, &memory),
        starting,
        sizing: sized.map(|s| s.for_what_waits.map_or(s.for_what_comes, |(_, sizing)| sizing)),
    };
    Outcome { decision: Decision { at: input.now, pools, next_tick }, report, memory }
}

/// The sizes that keep the promise.
struct Sized<'a> {
    /// Under the demand that is to come.
    for_what_comes: Sizing,
    /// Under that and what waits already, where that is more.
    for_what_waits: Option<(Backlog, Sizing)>,
    /// The pools under the demand of the larger one.
    fleets: Fleets<'a>,
}

impl Sized<'_> {
    /// The one that counts.
    fn sizing(&self) -> &Sizing {
        self.for_what_waits.as_ref().map_or(&self.for_what_comes, |(_, sizing)| sizing)
    }
}

fn size_for<'a>(input: &'a PlanInput<'_>, demand: Demand, memory: &Memory) -> Sized<'a> {
    let pools = size_pools(input, memory.learned.correction(measured(input)));
    let late = Share::clamped(LATE_AT_LEVEL);
    let fleets = Fleets::new(&pools, &input.sla, demand);
    let for_what_comes = fleets.size(input.budget, late);
    let waits = backlog(input, &pools, &demand, starting::lead(input, memory));
    let more = waits.map(|b| (b, with_backlog(&demand, b))).filter(|(_, more)| *more != demand);
    match more {
        None => Sized { for_what_comes, for_what_waits: None, fleets },
        Some((backlog, demand)) => {
            let fleets = Fleets::new(&pools, &input.sla, demand);
            let for_what_waits = Some((backlog, fleets.size(input.budget, late)));
            Sized { for_what_comes, for_what_waits, fleets }
        }
    }
}

/// Lets the planner learn from the load of a time before its first tick: the steps in their order, the
/// last one over by then. What was held in that time is not known, so that nothing but the forecast
/// learns of it.
pub fn learn_history(input: &PlanInput<'_>, memory: &mut Memory, steps: &[TrafficStep]) {
    for step in steps {
        let TrafficStep { start, length, arrivals, isl, osl } = *step;
        let reading = Reading { window: length, rate: arrivals, isl, osl };
        let horizon = horizon(input, memory);
        memory.forecast.learn(start.plus(length), reading, horizon);
    }
}

fn size_pools<'a>(input: &PlanInput<'a>, correction: Correction) -> Vec<SizePool<'a>> {
    input
        .pools
        .iter()
        .map(|p| SizePool {
            role: p.role,
            engine: p.engine,
            limits: p.limits,
            gpus_per_replica: p.gpus_per_replica,
            min: p.min,
            max: p.max,
            correction,
        })
        .collect()
}

/// What a late request costs where prompts are read (decode pools pay a part of it), while the error
/// budget is spent as it should be: a fleet that makes the whole share late that the promise allows
/// pays this much of itself. On D1 to D8 of docs/results.md 0.3 had 98.4 % good at 0.90 times the GPU-hours
/// of the best static fleets, this 98.65 at 0.94 and 1.2 98.8 at 0.99; on L1 and L2 0.4 had 99.76 at
/// 0.74 and this 99.79 at 0.76 (with the queueing model before the one that fits the simulator).
const PRICE: f64 = 0.6;

/// How much of what was known of an engine stays at each look: the mix of requests changes slowly.
const KEPT: f64 = 0.95;

/// How fast the share of an engine that a fleet is sized to falls back from the highest that was seen:
/// with few engines only some loads come near it.
const USED_KEPT: f64 = 0.9995;

/// What one engine takes, by a size and the demand that it is for.
fn engines(sizing: &Sizing, demand: &Demand, before: Engines) -> Engines {
    // A fleet that is too small, or that no size would mend, says nothing of what one engine takes.
    if !sizing.feasible() {
        return before;
    }
    let Work { prefill, decode } = demand.work;
    let most = prefill.max(decode).max(1e-9);
    let of = |roles: [Role; 2], own: f64, tokens: f64, before: Engine| {
        let Some(pool) = sizing.pools.iter().find(|p| roles.contains(&p.role)) else {
            return before;
        };
        // An aggregated pool is sized for the larger of the two kinds of work.
        let part = if pool.role == Role::Aggregated { own / most } else { 1.0 };
        let (n, used) = (f64::from(pool.replicas.get()), (pool.utilisation * part).min(1.0));
        let work = demand.rate.high * own * tokens;
        if !(n > 0.0 && used > 0.0 && work > 0.0 && work.is_finite()) {
            return before;
        }
        let now = work / (used * n);
        let used = if pool.bound == Bound::Min { before.used } else { used };
        Engine {
            most: if before.most > 0.0 { KEPT * before.most + (1.0 - KEPT) * now } else { now },
            used: if before.most > 0.0 {
                (before.used * USED_KEPT).max(used.min(0.98))
            } else {
                used.min(0.98)
            },
        }
    };
    Engines {
        prefill: of(
            [Role::Prefill, Role::Aggregated],
            prefill,
            demand.isl.mean.get(),
            before.prefill,
        ),
        decode: of([Role::Decode, Role::Aggregated], decode, demand.osl.mean.get(), before.decode),
    }
}

/// From a change of the load until a replica that was asked for because of it serves.
fn horizon(input: &PlanInput<'_>, memory: &Memory) -> Horizon {
    let startup = starting::lead(input, memory);
    let patience = Duration::try_from_secs_f64(input.sla.ttft.get() / 1e3).unwrap_or(Duration::MAX);
    Horizon {
        lead: startup.saturating_add(input.intervals.adjustment),
        patience,
        longest_hold: input.intervals.longest_hold,
        hold: input.intervals.hold(),
        predictor: input.predictor,
        engines: memory.engines,
    }
}

/// The demand to plan for; `None` is an idle fleet; an error is why it is not known.
fn known_demand(
    input: &PlanInput<'_>,
    memory: &Memory,
    factor: f64,
) -> Result<Option<Forecast>, Reason> {
    let traffic = &input.observation.traffic;
    let Some(rate) = traffic.arrivals.known() else {
        return Err(Reason::HoldNoMetrics { detail: traffic.arrivals.to_string() });
    };
    if rate.get() <= 0.0 && !traffic.arrivals.is_fresh() {
        return Err(Reason::HoldNoMetrics { detail: traffic.arrivals.to_string() });
    }
    let price = factor * PRICE / input.sla.percentile.share().rest().get().max(1e-6);
    match memory.forecast.demand(price) {
        Some(forecast) if forecast.demand.rate.high > 0.0 => Ok(Some(forecast)),
        _ if rate.get() <= 0.0 => Ok(None),
        _ => {
            let missing = if traffic.isl.known().is_none() { &traffic.isl } else { &traffic.osl };
            Err(Reason::HoldNoShape { detail: missing.to_string() })
        }
    }
}

/// Signals that must be fresh before a replica is taken away, and are not. Latencies without a
/// sample are no obstacle: nothing was late.
fn not_fresh(input: &PlanInput<'_>) -> Vec<String> {
    fn check<T>(name: &str, signal: &Signal<T>, idle: bool, out: &mut Vec<String>) {
        if !(signal.is_fresh() || idle && signal.has_no_samples()) {
            out.push(format!("{name} is {signal}"));
        }
    }
    let traffic = &input.observation.traffic;
    let mut out = Vec::new();
    let idle = traffic.arrivals.fresh().is_some_and(|r| r.get() <= 0.0);
    check("the arrival rate", &traffic.arrivals, false, &mut out);
    check("ISL", &traffic.isl, idle, &mut out);
    check("OSL", &traffic.osl, idle, &mut out);
    check("TTFT", &traffic.ttft.quantile, true, &mut out);
    check("ITL", &traffic.itl.quantile, true, &mut out);
    if let Some(n) = traffic.inflight.known().filter(|n| idle && **n > 0.0) {
        out.push(format!("{n} requests are in flight although none arrives"));
    }
    for pool in &input.pools {
        match input.observation.inventory.pools.get(&pool.role) {
            Some(signal) => {
                check(&format!("the inventory of {}", pool.role), signal, false, &mut out);
            }
            None => out.push(format!("the inventory of {} was not asked for", pool.role)),
        }
    }
    out
}

fn inventory<'a>(input: &'a PlanInput<'_>, role: Role) -> Option<&'a PoolInventory> {
    input.observation.inventory.pool(role)
}

fn current_gpus(input: &PlanInput<'_>) -> Option<Gpus> {
    input.pools.iter().try_fold(Gpus::new(0), |sum, p| {
        Some(sum.plus(inventory(input, p.role)?.desired.gpus(p.gpus_per_replica)))
    })
}

fn hold(input: &PlanInput<'_>, pool: &PoolInput<'_>, reason: &Reason) -> PoolDecision {
    let current = inventory(input, pool.role).map(|i| i.desired);
    PoolDecision { role: pool.role, current, target: None, reason: reason.clone() }
}

/// What a pool gets while the demand is not known: a count within its limits, and one replica where
/// requests arrive at a pool that has none. Without that one nobody would ever learn how long they
/// are.
fn without_demand(input: &PlanInput<'_>, pool: &PoolInput<'_>, reason: &Reason) -> PoolDecision {
    let held = hold(input, pool, reason);
    let Some(current) = held.current else { return held };
    let arrive = input.observation.traffic.arrivals.known().is_some_and(|r| r.get() > 0.0);
    let inside = within(pool, current);
    let one = within(pool, Replicas::new(1));
    let (target, reason) =
        if arrive && inside < one { (one, Reason::Wake) } else { (inside, Reason::IntoLimits) };
    if target == current { held } else { PoolDecision { target: Some(target), reason, ..held } }
}

fn within(pool: &PoolInput<'_>, n: Replicas) -> Replicas {
    n.min(pool.max.unwrap_or(n)).max(pool.min)
}

fn decide_pool(
    input: &PlanInput<'_>,
    pool: &PoolInput<'_>,
    sized: Option<(&Sized<'_>, usize)>,
    starting: Option<(&Starting, bool)>,
    trust: Trust,
    not_fresh: &[String],
    memory: &mut Memory,
) -> PoolDecision {
    let Some(now) = inventory(input, pool.role) else {
        let detail = input
            .observation
            .inventory
            .pools
            .get(&pool.role)
            .map_or_else(|| "not asked for".to_owned(), ToString::to_string);
        return hold(input, pool, &Reason::HoldNoInventory { detail });
    };
    let current = now.desired;
    let both = sized;
    let sized = both.map(|(s, i)| (s.sizing(), s.sizing().pools[i]));
    let by_model = sized.map_or(pool.min, |(_, size)| size.replicas);
    // An idle fleet needs no model.
    let saturation = sized.filter(|_| !trust.trusted);
    let serving = match saturation {
        Some(_) => {
            let lead = starting::lead(input, memory);
            let stood = memory.learned.stood_for(input.now);
            let tried = &mut memory.learned.tried;
            let full = by_saturation(input, pool.role, now, lead, stood, tried);
            // Requests arrive: of a pool of none nothing could ever be learned.
            full.unwrap_or(current).max(Replicas::new(1))
        }
        None => by_model,
    };
    let serving = within(pool, serving);
    // What is full grows by itself for want of one that hangs.
    let wanted = match saturation {
        Some(_) => serving,
        None => within(pool, beside_stuck(serving, now.ready, starting.map(|(s, _)| s))),
    };
    // One more beside what hangs takes no room from what is to serve.
    let waits = starting.is_some_and(|(_, room)| !room && wanted > serving);
    let beside = wanted;
    let wanted = if waits { serving } else { wanted };
    let window = input.intervals.hold();
    let stable = memory.stabilised(pool.role, input.now, wanted, window);
    let done = |target: Replicas, reason| PoolDecision {
        role: pool.role,
        current: Some(current),
        target: Some(target),
        reason,
    };
    let mut wish = explain(sized, current, serving);
    if let Some(waiting) = both.and_then(|(s, i)| drains(s, i, current)) {
        wish = Reason::DrainBacklog { waiting };
    }
    if saturation.is_some() {
        wish = Reason::Saturation { trust: trust.score };
    }
    if let Some(stuck) = starting
        .and_then(|(s, _)| s.to_replace())
        .filter(|_| beside > current && serving <= current)
    {
        wish = Reason::ReplaceStuck { name: stuck.name.clone(), age: stuck.age };
        if waits {
            wish = Reason::WaitsForRoom { wanted: beside };
        }
    }
    if wanted == current && !input.observation.traffic.arrivals.is_fresh() {
        let detail = format!("the arrival rate is {}", input.observation.traffic.arrivals);
        return done(current, Reason::HoldNotFresh { detail, wanted });
    }
    if wanted >= current {
        return done(wanted, wish);
    }
    // From here on a replica would be taken away.
    let floor = within(pool, current);
    if floor < current {
        // Above `max`: the user's limit needs no metric to be obeyed.
        return done(floor.max(wanted), Reason::IntoLimits);
    }
    if let Some(detail) = not_fresh.first() {
        return done(current, Reason::HoldNotFresh { detail: detail.clone(), wanted });
    }
    if stable >= current || !memory.has_seen(input.now, window) {
        return done(current, Reason::HoldStabilizing { wanted, window });
    }
    if let Some(reason) = latency_over_target(input, pool.role, sized) {
        return done(current, reason);
    }
    let reached = stable == wanted || saturation.is_some();
    done(stable, if reached { wish } else { explain(sized, current, stable) })
}

/// Whether every pool has a profile of its own.
fn measured(input: &PlanInput<'_>) -> bool {
    input.pools.iter().all(|p| p.measured)
}

/// How far the model is to be trusted.
fn trust(input: &PlanInput<'_>, memory: &Memory) -> Trust {
    memory.learned.trust(measured(input))
}

/// The requests that wait, where a pool grows because of them.
fn drains(sized: &Sized<'_>, pool: usize, current: Replicas) -> Option<u64> {
    let (backlog, more) = sized.for_what_waits.as_ref()?;
    let (more, plain) = (more.pools[pool].replicas, sized.for_what_comes.pools[pool].replicas);
    (more > plain && more > current).then(|| round_to_u64(backlog.waiting))
}

/// The reason for going from `current` to `wanted`.
fn explain(sized: Option<(&Sizing, PoolSize)>, current: Replicas, wanted: Replicas) -> Reason {
    let Some((sizing, size)) = sized else {
        return if wanted > current { Reason::IntoLimits } else { Reason::Idle };
    };
    let limited = |needed: Gpus| {
        matches!(size.bound, Bound::Max | Bound::Budget) || needed == Verdict::NO_SIZE
    };
    match sizing.verdict {
        Verdict::CannotBeMet { latency, best, target } => {
            Reason::CannotBeMet { latency, best, target }
        }
        Verdict::DoesNotFit { context: _, max_kv_tokens: _ } => Reason::DoesNotFit,
        Verdict::LimitsTooTight { needed } if limited(needed) => Reason::Limited { needed },
        Verdict::LimitsTooTight { .. } | Verdict::NotKept | Verdict::Kept => {
            match wanted.cmp(&current) {
                std::cmp::Ordering::Greater => Reason::ScaleUp { bound: size.bound },
                std::cmp::Ordering::Less => Reason::ScaleDown { bound: size.bound },
                std::cmp::Ordering::Equal => Reason::Steady { bound: size.bound },
            }
        }
    }
}

/// A latency that this pool makes, that was seen over target, and that replicas could mend. Where
/// slots or KV memory decide the size of a decode pool, the first token waits for them too.
fn latency_over_target(
    input: &PlanInput<'_>,
    role: Role,
    sized: Option<(&Sizing, PoolSize)>,
) -> Option<Reason> {
    let traffic = &input.observation.traffic;
    let hopeless = sized.and_then(|(sizing, _)| match sizing.verdict {
        Verdict::CannotBeMet { latency, best: _, target: _ } => Some(latency),
        Verdict::Kept
        | Verdict::DoesNotFit { .. }
        | Verdict::LimitsTooTight { .. }
        | Verdict::NotKept => None,
    });
    let over = |latency, signals: &LatencySignals, target: Millis| {
        let seen = *signals.quantile.fresh()?;
        (seen > target && hopeless != Some(latency)).then_some(Reason::HoldLatency {
            latency,
            seen,
            target,
        })
    };
    let ttft = || over(Latency::Ttft, &traffic.ttft, input.sla.ttft);
    let itl = || over(Latency::Itl, &traffic.itl, input.sla.itl);
    let for_want_of_room = sized.is_some_and(|(_, size)| size.bound == Bound::Room);
    match role {
        Role::Prefill => ttft(),
        Role::Decode if for_want_of_room => itl().or_else(ttft),
        Role::Decode => itl(),
        Role::Aggregated => ttft().or_else(itl),
    }
}

#[cfg(test)]
mod tests;
