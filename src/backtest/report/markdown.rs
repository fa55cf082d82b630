//! The comparison as Markdown tables.

use super::super::RunResult;
use super::table::{HEADINGS, cells};
use super::text::{cell, groups, kept, number, percent, policies};

/// A summary of all groups, then a longer table for each.
///
/// A cell of the summary is the good share in percent, an at sign and the GPU-hours; `✗` follows
/// where the promise was missed.
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
                let of_policy = g.rows.iter().filter(|r| r.run.policy == policy);
                let runs: Vec<String> = of_policy.map(|r| summary(r)).collect();
                if runs.is_empty() { "–".to_owned() } else { runs.join(", ") }
            }));
            row
        })
        .collect();
    let mut out = vec![
        "Good requests in percent @ GPU-hours; ✗ where the promise was missed.\n\n".to_owned(),
        table(&head, &rows),
    ];
    for g in &groups {
        let rows: Vec<Vec<String>> = g.rows.iter().map(|r| cells(r).to_vec()).collect();
        out.push(format!("\n### {}\n\n", cell(&g.name())));
        out.push(table(&HEADINGS.map(str::to_owned), &rows));
    }
    out.concat()
}

fn summary(r: &RunResult) -> String {
    let mark = if kept(r) { "" } else { " ✗" };
    format!("{} @ {}{mark}", percent(r.score.attainment), number(r.score.gpu_hours))
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
