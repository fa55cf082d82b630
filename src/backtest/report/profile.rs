//! The tables of an engine as a picture: TTFT by input length, ITL by batch and context.

use super::svg::{Join, Scale, label, line, picture, px, rule};
use super::text::number;
use crate::profile::EngineProfile;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 740.0;
/// Height of the plot of one chart.
const TALL: f64 = 300.0;
/// From the top of a chart to its plot: its name.
const HEAD: f64 = 44.0;
/// Below a plot: the labels of its axis, and its name.
const FOOT: f64 = 46.0;
/// Points of a curve: one for each few pixels.
const STEPS: u32 = 240;
/// Colours in the style sheet, `c0` and up; further contexts begin again.
const COLOURS: usize = 8;
/// Contexts that are drawn: more lines than this are one grey field.
const MOST_LINES: usize = 12;

/// The colours and lines of a page, without the page around them.
const STYLE: &str = concat!(
    "<style>",
    include_str!("style.css"),
    ".outside { stroke-dasharray: 4 4; } .hatch { fill: url(#hatch); } svg { background: var(--bg); }",
    "</style><defs><pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" \
     patternTransform=\"rotate(45)\"><path d=\"M0 0V7\" stroke=\"#8884\" stroke-width=\"3\"/>\
     </pattern></defs>"
);

/// One SVG of a profile: the points measured, what is made of them, and, hatched, where that leaves
/// the data.
#[must_use]
pub fn profile_svg(profile: &EngineProfile) -> String {
    let mut out = vec![STYLE.to_owned()];
    let below = ttft(profile, &mut out);
    let end = itl(profile, below, &mut out);
    let name = format!("performance of an engine: {}", profile.place());
    picture(WIDTH, end, &name, &out.concat())
}

/// Abscissas from one value to another, evenly on a log axis.
fn steps(from: f64, to: f64) -> impl Iterator<Item = f64> {
    (0..=STEPS).map(move |i| from * (to / from).powf(f64::from(i) / f64::from(STEPS)))
}

struct Chart {
    x: Scale,
    y: Scale,
    top: f64,
    bottom: f64,
}

impl Chart {
    fn new(top: f64, (from, to): (f64, f64), (low, high): (f64, f64)) -> Self {
        let (plot_top, bottom) = (top + HEAD, top + HEAD + TALL);
        Self {
            x: Scale::log(from, to, LEFT, RIGHT),
            y: Scale::log(low, high, bottom, plot_top),
            top: plot_top,
            bottom,
        }
    }

    /// The grid, the names, and the hatched range of what was not measured.
    fn frame(&self, name: &str, axis: &str, measured: (f64, f64), out: &mut Vec<String>) {
        let Self { x, y, top, bottom } = self;
        for (from, to) in [(LEFT, x.at(measured.0)), (x.at(measured.1), RIGHT)] {
            if to - from > 0.5 {
                out.push(format!(
                    "<rect class=\"hatch\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                    px(from),
                    px(*top),
                    px(to - from),
                    px(bottom - top)
                ));
            }
        }
        for t in x.ticks(8.0) {
            out.push(rule("grid", (x.at(t), *top), (x.at(t), *bottom)));
            out.push(label("tick", x.at(t), bottom + 15.0, "middle", &number(t)));
        }
        for t in y.ticks(6.0) {
            out.push(rule("grid", (LEFT, y.at(t)), (RIGHT, y.at(t))));
            out.push(label("tick", LEFT - 6.0, y.at(t) + 4.0, "end", &number(t)));
        }
        out.push(label("name", LEFT, top - 26.0, "start", name));
        out.push(label("axis", RIGHT, bottom + 32.0, "end", axis));
    }

    /// A curve of (abscissa, value, whether that is outside the data): solid inside, dashed outside.
    fn curve(&self, colour: usize, points: &[(f64, f64, bool)], out: &mut Vec<String>) {
        for outside in [false, true] {
            // A piece begins and ends on the point that it shares with the other kind.
            let near = |i: usize| {
                let is = |k: usize| points.get(k).is_some_and(|p| p.2 == outside);
                is(i) || outside && (is(i + 1) || i > 0 && is(i - 1))
            };
            let part: Vec<(f64, Option<f64>)> = points
                .iter()
                .enumerate()
                .map(|(i, (x, y, _))| (*x, near(i).then_some(*y)))
                .collect();
            let class = format!("c{}{}", colour % COLOURS, if outside { " outside" } else { "" });
            out.push(line(&class, &part, self.x, self.y, Join::Straight));
        }
    }

    fn dot(&self, colour: usize, x: f64, y: f64, out: &mut Vec<String>) {
        out.push(format!(
            "<circle class=\"dot c{}\" cx=\"{}\" cy=\"{}\" r=\"3.5\"/>",
            colour % COLOURS,
            px(self.x.at(x)),
            px(self.y.at(y))
        ));
    }
}

/// The least and the most of some values, with room around them.
fn span(values: impl Iterator<Item = f64>, room: f64) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(l, h), x| (l.min(x), h.max(x)));
    (low / room, high * room)
}

fn ttft(profile: &EngineProfile, out: &mut Vec<String>) -> f64 {
    let curve = profile.prefill();
    let range = curve.isl_range();
    let measured = (*range.start(), *range.end());
    let sides = ((measured.0 / 2.0).max(1.0), measured.1 * 2.0);
    let points: Vec<(f64, f64, bool)> = steps(sides.0, sides.1)
        .map(|isl| (isl, curve.ttft(isl)))
        .map(|(isl, answer)| (isl, answer.value.get(), answer.outside.is_some()))
        .collect();
    let seen = profile.prefill_points().iter().map(|p| p.ttft.get());
    let chart = Chart::new(0.0, sides, span(points.iter().map(|p| p.1).chain(seen), 1.1));
    chart.frame("TTFT of a prompt alone, ms", "input length, tokens", measured, out);
    chart.curve(0, &points, out);
    for p in profile.prefill_points() {
        chart.dot(0, p.isl.get(), p.ttft.get(), out);
    }
    chart.bottom + FOOT
}

fn itl(profile: &EngineProfile, top: f64, out: &mut Vec<String>) -> f64 {
    let surface = profile.decode();
    let points = profile.decode_points();
    // Points of one nominal context are measured at lengths that differ by a few tokens.
    let mut contexts: Vec<f64> = points.iter().map(|p| p.context.get()).collect();
    contexts.sort_by(f64::total_cmp);
    contexts.dedup_by(|b, a| *b <= *a * 1.02);
    let stride = contexts.len().div_ceil(MOST_LINES).max(1);
    let contexts: Vec<f64> = contexts.into_iter().step_by(stride).collect();
    let measured = span(points.iter().map(|p| p.batch), 1.0);
    let kv = surface.max_kv_tokens().get();
    let curves: Vec<Vec<(f64, f64, bool)>> = contexts
        .iter()
        .map(|context| {
            steps(1.0, (kv / context).max(2.0))
                .map(|batch| (batch, surface.itl(batch, *context)))
                .map(|(batch, answer)| (batch, answer.value.get(), answer.outside.is_some()))
                .collect()
        })
        .collect();
    let most = curves.iter().flatten().map(|p| p.0).fold(measured.1, f64::max);
    let values = curves.iter().flatten().map(|p| p.1).chain(points.iter().map(|p| p.itl.get()));
    let sides = (measured.0.min(1.0), most);
    let chart = Chart::new(top, sides, span(values.filter(|y| *y > 0.0), 1.1));
    let name = "ITL by context, ms, up to what the KV cache holds";
    chart.frame(name, "sequences decoded together", measured, out);
    for (i, curve) in curves.iter().enumerate() {
        chart.curve(i, curve, out);
    }
    for p in points {
        let near = |c: &f64| (c / p.context.get()).ln().abs();
        let i =
            (0..contexts.len()).min_by(|a, b| near(&contexts[*a]).total_cmp(&near(&contexts[*b])));
        chart.dot(i.unwrap_or(0), p.batch, p.itl.get(), out);
    }
    legend(&contexts, chart.top - 10.0, out);
    chart.bottom + FOOT
}

/// The contexts by their colours, in one line.
fn legend(contexts: &[f64], y: f64, out: &mut Vec<String>) {
    let mut x = LEFT;
    for (i, context) in contexts.iter().enumerate() {
        let words = format!("{context:.0}");
        out.push(format!(
            "<path class=\"line c{}\" d=\"M{} {}h12\"/>",
            i % COLOURS,
            px(x),
            px(y - 4.0)
        ));
        out.push(label("tick", x + 15.0, y, "start", &words));
        // About the width of a digit of this size, the stroke, and a gap.
        x += 26.0 + 6.6 * f64::from(u32::try_from(words.len()).unwrap_or(0));
    }
    out.push(label("tick", x, y, "start", "tokens of context"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::library;

    #[test]
    fn every_point_is_drawn_and_what_leaves_the_data_is_dashed_and_hatched() {
        for name in library::names() {
            let profile = library::get(name).unwrap();
            let svg = profile_svg(&profile);
            let points = profile.prefill_points().len() + profile.decode_points().len();
            assert_eq!(svg.matches("<circle").count(), points, "{name}");
            assert!(svg.contains(" outside\"") && svg.contains("class=\"hatch\""), "{name}");
            assert!(svg.contains(&format!("engine: shipped profile {name}")), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
        }
    }

    #[test]
    fn one_point_makes_a_picture_too() {
        let kv = crate::units::Tokens::clamped(1e4);
        let tiny = EngineProfile::from_points(&[(100.0, 9.0)], &[(1.0, 100.0, 5.0)], kv).unwrap();
        let svg = profile_svg(&tiny);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
