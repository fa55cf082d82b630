//! One line of a record file.

use serde::{Deserialize, Serialize};

use super::setting::Setting;
use crate::observe::Observation;
use crate::plan::{Decision, Memory, Report, Write};
use crate::spec::{Mode, Sla};
use crate::units::{Gpus, Timestamp};

/// Version of the form. It grows when a reader of the old form would misread the new one. Version 1
/// knew decisions only, without the run and the number of each.
pub const VERSION: u32 = 2;

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteOutcome {
    /// The write.
    pub write: Write,
    /// The object written to, `dynamographdeploymentscalingadapters/<name>/scale` or the DGD;
    /// `None` where nothing was written.
    pub path: Option<String>,
    /// Why it failed; `None` where it did not.
    pub error: Option<String>,
}

/// What the decisions after it rest on, beside what they saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`VERSION`].
    pub version: u32,
    /// The planner that wrote the line: when it started, and its process.
    pub run: String,
    /// The number of the next decision of this run for this DGD, from 0.
    pub seq: u64,
    /// When that decision is made.
    pub at: Timestamp,
    /// Kubernetes namespace and name of the DGD.
    pub dgd: String,
    /// Version of the program that decides.
    pub program: String,
    /// What was asked for, and the engines.
    pub setting: Setting,
    /// The memory that the next decision begins with.
    pub memory: Memory,
}

/// One tick: what was seen, what was decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`], or the older one of the line that it was read from.
    pub version: u32,
    /// The planner that wrote the line; empty in version 1.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// The number of this decision, in its run for its DGD, from 0; 0 in version 1.
    #[serde(default)]
    pub seq: u64,
    /// The `seq` of the checkpoint that it rests on, the last one of its run before it; `None` in
    /// lines of programs that did not write it, whose checkpoint may be lost without a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// When the tick began.
    pub at: Timestamp,
    /// Kubernetes namespace and name of the DGD.
    pub dgd: String,
    /// Whether the decision was to be carried out.
    pub mode: Mode,
    /// The promise.
    pub sla: Sla,
    /// GPUs that all pools together may take.
    pub budget: Option<Gpus>,
    /// What was seen.
    pub observation: Observation,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub report: Report,
    /// Rules that the referee found broken.
    pub notes: Vec<String>,
    /// What became of the writes, in their order.
    pub writes: Vec<WriteOutcome>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// See [`Checkpoint`].
    Checkpoint(Box<Checkpoint>),
    /// See [`Record`].
    Tick(Box<Record>),
}

/// A line that is no record, or one that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Something else, such as a line of the log in the same stream.
    #[error("not a decision record")]
    Foreign,
    /// The beginning of a record: its writer was stopped within the line, or the disk was full.
    #[error("torn off at column {column}")]
    Torn {
        /// Where it ends, or goes on as something else; from 1.
        column: usize,
    },
    /// A record with bytes in it that are no UTF-8: something else wrote into the file.
    #[error("not UTF-8 text at column {column}")]
    Text {
        /// Where the first such byte is; from 1.
        column: usize,
    },
    /// The JSON of a record without a part of it, or with one that cannot be.
    #[error("not a decision record of version {version}: {problem}")]
    Part {
        /// The version that it names.
        version: u32,
        /// What is wrong.
        problem: String,
    },
    /// A later version than this program knows.
    #[error(
        "record has version {found}, this program reads up to {VERSION}: use a newer sla-planner"
    )]
    Version {
        /// What it has.
        found: u32,
    },
}

/// How the lines of each version begin.
const BEGINNINGS: [&str; 3] = ["{\"kind\":\"checkpoint\",", "{\"kind\":\"tick\",", "{\"version\":"];

/// The two kinds of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// See [`Checkpoint`].
    Checkpoint,
    /// See [`Record`]; every line of version 1.
    #[default]
    Tick,
}

/// What every line says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// Its version, one that this program knows.
    pub version: u32,
    /// Its kind.
    #[serde(default)]
    pub kind: Kind,
    /// When the decision was made that it holds or comes before.
    pub at: Timestamp,
    /// Kubernetes namespace and name of the DGD.
    pub dgd: String,
    /// The number in its run of the decision that it holds or comes before; 0 in version 1.
    #[serde(default)]
    pub seq: u64,
}

impl Head {
    /// Reads the head of a line of a file, and its text.
    ///
    /// # Errors
    ///
    /// As [`Head::read`], and where a record is no UTF-8 text.
    pub fn of_bytes(line: &[u8]) -> Result<(Self, &str), RecordError> {
        let line = line.trim_ascii();
        let (text, wrong) = match std::str::from_utf8(line) {
            Ok(text) => (text, None),
            Err(error) => {
                let text = std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default();
                (text, Some(error))
            }
        };
        let column = text.len() + 1;
        match wrong {
            None => Ok((Self::read(text)?, text)),
            Some(_) if !has_begun(text) => Err(RecordError::Foreign),
            // It ends within a character, which is torn as any other end is.
            Some(error) if error.error_len().is_none() => Err(RecordError::Torn { column }),
            Some(_) => Err(RecordError::Text { column }),
        }
    }

    /// Reads the head of a line, whatever else is in it.
    ///
    /// # Errors
    ///
    /// What is no record, is torn, or has a version that this program does not know.
    pub fn read(text: &str) -> Result<Self, RecordError> {
        let text = text.trim();
        match serde_json::from_str::<Self>(text) {
            Ok(head) if head.version > VERSION => Err(RecordError::Version { found: head.version }),
            Ok(head) => Ok(head),
            Err(error) if error.is_data() || !has_begun(text) => Err(RecordError::Foreign),
            Err(error) => Err(RecordError::Torn { column: error.column() }),
        }
    }
}

/// Whether a text begins as records do, if only with a part of that.
fn has_begun(text: &str) -> bool {
    text.len() > 1 && BEGINNINGS.iter().any(|b| text.starts_with(b) || b.starts_with(text))
}

impl Line {
    /// The line without its end.
    ///
    /// # Errors
    ///
    /// None in practice: every part has a JSON form.
    pub fn to_text(&self) -> Result<String, RecordError> {
        serde_json::to_string(self)
            .map_err(|e| RecordError::Part { version: VERSION, problem: e.to_string() })
    }

    /// Reads one line of this version or an older one.
    ///
    /// # Errors
    ///
    /// What is no record, is torn, lacks a part, or has a version that this program does not know.
    pub fn read(text: &str) -> Result<Self, RecordError> {
        let Head { version, kind, at: _, dgd: _, seq: _ } = Head::read(text)?;
        match kind {
            Kind::Checkpoint => serde_json::from_str(text.trim()).map(Self::Checkpoint),
            Kind::Tick => serde_json::from_str(text.trim()).map(Self::Tick),
        }
        .map_err(|e| {
            // A line is parsed by itself, so that its parser calls each one line 1.
            let problem = e.to_string().replace(" at line 1 column ", " at column ");
            RecordError::Part { version, problem }
        })
    }
}
