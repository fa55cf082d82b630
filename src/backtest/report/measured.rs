//! What the simulator says beside what was measured of the same fleets.

use super::super::RunResult;
use super::markdown::table;
use super::text::{number, percent};

/// What a fleet of a fixed size did, where it was measured: on real engines, or in another simulator.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Name of the scenario that it was measured on.
    pub scenario: String,
    /// The fleet as a policy: `static:4,3`.
    pub fleet: String,
    /// Share of requests within the promise, percent.
    pub good: Option<f64>,
    /// Latencies, ms, in the order of [`LATENCIES`].
    pub latencies: [Option<f64>; 4],
}

/// The latencies that are compared: mean and percentiles over requests, an ITL being the mean of one.
pub const LATENCIES: [&str; 4] = ["TTFT p50", "TTFT p95", "ITL mean", "ITL p95"];

/// From this share of good requests on a fleet is not overloaded: beyond, a queue grows for minutes,
/// and a hundredth of a service time decides how far.
const NOT_OVERLOADED: f64 = 95.0;

/// A row for each fleet, simulated and measured, and the largest differences of those that were
/// measured to be good for at least 95 % of their requests.
#[must_use]
pub fn measured_markdown(rows: &[(&Measured, &RunResult)]) -> String {
    let mut head = vec!["scenario".to_owned(), "fleet".to_owned(), "good %".to_owned()];
    head.extend(LATENCIES.iter().map(|name| format!("{name} ms")));
    let lines: Vec<Vec<String>> = rows.iter().map(|(m, r)| line(m, r)).collect();
    let calm: Vec<&(&Measured, &RunResult)> =
        rows.iter().filter(|(m, _)| m.good.is_some_and(|good| good >= NOT_OVERLOADED)).collect();
    let mut out = vec![
        "Simulated, then measured in brackets with the difference.\n\n".to_owned(),
        table(&head, &lines),
    ];
    if !calm.is_empty() {
        let good = calm.iter().filter_map(|(m, r)| Some((r.score.attainment - m.good?).abs()));
        let mut within = vec![format!("good requests {:.2} points", good.fold(0.0, f64::max))];
        for (i, name) in LATENCIES.iter().enumerate() {
            let apart = calm.iter().filter_map(|(m, r)| over(latencies(r)[i], m.latencies[i]));
            let mut apart: Vec<f64> = apart.map(|x| x.abs() * 100.0).collect();
            apart.sort_by(f64::total_cmp);
            if let (Some(median), Some(most)) = (apart.get(apart.len() / 2), apart.last()) {
                within.push(format!("{name} {most:.1} % (median {median:.1} %)"));
            }
        }
        out.push(format!(
            "\nLargest differences of the {} fleets that were measured to be good for {} % or more: {}.\n",
            calm.len(),
            number(NOT_OVERLOADED),
            within.join(", ")
        ));
    }
    out.concat()
}

fn line(m: &Measured, r: &RunResult) -> Vec<String> {
    let good = match m.good {
        Some(good) => {
            let apart = r.score.attainment - good;
            format!("{} ({}, {apart:+.2})", percent(r.score.attainment), percent(good))
        }
        None => percent(r.score.attainment),
    };
    let mut cells = vec![m.scenario.clone(), m.fleet.clone(), good];
    cells.extend(latencies(r).into_iter().zip(m.latencies).map(|(here, there)| {
        match (there, over(here, there)) {
            (Some(there), Some(apart)) => {
                format!("{} ({}, {:+.0} %)", number(here), number(there), apart * 100.0)
            }
            _ => number(here),
        }
    }));
    cells
}

fn latencies(r: &RunResult) -> [f64; 4] {
    let s = &r.score;
    [s.ttft_ms.p50, s.ttft_ms.p95, s.itl_ms.mean, s.itl_ms.p95]
}

/// How far the simulated one is from the measured, as a share of it.
fn over(here: f64, there: Option<f64>) -> Option<f64> {
    there.filter(|there| *there > 0.0).map(|there| here / there - 1.0)
}
