//! Enough SVG for charts: scales, nice ticks, lines, areas and thinning.

use super::text::{escape, number};
use crate::units::{floor_to_u32, round_to_u32};

/// Points that a series keeps: more than a chart has pixels across, so that nothing seen is lost.
pub(super) const MOST_POINTS: usize = 1_500;

/// From values to pixels along one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    lo: f64,
    hi: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// An even scale; a range without width is widened so that it can be divided by.
    pub(super) fn linear(lo: f64, hi: f64, from: f64, to: f64) -> Self {
        let hi = if hi > lo { hi } else { lo + 1.0 };
        Self { lo, hi, from, to, log: false }
    }

    /// A logarithmic scale over positive values.
    pub(super) fn log(lo: f64, hi: f64, from: f64, to: f64) -> Self {
        // Anything below a ten-thousandth of a unit is as good as zero in ms and in percent.
        let lo = lo.max(1e-4);
        let hi = if hi > lo { hi } else { lo * 10.0 };
        Self { lo, hi, from, to, log: true }
    }

    /// Where a value is drawn; what is outside is drawn on the edge.
    pub(super) fn at(&self, x: f64) -> f64 {
        let x = x.clamp(self.lo, self.hi);
        let share = if self.log {
            (x / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (x - self.lo) / (self.hi - self.lo)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values within the range, about `n`.
    pub(super) fn ticks(&self, n: f64) -> Vec<f64> {
        if self.log {
            self.log_ticks()
        } else {
            multiples(self.lo, self.hi, nice_step(self.hi - self.lo, n))
        }
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.hi / self.lo).log10();
        // With few decades 1, 2, 5 of each fill the axis; with more they would overlap.
        let heads: &[f64] = if decades <= 1.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = self.lo.log10().floor();
        let count = floor_to_u32(decades) + 2;
        (0..=count)
            .map(|k| 10f64.powf(first + f64::from(k)))
            .flat_map(|base| heads.iter().map(move |h| h * base))
            .filter(|x| *x >= self.lo * 0.999 && *x <= self.hi * 1.001)
            .collect()
    }
}

/// The step of 1, 2 or 5 times a power of ten that cuts the range into about `n`.
fn nice_step(range: f64, n: f64) -> f64 {
    let raw = range / n;
    let base = 10f64.powf(raw.log10().floor());
    let head = raw / base;
    base * if head <= 1.0 {
        1.0
    } else if head <= 2.0 {
        2.0
    } else if head <= 5.0 {
        5.0
    } else {
        10.0
    }
}

fn multiples(lo: f64, hi: f64, step: f64) -> Vec<f64> {
    let first = (lo / step).ceil();
    let count = floor_to_u32((hi / step).floor() - first);
    (0..=count).map(|k| (first + f64::from(k)) * step).collect()
}

/// Ticks of a time axis in seconds with their labels, in the unit that fits the range.
pub(super) fn time_ticks(lo: f64, hi: f64, n: f64) -> Vec<(f64, String)> {
    const STEPS: [f64; 19] = [
        1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 10_800.0,
        21_600.0, 43_200.0, 86_400.0, 172_800.0, 432_000.0, 864_000.0,
    ];
    let raw = (hi - lo) / n;
    let step = STEPS.into_iter().find(|s| *s >= raw).unwrap_or_else(|| nice_step(hi - lo, n));
    let (unit, name) = if step < 60.0 && hi <= 300.0 {
        (1.0, "s")
    } else if step < 3_600.0 && hi <= 10_800.0 {
        (60.0, "min")
    } else if step < 86_400.0 {
        (3_600.0, "h")
    } else {
        (86_400.0, "d")
    };
    multiples(lo, hi, step)
        .into_iter()
        .map(|t| (t, format!("{} {name}", number(t / unit))))
        .collect()
}

/// A series thinned to at most [`MOST_POINTS`]: the lowest and the highest of every bucket stay, in
/// their order, so that a spike is never lost. A gap stays where a bucket has nothing else.
pub(super) fn thin(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let per_bucket = (2 * points.len()).div_ceil(MOST_POINTS);
    points.chunks(per_bucket).flat_map(extremes).collect()
}

fn extremes(bucket: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let known = || bucket.iter().enumerate().filter_map(|(i, (_, y))| y.map(|y| (i, y)));
    let low = known().min_by(|a, b| a.1.total_cmp(&b.1));
    let high = known().max_by(|a, b| a.1.total_cmp(&b.1));
    match (low, high) {
        (Some((a, _)), Some((b, _))) if a == b => vec![bucket[a]],
        (Some((a, _)), Some((b, _))) => vec![bucket[a.min(b)], bucket[a.max(b)]],
        _ => bucket.first().copied().into_iter().collect(),
    }
}

/// A pixel with one digit after the point.
pub(super) fn px(x: f64) -> String {
    let s = format!("{x:.1}");
    s.strip_suffix(".0").unwrap_or(&s).to_owned()
}

/// How a line goes from one point to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// Straight.
    Straight,
    /// Level until the next point.
    Step,
}

/// The path of a series, broken at gaps.
pub(super) fn path(points: &[(f64, Option<f64>)], x: Scale, y: Scale, join: Join) -> String {
    let mut d = Vec::new();
    let mut pen = false;
    for (t, v) in points {
        let Some(v) = v.filter(|v| v.is_finite()) else {
            pen = false;
            continue;
        };
        let (cx, cy) = (px(x.at(*t)), px(y.at(v)));
        d.push(match (pen, join) {
            (false, _) => format!("M{cx} {cy}"),
            (true, Join::Straight) => format!("L{cx} {cy}"),
            (true, Join::Step) => format!("H{cx}V{cy}"),
        });
        // A point alone between two gaps is drawn as a dot by the round cap of an empty stroke.
        if !pen {
            d.push("h0".to_owned());
        }
        pen = true;
    }
    d.concat()
}

/// A line with the look of `class`.
pub(super) fn line(
    class: &str,
    points: &[(f64, Option<f64>)],
    x: Scale,
    y: Scale,
    join: Join,
) -> String {
    let d = path(&thin(points), x, y, join);
    if d.is_empty() { d } else { format!("<path class=\"line {class}\" d=\"{d}\"/>") }
}

/// The area between two values at every point; `None` is a gap.
pub(super) fn band(
    class: &str,
    points: &[(f64, Option<(f64, f64)>)],
    x: Scale,
    y: Scale,
    join: Join,
) -> String {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let merged: Vec<_> = points.chunks(stride).map(widest).collect();
    let runs = merged.split(|(_, v)| v.is_none()).filter(|r| !r.is_empty());
    runs.map(|run| {
        let side = |f: fn((f64, f64)) -> f64| -> Vec<(f64, f64)> {
            let mut out: Vec<(f64, f64)> = Vec::new();
            for (t, v) in run {
                let Some(v) = v else { continue };
                if let (Join::Step, Some((_, before))) = (join, out.last().copied()) {
                    out.push((*t, before));
                }
                out.push((*t, f(*v)));
            }
            out
        };
        let there = side(|v| v.1);
        let back = side(|v| v.0);
        let corners: Vec<String> = there
            .iter()
            .chain(back.iter().rev())
            .map(|(t, v)| format!("{} {}", px(x.at(*t)), px(y.at(*v))))
            .collect();
        format!("<path class=\"{class}\" d=\"M{}Z\"/>", corners.join("L"))
    })
    .collect()
}

fn widest(chunk: &[(f64, Option<(f64, f64)>)]) -> (f64, Option<(f64, f64)>) {
    let t = chunk.first().map_or(0.0, |p| p.0);
    let v = chunk.iter().filter_map(|p| p.1).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    (t, v)
}

/// Words at a place; `anchor` is start, middle or end.
pub(super) fn label(class: &str, x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
        px(x),
        px(y),
        escape(words)
    )
}

/// A straight line.
pub(super) fn rule(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
        px(from.0),
        px(from.1),
        px(to.0),
        px(to.1)
    )
}

/// A picture of `width` by `height` that fits its column.
pub(super) fn picture(width: f64, height: f64, name: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" \
         height=\"{h}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
        escape(name),
        w = round_to_u32(width),
        h = round_to_u32(height),
    )
}
