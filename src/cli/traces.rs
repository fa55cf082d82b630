//! The traces that commands name, and what is done to them on the way.

use std::cell::OnceCell;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::exit::{CliError, Exit};
use super::files::{self, Input};
use super::promise::{Promise, positive};
use crate::backtest::Source;
use crate::forecast::{Band, Demand, Lengths, Work};
use crate::observe::TrafficStep;
use crate::prometheus::{Client, Endpoint, Selector, history};
use crate::sim::SimTime;
use crate::spec::{format_duration, parse_duration};
use crate::trace::{
    Interval, Moments, Problem, Reader, Request, Shape, Synthetic, TraceError, intervals, ops,
    recalled, unknown,
};
use crate::units::seconds_of;

/// The trace that is used where no load is named.
pub(super) const SHIPPED: (&str, &[u8]) =
    ("azure-2023-conv-10min", include_bytes!("../../examples/traces/azure-2023-conv-10min.jsonl"));

/// The flags of a trace that is replayed; none of them is the trace as it is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct TraceArgs {
    /// A trace (Mooncake JSONL, CSV or Azure's CSV, plain or gzip), or a load to draw such as
    /// poisson:rps=12,isl=3000,osl=150,for=30m; several are put over each other. The shipped
    /// ten-minute trace without it.
    #[arg(long = "trace", value_name = "FILE|LOAD", long_help = load_help())]
    pub(super) traces: Vec<String>,
    /// What a Prometheus remembers, as the load: requests are drawn from its rates and mean lengths.
    #[arg(long, value_name = "URL", conflicts_with_all = ["traces", "splice"], requires = "dynamo_namespace")]
    prometheus: Option<String>,
    /// Value of the label dynamo_namespace to look for in Prometheus.
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    dynamo_namespace: Option<String>,
    /// Value of the label model to look for in Prometheus; every model without it.
    #[arg(long, value_name = "NAME", requires = "prometheus", hide_short_help = true)]
    model: Option<String>,
    /// How far back to look in Prometheus.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = positive)]
    last: Duration,
    /// Length of a step of what Prometheus is asked for; at least four scrapes.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive, hide_short_help = true)]
    history_step: Duration,
    /// Go on with another trace from a time on, as in 10m@other.csv.gz.
    #[arg(long, value_name = "TIME@FILE|LOAD", value_parser = part, hide_short_help = true)]
    splice: Vec<(Duration, String)>,
    /// Only the part from one time to another, such as 10m..40m.
    #[arg(long, value_name = "TIME..TIME", value_parser = span)]
    cut: Option<(Duration, Duration)>,
    /// This many times the requests; whole copies come a little earlier or later (--jitter).
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    scale: Option<f64>,
    /// How far copies of a request are moved, at most.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, hide_short_help = true)]
    jitter: Duration,
    /// Time runs this many times as slow.
    #[arg(long, value_name = "FACTOR", value_parser = factor, hide_short_help = true)]
    stretch: Option<f64>,
    /// Shorten outputs to three quarters of this, and prompts so that both fit into it.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(8..))]
    context_length: Option<u32>,
    /// Seed of what is dropped or moved by --scale.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, hide_short_help = true)]
    trace_seed: u64,
}

fn load_help() -> String {
    let shapes: Vec<String> =
        Shape::HELP.iter().map(|(name, about)| format!("  {name:<9} {about}")).collect();
    format!(
        "A trace (Mooncake JSONL, CSV or Azure's CSV, plain or gzip), or a load to draw; several \
         are put over each other. The shipped ten-minute trace without it.\n\nLoads are written \
         shape:key=value,… with the keys rps, for, isl, osl, isl-cv, osl-cv, cv, seed and:\n{}",
        shapes.join("\n")
    )
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

fn factor(text: &str) -> Result<f64, String> {
    let fits = |x: &f64| (1e-6..=1e4).contains(x);
    text.parse().ok().filter(fits).ok_or_else(|| "expected a factor from 0.000001 to 10000".into())
}

fn span(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) =
        text.split_once("..").ok_or_else(|| "expected two times, such as 10m..40m".to_owned())?;
    let (from, to) = (duration(from)?, duration(to)?);
    if from < to { Ok((from, to)) } else { Err("expected an end after the beginning".to_owned()) }
}

fn part(text: &str) -> Result<(Duration, String), String> {
    let (at, what) = text
        .split_once('@')
        .ok_or_else(|| "expected a time and a trace, such as 10m@other.csv.gz".to_owned())?;
    Ok((positive(at)?, what.to_owned()))
}

/// Where requests come from.
#[derive(Clone, Debug)]
enum Origin {
    Shipped,
    File(PathBuf),
    Drawn(Box<Synthetic>),
    Recalled { name: String, steps: Arc<Vec<TrafficStep>>, seed: u64 },
}

type Stream<'a> = Box<dyn Iterator<Item = Result<Request, TraceError>> + 'a>;

impl Origin {
    fn of(text: &str) -> Result<Self, CliError> {
        let path = Path::new(text);
        if !path.exists() && Synthetic::is_named_by(text) {
            let drawn = text.parse::<Synthetic>();
            return drawn
                .map(|load| Self::Drawn(Box::new(load)))
                .map_err(|e| CliError::new(Exit::BadInput, anyhow::Error::new(e)));
        }
        files::trace(path)?;
        Ok(Self::File(path.to_owned()))
    }

    fn name(&self, text: &str) -> String {
        match self {
            Self::Shipped => SHIPPED.0.to_owned(),
            Self::Drawn(_) => text.to_owned(),
            Self::Recalled { name, .. } => name.clone(),
            Self::File(path) => path
                .file_name()
                .map_or_else(|| text.to_owned(), |name| name.to_string_lossy().into_owned()),
        }
    }

    fn open(&self) -> Result<Stream<'_>, TraceError> {
        let io = |source| TraceError { line: 1, problem: Problem::Io { source } };
        let input: Box<dyn Read> = match self {
            Self::Drawn(load) => return Ok(Box::new(load.requests().map(Ok))),
            Self::Recalled { steps, seed, name: _ } => {
                return Ok(Box::new(recalled(steps, Lengths::ASSUMED_CV2.sqrt(), *seed).map(Ok)));
            }
            Self::Shipped => Box::new(Cursor::new(SHIPPED.1)),
            Self::File(path) => Box::new(files::open_raw(path).map_err(io)?),
        };
        Ok(Box::new(Reader::new(BufReader::with_capacity(1 << 16, input))?))
    }
}

/// A trace that can be read again and again.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// For people.
    pub(super) name: String,
    over: Vec<Origin>,
    after: Vec<(Duration, Origin)>,
    args: TraceArgs,
    /// When the last request comes, once it was asked for: a long trace is read only once for that.
    span: OnceCell<Duration>,
}

impl TraceArgs {
    /// The files and loads that are named.
    pub(super) fn named_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.traces.iter_mut().chain(self.splice.iter_mut().map(|(_, text)| text))
    }

    /// The trace; refused here already where a file cannot be opened or is none.
    pub(super) fn open(&self, promise: &Promise) -> Result<Trace, CliError> {
        let mut names = Vec::new();
        let mut over = Vec::new();
        if let Some(url) = &self.prometheus {
            let origin = self.recall(url, promise)?;
            names.push(origin.name(""));
            over.push(origin);
        }
        for text in &self.traces {
            let origin = Origin::of(text)?;
            names.push(origin.name(text));
            over.push(origin);
        }
        if over.is_empty() {
            names.push(Origin::Shipped.name(""));
            over.push(Origin::Shipped);
        }
        if let Some(pair) = self.splice.windows(2).find(|pair| pair[1].0 <= pair[0].0) {
            return Err(CliError::bad_input(format!(
                "--splice: expected each time after the one before, found {} after {}",
                format_duration(pair[1].0),
                format_duration(pair[0].0)
            ))
            .hint("name the parts in the order in which they begin"));
        }
        let after = self
            .splice
            .iter()
            .map(|(at, text)| Ok((*at, Origin::of(text)?)))
            .collect::<Result<_, CliError>>()?;
        Ok(Trace {
            name: names.join(" + "),
            over,
            after,
            args: self.clone(),
            span: OnceCell::new(),
        })
    }
}

impl TraceArgs {
    /// Asks a Prometheus for its history.
    fn recall(&self, url: &str, promise: &Promise) -> Result<Origin, CliError> {
        let config = promise.config()?;
        let endpoint = match &config.prometheus {
            Some(source) => Endpoint { url: url.to_owned(), ..super::run::endpoint(source) },
            None => Endpoint { url: url.to_owned(), ..Endpoint::default() },
        };
        let selector = Selector {
            dynamo_namespace: self.dynamo_namespace.clone().unwrap_or_default(),
            model: self.model.clone(),
        };
        let now = crate::controllers::clock::now();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::new)?;
        let steps = runtime.block_on(async {
            let client = Client::new(endpoint).await?;
            history(&client, &selector, now.minus(self.last), now, self.history_step).await
        });
        let steps = steps.map_err(super::predict::unanswered)?;
        let name = format!("{} in {url}", selector.dynamo_namespace);
        // What was before the first request ever counted is no gap.
        let first = steps.iter().position(|s| s.arrivals.is_some()).unwrap_or(steps.len());
        let steps = steps[first..].to_vec();
        match unknown(&steps) {
            None => {
                return Err(CliError::bad_input(format!(
                    "{name}: expected requests and their lengths within the last {}, found none",
                    format_duration(self.last)
                ))
                .hint("check --dynamo-namespace and --model, or look further back with --last"));
            }
            Some(gap) if !gap.is_zero() => super::talk(&format!(
                "note: {name}: nobody counted for {} in all, which is played as no load",
                format_duration(gap)
            )),
            Some(_) => {}
        }
        Ok(Origin::Recalled { name, steps: Arc::new(steps), seed: self.trace_seed })
    }
}

impl Trace {
    /// The files that it is read from.
    pub(super) fn files(&self) -> Vec<Input> {
        let origins = self.over.iter().chain(self.after.iter().map(|(_, origin)| origin));
        let files = origins.filter_map(|origin| match origin {
            Origin::File(path) => Some((path.clone(), "the trace")),
            Origin::Shipped | Origin::Drawn(_) | Origin::Recalled { .. } => None,
        });
        files.collect()
    }

    /// A trace as it is: the file or load of this name, or the shipped one.
    pub(super) fn plain(text: Option<&str>) -> Result<Self, CliError> {
        let (name, origin) = match text {
            Some(text) => {
                let origin = Origin::of(text)?;
                (origin.name(text), origin)
            }
            None => (Origin::Shipped.name(""), Origin::Shipped),
        };
        Ok(Self {
            name,
            over: vec![origin],
            after: Vec::new(),
            args: TraceArgs::default(),
            span: OnceCell::new(),
        })
    }

    /// Refuses a trace without any request: every policy would keep every promise.
    pub(super) fn refuse_empty(&self) -> Result<(), CliError> {
        match self.open().map_err(|e| self.bad(e))?.next() {
            Some(_) => Ok(()),
            None => Err(CliError::bad_input(format!(
                "{}: there is no request in the trace, or in the part of it that was chosen",
                self.name
            ))
            .hint("choose another part with --cut, or another trace")),
        }
    }

    /// The demand of the first interval of `width` in which requests came; `None` without one.
    pub(super) fn first_demand(&self, width: Duration) -> Result<Option<Demand>, CliError> {
        for interval in intervals(self.open().map_err(|e| self.bad(e))?, width) {
            if let Some(demand) = demand_of(&interval.map_err(|e| self.bad(e))?) {
                return Ok(Some(demand));
            }
        }
        Ok(None)
    }

    /// From its beginning to the last request: the whole of it is read.
    pub(super) fn span(&self) -> Result<Duration, CliError> {
        if let Some(span) = self.span.get() {
            return Ok(*span);
        }
        let mut last = SimTime::ZERO;
        for request in self.open().map_err(|e| self.bad(e))? {
            last = last.max(SimTime::from_timestamp(request.map_err(|e| self.bad(e))?.at));
        }
        Ok(*self.span.get_or_init(|| Duration::from_nanos(last.as_nanos())))
    }

    /// Length of a row of a timeline of it, seconds, where none is asked for.
    pub(super) fn row_s(&self) -> Result<f64, CliError> {
        /// About as many as a page shows: one for two points of the width of a chart. More make the
        /// page of a comparison large, fewer hide a burst.
        const ROWS: f64 = 480.0;
        /// A shorter row has few requests in it, and its percentile is that of the slowest one.
        const SHORTEST: f64 = 10.0;
        Ok((seconds_of(self.span()?) / ROWS).max(SHORTEST))
    }

    /// What is wrong with the trace, by its name.
    pub(super) fn bad(&self, error: TraceError) -> CliError {
        files::bad_trace(error, &self.name)
    }
}

impl Source for Trace {
    type Error = TraceError;

    fn open(&self) -> Result<Stream<'_>, TraceError> {
        let TraceArgs { cut, scale, jitter, stretch, context_length, trace_seed, .. } = &self.args;
        let mut over = self.over.iter().map(Origin::open).collect::<Result<Vec<_>, _>>()?;
        let mut stream: Stream<'_> = match over.len() {
            1 => over.remove(0),
            _ => Box::new(ops::superposed(over)),
        };
        if !self.after.is_empty() {
            let mut parts = vec![(Duration::ZERO, stream)];
            for (at, origin) in &self.after {
                parts.push((*at, origin.open()?));
            }
            stream = Box::new(ops::spliced(parts));
        }
        if let Some((from, to)) = *cut {
            stream = Box::new(ops::cut(stream, from, to));
        }
        if let Some(factor) = *stretch {
            stream = Box::new(ops::stretched(stream, factor));
        }
        if let Some(factor) = *scale {
            stream = Box::new(ops::scaled(stream, factor, *jitter, *trace_seed));
        }
        if let Some(most) = *context_length {
            stream = Box::new(stream.map(move |r| r.map(|r| ops::shortened(r, most))));
        }
        Ok(stream)
    }
}

/// What an interval of a trace asks of a fleet; `None` where nothing arrived.
pub(super) fn demand_of(interval: &Interval) -> Option<Demand> {
    let lengths = |m: Moments| Lengths { mean: m.mean, cv2: m.cv2 };
    Some(Demand {
        rate: Band::certain(interval.rate.get()),
        isl: lengths(interval.isl?),
        osl: lengths(interval.osl?),
        // Below 1 the counts of one interval look calmer than Poisson by chance.
        dispersion: interval.dispersion.unwrap_or(1.0).max(1.0),
        work: Work::default(),
    })
}
