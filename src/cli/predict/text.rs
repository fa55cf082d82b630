//! The prediction for people.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::Compat;
use super::answer::{Answer, PoolAnswer, Prediction};
use super::load::Loads;
use crate::cli::promise::Setup;

pub(super) fn render(
    setup: &Setup,
    compat: Option<Compat>,
    loads: &Loads,
    prediction: &Prediction,
) -> String {
    let sla = &setup.sla;
    let engines: Vec<&str> = setup.pools.iter().map(|p| p.engine.place()).collect();
    let same = engines.windows(2).all(|w| w[0] == w[1]);
    let mut out = format!(
        "Promise  {} % of requests with TTFT within {} and ITL within {}\nLoad     {}\n\
         Engine   {}\n",
        sla.percentile.get(),
        sla.ttft,
        sla.itl,
        loads.origin,
        if same { engines[0].to_owned() } else { engines.join("; ") },
    );
    if compat == Some(Compat::Dynamo09) {
        out.push_str("Rules    Dynamo's planner 0.9.0; latencies and verdict by our own model\n");
    }
    out.push('\n');
    if let Some(rows) = &prediction.intervals {
        out.push_str(&intervals(setup, rows).to_string());
        out.push_str("\n\nThe row that takes the most:\n");
    }
    out.push_str(&fleet(setup, &prediction.peak).to_string());
    let peak = &prediction.peak;
    let verdict = if peak.feasible { "kept" } else { "NOT KEPT" };
    let good = peak.attainment;
    let Answer { total_gpus, reason, .. } = peak;
    let last =
        format!("\n\n{total_gpus} GPUs, promise {verdict} ({good} % of requests good): {reason}\n");
    out.push_str(&last);
    let outside = |a: &Answer| a.extrapolated;
    if outside(peak) || prediction.intervals.iter().flatten().any(outside) {
        out.push_str(
            "Note: some requests lie outside the data of the profile, so that their latency is \
             extrapolated.\n",
        );
    }
    out
}

fn percentile_of(setup: &Setup, latency: &str) -> String {
    format!("{latency} {}", setup.sla.percentile)
}

fn fleet(setup: &Setup, answer: &Answer) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "pool".to_owned(),
        "replicas".to_owned(),
        "GPUs".to_owned(),
        percentile_of(setup, "TTFT"),
        percentile_of(setup, "ITL"),
        "utilisation".to_owned(),
        "why".to_owned(),
    ]);
    for pool in &answer.pools {
        table.add_row([
            Cell::new(pool.role),
            number(pool.replicas),
            number(pool.gpus),
            number(latency(pool.ttft_ms)),
            number(latency(pool.itl_ms)),
            number(percent(pool.utilisation)),
            Cell::new(&pool.why),
        ]);
    }
    table
}

fn intervals(setup: &Setup, rows: &[Answer]) -> Table {
    let mut table = Table::new();
    let mut header = vec!["from".to_owned(), "requests".to_owned()];
    header.extend(setup.pools.iter().map(|p| p.role.to_string()));
    header.extend([
        "GPUs".to_owned(),
        percentile_of(setup, "TTFT"),
        percentile_of(setup, "ITL"),
        "promise".to_owned(),
    ]);
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for row in rows {
        let worst = |f: fn(&PoolAnswer) -> Option<f64>| {
            row.pools
                .iter()
                .filter_map(f)
                .fold(None, |most: Option<f64>, x| Some(most.map_or(x, |m| m.max(x))))
        };
        let mut cells = vec![
            number(format!("{:.0} s", row.start_s.unwrap_or(0.0))),
            number(row.requests.unwrap_or(0)),
        ];
        cells.extend(row.pools.iter().map(|p| number(p.replicas)));
        cells.extend([
            number(row.total_gpus),
            number(latency(worst(|p| p.ttft_ms))),
            number(latency(worst(|p| p.itl_ms))),
            Cell::new(if row.feasible { "kept" } else { "NOT KEPT" }),
        ]);
        table.add_row(cells);
    }
    table
}

fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn latency(ms: Option<f64>) -> String {
    ms.map_or_else(
        || "–".to_owned(),
        |x| if x < 100.0 { format!("{x:.1} ms") } else { format!("{x:.0} ms") },
    )
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
