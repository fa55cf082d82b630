//! The page of a comparison.

use super::super::{Promise, RunResult};
use super::charts;
use super::frontier::{Dot, plot};
use super::table::{table, winner};
use super::text::{
    Group, escape, foresees, groups, kept, number, percent, promise, push_new, span,
};

const STYLE: &str = include_str!("style.css");
/// Only a tooltip: without scripts the page says all the same.
const SCRIPT: &str = include_str!("hover.js");

/// One page that opens offline: the outcome in words, a table and a frontier for every group of
/// runs that may be compared, and the course of every run with a timeline.
#[must_use]
pub fn html(title: &str, results: &[RunResult]) -> String {
    if results.is_empty() {
        return page(title, "<p class=\"lead\">No results: nothing was run.</p>");
    }
    let groups = groups(results);
    let mut out = vec![headline(results, &groups)];
    for g in &groups {
        out.push(format!("<section><h2>{}</h2>", escape(&g.name())));
        out.push(format!("<p>{}</p>", escape(&outcome(g))));
        out.push(table(g));
        out.push(format!("<figure>{}</figure></section>", frontier(g)));
    }
    for g in &groups {
        for r in &g.rows {
            let Some(timeline) = &r.timeline else { continue };
            let how = if kept(r) { "✓ promise kept" } else { "✗ promise missed" };
            out.push(format!(
                "<section><h2>{}: {}</h2><p>{how}: {} % good for {} GPU-hours.</p>{}</section>",
                escape(&r.run.policy),
                escape(&g.name()),
                percent(r.score.attainment),
                number(r.score.gpu_hours),
                charts::section(r, timeline)
            ));
        }
    }
    page(title, &out.concat())
}

/// The frame of every page.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light \
         dark\"><title>{title}</title><style>\n{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n\
         {body}\n</main><script>\n{SCRIPT}</script></body></html>\n"
    )
}

fn headline(results: &[RunResult], groups: &[Group<'_>]) -> String {
    let mut promises: Vec<Promise> = Vec::new();
    let (mut traces, mut startups): (Vec<&str>, Vec<f64>) = (Vec::new(), Vec::new());
    for r in results {
        push_new(&mut promises, r.promise);
        push_new(&mut traces, r.run.trace.as_str());
        push_new(&mut startups, r.run.startup_s);
    }
    startups.sort_by(f64::total_cmp);
    let promises: Vec<String> = promises.iter().map(promise).collect();
    let startups: Vec<String> = startups.into_iter().map(span).collect();
    format!(
        "<p class=\"lead\">The promise: {}. {} {}; start-up of a replica: {}. {}</p>",
        escape(&promises.join("; or ")),
        if traces.len() == 1 { "Trace:" } else { "Traces:" },
        escape(&traces.join(", ")),
        startups.join(", "),
        escape(&winners(groups))
    )
}

/// Who was cheapest how often, among those that kept the promise.
fn winners(groups: &[Group<'_>]) -> String {
    if let [only] = groups {
        return outcome(only);
    }
    let won: Vec<&str> =
        groups.iter().filter_map(|g| winner(g).map(|r| r.run.policy.as_str())).collect();
    let mut names: Vec<&str> = Vec::new();
    won.iter().for_each(|name| push_new(&mut names, *name));
    let count = |name: &str| won.iter().filter(|w| **w == name).count();
    // Stable: ties stay in policy order.
    names.sort_by_key(|name| std::cmp::Reverse(count(name)));
    let mut parts: Vec<String> = names
        .iter()
        .map(|name| format!("{name} in {} of {} comparisons", count(name), groups.len()))
        .collect();
    let none = groups.len() - won.len();
    if none > 0 {
        parts.push(format!("nobody kept it in {none}"));
    }
    format!("Fewest GPU-hours while keeping the promise: {}.", parts.join("; "))
}

fn outcome(g: &Group<'_>) -> String {
    let able = g.rows.iter().filter(|r| !foresees(&r.run.policy));
    let (all, keepers) = able.fold((0, 0), |(n, k), r| (n + 1, k + usize::from(kept(r))));
    match winner(g) {
        None => "No policy kept the promise without knowing the future.".to_owned(),
        Some(r) => format!(
            "{} used the fewest GPU-hours while keeping the promise: {} for {} % good ({keepers} of \
             {all} policies kept it without knowing the future).",
            r.run.policy,
            number(r.score.gpu_hours),
            percent(r.score.attainment)
        ),
    }
}

fn frontier(g: &Group<'_>) -> String {
    let dots: Vec<Dot<'_>> = g
        .rows
        .iter()
        .map(|r| Dot {
            series: &r.run.policy,
            label: r.run.policy.clone(),
            short: r.run.policy.clone(),
            x: r.score.gpu_hours,
            attainment: r.score.attainment,
        })
        .collect();
    plot(&dots, g.rows.first().map(|r| r.promise.percentile), false)
}
