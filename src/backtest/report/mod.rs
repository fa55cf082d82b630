//! Results for people: Markdown tables, and one HTML page that opens offline.

mod chart;
mod html;
mod markdown;
#[cfg(test)]
mod tests;

use super::{GroupKey, RunResult, group_of};

pub use html::{frontier_html, html};
pub use markdown::{frontier_markdown, markdown};

/// One point of a frontier: a policy with one value of its knob.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FrontierPoint {
    /// The policy by its name.
    pub policy: String,
    /// The knob that is swept; empty where there is none.
    pub knob: String,
    /// Its value.
    pub value: f64,
    /// Share of requests that were good, percent.
    pub attainment: f64,
    /// GPU-hours.
    pub gpu_hours: f64,
}

/// Results by group, both in the order of first appearance.
fn grouped(results: &[RunResult]) -> Vec<(GroupKey, Vec<&RunResult>)> {
    let mut groups: Vec<(GroupKey, Vec<&RunResult>)> = Vec::new();
    for result in results {
        let key = group_of(result);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(result),
            None => groups.push((key, vec![result])),
        }
    }
    groups
}

/// Whether a run kept its promise.
fn kept(result: &RunResult) -> bool {
    result.score.attainment >= result.promise.percentile
}

/// A group in words, without the profile where all have the same.
fn title(key: &GroupKey, one_profile: bool) -> String {
    let (trace, profile, startup_ms) = key;
    let profile = if one_profile { String::new() } else { format!(", {profile}") };
    format!("{trace}{profile}, start-up {} s", *startup_ms as f64 / 1e3)
}

/// An excess over another row in percent, with its sign.
fn percent(regret: Option<f64>) -> String {
    regret.map_or_else(String::new, |r| format!("{:+.0} %", 100.0 * r))
}
