//! Decides again what was recorded.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::diff::{Difference, differences};
use super::line::{Checkpoint, Line, Record, RecordError};
use super::setting::Setting;
use crate::plan::{Memory, Outcome, plan};

/// What a line came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// The first checkpoint of its run: replay begins here.
    Begins,
    /// A checkpoint of a run that replay knows, and of which decisions right before it are lost.
    /// Replay begins anew.
    BeginsAfterLoss {
        /// The number of the first decision that is lost.
        from: u64,
        /// That of the last one.
        to: u64,
    },
    /// A checkpoint whose memory is the one carried here.
    MemorySame,
    /// A checkpoint whose memory is another than the one carried here. Replay goes on with the
    /// recorded one.
    MemoryDiffers {
        /// Where; at least one.
        differences: Vec<Difference>,
    },
    /// Decision and report come out as recorded.
    Same {
        /// Whether the line is what would be written now, byte for byte; else it was written anew
        /// by another program, with the same values.
        exact: bool,
    },
    /// Decision or report come out differently.
    Differs {
        /// Where; at least one.
        differences: Vec<Difference>,
    },
    /// The decision cannot be made again.
    Cannot {
        /// Why not.
        why: Why,
    },
}

/// Why a recorded decision cannot be made again. The text fits after "cannot be replayed: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its form has neither memory nor engines.
    Version {
        /// Its version.
        version: u32,
    },
    /// No checkpoint of its run comes before it.
    NoCheckpoint,
    /// Another decision of its run comes next.
    Gap {
        /// The number of the one that comes next.
        expected: u64,
        /// Its number.
        found: u64,
    },
    /// The checkpoint that it rests on is not in the file: another promise, other pools or another
    /// memory may have held from there on.
    CheckpointLost {
        /// The number of the decision that the checkpoint was for.
        seq: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { version } => write!(
                f,
                "lines of version {version} hold neither the planner's memory nor the engines"
            ),
            Self::NoCheckpoint => f.write_str("no checkpoint of its run comes before it"),
            Self::CheckpointLost { seq } => {
                write!(f, "the checkpoint that it rests on, before decision {seq}, is missing")
            }
            Self::Gap { expected, found } if expected < found => {
                write!(f, "decision {expected} of its run is missing before it")
            }
            Self::Gap { expected, found } => {
                write!(f, "it is decision {found} of its run, and decision {expected} comes next")
            }
        }
    }
}

/// One run for one DGD.
#[derive(Clone, Debug)]
struct Stream {
    setting: Setting,
    memory: Memory,
    /// The number of the decision that comes next.
    next: u64,
    /// The number of the decision that the last checkpoint was for.
    checkpoint: u64,
    /// One more than the number of the last decision that was in the file, replayed or not.
    seen: u64,
}

/// Walks the lines of a file in order. Runs and DGDs may be mixed in it.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    streams: BTreeMap<(String, String), Stream>,
}

impl Replay {
    /// Takes in the next line, which was read from `text`.
    ///
    /// # Errors
    ///
    /// None in practice: every part has a JSON form.
    pub fn line(&mut self, line: &Line, text: &str) -> Result<Checked, RecordError> {
        match line {
            Line::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Line::Tick(record) => self.tick(record, text.trim()),
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<Checked, RecordError> {
        let Checkpoint { version: _, run, seq, at: _, dgd, program: _, setting, memory } =
            checkpoint;
        let stream = Stream {
            setting: setting.clone(),
            memory: memory.clone(),
            next: *seq,
            checkpoint: *seq,
            seen: *seq,
        };
        let before = self.streams.insert((run.clone(), dgd.clone()), stream);
        let before = match before {
            Some(before) if before.seen < *seq => {
                let to = seq.saturating_sub(1);
                return Ok(Checked::BeginsAfterLoss { from: before.seen, to });
            }
            Some(before) if before.next == *seq => before,
            // After a gap the memory carried here lacks what was learned in it.
            Some(_) | None => return Ok(Checked::Begins),
        };
        let differences = compare(&[("memory", &value(memory)?, &value(&before.memory)?)]);
        Ok(if differences.is_empty() {
            Checked::MemorySame
        } else {
            Checked::MemoryDiffers { differences }
        })
    }

    fn tick(&mut self, record: &Record, text: &str) -> Result<Checked, RecordError> {
        let cannot = |why| Ok(Checked::Cannot { why });
        if record.version < 2 {
            return cannot(Why::Version { version: record.version });
        }
        let key = (record.run.clone(), record.dgd.clone());
        let Some(stream) = self.streams.get_mut(&key) else {
            return cannot(Why::NoCheckpoint);
        };
        stream.seen = stream.seen.max(record.seq.saturating_add(1));
        if let Some(seq) = record.checkpoint.filter(|seq| *seq != stream.checkpoint) {
            return cannot(Why::CheckpointLost { seq });
        }
        if stream.next != record.seq {
            // What follows lacks the same lines, until the next checkpoint.
            return cannot(Why::Gap { expected: stream.next, found: record.seq });
        }
        let input = stream.setting.input(record.at, record.observation.clone());
        let Outcome { decision, report, memory } = plan(&input, std::mem::take(&mut stream.memory));
        stream.memory = memory;
        stream.next = stream.next.saturating_add(1);
        let recorded = Line::Tick(Box::new(record.clone()));
        let Setting { sla, budget, .. } = stream.setting;
        let again = Record { sla, budget, decision, report, ..record.clone() };
        let again = Line::Tick(Box::new(again));
        let now = again.to_text()?;
        if now == text {
            return Ok(Checked::Same { exact: true });
        }
        if now == recorded.to_text()? {
            return Ok(Checked::Same { exact: false });
        }
        let (old, new) = (value(&recorded)?, value(&again)?);
        let parts =
            ["sla", "budget", "decision", "report"].map(|part| (part, &old[part], &new[part]));
        Ok(Checked::Differs { differences: compare(&parts) })
    }
}

fn value(part: &impl Serialize) -> Result<Value, RecordError> {
    serde_json::to_value(part)
        .map_err(|e| RecordError::Part { version: super::VERSION, problem: e.to_string() })
}

fn compare(parts: &[(&str, &Value, &Value)]) -> Vec<Difference> {
    let mut out = Vec::new();
    for (name, recorded, now) in parts {
        differences(name, recorded, now, &mut out);
    }
    out
}
