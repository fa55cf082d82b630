//! The comparison as Markdown tables.

use super::super::RunResult;
use super::standing::Standing;
use super::table::{about_seeds, cells, headings};
use super::text::{cell, groups, policies};

/// A summary of all groups, then a longer table for each.
///
/// A cell of the summary is the good share in percent, an at sign and the GPU-hours; `✗` follows
/// where the promise was missed. With several seeds both are means, with their spread.
#[must_use]
pub fn markdown(results: &[RunResult]) -> String {
    if results.is_empty() {
        return "No results.\n".to_owned();
    }
    let groups = groups(results);
    let mut head = vec!["policy".to_owned()];
    head.extend(groups.iter().map(super::text::Group::name));
    let rows: Vec<Vec<String>> = policies(results)
        .into_iter()
        .map(|policy| {
            let mut row = vec![policy.to_owned()];
            row.extend(groups.iter().map(|g| {
                let row = g.rows.iter().find(|row| row.policy == policy);
                row.map_or_else(|| "–".to_owned(), summary)
            }));
            row
        })
        .collect();
    let means = if groups.iter().any(|g| g.seeds() > 1) {
        " Means over the seeds (smallest..largest) where a policy was played with several."
    } else {
        ""
    };
    let mut out = vec![
        format!("Good requests in percent @ GPU-hours; ✗ where the promise was missed.{means}\n\n"),
        table(&head, &rows),
    ];
    for g in &groups {
        let rows: Vec<Vec<String>> = g.rows.iter().map(|row| cells(g, row)).collect();
        let head: Vec<String> = headings(g).into_iter().map(str::to_owned).collect();
        out.push(format!("\n### {}\n\n", cell(&g.name())));
        out.extend(about_seeds(g).map(|words| format!("{words}\n\n")));
        out.push(table(&head, &rows));
    }
    out.concat()
}

fn summary(row: &Standing<'_>) -> String {
    let mark = if row.kept() { "" } else { " ✗" };
    format!("{} @ {}{mark}", row.attainment_words(), row.gpu_hours_words())
}

/// A Markdown table: the first column to the left, the others to the right.
pub(super) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| -> String {
        let cells: Vec<String> = cells.iter().map(|c| cell(c)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = vec![line(head)];
    out.push(format!("|---|{}\n", "---:|".repeat(head.len().saturating_sub(1))));
    out.extend(rows.iter().map(|r| line(r)));
    out.concat()
}
