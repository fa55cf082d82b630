//! The comparison table of one group.

use super::super::RunResult;
use super::text::{Group, escape, foresees, kept, number, percent, regret, span};

/// Headings of the longer table, shared by HTML and Markdown.
pub(super) const HEADINGS: [&str; 15] = [
    "policy",
    "good %",
    "promise",
    "GPU-hours",
    "good / GPU-h",
    "vs oracle",
    "vs static-best",
    "TTFT p50 ms",
    "TTFT p95 ms",
    "TTFT p99 ms",
    "ITL p95 ms",
    "changes / h",
    "reversals / h",
    "lost",
    "longest spell",
];

/// The cells of a row under [`HEADINGS`], as plain text.
pub(super) fn cells(r: &RunResult) -> [String; 15] {
    let s = &r.score;
    [
        r.run.policy.clone(),
        percent(s.attainment),
        if kept(r) { "✓ kept" } else { "✗ missed" }.to_owned(),
        number(s.gpu_hours),
        number(s.good_per_gpu_hour),
        regret(s.regret_oracle),
        regret(s.regret_static),
        number(s.ttft_ms.p50),
        number(s.ttft_ms.p95),
        number(s.ttft_ms.p99),
        number(s.itl_ms.p95),
        number(s.changes_per_hour),
        number(s.reversals_per_hour),
        s.lost.to_string(),
        span(s.recovery.longest_s),
    ]
}

/// The table of a group; the cheapest row that kept the promise without knowing the future is
/// marked.
pub(super) fn table(group: &Group<'_>) -> String {
    let best = winner(group);
    let head: String = HEADINGS.iter().map(|h| format!("<th scope=\"col\">{h}</th>")).collect();
    let rows: String = group
        .rows
        .iter()
        .map(|r| {
            let won = best.is_some_and(|b| b.run == r.run);
            row(r, won)
        })
        .collect();
    format!(
        "<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn row(r: &RunResult, won: bool) -> String {
    let [policy, rest @ ..] = cells(r);
    let mut class = vec![if kept(r) { "kept" } else { "missed" }];
    let mut note = "";
    if foresees(&r.run.policy) {
        class.push("foresees");
        note = " <small>(knows the future)</small>";
    }
    if won {
        class.push("won");
        note = " <small>★ fewest</small>";
    }
    let cells: String = rest.iter().map(|c| format!("<td>{}</td>", escape(c))).collect();
    format!(
        "<tr class=\"{}\"><th scope=\"row\">{}{note}</th>{cells}</tr>",
        class.join(" "),
        escape(&policy)
    )
}

/// Who kept the promise with the fewest GPU-hours, among those that do not know the future.
pub(super) fn winner<'a>(group: &Group<'a>) -> Option<&'a RunResult> {
    group
        .rows
        .iter()
        .copied()
        .filter(|r| kept(r) && !foresees(&r.run.policy))
        .min_by(|a, b| a.score.gpu_hours.total_cmp(&b.score.gpu_hours))
}
