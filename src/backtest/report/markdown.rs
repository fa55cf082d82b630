//! Tables for a README.

use super::{FrontierPoint, grouped, kept, percent, title};
use crate::backtest::RunResult;

/// A table of all, and one for each trace and start-up time.
#[must_use]
pub fn markdown(results: &[RunResult]) -> String {
    if results.is_empty() {
        return "No runs.\n".to_owned();
    }
    let groups = grouped(results);
    let one_profile = groups.windows(2).all(|w| w[0].0.1 == w[1].0.1);
    let mut out = String::from(
        "Good requests in % @ GPU-hours; ✗ where fewer are good than promised.\n\n| policy |",
    );
    for (key, _) in &groups {
        put!(out, " {} |", title(key, one_profile));
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(groups.len()));
    out.push('\n');
    let mut policies: Vec<&str> = Vec::new();
    for result in results {
        if !policies.contains(&result.run.policy.as_str()) {
            policies.push(&result.run.policy);
        }
    }
    for policy in policies {
        put!(out, "| {policy} |");
        for (_, rows) in &groups {
            let cells: Vec<String> = rows
                .iter()
                .filter(|r| r.run.policy == policy)
                .map(|r| {
                    let mark = if kept(r) { "" } else { " ✗" };
                    format!("{:.2} @ {:.1}{mark}", r.score.attainment, r.score.gpu_hours)
                })
                .collect();
            put!(out, " {} |", cells.join("; "));
        }
        out.push('\n');
    }
    for (key, rows) in &groups {
        put!(out, "\n## {}\n\n", title(key, false));
        let promise = rows[0].promise;
        put!(
            out,
            "{} requests; promised: {} % with TTFT within {} ms and ITL within {} ms.\n\n",
            rows[0].score.requests,
            promise.percentile,
            promise.ttft_ms,
            promise.itl_ms
        );
        out.push_str(
            "| policy | good % | GPU-h | good/GPU-h | vs oracle | vs static | TTFT p50 | p95 | p99 | \
             ITL p95 | changes/h | back/h | lost | longest spell s |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for r in rows {
            let s = &r.score;
            put!(
                out,
                "| {} | {:.2}{} | {:.2} | {:.0} | {} | {} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | \
                 {:.1} | {} | {:.0} |\n",
                r.run.policy,
                s.attainment,
                if kept(r) { "" } else { " ✗" },
                s.gpu_hours,
                s.good_per_gpu_hour,
                percent(s.regret_oracle),
                percent(s.regret_static),
                s.ttft_ms.p50,
                s.ttft_ms.p95,
                s.ttft_ms.p99,
                s.itl_ms.p95,
                s.changes_per_hour,
                s.reversals_per_hour,
                s.lost + s.unfinished,
                s.recovery.longest_s,
            );
        }
    }
    out
}

/// The points of a frontier, by policy and value.
#[must_use]
pub fn frontier_markdown(points: &[FrontierPoint]) -> String {
    let mut out =
        String::from("| policy | knob | value | good % | GPU-h |\n|---|---|---|---|---|\n");
    for p in points {
        let value = if p.knob.is_empty() { String::new() } else { p.value.to_string() };
        put!(
            out,
            "| {} | {} | {value} | {:.2} | {:.2} |\n",
            p.policy,
            p.knob,
            p.attainment,
            p.gpu_hours
        );
    }
    out
}
