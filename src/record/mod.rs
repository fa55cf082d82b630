//! The serial form of a decision: one JSON object a line, with its version.

use serde::{Deserialize, Serialize};

use crate::observe::Observation;
use crate::plan::{Decision, Report, Write};
use crate::spec::{Mode, Sla};
use crate::units::{Gpus, Timestamp};

/// Version of the form. It grows when a reader of the old form would misread the new one.
pub const VERSION: u32 = 1;

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

/// One tick: what was seen, what was decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
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

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("line is not a decision record: {0}")]
    Json(String),
    /// A later version than this program knows.
    #[error(
        "record has version {found}, this program reads up to {VERSION}: use a newer sla-planner"
    )]
    Version {
        /// What it has.
        found: u32,
    },
}

impl Record {
    /// The record as one line without its end.
    ///
    /// # Errors
    ///
    /// None in practice: every part has a JSON form.
    pub fn to_line(&self) -> Result<String, RecordError> {
        serde_json::to_string(self).map_err(|e| RecordError::Json(e.to_string()))
    }

    /// Reads one line.
    ///
    /// # Errors
    ///
    /// What is not JSON, lacks a part, or has a version that this program does not know.
    pub fn from_line(line: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head =
            serde_json::from_str(line).map_err(|e| RecordError::Json(e.to_string()))?;
        if head.version > VERSION {
            return Err(RecordError::Version { found: head.version });
        }
        serde_json::from_str(line).map_err(|e| RecordError::Json(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::{Inventory, Missing, Traffic};
    use crate::plan::{Account, Trust};
    use crate::units::{Percentile, Share};

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let at = Timestamp::from_millis(7);
        let record = Record {
            version: VERSION,
            at,
            dgd: "llm/chat".into(),
            mode: Mode::Advise,
            sla: Sla::default(),
            budget: Some(Gpus::new(8)),
            observation: Observation {
                at,
                traffic: Traffic::all_missing(
                    Duration::from_secs(60),
                    Percentile::default(),
                    &Missing::NoSeries,
                ),
                inventory: Inventory::default(),
            },
            decision: Decision { at, pools: vec![], next_tick: at },
            report: Report {
                demand: None,
                standing: vec![],
                sizing: None,
                current_gpus: None,
                error_budget: Account::default().budget(Share::clamped(0.05)),
                not_fresh: vec![],
                alternatives: vec![],
                if_only: vec![],
                backlog: None,
                trust: Trust::default(),
                starting: vec![],
                awaited: vec![],
            },
            notes: vec![],
            writes: vec![],
        };
        let line = record.to_line().unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(Record::from_line(&line).unwrap(), record);
        let newer = line.replacen("\"version\":1", "\"version\":99", 1);
        assert!(matches!(Record::from_line(&newer), Err(RecordError::Version { found: 99 })));
        assert!(Record::from_line("{").is_err());
    }
}
