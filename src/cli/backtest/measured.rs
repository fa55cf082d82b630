//! Fleets that were measured, as a file says.

use std::path::Path;

use serde::Deserialize;

use crate::backtest::policy::PolicySpec;
use crate::backtest::report::Measured;
use crate::backtest::{RunResult, report};
use crate::cli::exit::CliError;
use crate::cli::files;

/// A line of the file. Columns that it has beyond these are not read.
#[derive(Debug, Deserialize)]
struct Line {
    scenario: String,
    /// Prefill engines; 0 of an aggregated fleet.
    prefill: u32,
    /// Decode engines, or those of an aggregated fleet.
    decode: u32,
    #[serde(default)]
    attainment_pct: Option<f64>,
    #[serde(default)]
    p50_ttft_ms: Option<f64>,
    #[serde(default)]
    p95_ttft_ms: Option<f64>,
    #[serde(default)]
    mean_itl_ms: Option<f64>,
    #[serde(default)]
    p95_itl_ms: Option<f64>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Measured>, CliError> {
    let text = files::text(path)?;
    let bad = |why: String| {
        CliError::bad_input(format!("{}: {why}", path.display())).hint(
            "a CSV with the columns scenario, prefill and decode, and what was measured: \
             attainment_pct, p50_ttft_ms, p95_ttft_ms, mean_itl_ms, p95_itl_ms",
        )
    };
    let mut all: Vec<Measured> = Vec::new();
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    for line in reader.deserialize::<Line>() {
        let line = line.map_err(|e| bad(e.to_string()))?;
        let row = format!("{} {}+{}", line.scenario, line.prefill, line.decode);
        let numbers = [
            line.attainment_pct,
            line.p50_ttft_ms,
            line.p95_ttft_ms,
            line.mean_itl_ms,
            line.p95_itl_ms,
        ];
        if let Some(number) = numbers.iter().flatten().find(|x| !x.is_finite() || **x < 0.0) {
            return Err(bad(format!("{row}: expected numbers from 0 on, found {number}")));
        }
        if line.decode == 0 {
            return Err(bad(format!("{row}: expected at least one engine in the column decode")));
        }
        let fleet = match line.prefill {
            0 => format!("static:{}", line.decode),
            prefill => format!("static:{prefill},{}", line.decode),
        };
        let [good, latencies @ ..] = numbers;
        if all.iter().any(|m| m.scenario == line.scenario && m.fleet == fleet) {
            return Err(bad(format!("{row}: this fleet is there twice")));
        }
        all.push(Measured { scenario: line.scenario, fleet, good, latencies });
    }
    if all.is_empty() {
        return Err(bad("there is no fleet in it".to_owned()));
    }
    Ok(all)
}

/// The fleets that were measured on a scenario.
pub(super) fn fleets(all: &[Measured], scenario: &str) -> Result<Vec<PolicySpec>, CliError> {
    let of_it = all.iter().filter(|m| m.scenario == scenario);
    of_it.map(|m| m.fleet.parse().map_err(|e| CliError::bad_input(format!("{e}")))).collect()
}

pub(super) fn tell(all: &[Measured], results: &[RunResult]) -> String {
    let pairs = all.iter().flat_map(|m| results.iter().map(move |r| (m, r)));
    let same =
        |(m, r): &(&Measured, &RunResult)| m.scenario == r.run.trace && m.fleet == r.run.policy;
    report::measured_markdown(&pairs.filter(same).collect::<Vec<_>>())
}
