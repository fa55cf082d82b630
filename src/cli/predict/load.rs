//! The load that is predicted for.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;

use crate::cli::exit::{CliError, Exit};
use crate::cli::{files, traces};
use crate::forecast::{Band, Demand, Lengths, Work};
use crate::observe::Traffic;
use crate::prometheus::{Client, Endpoint, Observer, PrometheusError, Question, Rules, Selector};
use crate::spec::{Config, format_duration, parse_duration};
use crate::trace::{Interval, Reader, intervals};
use crate::units::{PerSecond, Percentile, Timestamp, Tokens};

/// Where the load comes from.
#[derive(Debug, clap::Args)]
#[group(id = "load")]
pub(in crate::cli) struct Args {
    /// Requests per second (Poisson arrivals).
    #[arg(long, value_name = "RATE", value_parser = at_least_zero, allow_hyphen_values = true, requires = "isl", requires = "osl",
          conflicts_with_all = ["trace", "prometheus"])]
    rps: Option<f64>,
    /// Prompt tokens of a request.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one, allow_hyphen_values = true, requires = "rps")]
    isl: Option<f64>,
    /// Output tokens of a request.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one, allow_hyphen_values = true, requires = "rps")]
    osl: Option<f64>,
    /// A trace: Mooncake JSONL or CSV, plain or gzip; one row for each interval.
    #[arg(long, value_name = "FILE", conflicts_with = "prometheus")]
    trace: Option<PathBuf>,
    /// Length of a row of a trace, or of the window asked of Prometheus.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = interval, allow_hyphen_values = true)]
    interval: Duration,
    /// A live Prometheus: predicts for what it saw in the last interval. Nothing is written.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Value of the label dynamo_namespace to look for in Prometheus.
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    dynamo_namespace: Option<String>,
    /// Value of the label model to look for in Prometheus; every model without it.
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    model: Option<String>,
}

fn number(text: &str, lowest: f64) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|x| x.is_finite() && (lowest..=1e9).contains(x))
        .ok_or_else(|| format!("expected a number from {lowest} to 1e9"))
}

fn at_least_zero(text: &str) -> Result<f64, String> {
    number(text, 0.0)
}

fn at_least_one(text: &str) -> Result<f64, String> {
    number(text, 1.0)
}

fn interval(text: &str) -> Result<Duration, String> {
    let d = parse_duration(text).map_err(|e| e.to_string())?;
    if d < Duration::from_secs(1) { Err("expected at least 1s".to_owned()) } else { Ok(d) }
}

/// One load to size for.
pub(super) struct Load {
    /// When it begins, for a row of a trace.
    pub(super) start: Option<Timestamp>,
    /// Requests in it, for a row of a trace.
    pub(super) requests: Option<u64>,
    /// What it asks; `None` is idle.
    pub(super) demand: Option<Demand>,
}

/// The loads, with where they are from.
pub(super) struct Loads {
    /// For people.
    pub(super) origin: String,
    /// Whether they are the rows of a trace.
    pub(super) is_trace: bool,
    /// At least one.
    pub(super) rows: Vec<Load>,
}

impl Loads {
    fn one(origin: String, demand: Option<Demand>) -> Self {
        let row = Load { start: None, requests: None, demand };
        Self { origin, is_trace: false, rows: vec![row] }
    }
}

/// Reads the load that the flags or the file name.
pub(super) fn read(
    args: &Args,
    config: &Config,
    percentile: Percentile,
) -> Result<Loads, CliError> {
    if let Args { rps: Some(rps), isl: Some(isl), osl: Some(osl), .. } = args {
        return Ok(steady(*rps, *isl, *osl));
    }
    if let Some(path) = &args.trace {
        let name = path.display().to_string();
        let rows = rows(files::trace(path)?, args.interval, &name)?;
        if rows.is_empty() {
            return Err(CliError::bad_input(format!(
                "{name}: expected at least one request, found only the header"
            )));
        }
        return Ok(Loads { origin: format!("trace {name}"), is_trace: true, rows });
    }
    if let Some(url) = &args.prometheus {
        return live(args, config, url, percentile);
    }
    if let Some(load) = &config.load {
        return Ok(steady(load.rps.get(), load.isl.get(), load.osl.get()));
    }
    let (name, bytes) = traces::SHIPPED;
    let name = &format!("shipped trace {name}");
    let reader = Reader::new(bytes).map_err(|e| files::bad_trace(e, name))?;
    let rows = rows(reader, args.interval, name)?;
    Ok(Loads { origin: name.to_owned(), is_trace: true, rows })
}

fn steady(rps: f64, isl: f64, osl: f64) -> Loads {
    let origin = format!("{rps} requests/s of {isl} prompt and {osl} output tokens, Poisson");
    let demand =
        Demand::steady(PerSecond::clamped(rps), Tokens::clamped(isl), Tokens::clamped(osl));
    Loads::one(origin, (rps > 0.0).then_some(demand))
}

/// The most rows of a trace: two months of minutes. A time that counts from 1970 makes millions.
const MOST_ROWS: usize = 100_000;

fn rows<R: BufRead>(
    reader: Reader<R>,
    width: Duration,
    origin: &str,
) -> Result<Vec<Load>, CliError> {
    let mut rows = Vec::new();
    for interval in intervals(reader, width) {
        if rows.len() == MOST_ROWS {
            return Err(CliError::bad_input(format!(
                "{origin}: expected at most {MOST_ROWS} intervals of {}, found more",
                format_duration(width)
            ))
            .hint("count the times from the beginning of the trace, or give a longer --interval"));
        }
        rows.push(row(&interval.map_err(|e| files::bad_trace(e, origin))?));
    }
    Ok(rows)
}

fn row(interval: &Interval) -> Load {
    Load {
        start: Some(interval.start),
        requests: Some(interval.requests),
        demand: traces::demand_of(interval),
    }
}

/// Asks a live Prometheus once.
fn live(
    args: &Args,
    config: &Config,
    url: &str,
    percentile: Percentile,
) -> Result<Loads, CliError> {
    let source = config.prometheus.as_ref();
    let endpoint = match source {
        Some(source) => Endpoint { url: url.to_owned(), ..crate::cli::run::endpoint(source) },
        None => Endpoint { url: url.to_owned(), ..Endpoint::default() },
    };
    let target = config.target.as_ref();
    let Some(dynamo_namespace) =
        args.dynamo_namespace.clone().or_else(|| target.map(|t| t.dynamo_namespace.clone()))
    else {
        return Err(CliError::bad_input(
            "predict from Prometheus needs to know whose metrics to read",
        )
        .hint("give --dynamo-namespace (<kubernetes namespace>-<dgd>), or a file with `target`"));
    };
    let selector = Selector {
        dynamo_namespace,
        model: args.model.clone().or_else(|| target.and_then(|t| t.model.clone())),
    };
    let question = Question { window: args.interval, percentile };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)?;
    let origin =
        format!("{} of {url}, last {}", selector.dynamo_namespace, format_duration(args.interval));
    let now = crate::controllers::clock::now();
    let rules = Rules { fresh_for: config.intervals.max_metric_age, ..Rules::default() };
    let sighting = runtime.block_on(async {
        let client = Client::new(endpoint).await?;
        Ok(Observer::new(client, selector, question, rules).observe(now).await)
    });
    let sighting = sighting.map_err(unanswered)?;
    if let Some(error) = sighting.error {
        return Err(unanswered(error));
    }
    seen(&sighting.traffic, now, &origin)
}

/// The load that was seen.
fn seen(traffic: &Traffic, now: Timestamp, origin: &str) -> Result<Loads, CliError> {
    // What was seen last is not what is seen now.
    let Some(rate) = traffic.arrivals.fresh() else {
        let age = traffic.arrivals.age(now).map_or_else(String::new, |age| {
            let seconds = Duration::from_secs(age.as_secs());
            format!(" ({} old)", format_duration(seconds))
        });
        let hint = if age.is_empty() {
            "check --dynamo-namespace and --model against the labels in Prometheus"
        } else {
            "check whether the frontends are scraped, or raise intervals.max_metric_age in the file"
        };
        return Err(CliError::new(
            Exit::Unreachable,
            anyhow!("the arrival rate of {origin} is {}{age}", traffic.arrivals),
        )
        .hint(hint));
    };
    if rate.get() <= 0.0 {
        return Ok(Loads::one(format!("{origin} (idle)"), None));
    }
    match (traffic.isl.fresh(), traffic.osl.fresh()) {
        (Some(isl), Some(osl)) => {
            let lengths = |mean| Lengths { mean, cv2: Lengths::ASSUMED_CV2 };
            let demand = Demand {
                rate: Band::certain(rate.get()),
                isl: lengths(*isl),
                osl: lengths(*osl),
                dispersion: 1.0,
                work: Work::default(),
            };
            let origin = format!("{origin} ({rate:.2}, ISL {isl:.0}, OSL {osl:.0})");
            Ok(Loads::one(origin, Some(demand)))
        }
        _ => Err(CliError::new(
            Exit::Unreachable,
            anyhow!("ISL of {origin} is {}, OSL is {}", traffic.isl, traffic.osl),
        )),
    }
}

pub(in crate::cli) fn unanswered(error: PrometheusError) -> CliError {
    let exit = match &error {
        PrometheusError::Denied { .. } => Exit::Forbidden,
        PrometheusError::Address { .. }
        | PrometheusError::File { .. }
        | PrometheusError::Client { .. } => Exit::BadInput,
        PrometheusError::Unreachable { .. }
        | PrometheusError::Timeout { .. }
        | PrometheusError::Status { .. }
        | PrometheusError::TooLarge { .. }
        | PrometheusError::Answer { .. } => Exit::Unreachable,
    };
    let hint = error.hint();
    CliError::new(exit, anyhow!("failed to {}", error.chain())).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Missing, Signal};

    fn traffic(age: u64) -> (Traffic, Timestamp) {
        let now = Timestamp::from_millis(1_000_000);
        let at = now.minus(Duration::from_secs(age));
        let limit = Duration::from_secs(30);
        let mut traffic = Traffic::all_missing(limit, Percentile::default(), &Missing::NoSamples);
        traffic.arrivals = Signal::aged(PerSecond::new(5.0).unwrap(), at, now, limit);
        traffic.isl = Signal::aged(Tokens::new(3000.0).unwrap(), at, now, limit);
        traffic.osl = Signal::aged(Tokens::new(150.0).unwrap(), at, now, limit);
        (traffic, now)
    }

    #[test]
    fn nothing_is_predicted_for_a_rate_of_long_ago() {
        let (young, now) = traffic(10);
        let demand = seen(&young, now, "x").unwrap().rows[0].demand;
        assert_eq!(demand.map(|d| d.rate.point), Some(5.0));
        let (old, now) = traffic(300);
        let error = seen(&old, now, "x").err().unwrap();
        assert_eq!(error.exit, Exit::Unreachable);
        assert!(error.to_string().contains("is late (5m old)"), "{error}");
        let (mut frozen, now) = traffic(10);
        let since = now.minus(Duration::from_secs(90));
        frozen.isl = Signal::Frozen { value: Tokens::new(3000.0).unwrap(), since };
        assert!(seen(&frozen, now, "x").err().unwrap().to_string().contains("ISL of x is frozen"));
    }
}
