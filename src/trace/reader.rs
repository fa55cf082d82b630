//! Reading the two formats, line by line.

use std::io::{self, BufRead, BufReader, Read as _};
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;

use super::{Problem, Request, TraceError};
use crate::units::Timestamp;

/// The longest line that is read. Mooncake lists 512-token blocks (10 bytes each) in its lines: a
/// prompt of a million tokens takes 20 kB.
const LINE_LIMIT: u64 = 1 << 20;

/// A trace whose first arrival is later than this has dates for times.
const LATEST_FIRST_DAYS: i64 = 366;

/// The columns of the CSV format; the last may be left out.
const COLUMNS: [&str; 4] = ["timestamp_ms", "input_length", "output_length", "prefix_hit_length"];

/// The columns of Azure's published CSV.
const AZURE: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CSV with the header of Azure's public dataset; times are dates, counted here from the first.
    Azure,
    /// CSV with our header.
    Csv {
        /// Whether the header names `prefix_hit_length`.
        prefix_hit: bool,
    },
    /// One JSON object a line, with Mooncake's names.
    Jsonl,
}

impl Format {
    /// The format that a first line announces.
    #[must_use]
    pub fn of_first_line(line: &str) -> Option<Self> {
        if line.trim_start().starts_with('{') {
            return Some(Self::Jsonl);
        }
        let columns: Vec<&str> = line.split(',').map(str::trim).collect();
        if columns == AZURE {
            return Some(Self::Azure);
        }
        let prefix_hit = columns.len() == COLUMNS.len();
        let known = if prefix_hit { &COLUMNS[..] } else { &COLUMNS[..3] };
        (columns == known).then_some(Self::Csv { prefix_hit })
    }

    const fn time_field(self) -> &'static str {
        match self {
            Self::Azure => AZURE[0],
            Self::Csv { .. } => COLUMNS[0],
            Self::Jsonl => "timestamp",
        }
    }
}

/// A trace, request by request. Ends after the first error.
pub struct Reader<R: BufRead> {
    source: Source<R>,
    format: Format,
    /// Lines read so far.
    line: u64,
    buffer: Vec<u8>,
    /// The first line of a format without a header is a request, and is in the buffer already.
    pending: bool,
    previous: Option<Timestamp>,
    /// The date of the first request, ms; only where times are dates.
    zero: Option<i64>,
    done: bool,
}

enum Source<R: BufRead> {
    Plain(R),
    Gzip(Box<BufReader<MultiGzDecoder<R>>>),
}

impl<R: BufRead> Reader<R> {
    /// Looks at the first bytes (gzip or not) and the first line (which format).
    pub fn new(mut input: R) -> Result<Self, TraceError> {
        let io = |source| TraceError { line: 1, problem: Problem::Io { source } };
        // Neither format can begin with 0x1f, so one byte is enough where no more is there yet.
        let is_gzip = matches!(input.fill_buf().map_err(io)?, [0x1f] | [0x1f, 0x8b, ..]);
        let source = if is_gzip {
            Source::Gzip(Box::new(BufReader::new(MultiGzDecoder::new(input))))
        } else {
            Source::Plain(input)
        };
        let mut reader = Self {
            source,
            format: Format::Jsonl,
            line: 0,
            buffer: Vec::new(),
            pending: false,
            previous: None,
            zero: None,
            done: false,
        };
        if !reader.read_line()? {
            return Err(TraceError { line: 1, problem: Problem::Empty });
        }
        let first = reader.text()?;
        let Some(format) = Format::of_first_line(first) else {
            let found = first.chars().take(80).collect();
            return Err(reader.error(Problem::Format { found }));
        };
        reader.format = format;
        reader.pending = format == Format::Jsonl;
        Ok(reader)
    }

    /// How the trace is written.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The date of the first request, from which times count; `None` before it was read, and where
    /// times are no dates.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        self.zero.map(Timestamp::from_millis)
    }

    const fn error(&self, problem: Problem) -> TraceError {
        TraceError { line: self.line, problem }
    }

    /// Reads the next line that is not blank into the buffer; false at the end.
    fn read_line(&mut self) -> Result<bool, TraceError> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let read = match &mut self.source {
                Source::Plain(r) => read_bounded(r, &mut self.buffer),
                Source::Gzip(r) => read_bounded(r, &mut self.buffer),
            };
            match read {
                Ok(0) => return Ok(false),
                Ok(n) if n > LINE_LIMIT => {
                    return Err(self.error(Problem::LongLine { limit: LINE_LIMIT }));
                }
                Ok(_) if self.buffer.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => return Ok(true),
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.error(Problem::Truncated));
                }
                Err(source) => return Err(self.error(Problem::Io { source })),
            }
        }
    }

    /// The line in the buffer, without its end and without a byte order mark.
    fn text(&self) -> Result<&str, TraceError> {
        let text = std::str::from_utf8(&self.buffer).map_err(|_| self.error(Problem::NotText))?;
        Ok(text.trim_start_matches('\u{feff}').trim())
    }

    fn request(&mut self) -> Result<Option<Request>, TraceError> {
        if !std::mem::take(&mut self.pending) && !self.read_line()? {
            return Ok(None);
        }
        let text = self.text()?;
        let parsed = match self.format {
            Format::Azure => azure::parse(text),
            Format::Csv { prefix_hit } => parse_csv(text, prefix_hit),
            Format::Jsonl => parse_json(text),
        };
        let mut request = parsed.map_err(|problem| self.error(problem))?;
        if self.format == Format::Azure {
            let zero = *self.zero.get_or_insert(request.at.as_millis());
            request.at = Timestamp::from_millis(request.at.as_millis() - zero);
        }
        if let Some(previous) = self.previous.filter(|previous| request.at < *previous) {
            return Err(self.error(Problem::Unsorted {
                field: self.format.time_field(),
                previous: previous.as_millis(),
                found: request.at.as_millis(),
            }));
        }
        let latest = LATEST_FIRST_DAYS * 86_400_000;
        if self.previous.is_none() && request.at.as_millis() > latest {
            return Err(self.error(Problem::NotFromStart {
                field: self.format.time_field(),
                found: request.at.as_millis(),
                days: LATEST_FIRST_DAYS,
            }));
        }
        self.previous = Some(request.at);
        Ok(Some(request))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Request, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.request().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: BufRead> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("format", &self.format)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// Reads up to and with the next line end, at most one byte more than the limit.
fn read_bounded(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<u64> {
    let read = reader.take(LINE_LIMIT + 1).read_until(b'\n', buffer)?;
    Ok(u64::try_from(read).unwrap_or(u64::MAX))
}

const MILLIS: &str = "milliseconds as a whole number, 0 or more";
const TOKENS: &str = "tokens as a whole number, 0 or more";
const SOME_TOKENS: &str = "tokens as a whole number, 1 or more";

fn parse_csv(line: &str, prefix_hit: bool) -> Result<Request, Problem> {
    let mut fields = line.split(',').map(str::trim);
    let mut next = |column: usize, expected| match fields.next() {
        None | Some("") => Err(Problem::Absent { field: COLUMNS[column], expected }),
        Some(text) => Ok(text),
    };
    let at = csv_number(next(0, MILLIS)?, COLUMNS[0], MILLIS)?;
    let isl = csv_number(next(1, TOKENS)?, COLUMNS[1], TOKENS)?;
    let osl = csv_number(next(2, SOME_TOKENS)?, COLUMNS[2], SOME_TOKENS)?;
    let hit = match prefix_hit {
        true => Some(csv_number(next(3, TOKENS)?, COLUMNS[3], TOKENS)?),
        false => None,
    };
    if fields.next().is_some() {
        return Err(Problem::Columns { expected: if prefix_hit { 4 } else { 3 } });
    }
    request(at, isl, osl, hit, [COLUMNS[0], COLUMNS[2], COLUMNS[3]])
}

fn csv_number<T: FromStr>(
    text: &str,
    field: &'static str,
    expected: &'static str,
) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::Value { field, expected, found: excerpt(text) })
}

fn parse_json(line: &str) -> Result<Request, Problem> {
    #[derive(serde::Deserialize)]
    struct Line {
        timestamp: Option<serde_json::Value>,
        input_length: Option<serde_json::Value>,
        output_length: Option<serde_json::Value>,
        prefix_hit_length: Option<serde_json::Value>,
    }
    let Line { timestamp, input_length, output_length, prefix_hit_length } =
        serde_json::from_str(line).map_err(|source| Problem::Json { source })?;
    let tokens = |value: Option<serde_json::Value>, field, expected| {
        let number = json_number(value, field, expected)?;
        u32::try_from(number).map_err(|_| Problem::Value {
            field,
            expected,
            found: number.to_string(),
        })
    };
    let hit = match prefix_hit_length {
        None | Some(serde_json::Value::Null) => None,
        hit => Some(tokens(hit, "prefix_hit_length", TOKENS)?),
    };
    request(
        json_number(timestamp, "timestamp", MILLIS)?,
        tokens(input_length, "input_length", TOKENS)?,
        tokens(output_length, "output_length", SOME_TOKENS)?,
        hit,
        ["timestamp", "output_length", "prefix_hit_length"],
    )
}

/// A whole number; some writers put `.0` behind it.
fn json_number(
    value: Option<serde_json::Value>,
    field: &'static str,
    expected: &'static str,
) -> Result<i64, Problem> {
    let Some(value) = value else { return Err(Problem::Absent { field, expected }) };
    let whole = value
        .as_i64()
        .or_else(|| value.to_string().strip_suffix(".0").and_then(|text| text.parse().ok()));
    whole.ok_or_else(|| Problem::Value { field, expected, found: excerpt(&value.to_string()) })
}

fn request(
    at: i64,
    isl: u32,
    osl: u32,
    prefix_hit: Option<u32>,
    [time_field, osl_field, hit_field]: [&'static str; 3],
) -> Result<Request, Problem> {
    if at < 0 {
        let found = at.to_string();
        return Err(Problem::Value { field: time_field, expected: MILLIS, found });
    }
    if osl == 0 {
        let found = "0".to_owned();
        return Err(Problem::Value { field: osl_field, expected: SOME_TOKENS, found });
    }
    if let Some(found) = prefix_hit.filter(|hit| *hit > isl) {
        return Err(Problem::PrefixHit { field: hit_field, isl, found });
    }
    Ok(Request { at: Timestamp::from_millis(at), isl, osl, prefix_hit })
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[path = "azure.rs"]
mod azure;

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
