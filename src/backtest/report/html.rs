//! The page of a comparison.

use super::super::{Promise, RunResult};
use super::charts;
use super::frontier::{Dot, plot};
use super::standing::Standing;
use super::table::table;
use super::text::{Group, escape, groups, kept, number, percent, promise, push_new, span};

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
        let several = g.seeds() > 1;
        for r in g.rows.iter().flat_map(|row| &row.runs) {
            let Some(timeline) = &r.timeline else { continue };
            let seed = if several { format!(", seed {}", r.run.seed) } else { String::new() };
            let how = if kept(r) { "✓ promise kept" } else { "✗ promise missed" };
            out.push(format!(
                "<section><h2>{}{seed}: {}</h2><p>{how}: {} % good for {} GPU-hours.</p>{}</section>",
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
    let won: Vec<&str> = groups.iter().filter_map(|g| g.winner().map(|row| row.policy)).collect();
    let mut names: Vec<&str> = Vec::new();
    won.iter().for_each(|name| push_new(&mut names, *name));
    let count = |name: &str| won.iter().filter(|w| **w == name).count();
    // Stable: ties stay in policy order.
    names.sort_by_key(|name| std::cmp::Reverse(count(name)));
    let mut parts: Vec<String> = names
        .iter()
        .map(|name| format!("{name} in {} of {} comparisons", count(name), groups.len()))
        .collect();
    let open = groups.iter().filter(|g| is_open(g)).count();
    let none = groups.len() - won.len() - open;
    if none > 0 {
        parts.push(format!("nobody kept it in {none}"));
    }
    if open > 0 {
        parts.push(format!("no policy was played with every seed in {open}"));
    }
    format!("Fewest GPU-hours while keeping the promise: {}.", parts.join("; "))
}

/// Whether seeds are missing everywhere, so that no policy can win.
fn is_open(g: &Group<'_>) -> bool {
    g.contenders().next().is_none() && g.rows.iter().any(|row| !row.foresees())
}

fn outcome(g: &Group<'_>) -> String {
    let seeds = g.seeds();
    if is_open(g) {
        return format!("No policy was played with every one of the {seeds} seeds: none is best.");
    }
    let (all, keepers) =
        g.contenders().fold((0, 0), |(n, k), row| (n + 1, k + usize::from(row.kept())));
    let mean = if seeds > 1 { format!(", in the mean of {seeds} seeds") } else { String::new() };
    match g.winner() {
        None => format!("No policy kept the promise without knowing the future{mean}."),
        Some(row) => format!(
            "{} used the fewest GPU-hours while keeping the promise: {} for {} % good{mean} \
             ({keepers} of {all} policies kept it without knowing the future).",
            row.policy,
            row.gpu_hours_words(),
            row.attainment_words()
        ),
    }
}

fn frontier(g: &Group<'_>) -> String {
    let dot = |row: &Standing<'_>| match row.runs.len() {
        1 => row.policy.to_owned(),
        n => format!("{}, mean of {n} seeds", row.policy),
    };
    let dots: Vec<Dot<'_>> = g
        .rows
        .iter()
        .map(|row| Dot {
            series: row.policy,
            label: dot(row),
            short: row.policy.to_owned(),
            x: row.gpu_hours(),
            attainment: row.attainment(),
        })
        .collect();
    plot(&dots, Some(g.promise.percentile), false)
}
