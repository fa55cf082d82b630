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
use super::{best_static, try_policy, unlimited};
use crate::backtest::Ran;
use crate::backtest::policy::Schedule;
use crate::backtest::run::Case;
use crate::sim::{SimError, SimTime, Sink};
use crate::trace::Request;
use crate::units::{Role, ceil_to_u32, round_to_u64, seconds_of};

/// How full an engine is planned to be: above 1 where a wait within the promise, or a need that was
/// counted too high, allows it.
const FILLS: [f64; 13] = [1.5, 1.3, 1.2, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.45];

/// Over how many steps the need is averaged: a short burst is worked off late, within the promise.
const SMOOTH: [usize; 6] = [1, 2, 4, 8, 12, 24];

/// Cheaper variants that are tried one by one next to where bisection ended: the share of good
/// requests grows with the cost by and large, not strictly.
const NEAR: usize = 6;

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

/// The counts of one pool by step, and their GPU-hours.
#[derive(Clone, Debug)]
struct Variant {
    cost: f64,
    kept: Vec<u32>,
}

/// Looks for the cheapest schedule under which at least `target` percent of the requests are good:
/// pool by pool, with the others generous at first, then once more beside what was found. `watch` is
/// told of each try.
///
/// # Errors
///
/// As [`simulate`](crate::sim::simulate).
pub fn oracle(
    case: &Case,
    requests: &[Request],
    target: f64,
    watch: &mut dyn Sink,
) -> Result<Foreseen, SimError<Infallible>> {
    let need = Need::of(case, requests);
    let variants: BTreeMap<Role, Vec<Variant>> =
        need.pools.iter().map(|(role, work)| (*role, variants(case, *role, work))).collect();
    let free = unlimited(case);
    // Never to change is a schedule, too: foresight is never dearer than the best static fleet.
    let fixed = best_static(case, requests, target, watch)?;
    let best = Foreseen {
        schedule: Schedule::new(Vec::new()),
        initial: fixed.fleet,
        ran: fixed.ran,
        keeps: fixed.keeps,
        tried: fixed.tried,
    };
    let tried = best.tried;
    let mut search = Search { limited: case, case: &free, requests, target, tried, best, watch };
    let mut chosen: BTreeMap<Role, usize> =
        variants.iter().map(|(role, of)| (*role, of.len() - 1)).collect();
    for round in 0..2 {
        for (role, of) in &variants {
            let top = if round == 0 { of.len() } else { (chosen[role] + 1).min(of.len()) };
            let found = search.cheapest(&variants, &chosen, *role, top)?;
            chosen.insert(*role, found);
        }
        if variants.len() == 1 {
            break;
        }
    }
    let Search { tried, mut best, watch, .. } = search;
    if !fits(case, &best) {
        let case = case.starting_with(&best.initial);
        best.ran = try_policy(&case, requests, &mut best.schedule.clone(), watch)?;
        best.keeps = best.ran.score.attainment >= target;
    }
    best.tried = tried;
    Ok(best)
}

struct Search<'a> {
    /// With the GPUs that there are.
    limited: &'a Case,
    /// With GPUs without end.
    case: &'a Case,
    requests: &'a [Request],
    target: f64,
    tried: u32,
    best: Foreseen,
    watch: &'a mut dyn Sink,
}

impl Search<'_> {
    /// The cheapest of the first `top` variants of `role` that keeps the promise beside the others'
    /// chosen ones; the last where none does.
    fn cheapest(
        &mut self,
        variants: &BTreeMap<Role, Vec<Variant>>,
        chosen: &BTreeMap<Role, usize>,
        role: Role,
        top: usize,
    ) -> Result<usize, SimError<Infallible>> {
        let (mut low, mut high) = (0, top - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.keeps(variants, chosen, role, middle)? {
                high = middle
            } else {
                low = middle + 1
            }
        }
        let mut found = high;
        for cheaper in (high.saturating_sub(NEAR)..high).rev() {
            if self.keeps(variants, chosen, role, cheaper)? {
                found = cheaper;
            }
        }
        Ok(found)
    }

    fn keeps(
        &mut self,
        variants: &BTreeMap<Role, Vec<Variant>>,
        chosen: &BTreeMap<Role, usize>,
        role: Role,
        index: usize,
    ) -> Result<bool, SimError<Infallible>> {
        let counts: BTreeMap<Role, &[u32]> = variants
            .iter()
            .map(|(r, of)| (*r, &of[if *r == role { index } else { chosen[r] }].kept[..]))
            .collect();
        let ran = attempt(self.case, self.requests, &counts, self.target, self.watch)?;
        self.tried += 1;
        let keeps = ran.keeps;
        keep_better(self.limited, &mut self.best, ran);
        Ok(keeps)
    }
}

/// Whether the cluster has the GPUs for it.
fn fits(case: &Case, found: &Foreseen) -> bool {
    case.sim.gpus.is_none_or(|all| found.ran.score.peak_gpus <= all)
}

/// One that keeps the promise with the GPUs that there are over one that does not, then the cheaper,
/// else the one with more good requests.
fn keep_better(case: &Case, best: &mut Foreseen, other: Foreseen) {
    let does = |found: &Foreseen| found.keeps && fits(case, found);
    let better = match (does(best), does(&other)) {
        (true, false) => false,
        (false, true) => true,
        (true, true) => other.ran.score.gpu_hours < best.ran.score.gpu_hours,
        (false, false) => other.ran.score.attainment > best.ran.score.attainment,
    };
    if better {
        *best = other;
    }
}

/// The schedules of one pool, cheapest first.
fn variants(case: &Case, role: Role, work: &[f64]) -> Vec<Variant> {
    let pool = &case.sim.pools[&role];
    let setting = &case.setting.pools[&role];
    let (min, most) = (setting.min.get(), case.setting.most(role).max(1));
    let lead = steps_of(seconds_of(pool.startup.mean));
    let mut variants = Vec::new();
    for width in SMOOTH {
        let smooth = smoothed(work, width);
        for fill in FILLS {
            let count = |w: &f64| ceil_to_u32(w / fill).max(min).min(most);
            let needed: Vec<u32> = smooth.iter().map(count).collect();
            let kept = keep_over_gaps(&needed, lead);
            let engine_steps: u64 = ordered(&kept, lead).iter().map(|n| u64::from(*n)).sum();
            let cost = engine_steps as f64 * STEP_S / 3600.0 * f64::from(pool.gpus);
            variants.push(Variant { cost, kept });
        }
    }
    // A count that never changes is a schedule, too.
    let peak = ceil_to_u32(work.iter().copied().fold(0.0, f64::max) * 1.5).max(min + 1).min(most);
    for n in min.max(1)..=peak {
        let kept = vec![n; work.len()];
        let steps = work.len() as f64;
        let cost = steps * f64::from(n) * STEP_S / 3600.0 * f64::from(pool.gpus);
        variants.push(Variant { cost, kept });
    }
    variants.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    variants.dedup_by(|a, b| a.kept == b.kept);
    variants
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
    counts: &BTreeMap<Role, &[u32]>,
    target: f64,
    watch: &mut dyn Sink,
) -> Result<Foreseen, SimError<Infallible>> {
    let mut initial = BTreeMap::new();
    let mut steps: BTreeMap<u64, BTreeMap<Role, u32>> = BTreeMap::new();
    for (role, kept) in counts {
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
    let ran = try_policy(&case.starting_with(&initial), requests, &mut schedule.clone(), watch)?;
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
