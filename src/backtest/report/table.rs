//! The comparison table of one group.

use super::standing::Standing;
use super::text::{Group, escape, number, regret, span};

/// Headings of the longer table, shared by HTML and Markdown; `seeds` is there where there are
/// several.
pub(super) fn headings(group: &Group<'_>) -> Vec<&'static str> {
    const ALL: [&str; 16] = [
        "policy",
        SEEDS,
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
    const SEEDS: &str = "seeds";
    let several = group.seeds() > 1;
    ALL.into_iter().filter(|heading| several || *heading != SEEDS).collect()
}

/// What the numbers of a group with several seeds are; `None` with one.
pub(super) fn about_seeds(group: &Group<'_>) -> Option<String> {
    let seeds = group.seeds();
    (seeds > 1).then(|| {
        format!(
            "Means over the seeds, {seeds} of them (smallest..largest); the longest spell is that of \
             any seed."
        )
    })
}

/// The cells of a row under [`headings`], as plain text.
pub(super) fn cells(group: &Group<'_>, row: &Standing<'_>) -> Vec<String> {
    let mut cells = vec![row.policy.to_owned()];
    if group.seeds() > 1 {
        cells.push(row.runs.len().to_string());
    }
    cells.extend([
        row.attainment_words(),
        if row.kept() { "✓ kept" } else { "✗ missed" }.to_owned(),
        row.gpu_hours_words(),
        number(row.mean(|s| s.good_per_gpu_hour)),
        regret(row.mean_of_some(|s| s.regret_oracle)),
        regret(row.mean_of_some(|s| s.regret_static)),
        number(row.mean(|s| s.ttft_ms.p50)),
        number(row.mean(|s| s.ttft_ms.p95)),
        number(row.mean(|s| s.ttft_ms.p99)),
        number(row.mean(|s| s.itl_ms.p95)),
        number(row.mean(|s| s.changes_per_hour)),
        number(row.mean(|s| s.reversals_per_hour)),
        number(row.mean(|s| s.lost as f64)),
        span(row.most(|s| s.recovery.longest_s)),
    ]);
    cells
}

/// The table of a group; the cheapest row that kept the promise without knowing the future is
/// marked.
pub(super) fn table(group: &Group<'_>) -> String {
    let best = group.winner().map(|best| best.policy);
    let head: String =
        headings(group).iter().map(|h| format!("<th scope=\"col\">{h}</th>")).collect();
    let rows: String =
        group.rows.iter().map(|r| row(group, r, best.is_some_and(|b| b == r.policy))).collect();
    let about = about_seeds(group).map_or_else(String::new, |words| format!("<p>{words}</p>"));
    format!(
        "{about}<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn row(group: &Group<'_>, r: &Standing<'_>, won: bool) -> String {
    let mut class = vec![if r.kept() { "kept" } else { "missed" }];
    let mut note = "";
    if r.foresees() {
        class.push("foresees");
        note = " <small>(knows the future)</small>";
    }
    if won {
        class.push("won");
        note = " <small>★ fewest</small>";
    }
    let rest = cells(group, r).into_iter().skip(1);
    let cells: String = rest.map(|c| format!("<td>{}</td>", escape(&c))).collect();
    format!(
        "<tr class=\"{}\"><th scope=\"row\">{}{note}</th>{cells}</tr>",
        class.join(" "),
        escape(r.policy)
    )
}
