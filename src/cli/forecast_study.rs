//! `sla-planner forecast-study`: how good the forecasts of the demand are, on traces.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::exit::CliError;
use super::out::Out;
use super::promise::positive;
use super::traces::Trace;
use crate::backtest::Source as _;
use crate::forecast::{Contender, Outlook, Study, StudyRow};
use crate::observe::TrafficStep;
use crate::spec::format_duration;
use crate::trace::windows;
use crate::units::{PerSecond, Tokens, seconds_of};

/// Forecasts the rate and the lengths of traces and compares the predictors; needs no cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Traces (Mooncake JSONL, CSV or Azure's CSV, plain or gzip), or loads to draw, each studied by
    /// itself. The shipped ten-minute trace without any.
    #[arg(value_name = "TRACE")]
    traces: Vec<String>,
    /// How far ahead: the start-up time of a replica and a tick.
    #[arg(long, value_name = "DURATION", default_value = "130s", value_parser = positive)]
    horizon: Duration,
    /// For how long from there on a replica is held.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive)]
    hold: Duration,
    /// Between two forecasts.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive)]
    tick: Duration,
    /// What rates and means are taken over, in whole ticks.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = positive)]
    window: Duration,
    /// The quantile that the upper end of a band is to be.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = quantile)]
    quantile: f64,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    out: Out,
}

const EXAMPLES: &str = "\
Pinball loss is what an upper end costs: each request (or token) above it counts as much as the
quantile, each one below it that did not come as one less the quantile; in percent of the mean value.

Examples:
  sla-planner forecast-study
  sla-planner forecast-study monday.csv.gz tuesday.csv.gz --horizon 70s
  sla-planner forecast-study week.csv.gz --quantile 0.99 --format json";

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people, in Markdown.
    Text,
    /// One JSON object.
    Json,
}

fn quantile(text: &str) -> Result<f64, String> {
    let fits = |q: &f64| (0.5..1.0).contains(q) && *q > 0.5;
    text.parse().ok().filter(fits).ok_or_else(|| "expected a share above 0.5 and below 1".into())
}

/// The form of the JSON.
const VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    horizon_s: f64,
    hold_s: f64,
    tick_s: f64,
    window_s: f64,
    quantile: f64,
    traces: Vec<OfTrace>,
}

#[derive(Debug, Serialize)]
struct OfTrace {
    trace: String,
    series: Vec<OfSeries>,
}

#[derive(Debug, Serialize)]
struct OfSeries {
    series: &'static str,
    predictors: Vec<OfPredictor>,
}

/// One predictor on one series; shares and losses as in [`StudyRow`].
#[derive(Debug, Serialize)]
struct OfPredictor {
    predictor: &'static str,
    forecasts: u64,
    coverage: f64,
    low_coverage: f64,
    peak_coverage: Option<f64>,
    pinball: f64,
    error: f64,
    weights: BTreeMap<String, f64>,
}

impl From<StudyRow> for OfPredictor {
    fn from(row: StudyRow) -> Self {
        let StudyRow {
            contender,
            forecasts,
            coverage,
            low_coverage,
            peak_coverage,
            pinball,
            error,
            weights,
        } = row;
        Self {
            predictor: contender.name(),
            forecasts,
            coverage,
            low_coverage,
            peak_coverage,
            pinball,
            error,
            weights: weights.into_iter().collect(),
        }
    }
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    args.out.check()?;
    let traces: Vec<Trace> = if args.traces.is_empty() {
        vec![Trace::plain(None)?]
    } else {
        args.traces.iter().map(|text| Trace::plain(Some(text))).collect::<Result<_, _>>()?
    };
    args.out.spares(&traces.iter().flat_map(Trace::files).collect::<Vec<_>>())?;
    let studied = traces.iter().map(|trace| study(args, trace)).collect::<Result<_, _>>()?;
    let document = Document {
        version: VERSION,
        horizon_s: seconds_of(args.horizon),
        hold_s: seconds_of(args.hold),
        tick_s: seconds_of(args.tick),
        window_s: seconds_of(args.window),
        quantile: args.quantile,
        traces: studied,
    };
    let text = match args.format {
        Format::Text => render(args, &document),
        Format::Json => {
            let text =
                serde_json::to_string_pretty(&document).context("write the study as JSON")?;
            text + "\n"
        }
    };
    args.out.tell(&text)
}

type Value = fn(&TrafficStep) -> Option<f64>;

/// The series of a demand. A window without a request has a rate of 0 and no lengths.
const SERIES: [(&str, Value); 3] = [
    ("rate", |step| step.arrivals.map(PerSecond::get)),
    ("ISL", |step| step.isl.map(Tokens::get)),
    ("OSL", |step| step.osl.map(Tokens::get)),
];

fn study(args: &Args, trace: &Trace) -> Result<OfTrace, CliError> {
    let Args { horizon, hold, quantile, tick, window, .. } = args;
    let outlook = Outlook { lead: *horizon, hold: *hold, quantile: *quantile };
    let mut studies = SERIES.map(|(name, value)| (name, value, Study::new(outlook)));
    let requests = trace.open().map_err(|e| trace.bad(e))?;
    for step in windows(requests, *tick, *window) {
        let step = step.map_err(|e| trace.bad(e))?;
        for (_, value, study) in &mut studies {
            if let Some(value) = value(&step) {
                study.learn(step.start.plus(step.length), value);
            }
        }
    }
    let series: Vec<OfSeries> = studies
        .iter()
        .map(|(series, _, study)| OfSeries {
            series,
            predictors: study.rows().into_iter().map(OfPredictor::from).collect(),
        })
        .collect();
    if series.iter().flat_map(|s| &s.predictors).any(|row| row.forecasts == 0) {
        return Err(CliError::bad_input(format!(
            "{}: the trace ends before the first horizon ({}) has passed, so that no forecast can \
             be judged",
            trace.name,
            format_duration(*horizon)
        ))
        .hint("take a longer trace, or a shorter --horizon"));
    }
    Ok(OfTrace { trace: trace.name.clone(), series })
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

fn render(args: &Args, document: &Document) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let fixed = ["trace", "series", "forecasts", "covered %", "of the hold %"];
    let mut header: Vec<String> = fixed.map(str::to_owned).into();
    header.extend(Contender::ALL.map(|c| c.name().replace('_', " ")));
    table.set_header(header);
    for OfTrace { trace, series } in &document.traces {
        for OfSeries { series, predictors } in series {
            let Some(auto) = predictors.first() else { continue };
            let mut row = vec![
                trace.clone(),
                (*series).to_owned(),
                auto.forecasts.to_string(),
                percent(auto.coverage),
                auto.peak_coverage.map_or_else(|| "–".to_owned(), percent),
            ];
            row.extend(predictors.iter().map(|p| format!("{:.2}", p.pinball * 100.0)));
            table.add_row(row);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let share = percent(args.quantile);
    format!(
        "Upper end of the band {} ahead, to cover {share} %: what it covered at the horizon, and of the \
         highest value of {} from there on, with the predictor `auto`; then the pinball loss of each \
         predictor, in % of the mean.\n\n{table}\n",
        format_duration(args.horizon),
        format_duration(args.hold),
    )
}
