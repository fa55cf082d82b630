//! Its GPU budget, function by function (dynamo-planner.md 2.8).

use std::collections::BTreeMap;

use crate::units::{Role, ceil_to_u32, floor_to_u32};

/// GPUs of both pools together, and the fewest replicas of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) floor: u32,
    pub(super) min: Option<u32>,
    pub(super) max: Option<u32>,
}

/// Two pools: counts, or GPUs of a replica.
pub(super) type Pair = (u32, u32);

type Counts = BTreeMap<Role, u32>;

impl Limits {
    /// What a floor may be missed by: the widest replica, where both bounds are set.
    fn tolerance(&self, gpus: Pair) -> u32 {
        if self.min.is_some() && self.max.is_some() { gpus.0.max(gpus.1) } else { 0 }
    }

    fn in_band(&self, total: u32, gpus: Pair) -> bool {
        self.max.is_none_or(|max| total <= max)
            && self.min.is_none_or(|min| total + self.tolerance(gpus) >= min)
    }

    /// Scales both in proportion into the band.
    pub(super) fn clamp_pair(&self, (p, d): Pair, gpus: Pair) -> Pair {
        let (gp, gd) = (gpus.0.max(1), gpus.1.max(1));
        let (low, total) = (self.floor, p * gp + d * gd);
        if self.in_band(total, gpus) {
            return (p, d);
        }
        if let Some(max) = self.max.filter(|max| total > *max) {
            if low * (gp + gd) > max {
                return (0, 0);
            }
            let share = f64::from(max) / f64::from(total);
            let p = low.max(((max - low * gd) / gp).min(floor_to_u32(f64::from(p) * share)));
            return (p, low.max((max - p * gp) / gd));
        }
        let min = self.min.unwrap_or(0);
        let grown = if total == 0 {
            low.max(ceil_to_u32(f64::from(min) / 2.0 / f64::from(gp)))
        } else {
            low.max(ceil_to_u32(f64::from(p) * f64::from(min) / f64::from(total)))
        };
        let decode = low.max(d).max(min.saturating_sub(grown * gp).div_ceil(gd));
        if self.max.is_some_and(|max| grown * gp + decode * gd > max) {
            return (p, d);
        }
        (grown, decode)
    }

    /// The pair between what is and what is asked for that is nearest to the latter and in the band;
    /// moves against each other are made both or not at all.
    pub(super) fn fit_pair(&self, now: Pair, asked: Pair, gpus: Pair) -> Pair {
        let total = |(p, d): Pair| p * gpus.0 + d * gpus.1;
        if self.in_band(total(asked), gpus) {
            return asked;
        }
        let between = |a: u32, b: u32| a.min(b)..=a.max(b);
        let opposing = (asked.0 > now.0 && asked.1 < now.1) || (asked.0 < now.0 && asked.1 > now.1);
        let mut best: Option<((u32, u64, u32), Pair)> = None;
        for p in between(now.0, asked.0) {
            for d in between(now.1, asked.1) {
                let (made_p, made_d) = (p.abs_diff(now.0), d.abs_diff(now.1));
                let both_or_none = !opposing || (made_p > 0) == (made_d > 0);
                if !both_or_none || !self.in_band(total((p, d)), gpus) {
                    continue;
                }
                let (req_p, req_d) = (asked.0.abs_diff(now.0), asked.1.abs_diff(now.1));
                let skew = (u64::from(made_p) * u64::from(req_d))
                    .abs_diff(u64::from(made_d) * u64::from(req_p));
                let key =
                    (p.abs_diff(asked.0) + d.abs_diff(asked.1), skew, u32::MAX - made_p - made_d);
                if best.is_none_or(|(least, at)| (key, (p, d)) < (least, at)) {
                    best = Some((key, (p, d)));
                }
            }
        }
        best.map_or(now, |(_, pair)| pair)
    }

    /// The guard before a decision.
    pub(super) fn guard_pair(&self, now: Pair, asked: Pair, gpus: Pair) -> Pair {
        let total = |(p, d): Pair| p * gpus.0 + d * gpus.1;
        if !self.in_band(total(now), gpus) {
            return self.clamp_pair(now, gpus);
        }
        let up = asked.0 > now.0 || asked.1 > now.1;
        let down = asked.0 < now.0 || asked.1 < now.1;
        let at_floor = self.min.is_some_and(|min| total(now) <= min);
        let at_ceiling = self.max.is_some_and(|max| total(now) >= max);
        if (at_floor && down && !up) || (at_ceiling && up && !down) {
            return now;
        }
        if up && down && (at_floor || at_ceiling) {
            return self.fit_pair(now, asked, gpus);
        }
        let fitted = self.clamp_pair(asked, gpus);
        let along = |was: u32, want: u32, got: u32| got >= was.min(want) && got <= was.max(want);
        let fair = along(now.0, asked.0, fitted.0) && along(now.1, asked.1, fitted.1);
        if fair && self.in_band(total(fitted), gpus) { fitted } else { now }
    }

    fn single(&self, now: u32, asked: u32, gpus: u32) -> u32 {
        let fits = |n: u32| self.max.is_none_or(|max| n * gpus <= max);
        if fits(asked) || asked <= now {
            return asked;
        }
        self.max.map_or(asked, |max| (max / gpus.max(1)).max(now.min(asked)))
    }

    /// The fit of the throughput loop: the ceiling alone, from what is towards what is asked for.
    pub(super) fn fit(&self, gpus: &Counts, now: &Counts, asked: &Counts) -> Counts {
        let ceiling = Self { min: None, ..*self };
        ceiling.each(gpus, now, asked, |limits, now, asked, gpus| {
            if now.0 < limits.floor || now.1 < limits.floor {
                limits.clamp_pair(asked, gpus)
            } else {
                limits.fit_pair(now, asked, gpus)
            }
        })
    }

    /// The guard of both loops.
    pub(super) fn guard(&self, gpus: &Counts, now: &Counts, asked: &Counts) -> Counts {
        self.each(gpus, now, asked, |limits, now, asked, gpus| {
            if now.0 < limits.floor || now.1 < limits.floor {
                limits.clamp_pair(asked, gpus)
            } else {
                limits.guard_pair(now, asked, gpus)
            }
        })
    }

    fn each(
        &self,
        gpus: &Counts,
        now: &Counts,
        asked: &Counts,
        pair: impl Fn(&Self, Pair, Pair, Pair) -> Pair,
    ) -> Counts {
        let roles: Vec<Role> = asked.keys().copied().collect();
        match roles[..] {
            [first, second] => {
                let of = |counts: &Counts| (counts[&first], counts[&second]);
                let (p, d) = pair(self, of(now), of(asked), of(gpus));
                [(first, p), (second, d)].into()
            }
            _ => asked
                .iter()
                .map(|(role, n)| (*role, self.single(now[role], *n, gpus[role])))
                .collect(),
        }
    }
}
