//! The course of one run: charts one below the other on one time axis, and its decisions.

use std::collections::BTreeSet;

use super::super::{Change, Counts, RunResult, Timeline};
use super::svg::{Join, Scale, band, label, line, picture, px, rule, thin, time_ticks};
use super::text::{escape, number, span};
use crate::units::Role;

type Series = Vec<(f64, Option<f64>)>;
type Bands = Vec<(f64, Option<(f64, f64)>)>;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 950.0;
/// Height of the plot of one chart.
const TALL: f64 = 92.0;
/// From the top of a chart to its plot: the line with its name.
const HEAD: f64 = 22.0;
/// Below the last chart: the labels of the time axis.
const FOOT: f64 = 24.0;
/// Decisions that a page shows of one run: what is more is in the result file, and would only make
/// the page slow to open.
const MOST_DECISIONS: usize = 2_000;

/// Where the charts of a run are drawn.
struct Stage {
    x: Scale,
    end_s: f64,
    top: f64,
    parts: Vec<String>,
}

/// All charts of a run and the table of its decisions.
pub(super) fn section(r: &RunResult, timeline: &Timeline) -> String {
    let Some(last) = timeline.rows.last() else {
        return "<p>The run has no timeline rows.</p>".to_owned();
    };
    let end_s = last.t_s + timeline.step_s.max(0.0);
    let mut stage =
        Stage { x: Scale::linear(0.0, end_s, LEFT, RIGHT), end_s, top: 0.0, parts: Vec::new() };
    load(&mut stage, timeline);
    for role in timeline.rows.iter().flat_map(|r| r.pools.keys()).copied().collect::<BTreeSet<_>>()
    {
        pool(&mut stage, timeline, role);
    }
    let series = |f: fn(&super::super::Row) -> Option<f64>| -> Series {
        timeline.rows.iter().map(|r| (r.t_s, f(r))).collect()
    };
    latency(&mut stage, "TTFT p95, ms", &series(|r| r.ttft_p95_ms), r.promise.ttft_ms);
    latency(&mut stage, "ITL p95, ms", &series(|r| r.itl_p95_ms), r.promise.itl_ms);
    good(&mut stage, &series(|r| r.good), r.promise.percentile);
    gpus(&mut stage, timeline);
    let (x, bottom) = (stage.x, stage.top);
    for (t, words) in time_ticks(0.0, end_s, 9.0) {
        stage.parts.push(label("tick", x.at(t), bottom + 14.0, "middle", &words));
    }
    let name = format!("course of {}", r.run.policy);
    let hover =
        format!("<line class=\"cursor\" y1=\"0\" y2=\"{}\" x1=\"-9\" x2=\"-9\"/>", px(bottom));
    stage.parts.push(hover);
    let body = stage.parts.concat();
    format!(
        "<figure class=\"course\" data-end=\"{end_s}\" data-left=\"{LEFT}\" data-right=\"{RIGHT}\">{}\
         </figure>{}",
        picture(WIDTH, bottom + FOOT, &name, &body),
        decisions(&timeline.decisions)
    )
}

impl Stage {
    /// Begins a chart: its name, its legend as (class, words), its grid. Gives the value axis.
    fn chart(
        &mut self,
        name: &str,
        legend: &[(&str, &str)],
        y: impl Fn(f64, f64) -> Scale,
    ) -> Scale {
        let (top, bottom) = (self.top + HEAD, self.top + HEAD + TALL);
        let y = y(bottom, top);
        self.parts.push(label("name", LEFT, top - 6.0, "start", name));
        let mut at = RIGHT;
        for (class, words) in legend.iter().rev() {
            // About the width of a letter of this size: too wide only leaves a gap after the words.
            at -= 6.2 * f64::from(u32::try_from(words.chars().count()).unwrap_or(0));
            self.parts.push(label("tick", at, top - 6.0, "start", words));
            at -= 19.0;
            let x = px(at);
            self.parts.push(if class.starts_with("line") {
                format!("<path class=\"{class}\" d=\"M{x} {}h14\"/>", px(top - 10.0))
            } else {
                let y = px(top - 14.0);
                format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"14\" height=\"8\"/>")
            });
            at -= 12.0;
        }
        for t in y.ticks(4.0) {
            self.parts.push(rule("grid", (LEFT, y.at(t)), (RIGHT, y.at(t))));
            self.parts.push(label("tick", LEFT - 6.0, y.at(t) + 4.0, "end", &number(t)));
        }
        for (t, _) in time_ticks(0.0, self.end_s, 9.0) {
            self.parts.push(rule("grid", (self.x.at(t), top), (self.x.at(t), bottom)));
        }
        y
    }

    /// Adds to the open chart.
    fn draw(&mut self, part: String) {
        self.parts.push(part);
    }

    /// Ends a chart with the values that the tooltip reads.
    fn close(&mut self, name: &str, points: &[(f64, Option<f64>)]) {
        let values: Vec<String> = thin(points)
            .iter()
            .map(|(t, v)| {
                format!("{} {}", number_exact(*t), v.map_or_else(|| "–".to_owned(), number))
            })
            .collect();
        self.parts.push(format!(
            "<g class=\"values\" data-name=\"{}\" data-values=\"{}\"/>",
            escape(name),
            values.join(",")
        ));
        self.top += HEAD + TALL + 6.0;
    }
}

/// A time for the script: whole seconds where it is one.
fn number_exact(t: f64) -> String {
    px(t)
}

/// The highest finite value, with a little air above.
fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|v| v.is_finite()).fold(0.0, f64::max) * 1.06
}

/// The last value again at the end of the axis, so that a step has its full length.
fn to_end<T: Clone>(mut points: Vec<(f64, T)>, end_s: f64) -> Vec<(f64, T)> {
    if let Some((_, v)) = points.last().cloned() {
        points.push((end_s, v));
    }
    points
}

fn load(stage: &mut Stage, timeline: &Timeline) {
    let rows = &timeline.rows;
    let forecast = rows.iter().filter_map(|r| r.forecast).map(|f| f[2]);
    let top = most(rows.iter().map(|r| r.rps).chain(forecast));
    let mut legend = vec![("load", "arrivals")];
    let forecasts = rows.iter().any(|r| r.forecast.is_some());
    if forecasts {
        legend.extend([("band", "forecast, low to high"), ("line forecast", "expected")]);
    }
    let y =
        stage.chart("load, requests / s", &legend, |from, to| Scale::linear(0.0, top, from, to));
    let rps: Bands = rows.iter().map(|r| (r.t_s, Some((0.0, r.rps)))).collect();
    stage.draw(band("load", &to_end(rps, stage.end_s), stage.x, y, Join::Step));
    let between: Bands = rows.iter().map(|r| (r.t_s, r.forecast.map(|f| (f[0], f[2])))).collect();
    stage.draw(band("band", &to_end(between, stage.end_s), stage.x, y, Join::Step));
    let expected: Series = rows.iter().map(|r| (r.t_s, r.forecast.map(|f| f[1]))).collect();
    stage.draw(line("forecast", &to_end(expected, stage.end_s), stage.x, y, Join::Step));
    stage.close("req/s", &rows.iter().map(|r| (r.t_s, Some(r.rps))).collect::<Series>());
}

fn pool(stage: &mut Stage, timeline: &Timeline, role: Role) {
    let end_s = stage.end_s;
    let counts = |f: fn(&Counts) -> u32| -> Series {
        let of_row = |r: &super::super::Row| (r.t_s, r.pools.get(&role).map(|c| f64::from(f(c))));
        to_end(timeline.rows.iter().map(of_row).collect(), end_s)
    };
    let (wanted, serving) = (counts(|c| c.wanted), counts(|c| c.serving));
    let starting: Bands = timeline
        .rows
        .iter()
        .map(|r| {
            let c = r.pools.get(&role).filter(|c| c.starting > 0);
            (
                r.t_s,
                c.map(|c| (f64::from(c.serving), f64::from(c.serving.saturating_add(c.starting)))),
            )
        })
        .collect();
    let tops = starting.iter().filter_map(|(_, v)| v.map(|v| v.1));
    let top = most(wanted.iter().chain(&serving).filter_map(|(_, v)| *v).chain(tops)).max(1.06);
    let name = format!("{role} replicas");
    let legend = [
        ("line serving", "serving"),
        ("starting", "starting"),
        ("line wanted", "wanted"),
        ("line mark", "change"),
    ];
    let y = stage.chart(&name, &legend, |from, to| Scale::linear(0.0, top, from, to));
    stage.draw(band("starting", &ends(&starting, timeline.step_s), stage.x, y, Join::Step));
    stage.draw(line("serving", &serving, stage.x, y, Join::Step));
    stage.draw(line("wanted", &wanted, stage.x, y, Join::Step));
    let bottom = stage.top + HEAD + TALL;
    for d in timeline.decisions.iter().filter(|d| d.role == role).take(MOST_DECISIONS) {
        let at = stage.x.at(d.t_s);
        let words = format!("{}: {} → {}: {}", span(d.t_s), d.from, d.to, d.why);
        // A wide unseen stroke under the mark makes it easy to point at.
        stage.draw(format!(
            "<g><title>{}</title><path class=\"aim\" d=\"M{x} {b}v-14\"/><path class=\"line mark\" \
             d=\"M{x} {b}v-8\"/></g>",
            escape(&words),
            x = px(at),
            b = px(bottom)
        ));
    }
    stage.close(&name, &serving);
}

/// Ends every spell one row after its last, so that a spell of one row has a width.
fn ends(points: &Bands, step_s: f64) -> Bands {
    let mut out: Bands = Vec::with_capacity(points.len());
    for (i, (t, v)) in points.iter().enumerate() {
        out.push((*t, *v));
        let next = points.get(i + 1).and_then(|n| n.1);
        if v.is_some() && next.is_none() {
            out.push((t + step_s, *v));
        }
    }
    out
}

fn latency(stage: &mut Stage, name: &str, points: &Series, promised: f64) {
    let known = || points.iter().filter_map(|(_, v)| *v).filter(|v| v.is_finite() && *v > 0.0);
    let low = known().fold(promised, f64::min) / 1.3;
    let high = known().fold(promised, f64::max) * 1.3;
    let words = format!("promise {}", number(promised));
    let legend = [("line latency", "p95 (log)"), ("line promise", words.as_str())];
    let y = stage.chart(name, &legend, |from, to| Scale::log(low, high, from, to));
    stage.draw(line("latency", points, stage.x, y, Join::Straight));
    stage.draw(rule("promise", (LEFT, y.at(promised)), (RIGHT, y.at(promised))));
    stage.close(name, points);
}

fn good(stage: &mut Stage, points: &Series, promised: f64) {
    let words = format!("promise {} %", number(promised));
    let legend = [("line good", "good"), ("line promise", words.as_str())];
    let y =
        stage.chart("good requests, %", &legend, |from, to| Scale::linear(0.0, 104.0, from, to));
    stage.draw(line("good", points, stage.x, y, Join::Straight));
    stage.draw(rule("promise", (LEFT, y.at(promised)), (RIGHT, y.at(promised))));
    stage.close("good %", points);
}

fn gpus(stage: &mut Stage, timeline: &Timeline) {
    let rows = &timeline.rows;
    let points: Series = rows.iter().map(|r| (r.t_s, Some(f64::from(r.gpus)))).collect();
    let mut spent = 0.0;
    let mut hours: Series = vec![(0.0, Some(0.0))];
    for r in rows {
        spent += f64::from(r.gpus) * timeline.step_s / 3_600.0;
        hours.push((r.t_s + timeline.step_s, Some(spent)));
    }
    let top = most(rows.iter().map(|r| f64::from(r.gpus)));
    let words = format!("GPU-hours so far, to {}", number(spent));
    let legend = [("line gpus", "GPUs"), ("line spent", words.as_str())];
    let y = stage.chart("GPUs", &legend, |from, to| Scale::linear(0.0, top, from, to));
    stage.draw(line("gpus", &to_end(points.clone(), stage.end_s), stage.x, y, Join::Step));
    // On its own axis: only its shape and its end, which the legend names, are read.
    let own =
        Scale::linear(0.0, most(std::iter::once(spent)), stage.top + HEAD + TALL, stage.top + HEAD);
    stage.draw(line("spent", &hours, stage.x, own, Join::Straight));
    stage.close("GPUs", &points);
}

fn decisions(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "<p>No count was changed.</p>".to_owned();
    }
    let rows: String = changes.iter().take(MOST_DECISIONS).map(decision).collect();
    let more = changes.len().saturating_sub(MOST_DECISIONS);
    let note = if more > 0 { format!("<p>{more} more are left out.</p>") } else { String::new() };
    format!(
        "<details><summary>Decisions ({})</summary><div class=\"wide\"><table class=\"why\"><thead><tr>\
         <th>time</th><th>pool</th><th>replicas</th><th>why</th></tr></thead><tbody>{rows}</tbody>\
         </table></div>{note}</details>",
        changes.len()
    )
}

fn decision(change: &Change) -> String {
    let Change { t_s, role, from, to, why } = change;
    format!(
        "<tr><td>{}</td><td>{role}</td><td>{from} → {to}</td><td>{}</td></tr>",
        span(*t_s),
        escape(why)
    )
}
