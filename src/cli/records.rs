//! Record files as `why` and `replay` read them.

use std::io::{BufRead, BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;

use super::exit::{CliError, Exit};
use super::{files, talk};
use crate::record::{Head, Kind, RecordError};
use crate::spec::{format_duration, parse_duration};
use crate::units::Timestamp;

/// The longest line that is read: a checkpoint takes some ten kilobytes.
const LINE_LIMIT: u64 = 64 << 20;

/// Which records, and which decision of them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Wanted {
    /// The record file, plain or gzip; `-` is standard input, and so is none.
    record: Option<PathBuf>,
    /// Read the file that this configuration names by its key `record`.
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    config: Option<PathBuf>,
    /// Only the decision on this line of the file, from 1.
    #[arg(long, value_name = "NUMBER", conflicts_with = "at",
          value_parser = clap::value_parser!(u64).range(1..))]
    line: Option<u64>,
    /// Only the decision that held at this time, such as 2026-11-29T13:15:00Z; of a simulated run,
    /// the time from the start of the trace, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// Only decisions for this DGD, where the file has several.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    dgd: Option<String>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(time.as_millisecond()));
    }
    parse_duration(text).map(|d| Timestamp::from_millis(0).plus(d)).map_err(|_| {
        "expected a time such as 2026-11-29T13:15:00Z, or one from the start of a trace such as 5m"
            .to_owned()
    })
}

/// A moment for people: UTC, or the time from the start of a simulated trace.
pub(super) fn time(at: Timestamp) -> String {
    // Simulated time begins at 0, and no trace is longer than this.
    const TEN_YEARS: i64 = 10 * 366 * 86_400_000;
    let ms = at.as_millis();
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if ms >= TEN_YEARS => time.to_string(),
        _ => format!("{} into the trace", format_duration(at.since(Timestamp::from_millis(0)))),
    }
}

/// A line with its number, from 1.
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) head: Head,
    pub(super) text: String,
}

/// The lines of a record file, one after the other. What is none, and what cannot be read, is left
/// out, and said at the end.
pub(super) struct Lines {
    /// The file, for people.
    pub(super) name: String,
    reader: Box<dyn BufRead>,
    number: u64,
    foreign: u64,
    /// Lines that are torn, until it is known whether their writer went on.
    torn: Vec<Broken>,
    /// Lines that are torn since their writer ended there, which a killed process leaves behind.
    ended: Vec<Broken>,
    /// Records that cannot be read.
    broken: Vec<Broken>,
}

/// A line that cannot be read.
struct Broken {
    number: u64,
    why: String,
}

impl Wanted {
    /// Opens what is named.
    pub(super) fn open(&self) -> Result<Lines, CliError> {
        let place = match (&self.record, &self.config) {
            (Some(record), _) => record.clone(),
            (None, Some(config)) => {
                let record = files::config(config)?.record;
                if record == "-" {
                    return Err(CliError::bad_input(format!(
                        "{}: its records go to standard output",
                        files::origin(config)
                    ))
                    .hint(
                        "hand them in, as in `kubectl logs POD | sla-planner why`, or give a file \
                         by the key `record`",
                    ));
                }
                PathBuf::from(record)
            }
            (None, None) => PathBuf::from("-"),
        };
        let (name, reader): (_, Box<dyn BufRead>) = if place == Path::new("-") {
            let stdin = std::io::stdin();
            if self.record.is_none() && stdin.is_terminal() {
                return Err(CliError::bad_input("no records: expected a file or a pipe").hint(
                    "name the record file, or hand in its lines: `kubectl logs POD | sla-planner why`",
                ));
            }
            ("standard input".to_owned(), Box::new(BufReader::new(stdin)))
        } else {
            let file = files::open(&place)?;
            (place.display().to_string(), Box::new(BufReader::with_capacity(1 << 16, file)))
        };
        Lines::new(name, reader)
    }

    /// Whether one decision is asked for.
    pub(super) const fn is_one(&self) -> bool {
        self.line.is_some() || self.at.is_some()
    }

    /// Whether a line is of the DGD that is asked for.
    pub(super) fn is_of(&self, line: &Numbered) -> bool {
        self.dgd.as_ref().is_none_or(|dgd| *dgd == line.head.dgd)
    }

    /// Whether what is asked for cannot come after this line.
    pub(super) fn is_past(&self, number: u64) -> bool {
        self.line.is_some_and(|line| number >= line)
    }

    /// Whether the decision on a line may be the one that is asked for; of several that may, the last
    /// one is.
    pub(super) fn takes(&self, line: &Numbered) -> bool {
        let Self { record: _, config: _, line: number, at, dgd: _ } = self;
        self.is_of(line)
            && line.head.kind == Kind::Tick
            && number.is_none_or(|number| number == line.number)
            && at.is_none_or(|at| line.head.at <= at)
    }

    /// Refuses to call an answer the whole one where lines of the record could not be read. The answer
    /// for a line that was named is.
    pub(super) fn verdict(&self, lines: &Lines) -> Result<(), CliError> {
        let Some(first) = lines.broken.first().filter(|_| self.line.is_none()) else {
            return Ok(());
        };
        let Broken { number, why } = first;
        let many = match lines.broken.len() {
            1 => "a line of the record cannot be read and was left out".to_owned(),
            many => {
                format!("{many} lines of the record cannot be read and were left out, the first")
            }
        };
        let error = anyhow::anyhow!("{}:{number}: {many}: {why}", lines.name);
        Err(CliError::new(Exit::Incomplete, error)
            .hint("take the line from another copy of the file, or delete it"))
    }

    /// How many lines the answer lacks.
    pub(super) fn unreadable(&self, lines: &Lines) -> u64 {
        if self.line.is_some() { 0 } else { u64::try_from(lines.broken.len()).unwrap_or(u64::MAX) }
    }

    /// What to say where no decision was found.
    pub(super) fn found_none(&self, lines: &Lines) -> CliError {
        let name = &lines.name;
        let unread = || lines.broken.iter().chain(&lines.ended).chain(&lines.torn);
        let named = self.line.and_then(|line| unread().find(|broken| broken.number == line));
        if let Some(Broken { number, why }) = named {
            return lines.at_line(*number, why);
        }
        let missing = match (self.line, self.at, &self.dgd) {
            (Some(line), _, _) if line > lines.number => {
                format!("{name} has {} lines, and no line {line}", lines.number)
            }
            (Some(line), _, _) => format!("{name}:{line}: not a decision"),
            (None, Some(at), _) => format!("{name}: no decision at or before {}", time(at)),
            (None, None, Some(dgd)) => format!("{name}: no decision for {dgd}"),
            (None, None, None) => format!("{name}: no decisions"),
        };
        CliError::bad_input(missing).hint(match (self.line, &self.dgd) {
            (Some(_), _) => "checkpoints stand between decisions: take the line before or after it",
            (None, Some(_)) => "a DGD is named by its namespace and name, as in llm/chat",
            (None, None) => "expected the file that `run` writes by the key `record`",
        })
    }
}

impl Lines {
    fn new(name: String, mut reader: Box<dyn BufRead>) -> Result<Self, CliError> {
        let begin = reader
            .fill_buf()
            .with_context(|| format!("cannot read {name}"))
            .map_err(|e| CliError::new(Exit::BadInput, e))?;
        if begin.starts_with(&[0x1f, 0x8b]) {
            reader = Box::new(BufReader::new(MultiGzDecoder::new(reader)));
        }
        let (torn, ended, broken) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { name, reader, number: 0, foreign: 0, torn, ended, broken })
    }

    /// The next line that is a record.
    pub(super) fn next_record(&mut self) -> Result<Option<Numbered>, CliError> {
        loop {
            let Some(bytes) = self.next_line()? else {
                self.ended.append(&mut self.torn);
                return Ok(None);
            };
            let number = self.number;
            match Head::of_bytes(&bytes) {
                Ok((head, text)) => {
                    // A process that begins has taken the place of one that was killed. Any other
                    // went on after what it, or something else, broke.
                    let begins = head.kind == Kind::Checkpoint && head.seq == 0;
                    let known = if begins { &mut self.ended } else { &mut self.broken };
                    known.append(&mut self.torn);
                    return Ok(Some(Numbered { number, head, text: text.to_owned() }));
                }
                Err(RecordError::Foreign) if bytes.trim_ascii().is_empty() => {}
                Err(RecordError::Foreign) => self.foreign += 1,
                Err(error @ RecordError::Torn { .. }) => {
                    self.torn.push(Broken { number, why: error.to_string() });
                }
                Err(
                    error @ (RecordError::Version { .. }
                    | RecordError::Text { .. }
                    | RecordError::Part { .. }),
                ) => self.broken(number, &error),
            }
        }
    }

    /// The next line, whatever it is, with its end.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        loop {
            let mut bytes = Vec::new();
            let read = self.reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut bytes);
            let read = self.readable(read)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if (bytes.len() as u64) < LINE_LIMIT || bytes.ends_with(b"\n") {
                return Ok(Some(bytes));
            }
            let skipped = self.reader.skip_until(b'\n');
            self.readable(skipped)?;
            let what = format!("a line of more than {} MiB", LINE_LIMIT >> 20);
            self.broken(self.number, &what);
        }
    }

    fn readable(&self, read: std::io::Result<usize>) -> Result<usize, CliError> {
        read.with_context(|| format!("cannot read {} after line {}", self.name, self.number))
            .map_err(|e| CliError::new(Exit::BadInput, e))
    }

    /// Takes note of a record that cannot be read.
    pub(super) fn broken(&mut self, number: u64, why: &impl std::fmt::Display) {
        self.broken.push(Broken { number, why: why.to_string() });
    }

    /// An error with the place of a line.
    pub(super) fn at_line(&self, number: u64, what: &str) -> CliError {
        CliError::bad_input(format!("{}:{number}: {what}", self.name))
    }

    /// Says which lines were left out.
    pub(super) fn tell_left_out(&mut self) {
        // What was broken often is a fault of its own: its first lines will do.
        const SHOWN: usize = 5;
        // A torn line is known to be broken later than one that stands behind it.
        self.broken.sort_by_key(|broken| broken.number);
        let name = &self.name;
        for Broken { number, why } in self.broken.iter().take(SHOWN) {
            talk(&format!("warning: {name}:{number}: {why}, left out"));
        }
        if let Some(more) = self.broken.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            talk(&format!("warning: {name}: {more} more lines cannot be read"));
        }
        for Broken { number, why } in self.ended.iter().take(SHOWN) {
            talk(&format!(
                "note: {name}:{number}: {why}, left out: its writer was stopped within the line"
            ));
        }
        if let Some(more) = self.ended.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            talk(&format!("note: {name}: {more} more lines are torn"));
        }
        if self.foreign > 0 {
            talk(&format!(
                "note: {name}: {} lines are no decision records, left out",
                self.foreign
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_shown() {
        let at = moment("2026-11-29T13:15:00.250Z").unwrap();
        assert_eq!(time(at), "2026-11-29T13:15:00.25Z");
        assert_eq!(moment("2026-11-29T14:15:00.25+01:00").unwrap(), at);
        assert_eq!(time(moment("10m40s").unwrap()), "10m40s into the trace");
        assert!(moment("yesterday").unwrap_err().contains("such as 2026-11-29T13:15:00Z"));
    }
}
