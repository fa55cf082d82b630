//! One page with everything in it.

use super::chart::{Axis, Chart, escape, scatter, time};
use super::{FrontierPoint, grouped, kept, percent, title};
use crate::backtest::{Counts, Row, RunResult, Timeline};
use crate::units::{Role, seconds_of};

const STYLE: &str = include_str!("style.css");

fn page(name: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' \
         content='width=device-width'><title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1>\
         {body}</body></html>\n",
        escape(name)
    )
}

/// The comparison as one page that opens offline: what came of it in words, a table, a frontier for
/// each trace, and the course of each run that has one.
#[must_use]
pub fn html(name: &str, results: &[RunResult]) -> String {
    if results.is_empty() {
        return page(name, "<p>No runs.</p>");
    }
    let mut body = String::new();
    for (key, rows) in grouped(results) {
        let promise = rows[0].promise;
        put!(
            body,
            "<section><h2>{}</h2><p>Promised: {} % of {} requests with TTFT within {} ms and ITL within \
             {} ms. {}</p>",
            escape(&title(&key, false)),
            promise.percentile,
            rows[0].score.requests,
            promise.ttft_ms,
            promise.itl_ms,
            escape(&verdict(&rows)),
        );
        body.push_str(&table(&rows));
        let dots: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(i, r)| (r.score.gpu_hours, r.score.attainment, r.run.policy.clone(), i))
            .collect();
        body.push_str(&scatter(&dots, Some(promise.percentile)));
        for r in rows {
            if let Some(timeline) = &r.timeline {
                body.push_str(&course(r, timeline));
            }
        }
        body.push_str("</section>");
    }
    page(name, &body)
}

/// Who kept the promise with the fewest GPU-hours.
fn verdict(rows: &[&RunResult]) -> String {
    let foreseen = |r: &&&RunResult| {
        let name = r.run.policy.split(':').next().unwrap_or_default();
        name != "oracle" && name != "static-best"
    };
    let keep = rows.iter().filter(|r| kept(r)).filter(foreseen);
    match keep.min_by(|a, b| a.score.gpu_hours.total_cmp(&b.score.gpu_hours)) {
        Some(best) => format!(
            "Of those that did not know the future, {} kept it with the fewest GPU-hours: {:.2}{}.",
            best.run.policy,
            best.score.gpu_hours,
            best.score.regret_oracle.map_or_else(String::new, |r| {
                format!(", {:+.0} % of what perfect foresight took", 100.0 * r)
            })
        ),
        None => "None of those that did not know the future kept it.".to_owned(),
    }
}

fn table(rows: &[&RunResult]) -> String {
    const HEAD: [&str; 14] = [
        "policy",
        "good %",
        "promise",
        "GPU-h",
        "good per GPU-h",
        "vs oracle",
        "vs static",
        "TTFT p50",
        "p95",
        "p99",
        "ITL p95",
        "changes/h",
        "lost",
        "longest spell",
    ];
    let mut out = String::from("<div class='w'><table><tr>");
    out.extend(HEAD.iter().map(|h| format!("<th>{h}</th>")));
    out.push_str("</tr>");
    for r in rows {
        let s = &r.score;
        let kept = kept(r);
        put!(
            out,
            "<tr class='{}'><td>{}</td>",
            if kept { "k" } else { "b" },
            escape(&r.run.policy)
        );
        let cells = [
            format!("{:.2}", s.attainment),
            if kept { "kept" } else { "✗ broken" }.to_owned(),
            format!("{:.2}", s.gpu_hours),
            format!("{:.0}", s.good_per_gpu_hour),
            percent(s.regret_oracle),
            percent(s.regret_static),
            format!("{:.0} ms", s.ttft_ms.p50),
            format!("{:.0} ms", s.ttft_ms.p95),
            format!("{:.0} ms", s.ttft_ms.p99),
            format!("{:.1} ms", s.itl_ms.p95),
            format!("{:.1}", s.changes_per_hour),
            (s.lost + s.unfinished).to_string(),
            format!("{:.0} s", s.recovery.longest_s),
        ];
        out.extend(cells.iter().map(|c| format!("<td>{c}</td>")));
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    out
}

/// A figure of a row, where it is known.
type Figure = fn(&Row) -> Option<f64>;

type Points = Vec<(f64, Option<f64>)>;

fn series(rows: &[Row], of: impl Fn(&Row) -> Option<f64>) -> Points {
    rows.iter().map(|row| (row.t_s, of(row))).collect()
}

fn most(points: &Points) -> f64 {
    points.iter().filter_map(|p| p.1).fold(0.0, f64::max)
}

fn course(result: &RunResult, timeline: &Timeline) -> String {
    let rows = &timeline.rows;
    let until = rows.last().map_or(1.0, |row| row.t_s + timeline.step_s);
    let mut out = format!("<h3>{}</h3>", escape(&result.run.policy));
    let load = series(rows, |r| Some(r.rps));
    let band = |i: usize| series(rows, |r| r.forecast.map(|f| f[i]));
    let mut chart = Chart::new(
        "requests a second: arrivals, and what was planned for",
        130.0,
        until,
        Axis::from_zero(most(&load).max(most(&band(2)))),
    );
    chart.band("band", &band(0), &band(2));
    chart.line("load", &load);
    chart.line("plan", &band(1));
    out.push_str(&chart.end());
    let roles: Vec<Role> =
        rows.last().map(|r| r.pools.keys().copied().collect()).unwrap_or_default();
    for role in roles {
        let of =
            |f: fn(&Counts) -> u32| series(rows, |r| r.pools.get(&role).map(|c| f64::from(f(c))));
        let (wanted, serving) = (of(|c| c.wanted), of(|c| c.serving));
        let all = of(|c| c.serving + c.starting + c.draining);
        let name =
            format!("{role} replicas: wanted (dashed), serving, with starting and draining (thin)");
        let mut chart = Chart::new(&name, 120.0, until, Axis::from_zero(most(&all).max(1.0)));
        for change in timeline.decisions.iter().filter(|d| d.role == role) {
            let text = format!(
                "{}: {} → {}: {}",
                time(change.t_s, until),
                change.from,
                change.to,
                change.why
            );
            chart.mark(change.t_s, change.to > change.from, &text);
        }
        chart.steps("all", &all);
        chart.steps("serving", &serving);
        chart.steps("wanted", &wanted);
        out.push_str(&chart.end());
    }
    let latencies: [(&str, Figure, f64); 2] = [
        ("TTFT p95, ms", |r| r.ttft_p95_ms, result.promise.ttft_ms),
        ("ITL p95, ms", |r| r.itl_p95_ms, result.promise.itl_ms),
    ];
    for (name, of, promised) in latencies {
        let points = series(rows, of);
        let values = points.iter().filter_map(|p| p.1).chain([promised]);
        let mut chart = Chart::new(name, 120.0, until, Axis::decades(values));
        chart.line("latency", &points);
        chart.level("promise", promised, "promised");
        out.push_str(&chart.end());
    }
    let good = series(rows, |r| r.good);
    let mut chart =
        Chart::new("good requests, %", 90.0, until, Axis { low: 0.0, high: 104.0, log: false });
    chart.line("good", &good);
    chart.level("promise", result.promise.percentile, "promised");
    out.push_str(&chart.end());
    let gpus = series(rows, |r| Some(f64::from(r.gpus)));
    let mut used = 0.0;
    let hour = seconds_of(std::time::Duration::from_secs(3600));
    let hours: Points = rows
        .iter()
        .map(|r| {
            used += f64::from(r.gpus) * timeline.step_s / hour;
            (r.t_s, Some(used))
        })
        .collect();
    let mut chart = Chart::new("GPUs", 90.0, until, Axis::from_zero(most(&gpus)));
    chart.steps("serving", &gpus);
    out.push_str(&chart.end());
    let mut chart = Chart::new("GPU-hours so far", 90.0, until, Axis::from_zero(most(&hours)));
    chart.line("load", &hours);
    out.push_str(&chart.end());
    out.push_str(&decisions(timeline, until));
    out
}

/// The changes of a run, folded away.
fn decisions(timeline: &Timeline, until: f64) -> String {
    /// More than anybody reads; a page must open.
    const MOST: usize = 500;
    let all = &timeline.decisions;
    let mut out = format!("<details><summary>{} changes of a count</summary><table>", all.len());
    for d in all.iter().take(MOST) {
        put!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{} → {}</td><td class='y'>{}</td></tr>",
            time(d.t_s, until),
            d.role,
            d.from,
            d.to,
            escape(&d.why)
        );
    }
    out.push_str("</table>");
    if all.len() > MOST {
        put!(out, "<p>and {} more</p>", all.len() - MOST);
    }
    out.push_str("</details>");
    out
}

/// A frontier as a page: one dot for each policy and value of its knob.
#[must_use]
pub fn frontier_html(name: &str, promise: f64, points: &[FrontierPoint]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let dots: Vec<_> = points
        .iter()
        .map(|p| {
            if !names.contains(&p.policy.as_str()) {
                names.push(&p.policy);
            }
            let colour = names.iter().position(|n| *n == p.policy).unwrap_or(0);
            let label = if p.knob.is_empty() {
                p.policy.clone()
            } else {
                format!("{} {}", p.policy, p.value)
            };
            (p.gpu_hours, p.attainment, label, colour)
        })
        .collect();
    page(name, &scatter(&dots, Some(promise)))
}
