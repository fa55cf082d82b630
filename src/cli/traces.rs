//! The traces that commands name, and what is done to them on the way.

use std::io::{BufReader, Cursor, Read};
use std::path::PathBuf;
use std::time::Duration;

use super::exit::CliError;
use super::files;
use crate::backtest::Source;
use crate::forecast::{Band, Demand, Lengths};
use crate::trace::{Interval, Moments, Problem, Reader, Request, TraceError, intervals};

/// The trace that is used where no load is named.
pub(super) const SHIPPED: (&str, &[u8]) =
    ("azure-2023-conv-10min", include_bytes!("../../examples/traces/azure-2023-conv-10min.jsonl"));

/// The flags of a trace that is replayed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TraceArgs {
    /// A trace: Mooncake JSONL or CSV, plain or gzip. The shipped ten-minute trace without it.
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Shorten outputs to three quarters of this, and prompts so that both fit into it.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(8..))]
    pub(super) context_length: Option<u32>,
}

/// A trace that can be read again and again.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// For people.
    pub(super) name: String,
    file: Option<PathBuf>,
    context_length: Option<u32>,
}

impl TraceArgs {
    /// The trace; refused here already where it cannot be opened or is none.
    pub(super) fn open(&self) -> Result<Trace, CliError> {
        let Self { trace, context_length } = self;
        let name = match trace {
            Some(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            None => SHIPPED.0.to_owned(),
        };
        if let Some(path) = trace {
            files::trace(path)?;
        }
        Ok(Trace { name, file: trace.clone(), context_length: *context_length })
    }
}

impl Trace {
    /// The demand of the first interval of `width` in which requests came; `None` without one.
    pub(super) fn first_demand(&self, width: Duration) -> Result<Option<Demand>, CliError> {
        for interval in intervals(self.requests().map_err(|e| self.bad(e))?, width) {
            if let Some(demand) = demand_of(&interval.map_err(|e| self.bad(e))?) {
                return Ok(Some(demand));
            }
        }
        Ok(None)
    }

    /// What is wrong with the trace, by its name.
    pub(super) fn bad(&self, error: TraceError) -> CliError {
        files::bad_trace(error, &self.name)
    }

    fn requests(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<Request, TraceError>> + '_>, TraceError> {
        let io = |source| TraceError { line: 1, problem: Problem::Io { source } };
        let input: Box<dyn Read> = match &self.file {
            Some(path) => Box::new(files::open_raw(path).map_err(io)?),
            None => Box::new(Cursor::new(SHIPPED.1)),
        };
        let reader = Reader::new(BufReader::with_capacity(1 << 16, input))?;
        Ok(match self.context_length {
            Some(most) => Box::new(reader.map(move |r| r.map(|r| shortened(r, most)))),
            None => Box::new(reader),
        })
    }
}

impl Source for Trace {
    type Error = TraceError;

    fn open(
        &self,
    ) -> Result<Box<dyn Iterator<Item = Result<Request, TraceError>> + '_>, TraceError> {
        self.requests()
    }
}

/// Shortened to fit into `most` tokens, as the rival's judge does it.
fn shortened(request: Request, most: u32) -> Request {
    let osl = request.osl.min(most / 4 * 3).max(1);
    let isl = request.isl.min(most - osl - 1);
    Request { isl, osl, prefix_hit: request.prefix_hit.map(|hit| hit.min(isl)), ..request }
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
    })
}
