//! A schedule made with perfect foresight, the start-up time respected.
//!
//! For a given need at each step the cheapest schedule is exact and separates by level: the k-th
//! engine must be there whenever at least k are needed, and in a gap between two such times it is
//! kept where the gap is shorter than the start-up time (a replica costs from its order on), else it
//! is given back and ordered anew that much ahead (techniques.md 3.4.1). What is not exact is the
//! need: how full an engine may be, and over how long a burst may be spread. So a family of needs is
//! turned into schedules, and the cheapest that keeps the promise in the simulator is taken: an
//! upper bound of what foresight is worth, not the optimum itself.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::need::{Need, STEP_S};
use super::try_policy;
use crate::backtest::Ran;
use crate::backtest::policy::Schedule;
use crate::backtest::run::Case;
use crate::sim::{SimError, SimTime};
use crate::trace::Request;
use crate::units::{Role, ceil_to_u32, round_to_u64, seconds_of};

/// How full an engine of the entry pool is planned to be.
const FILLS: [f64; 10] = [1.1, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.65, 0.55, 0.45];

/// How full a decode engine is planned to be.
const DECODE_FILLS: [f64; 6] = [1.1, 1.0, 0.9, 0.8, 0.7, 0.55];

/// Over how many steps the need is averaged: a short burst is worked off late, within the promise.
const SMOOTH: [usize; 5] = [1, 2, 4, 8, 16];

/// Simulations at most.
const TRIES: u32 = 40;

/// The best schedule that was found.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// What it orders, and when.
    pub schedule: Schedule,
    /// The counts at the start of the trace.
    pub initial: BTreeMap<Role, u32>,
    /// How it did.
    pub ran: Ran,
    /// Whether it keeps the promise.
    pub keeps: bool,
    /// Simulations that it took.
    pub tried: u32,
}

struct Candidate {
    cost: f64,
    counts: BTreeMap<Role, Vec<u32>>,
}

/// Looks for the cheapest schedule under which at least `target` percent of the requests are good.
///
/// # Errors
///
/// As [`simulate`](crate::sim::simulate).
pub fn oracle(
    case: &Case,
    requests: &[Request],
    target: f64,
) -> Result<Foreseen, SimError<Infallible>> {
    let need = Need::of(case, requests);
    let mut candidates = candidates(case, &need);
    candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let mut tried = 0;
    let mut best: Option<Foreseen> = None;
    // The share of good requests grows with the cost, by and large: bisection finds where it gets
    // there, and then the cheaper ones next to it are tried one by one.
    let (mut low, mut high) = (0, candidates.len());
    while low < high && tried < TRIES / 2 {
        let middle = low + (high - low) / 2;
        let ran = attempt(case, requests, &candidates[middle], target)?;
        tried += 1;
        if ran.keeps {
            high = middle
        } else {
            low = middle + 1
        }
        keep_better(&mut best, ran);
    }
    for candidate in candidates[..high.min(candidates.len())].iter().rev() {
        if tried >= TRIES {
            break;
        }
        let ran = attempt(case, requests, candidate, target)?;
        tried += 1;
        keep_better(&mut best, ran);
    }
    let mut best = match best {
        Some(best) => best,
        None => attempt(case, requests, &nothing(case), target)?,
    };
    best.tried = tried;
    Ok(best)
}

/// One that keeps the promise over one that does not, then the cheaper, else the one with more good
/// requests.
fn keep_better(best: &mut Option<Foreseen>, other: Foreseen) {
    let better = best.as_ref().is_none_or(|best| match (best.keeps, other.keeps) {
        (true, false) => false,
        (false, true) => true,
        (true, true) => other.ran.score.gpu_hours < best.ran.score.gpu_hours,
        (false, false) => other.ran.score.attainment > best.ran.score.attainment,
    });
    if better {
        *best = Some(other);
    }
}

/// For a trace without a request.
fn nothing(case: &Case) -> Candidate {
    Candidate { cost: 0.0, counts: case.sim.pools.keys().map(|role| (*role, vec![0])).collect() }
}

fn candidates(case: &Case, need: &Need) -> Vec<Candidate> {
    let mut by_pool: Vec<Vec<(Role, f64, Vec<u32>)>> = Vec::new();
    for (role, work) in &need.pools {
        let fills: &[f64] = if *role == Role::Decode { &DECODE_FILLS } else { &FILLS };
        let smooth: &[usize] = if *role == Role::Decode { &SMOOTH[1..3] } else { &SMOOTH };
        let pool = &case.sim.pools[role];
        let setting = &case.setting.pools[role];
        let lead = steps_of(seconds_of(pool.startup.mean));
        let mut variants = Vec::new();
        for fill in fills {
            for width in smooth {
                let needed: Vec<u32> = smoothed(work, *width)
                    .iter()
                    .map(|w| {
                        let n = ceil_to_u32(w / fill).max(setting.min.get());
                        n.min(case.setting.most(*role))
                    })
                    .collect();
                let kept = keep_over_gaps(&needed, lead);
                let engine_steps: u64 = ordered(&kept, lead).iter().map(|n| u64::from(*n)).sum();
                let cost = engine_steps as f64 * STEP_S / 3600.0 * f64::from(pool.gpus);
                variants.push((*role, cost, kept));
            }
        }
        by_pool.push(variants);
    }
    let mut all = vec![Candidate { cost: 0.0, counts: BTreeMap::new() }];
    for variants in by_pool {
        all = all
            .iter()
            .flat_map(|so_far| {
                variants.iter().map(move |(role, cost, counts)| {
                    let mut joined = so_far.counts.clone();
                    joined.insert(*role, counts.clone());
                    Candidate { cost: so_far.cost + cost, counts: joined }
                })
            })
            .collect();
    }
    all
}

fn steps_of(seconds: f64) -> usize {
    usize::try_from(round_to_u64((seconds / STEP_S).ceil())).unwrap_or(usize::MAX)
}

/// Means over `width` steps, ending with each: work that comes now may be done a little later.
fn smoothed(work: &[f64], width: usize) -> Vec<f64> {
    let mut sum = 0.0;
    work.iter()
        .enumerate()
        .map(|(i, w)| {
            sum += w;
            if i >= width {
                sum -= work[i - width];
            }
            (sum / width.min(i + 1) as f64).max(0.0)
        })
        .collect()
}

/// Level by level: a gap in which the k-th engine is not needed is bridged where it is no longer
/// than a start takes.
fn keep_over_gaps(needed: &[u32], lead: usize) -> Vec<u32> {
    let mut kept = needed.to_vec();
    let most = needed.iter().copied().max().unwrap_or(0);
    for level in 1..=most {
        let mut last: Option<usize> = None;
        for i in 0..needed.len() {
            if needed[i] < level {
                continue;
            }
            if let Some(before) = last
                && i - before - 1 <= lead
            {
                for step in &mut kept[before + 1..i] {
                    *step = (*step).max(level);
                }
            }
            last = Some(i);
        }
    }
    kept
}

/// What must be ordered at each step for `kept` to serve: the most of the steps until a start made
/// now is ready.
fn ordered(kept: &[u32], lead: usize) -> Vec<u32> {
    let mut window: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut out = vec![0; kept.len()];
    for i in (0..kept.len()).rev() {
        while window.front().is_some_and(|first| kept[*first] <= kept[i]) {
            window.pop_front();
        }
        window.push_front(i);
        while window.back().is_some_and(|last| *last > i + lead) {
            window.pop_back();
        }
        out[i] = window.back().map_or(kept[i], |most| kept[*most]);
    }
    out
}

fn attempt(
    case: &Case,
    requests: &[Request],
    candidate: &Candidate,
    target: f64,
) -> Result<Foreseen, SimError<Infallible>> {
    let mut initial = BTreeMap::new();
    let mut steps: BTreeMap<u64, BTreeMap<Role, u32>> = BTreeMap::new();
    for (role, kept) in &candidate.counts {
        let lead = steps_of(seconds_of(case.sim.pools[role].startup.mean));
        let ordered = ordered(kept, lead);
        let mut now = ordered.first().copied().unwrap_or(0);
        initial.insert(*role, now);
        for (i, n) in ordered.iter().enumerate() {
            if *n != now {
                now = *n;
                steps.entry(u64::try_from(i).unwrap_or(u64::MAX)).or_default().insert(*role, now);
            }
        }
    }
    let step_nanos = round_to_u64(STEP_S * 1e9);
    let steps = steps
        .into_iter()
        .map(|(i, counts)| (SimTime::from_nanos(i * step_nanos), counts))
        .collect();
    let schedule = Schedule::new(steps);
    let ran = try_policy(&case.starting_with(&initial), requests, &mut schedule.clone())?;
    let keeps = ran.score.attainment >= target;
    Ok(Foreseen { schedule, initial, ran, keeps, tried: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_bridged_level_by_level_where_it_is_shorter_than_a_start() {
        let needed = [3, 1, 1, 3, 0, 0, 0, 0, 2];
        assert_eq!(keep_over_gaps(&needed, 2), [3, 3, 3, 3, 0, 0, 0, 0, 2]);
        assert_eq!(keep_over_gaps(&needed, 1), needed);
        assert_eq!(keep_over_gaps(&needed, 4), [3, 3, 3, 3, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn a_replica_is_ordered_a_start_ahead() {
        assert_eq!(ordered(&[1, 1, 1, 4, 1, 1], 2), [1, 4, 4, 4, 1, 1]);
        assert_eq!(ordered(&[0, 2, 0], 0), [0, 2, 0]);
    }

    #[test]
    fn work_is_averaged_over_the_steps_that_end_with_it() {
        assert_eq!(smoothed(&[4.0, 0.0, 0.0, 8.0], 2), [4.0, 2.0, 0.0, 4.0]);
    }
}
