//! What can be wrong with a trace.

use std::error::Error as StdError;
use std::fmt;

use thiserror::Error;

/// Where a trace cannot be read, and why. The text fits after "failed to".
#[derive(Debug)]
pub struct TraceError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, problem } = self;
        write!(f, "read line {line} of the trace: {problem}")
    }
}

impl StdError for TraceError {
    /// What caused the problem, which is part of this error's own text.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.problem.source()
    }
}

/// What is wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no line at all.
    #[error("expected a request, found an empty file")]
    Empty,
    /// The first line is of no known format.
    #[error(
        "expected the header timestamp_ms,input_length,output_length[,prefix_hit_length] \
         or a JSON object, found {found:?}"
    )]
    Format {
        /// The beginning of the line.
        found: String,
    },
    /// A line that is no JSON object.
    #[error("expected a JSON object")]
    Json {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// A field is missing.
    #[error("field {field}: expected {expected}, found nothing")]
    Absent {
        /// Which.
        field: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A field holds something else.
    #[error("field {field}: expected {expected}, found {found:?}")]
    Value {
        /// Which.
        field: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// More fields than the header names.
    #[error("expected {expected} fields, found more")]
    Columns {
        /// As many as the header names.
        expected: usize,
    },
    /// An arrival before the one above.
    #[error("field {field}: expected {previous} or later, found {found} (sort the trace by time)")]
    Unsorted {
        /// Which.
        field: &'static str,
        /// Arrival of the line above, ms.
        previous: i64,
        /// Arrival of this line, ms.
        found: i64,
    },
    /// A first arrival so late that times hardly count from the start of the trace.
    #[error(
        "field {field}: expected milliseconds from the start of the trace, found a first arrival \
         after {found} ms, more than {days} days (subtract the first time from all of them)"
    )]
    NotFromStart {
        /// Which.
        field: &'static str,
        /// The first arrival, ms.
        found: i64,
        /// The latest day on which a trace may begin.
        days: i64,
    },
    /// The prefix hit is longer than the prompt.
    #[error("field {field}: expected at most the input length {isl}, found {found}")]
    PrefixHit {
        /// Which.
        field: &'static str,
        /// The prompt, tokens.
        isl: u32,
        /// The hit, tokens.
        found: u32,
    },
    /// A line without end: this is no trace.
    #[error("expected a line of at most {limit} bytes")]
    LongLine {
        /// The limit.
        limit: u64,
    },
    /// A line that is not UTF-8.
    #[error("expected UTF-8 text")]
    NotText,
    /// The compressed data ends early: the copy is not whole.
    #[error("the gzip data ends before its end (is the file whole?)")]
    Truncated,
    /// The bytes could not be had.
    #[error("the data cannot be read")]
    Io {
        /// What the source of the bytes said.
        source: std::io::Error,
    },
}
