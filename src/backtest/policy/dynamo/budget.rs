//! The GPU budget of Dynamo 1.6.1 (`core/budget.py`, dynamo-planner.md 2.8), function by function.
//!
//! Counts are plain integers: the functions subtract, and answer 0 where nothing fits.

/// GPUs in all: at least `min` and at most `max`; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
}

/// What a role's replicas weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// GPUs of a replica.
    pub(super) gpus: i64,
    /// Fewest replicas.
    pub(super) floor: i64,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing is changed (`gpu_budget_guard_hold`).
    Hold,
    /// The current counts were out of the band and are led back (`gpu_budget_reconcile`).
    Reconcile,
    /// The proposal, as far as it fits.
    Pass,
}

pub(super) type Pair = (i64, i64);

impl Band {
    pub(super) const fn at_most(max: Option<i64>) -> Self {
        Self { min: None, max }
    }

    /// A replica cannot be split, so the lower edge gives way by the widest one.
    fn tolerance(self, widths: &[i64]) -> i64 {
        match self {
            Self { min: Some(_), max: Some(_) } => {
                widths.iter().copied().filter(|w| *w > 0).max().unwrap_or(0)
            }
            Self { min: _, max: _ } => 0,
        }
    }

    fn over(self, total: i64) -> bool {
        self.max.is_some_and(|max| total > max)
    }

    fn holds(self, total: i64, widths: &[i64]) -> bool {
        let tolerance = self.tolerance(widths);
        !self.over(total) && self.min.is_none_or(|min| total >= min - tolerance)
    }

    fn at_floor(self, total: i64) -> bool {
        self.min.is_some_and(|min| total <= min)
    }

    fn at_ceiling(self, total: i64) -> bool {
        self.max.is_some_and(|max| total >= max)
    }
}

fn total((p, d): Pair, gp: i64, gd: i64) -> i64 {
    p * gp + d * gd
}

/// `a * b / c` rounded down, of what is not negative.
fn scaled_down(a: i64, b: i64, c: i64) -> i64 {
    a * b / c
}

fn ceil_div(a: i64, b: i64) -> i64 {
    a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)
}

/// `proportional_clamp_pair`: both roles by the same factor into the band; prefill first, decode gets
/// what is left. (0, 0) where not even the floors fit.
pub(super) fn clamp_pair((p, d): Pair, prefill: Lane, decode: Lane, band: Band) -> Pair {
    let (gp, gd) = (prefill.gpus, decode.gpus);
    if gp <= 0 || gd <= 0 {
        return (p, d);
    }
    let now = total((p, d), gp, gd);
    if band.holds(now, &[gp, gd]) {
        return (p, d);
    }
    if let Some(max) = band.max.filter(|max| now > *max) {
        if total((prefill.floor, decode.floor), gp, gd) > max {
            return (0, 0);
        }
        let room = (max - decode.floor * gd).div_euclid(gp);
        let p = scaled_down(p, max, now).min(room).max(prefill.floor);
        return (p, (max - p * gp).div_euclid(gd).max(decode.floor));
    }
    let min = band.min.unwrap_or(0);
    let grown = match now {
        0 => ceil_div(min, 2 * gp),
        _ => ceil_div(p * min, now),
    };
    let new_p = grown.max(prefill.floor);
    let rounded = ceil_div(min - new_p * gp, gd).max(decode.floor);
    let new_d = rounded.max(d);
    if !band.over(total((new_p, new_d), gp, gd)) {
        return (new_p, new_d);
    }
    // Rounding prefill up would have taken from decode: prefill alone, as far as it fits.
    if rounded < d { fit_pair((p, d), (new_p, d), prefill, decode, band) } else { (p, d) }
}

/// `proportional_clamp_single`.
pub(super) fn clamp_single(n: i64, lane: Lane, band: Band) -> i64 {
    if lane.gpus <= 0 || band.holds(n * lane.gpus, &[lane.gpus]) {
        return n;
    }
    if let Some(max) = band.max.filter(|max| n * lane.gpus > *max) {
        let fits = max.div_euclid(lane.gpus);
        return if fits < lane.floor { 0 } else { fits };
    }
    let grown = ceil_div(band.min.unwrap_or(0), lane.gpus).max(lane.floor);
    if band.over(grown * lane.gpus) { n } else { grown }
}

/// `fit_directional_budget_pair`: the counts between current and proposed that are in the band and
/// nearest to the proposal; moves in opposite directions are both made or neither.
pub(super) fn fit_pair(cur: Pair, new: Pair, prefill: Lane, decode: Lane, band: Band) -> Pair {
    let (gp, gd) = (prefill.gpus, decode.gpus);
    let holds = |at: Pair| band.holds(total(at, gp, gd), &[gp, gd]);
    if holds(new) {
        return new;
    }
    let asked = (new.0 - cur.0, new.1 - cur.1);
    let opposing = asked.0 * asked.1 < 0;
    let between = |a: i64, b: i64| a.min(b)..=a.max(b);
    let mut best: Option<([i64; 5], Pair)> = None;
    for p in between(cur.0, new.0) {
        // Within a row the count of decode nearest to the proposal comes first.
        for d in between(cur.1, new.1) {
            let made = ((p - cur.0).abs(), (d - cur.1).abs());
            if !holds((p, d)) || (opposing && (made.0 == 0) != (made.1 == 0)) {
                continue;
            }
            let far = (new.0 - p).abs() + (new.1 - d).abs();
            let uneven = (made.0 * asked.1.abs() - made.1 * asked.0.abs()).abs();
            let key = [far, uneven, -(made.0 + made.1), p, d];
            if best.is_none_or(|(found, _)| key < found) {
                best = Some((key, (p, d)));
            }
        }
    }
    best.map_or(cur, |b| b.1)
}

/// `guard_single`.
pub(super) fn guard_single(cur: i64, new: i64, lane: Lane, band: Band) -> (i64, Guard) {
    let at = cur * lane.gpus;
    if !band.holds(at, &[lane.gpus]) {
        return (clamp_single(cur, lane, band), Guard::Reconcile);
    }
    if (new < cur && band.at_floor(at)) || (new > cur && band.at_ceiling(at)) {
        return (cur, Guard::Hold);
    }
    let fitted = clamp_single(new, lane, band);
    let ok = along(cur, new, fitted) && band.holds(fitted * lane.gpus, &[lane.gpus]);
    if ok { (fitted, Guard::Pass) } else { (cur, Guard::Hold) }
}

/// `guard_disagg`.
pub(super) fn guard_pair(
    cur: Pair,
    new: Pair,
    prefill: Lane,
    decode: Lane,
    band: Band,
) -> (Pair, Guard) {
    let (gp, gd) = (prefill.gpus, decode.gpus);
    let at = total(cur, gp, gd);
    if !band.holds(at, &[gp, gd]) {
        return (clamp_pair(cur, prefill, decode, band), Guard::Reconcile);
    }
    if new == cur {
        return (cur, Guard::Pass);
    }
    let (up, down) = (new.0 > cur.0 || new.1 > cur.1, new.0 < cur.0 || new.1 < cur.1);
    let (floor, ceiling) = (band.at_floor(at), band.at_ceiling(at));
    if (down && !up && floor) || (up && !down && ceiling) {
        return (cur, Guard::Hold);
    }
    if up && down && (floor || ceiling) {
        let fitted = fit_pair(cur, new, prefill, decode, band);
        return if fitted == cur { (cur, Guard::Hold) } else { (fitted, Guard::Pass) };
    }
    let fitted = clamp_pair(new, prefill, decode, band);
    let ok = along(cur.0, new.0, fitted.0)
        && along(cur.1, new.1, fitted.1)
        && band.holds(total(fitted, gp, gd), &[gp, gd]);
    if ok { (fitted, Guard::Pass) } else { (cur, Guard::Hold) }
}

/// Whether a count moved neither against its request nor beyond it.
fn along(cur: i64, new: i64, fitted: i64) -> bool {
    (cur.min(new)..=cur.max(new)).contains(&fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(min: i64, max: i64) -> Band {
        let bound = |b: i64| (b >= 0).then_some(b);
        Band { min: bound(min), max: bound(max) }
    }

    fn lanes(gp: i64, gd: i64, floors: Pair) -> (Lane, Lane) {
        (Lane { gpus: gp, floor: floors.0 }, Lane { gpus: gd, floor: floors.1 })
    }

    fn clamp(pair: Pair, (gp, gd): Pair, (min, max): Pair, floors: Pair) -> Pair {
        let (p, d) = lanes(gp, gd, floors);
        clamp_pair(pair, p, d, band(min, max))
    }

    #[test]
    fn the_proportional_clamp_answers_as_dynamo_printed() {
        for (pair, widths, bounds, want) in [
            // The golden rows of 2.8.
            ((5, 5), (1, 1), (-1, 4), (2, 2)),
            ((24, 1), (1, 1), (-1, 8), (7, 1)),
            ((5, 2), (4, 8), (-1, 24), (3, 1)),
            ((2, 2), (8, 8), (-1, 8), (0, 0)),
            ((7, 8), (1, 1), (-1, 8), (3, 5)),
            ((0, 0), (2, 4), (16, 16), (4, 2)),
            ((1, 10), (16, 1), (27, -1), (2, 10)),
            // BU11 to BU28.
            ((3, 5), (1, 1), (-1, -1), (3, 5)),
            ((3, 1), (1, 1), (4, 4), (3, 1)),
            ((1, 10), (16, 1), (27, -1), (2, 10)),
            ((10, 10), (16, 1), (188, 202), (12, 10)),
            ((10, 10), (16, 1), (188, 200), (11, 10)),
            ((1, 1), (16, 1), (35, 35), (1, 1)),
            ((1, 1), (2, 2), (5, 5), (1, 1)),
            ((1, 1), (1, 2), (4, 10), (1, 1)),
            ((3, 4), (0, 1), (-1, 2), (3, 4)),
            ((5, 5), (1, 1), (-1, 1), (0, 0)),
            ((1, 2), (2, 2), (3, 3), (0, 0)),
            ((1, 2), (1, 1), (1, 1), (0, 0)),
            ((0, 0), (1, 1), (4, 4), (2, 2)),
            ((2, 2), (1, 1), (100, 4), (2, 2)),
            ((1, 2), (1, 2), (4, 4), (1, 1)),
        ] {
            assert_eq!(clamp(pair, widths, bounds, (1, 1)), want, "{pair:?} {widths:?} {bounds:?}");
        }
        assert_eq!(clamp((10, 10), (1, 1), (-1, 5), (2, 1)), (2, 3), "BU12");
        let once = clamp((9, 7), (1, 2), (-1, 11), (1, 1));
        assert_eq!(clamp(once, (1, 2), (-1, 11), (1, 1)), once, "BU21");
    }

    #[test]
    fn one_role_is_clamped_down_or_up_or_to_nothing() {
        let single = |n, gpus, floor, bounds: Pair| {
            clamp_single(n, Lane { gpus, floor }, band(bounds.0, bounds.1))
        };
        assert_eq!(single(7, 1, 1, (-1, -1)), 7, "BU51");
        assert_eq!(single(3, 1, 1, (2, 4)), 3, "BU52");
        assert_eq!(single(10, 1, 1, (-1, 4)), 4, "BU53");
        assert!((3..=5).contains(&single(1, 1, 1, (4, 5))), "BU54");
        assert!(single(0, 1, 1, (2, -1)) >= 2, "BU55");
        assert_eq!(single(5, 1, 3, (-1, 2)), 0, "BU56");
        assert_eq!(single(1, 4, 1, (3, 3)), 0, "BU57");
        assert_eq!(single(3, 4, 1, (-1, 8)), 2, "BU58");
        assert_eq!(single(3, 5, 1, (-1, 8)), 1, "BU58");
    }

    #[test]
    fn a_fit_keeps_the_direction_and_the_proportion() {
        let fit = |cur, new, (gp, gd): Pair, (min, max): Pair| {
            let (p, d) = lanes(gp, gd, (1, 1));
            fit_pair(cur, new, p, d, band(min, max))
        };
        assert_eq!(fit((24, 40), (32, 48), (1, 1), (64, 64)), (24, 40), "BU32");
        assert_eq!(fit((24, 40), (23, 48), (1, 1), (64, 64)), (23, 41), "BU33");
        assert_eq!(fit((16, 16), (15, 24), (2, 1), (48, 48)), (15, 18), "BU34");
        assert_eq!(fit((24, 36), (32, 44), (1, 1), (-1, 64)), (26, 38), "BU35");
    }

    #[test]
    fn a_fit_never_leaves_the_box_or_the_band() {
        // BU36.
        for (gp, gd) in [(1, 1), (1, 2), (2, 3)] {
            let (lp, ld) = lanes(gp, gd, (0, 0));
            for (cp, cd, dp, dd) in (1..=4).flat_map(|cp| {
                (1..=4).flat_map(move |cd| {
                    (-2..=2).flat_map(move |dp| (-2..=2).map(move |dd| (cp, cd, dp, dd)))
                })
            }) {
                let at = cp * gp + cd * gd;
                let band = band(at, at);
                let (p, d) = fit_pair((cp, cd), (cp + dp, cd + dd), lp, ld, band);
                assert!(along(cp, cp + dp, p) && along(cd, cd + dd, d));
                assert!(band.holds(total((p, d), gp, gd), &[gp, gd]));
                assert!(dp * dd >= 0 || (p == cp) == (d == cd));
            }
        }
    }

    #[test]
    fn the_guards_hold_reconcile_or_pass_as_dynamo_does() {
        let guard = |cur, new, (gp, gd): Pair, (min, max): Pair| {
            let (p, d) = lanes(gp, gd, (1, 1));
            guard_pair(cur, new, p, d, band(min, max))
        };
        let (one, full) = ((1, 1), (64, 64));
        for (cur, new, widths, bounds) in [
            ((24, 40), (32, 48), one, full),
            ((28, 36), (27, 36), one, full),
            ((27, 36), (26, 35), one, full),
            ((28, 36), (28, 37), one, full),
            ((28, 36), (29, 37), one, full),
            ((2, 1), (1, 2), (1, 2), (4, 4)),
            ((2, 1), (1, 2), (1, 3), (5, 6)),
            ((3, 1), (3, 2), one, (-1, 4)),
            ((4, 1), (5, 2), one, (-1, 5)),
            ((1, 1), (0, 1), (2, 2), (5, 5)),
            ((4, 3), (1, 3), one, (6, 10)),
            ((1, 2), (2, 1), (1, 2), (7, 7)),
        ] {
            let got = guard(cur, new, widths, bounds);
            assert_eq!(got, (cur, Guard::Hold), "{cur:?} {new:?} {bounds:?}");
        }
        for (cur, new, widths, bounds, want) in [
            ((24, 40), (23, 48), one, full, (23, 41)),
            ((1, 1), (4, 4), one, (-1, 6), (3, 3)),
            ((27, 37), (26, 38), one, full, (26, 38)),
            ((27, 37), (28, 36), one, full, (28, 36)),
            ((35, 35), (34, 35), one, (64, 80), (34, 35)),
            ((1, 1), (0, 2), (2, 2), (5, 5), (0, 2)),
        ] {
            let got = guard(cur, new, widths, bounds);
            assert_eq!(got, (want, Guard::Pass), "{cur:?} {new:?} {bounds:?}");
        }
        assert_eq!(guard((40, 40), (41, 41), one, (-1, 64)), ((32, 32), Guard::Reconcile));
        assert_eq!(guard((1, 1), (0, 1), one, (4, 6)), ((2, 2), Guard::Reconcile), "BU50");
        let single = |cur, new| guard_single(cur, new, Lane { gpus: 1, floor: 1 }, band(64, 64));
        assert_eq!(single(64, 63), (64, Guard::Hold), "BU29");
        assert_eq!(single(63, 62), (63, Guard::Hold), "BU30");
        assert_eq!(single(70, 69), (64, Guard::Reconcile), "BU31");
    }
}
