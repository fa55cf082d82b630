//! Small charts as SVG: lines, steps, bands, marks. No script, no font, no file.

use crate::units::{floor_to_u32, round_to_u32};

/// Points of a series that are drawn, at most: more than a screen has columns.
const MOST_POINTS: usize = 900;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 22.0;

/// Text that is safe inside an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// An axis: the range of its values, and whether it is logarithmic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) log: bool,
}

impl Axis {
    /// From 0 to a bit above the largest.
    pub(super) fn from_zero(most: f64) -> Self {
        Self { low: 0.0, high: if most > 0.0 { most * 1.08 } else { 1.0 }, log: false }
    }

    /// The decades that hold all values above 0.
    pub(super) fn decades(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|v| *v > 0.0 && v.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high <= 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let low = 10f64.powf(low.log10().floor());
        let high = 10f64.powf(high.log10().ceil()).max(low * 10.0);
        Self { low, high, log: true }
    }

    fn share(&self, value: f64) -> f64 {
        let x = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        x.clamp(0.0, 1.0)
    }

    /// Values to write at the axis: decades, or steps of 1, 2 or 5 times a power of ten.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = round_to_u32((self.high / self.low).log10());
            return (0..=decades)
                .map(|i| self.low * 10f64.powi(i32::try_from(i).unwrap_or(0)))
                .collect();
        }
        let rough = (self.high - self.low) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= rough);
        let step = step.unwrap_or(power);
        let first = (self.low / step).ceil();
        let count = floor_to_u32((self.high / step).floor() - first) + 1;
        (0..count).map(|i| (first + f64::from(i)) * step).collect()
    }
}

/// A number as short as it says enough.
pub(super) fn short(value: f64) -> String {
    let text = match value.abs() {
        x if x >= 1e6 => format!("{:.1}M", value / 1e6),
        x if x >= 1e4 => format!("{:.0}k", value / 1e3),
        x if x >= 10.0 || x == 0.0 => format!("{value:.0}"),
        x if x >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|b| b == b'0') => whole.to_owned(),
        _ => text,
    }
}

/// Seconds as a person says them.
pub(super) fn time(seconds: f64, whole: f64) -> String {
    match whole {
        w if w < 600.0 => format!("{seconds:.0} s"),
        w if w < 14_400.0 => format!("{:.0} min", seconds / 60.0),
        w if w < 2.0 * 86_400.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// A chart over time.
#[derive(Debug)]
pub(super) struct Chart {
    svg: String,
    height: f64,
    until: f64,
    axis: Axis,
}

impl Chart {
    /// `until` seconds along, with a title and the unit of the axis.
    pub(super) fn new(title: &str, height: f64, until: f64, axis: Axis) -> Self {
        let mut svg = format!(
            "<svg viewBox='0 0 {WIDTH} {height}' role='img' aria-label='{0}'><text class='t' x='{LEFT}' \
             y='13'>{0}</text>",
            escape(title)
        );
        let chart = Self { svg: String::new(), height, until: until.max(1.0), axis };
        for tick in axis.ticks() {
            let y = chart.y(tick);
            put!(
                svg,
                "<line class='g' x1='{LEFT}' x2='{:.0}' y1='{y:.1}' y2='{y:.1}'/><text class='a e' \
                 x='{:.0}' y='{:.1}'>{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(tick)
            );
        }
        for i in 0..=6 {
            let at = chart.until * f64::from(i) / 6.0;
            let anchor = if i == 6 {
                "a e"
            } else if i == 0 {
                "a"
            } else {
                "a m"
            };
            put!(
                svg,
                "<text class='{anchor}' x='{:.1}' y='{:.0}'>{}</text>",
                chart.x(at),
                height - 6.0,
                time(at, chart.until)
            );
        }
        Self { svg, ..chart }
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.until).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let inner = self.height - TOP - BOTTOM;
        TOP + inner * (1.0 - self.axis.share(value))
    }

    fn path(&self, points: &[(f64, Option<f64>)], steps: bool) -> String {
        let mut path = String::new();
        let mut pen_up = true;
        for (at, value) in points {
            let Some(value) = value else {
                pen_up = true;
                continue;
            };
            let (x, y) = (self.x(*at), self.y(*value));
            match (pen_up, steps) {
                (true, _) => put!(path, "M{x:.1} {y:.1}"),
                (false, true) => put!(path, "H{x:.1}V{y:.1}"),
                (false, false) => put!(path, "L{x:.1} {y:.1}"),
            }
            pen_up = false;
        }
        path
    }

    /// A line of a class, through the largest value of each column.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, Option<f64>)]) {
        let path = self.path(&thinned(points), false);
        put!(self.svg, "<path class='l {class}' d='{path}'/>");
    }

    /// Steps of a class.
    pub(super) fn steps(&mut self, class: &str, points: &[(f64, Option<f64>)]) {
        let path = self.path(&thinned(points), true);
        put!(self.svg, "<path class='l {class}' d='{path}'/>");
    }

    /// The area between two series.
    pub(super) fn band(
        &mut self,
        class: &str,
        low: &[(f64, Option<f64>)],
        high: &[(f64, Option<f64>)],
    ) {
        let known = |points: &[(f64, Option<f64>)]| -> Vec<(f64, f64)> {
            thinned(points).iter().filter_map(|(at, v)| Some((*at, (*v)?))).collect()
        };
        let mut corners = known(high);
        corners.extend(known(low).into_iter().rev());
        let corners: Vec<String> =
            corners.iter().map(|(at, v)| format!("{:.1},{:.1}", self.x(*at), self.y(*v))).collect();
        put!(self.svg, "<polygon class='{class}' points='{}'/>", corners.join(" "));
    }

    /// A level with its name.
    pub(super) fn level(&mut self, class: &str, value: f64, name: &str) {
        let y = self.y(value);
        put!(
            self.svg,
            "<line class='l {class}' x1='{LEFT}' x2='{0:.0}' y1='{y:.1}' y2='{y:.1}'/><text class='a e' \
             x='{0:.0}' y='{1:.1}'>{2}</text>",
            WIDTH - RIGHT,
            y - 4.0,
            escape(name)
        );
    }

    /// A moment, with what a reader who points at it is told.
    pub(super) fn mark(&mut self, at: f64, up: bool, text: &str) {
        let (x, class) = (self.x(at), if up { "u" } else { "d" });
        put!(
            self.svg,
            "<path class='k {class}' d='M{x:.1} {TOP}V{:.1}'><title>{}</title></path>",
            self.height - BOTTOM,
            escape(text)
        );
    }

    pub(super) fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// At most [`MOST_POINTS`]: the largest of each stretch, so that no peak is lost.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let each = points.len().div_ceil(MOST_POINTS).max(1);
    points
        .chunks(each)
        .filter_map(|chunk| {
            let value = chunk.iter().filter_map(|p| p.1).max_by(f64::total_cmp);
            Some((chunk.first()?.0, value))
        })
        .collect()
}

/// Dots by cost and by what went wrong, with names: the lower left is where to be.
pub(super) fn scatter(dots: &[(f64, f64, String, usize)], promise: Option<f64>) -> String {
    const HEIGHT: f64 = 340.0;
    /// The best share that can be told from perfect, percent of bad requests.
    const FLOOR: f64 = 0.01;
    let cost = Axis::from_zero(dots.iter().map(|d| d.0).fold(0.0, f64::max));
    let bad = Axis { low: FLOOR, high: 100.0, log: true };
    let x = |v: f64| LEFT + (WIDTH - LEFT - 120.0) * cost.share(v);
    let y = |v: f64| TOP + (HEIGHT - TOP - 40.0) * (1.0 - bad.share(v.max(FLOOR)));
    let mut svg = format!(
        "<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='good requests against GPU-hours'>\
         <text class='t' x='{LEFT}' y='13'>good requests (%) against GPU-hours</text>"
    );
    for share in [99.99, 99.9, 99.0, 95.0, 90.0, 50.0] {
        let at = y(100.0 - share);
        put!(
            svg,
            "<line class='g' x1='{LEFT}' x2='{:.0}' y1='{at:.1}' y2='{at:.1}'/><text class='a e' \
             x='{:.0}' y='{:.1}'>{share}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for tick in cost.ticks() {
        put!(
            svg,
            "<text class='a m' x='{:.1}' y='{:.0}'>{}</text>",
            x(tick),
            HEIGHT - 16.0,
            short(tick)
        );
    }
    if let Some(promise) = promise {
        let at = y(100.0 - promise);
        put!(
            svg,
            "<line class='l promise' x1='{LEFT}' x2='{:.0}' y1='{at:.1}' y2='{at:.1}'/>",
            WIDTH - RIGHT
        );
    }
    for (gpu_hours, attainment, name, colour) in dots {
        let (cx, cy) = (x(*gpu_hours), y(100.0 - attainment));
        put!(
            svg,
            "<circle class='c{}' cx='{cx:.1}' cy='{cy:.1}' r='5'><title>{1}: {attainment:.2} % at \
             {gpu_hours:.2} GPU-hours</title></circle><text class='a' x='{2:.1}' y='{3:.1}'>{1}</text>",
            colour % 8,
            escape(name),
            cx + 8.0,
            cy + 4.0
        );
    }
    svg.push_str("</svg>");
    svg
}
