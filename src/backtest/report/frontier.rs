//! The frontier: what share of requests was good for how many GPU-hours.

use serde::{Deserialize, Serialize};

use super::html::page;
use super::markdown;
use super::svg::{Scale, label, picture, px, rule};
use super::text::{escape, number, percent, push_new};

/// One run of a sweep over a knob of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// The policy without the knob; its points are joined by a line.
    pub policy: String,
    /// Name of the knob.
    pub knob: String,
    /// Value of the knob.
    pub value: f64,
    /// Good share, percent.
    pub attainment: f64,
    /// GPU-hours of the run.
    pub gpu_hours: f64,
}

/// A dot of a plot.
pub(super) struct Dot<'a> {
    /// Dots of one name share a colour.
    pub(super) series: &'a str,
    /// What it is, for the tooltip.
    pub(super) label: String,
    /// What is written beside it.
    pub(super) short: String,
    /// GPU-hours.
    pub(super) x: f64,
    /// Good share, percent.
    pub(super) attainment: f64,
}

/// Colours in the style sheet, `c0` and up; further series begin again.
const COLOURS: usize = 8;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 330.0;
/// Good shares with a tick, percent.
const TICKS: [f64; 5] = [99.9, 99.0, 95.0, 90.0, 50.0];
/// The bad share at the top edge, percent: a run without a bad request is drawn there, since a log
/// axis has no zero. Half of the last tick's, so that the tick is not on the edge.
const LEAST_BAD: f64 = 0.05;

/// GPU-hours against the bad share on a log axis, the best at the top left. `promised` draws the
/// promise; with `joined` the dots of a series are joined in their order.
pub(super) fn plot(dots: &[Dot<'_>], promised: Option<f64>, joined: bool) -> String {
    let hours = || dots.iter().map(|d| d.x).filter(|x| x.is_finite());
    let (lo, hi) = (hours().fold(f64::INFINITY, f64::min), hours().fold(0.0, f64::max));
    if !lo.is_finite() {
        return String::new();
    }
    // Room at the sides for the labels; zero is not forced in, since the differences are the point.
    let room = ((hi - lo) * 0.12).max(hi * 0.02).max(0.01);
    let x = Scale::linear((lo - room).max(0.0), hi + 2.0 * room, LEFT, RIGHT);
    let y = Scale::log(LEAST_BAD, 100.0, TOP, BOTTOM);
    let bad = |attainment: f64| y.at((100.0 - attainment).max(LEAST_BAD));
    let mut out = Vec::new();
    for t in x.ticks(7.0) {
        out.push(rule("grid", (x.at(t), TOP), (x.at(t), BOTTOM)));
        out.push(label("tick", x.at(t), BOTTOM + 16.0, "middle", &number(t)));
    }
    for t in TICKS {
        out.push(rule("grid", (LEFT, bad(t)), (RIGHT, bad(t))));
        out.push(label("tick", LEFT - 6.0, bad(t) + 4.0, "end", &format!("{} %", number_of(t))));
    }
    out.push(label("axis", RIGHT, BOTTOM + 36.0, "end", "GPU-hours (less is cheaper)"));
    out.push(label("axis", LEFT, BOTTOM + 36.0, "start", "good requests, log scale of the rest"));
    if let Some(p) = promised {
        out.push(rule("promise", (LEFT, bad(p)), (RIGHT, bad(p))));
        let words = format!("promise {} %", number_of(p));
        out.push(label("promised", LEFT + 4.0, bad(p) - 4.0, "start", &words));
    }
    let mut series: Vec<&str> = Vec::new();
    for d in dots {
        push_new(&mut series, d.series);
    }
    if joined {
        for (i, name) in series.iter().enumerate() {
            let of_series = dots.iter().filter(|d| d.series == *name && d.x.is_finite());
            let corners: Vec<String> =
                of_series.map(|d| format!("{} {}", px(x.at(d.x)), px(bad(d.attainment)))).collect();
            let d = corners.join("L");
            if !d.is_empty() {
                out.push(format!("<path class=\"line c{}\" d=\"M{d}\"/>", i % COLOURS));
            }
        }
    }
    out.push(marks(dots, &series, x, &bad));
    picture(WIDTH, HEIGHT, "good share against GPU-hours", &out.concat())
}

/// The dots with their labels; a label moves until it is on no earlier one, and is left out (the
/// tooltip stays) where there is no room.
fn marks(dots: &[Dot<'_>], series: &[&str], x: Scale, bad: &dyn Fn(f64) -> f64) -> String {
    // Half the height of a line, tried nearest first.
    const SHIFTS: [f64; 9] = [4.0, -8.0, 16.0, -20.0, 28.0, -32.0, 40.0, -44.0, 52.0];
    let seen = || dots.iter().filter(|d| d.x.is_finite());
    // Left, right and baseline of what a label may not cover: at first, the dots.
    let mut taken: Vec<(f64, f64, f64)> = seen()
        .map(|d| (x.at(d.x), bad(d.attainment)))
        .map(|(cx, cy)| (cx - 6.0, cx + 6.0, cy + 4.0))
        .collect();
    let mut out = Vec::new();
    for d in seen() {
        let (cx, cy) = (x.at(d.x), bad(d.attainment));
        let i = series.iter().position(|s| *s == d.series).unwrap_or(0) % COLOURS;
        let hint =
            format!("{}: {} % good @ {} GPU-hours", d.label, percent(d.attainment), number(d.x));
        out.push(format!(
            "<circle class=\"dot c{i}\" cx=\"{}\" cy=\"{}\" r=\"5\"><title>{}</title></circle>",
            px(cx),
            px(cy),
            escape(&hint)
        ));
        let words: String = d.short.chars().take(MOST_LETTERS).collect();
        let width = 7.4 * f64::from(u32::try_from(words.chars().count()).unwrap_or(0));
        let (left, at, anchor) = if cx + 9.0 + width > RIGHT {
            (cx - 9.0 - width, cx - 9.0, "end")
        } else {
            (cx + 9.0, cx + 9.0, "start")
        };
        let free = |y: &f64| {
            let inside = *y > TOP - 4.0 && *y < BOTTOM;
            inside
                && !taken
                    .iter()
                    .any(|(l, r, ty)| left < *r && left + width > *l && (y - ty).abs() < 12.0)
        };
        if let Some(ly) = SHIFTS.iter().map(|s| cy + s).find(free) {
            taken.push((left, left + width, ly));
            out.push(label("name", at, ly, anchor, &words));
        }
    }
    out.concat()
}

/// A label longer than this would reach over half of the plot.
const MOST_LETTERS: usize = 40;

/// A share as written in the promise: 99.9, not 99.90.
fn number_of(p: f64) -> String {
    format!("{p}")
}

/// A page with the frontier of every policy of a sweep, and its numbers.
#[must_use]
pub fn frontier_html(title: &str, points: &[FrontierPoint]) -> String {
    if points.is_empty() {
        return page(title, "<p class=\"lead\">No points: nothing was swept.</p>");
    }
    let sorted = sorted(points);
    let mut named: Vec<&str> = Vec::new();
    let dots: Vec<Dot<'_>> = sorted
        .iter()
        .map(|p| {
            let label = format!("{} {}={}", p.policy, p.knob, number_of(p.value));
            // The first dot names its series; the others are told by colour and line.
            let short = if named.contains(&p.policy.as_str()) {
                number_of(p.value)
            } else {
                named.push(&p.policy);
                label.clone()
            };
            (p, label, short)
        })
        .map(|(p, label, short)| Dot {
            series: &p.policy,
            label,
            short,
            x: p.gpu_hours,
            attainment: p.attainment,
        })
        .collect();
    let rows: String = sorted
        .iter()
        .map(|p| {
            let [policy, rest @ ..] = cells(p);
            let rest: String = rest.iter().map(|c| format!("<td>{}</td>", escape(c))).collect();
            format!("<tr><th scope=\"row\">{}</th>{rest}</tr>", escape(&policy))
        })
        .collect();
    let head: String = HEADINGS.iter().map(|h| format!("<th scope=\"col\">{h}</th>")).collect();
    let lead = "<p class=\"lead\">What each policy gives for its GPU-hours as its knob is turned: \
                higher and further to the left is better.</p>";
    page(
        title,
        &format!(
            "{lead}<figure>{}</figure><div class=\"wide\"><table><thead><tr>{head}</tr></thead>\
             <tbody>{rows}</tbody></table></div>",
            plot(&dots, None, true)
        ),
    )
}

/// The numbers of a sweep as a Markdown table.
#[must_use]
pub fn frontier_markdown(points: &[FrontierPoint]) -> String {
    if points.is_empty() {
        return "No points.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = sorted(points).into_iter().map(|p| cells(p).to_vec()).collect();
    markdown::table(&HEADINGS.map(str::to_owned), &rows)
}

const HEADINGS: [&str; 5] = ["policy", "knob", "value", "good %", "GPU-hours"];

fn cells(p: &FrontierPoint) -> [String; 5] {
    let FrontierPoint { policy, knob, value, attainment, gpu_hours } = p;
    [policy.clone(), knob.clone(), number_of(*value), percent(*attainment), number(*gpu_hours)]
}

/// By policy in order of first appearance, then by GPU-hours; ties end on the value.
fn sorted(points: &[FrontierPoint]) -> Vec<&FrontierPoint> {
    let mut order: Vec<&str> = Vec::new();
    for p in points {
        push_new(&mut order, &p.policy);
    }
    let mut out: Vec<&FrontierPoint> = points.iter().collect();
    out.sort_by(|a, b| {
        let place = |p: &FrontierPoint| order.iter().position(|o| *o == p.policy);
        place(a)
            .cmp(&place(b))
            .then(a.gpu_hours.total_cmp(&b.gpu_hours))
            .then(a.value.total_cmp(&b.value))
    });
    out
}
