//! `sla-planner replay`: decides again what was recorded, and compares byte for byte.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::Serialize;

use super::exit::{CliError, Exit};
use super::out::Format;
use super::records::{self, Lines, Numbered};
use super::say;
use crate::record::{Checked, Difference, Line, Record, Replay};

/// Decides again what was recorded, and compares decision, report and memory byte for byte.
///
/// Replay begins at a checkpoint and carries its own memory from there. It needs neither a cluster
/// nor the configuration or profiles of the time: they are in the file.
///
/// Ends with code 6 where something comes out differently; with 8 where all that could be decided
/// again is the same, but a part of the record is lost, cannot be read, or has no checkpoint before it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    records: records::Wanted,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner replay decisions.jsonl
  sla-planner replay decisions.jsonl --line 812
  sla-planner replay --config planner.yaml --at 2026-11-29T13:15:00Z
  kubectl logs deploy/sla-planner | sla-planner replay";

/// Differences of one line that are shown to people.
const SHOWN: usize = 10;

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let mut lines = args.records.open()?;
    let mut answer = walk(&args.records, &mut lines)?;
    lines.tell_left_out();
    if answer.count.decisions == 0 {
        return Err(args.records.found_none(&lines));
    }
    answer.count.unreadable = args.records.unreadable(&lines);
    let text = match args.format {
        Format::Text => answer.text(&lines.name),
        Format::Json => answer.json()?,
    };
    say(&text)?;
    answer.verdict(&lines.name)
}

/// What the lines came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    decisions: u64,
    same: u64,
    differ: u64,
    /// Decisions that cannot be made again.
    not_replayed: u64,
    /// Decisions that are missing right before a checkpoint.
    missing: u64,
    /// Lines that cannot be read, of whatever kind.
    unreadable: u64,
    /// Checkpoints whose memory is the one carried to them, and others.
    memory_same: u64,
    memory_differs: u64,
}

/// One or more lines in a row of which the same is to be said.
struct Row {
    from: u64,
    to: u64,
    decisions: u64,
    what: String,
    /// The decision in words, where that is to be told too.
    decided: String,
    differences: Vec<Difference>,
}

/// The whole answer.
#[derive(Default)]
struct Answer {
    count: Count,
    rows: Vec<Row>,
    /// Other versions of the program in the file.
    programs: BTreeSet<String>,
}

fn walk(wanted: &records::Wanted, lines: &mut Lines) -> Result<Answer, CliError> {
    let mut replay = Replay::default();
    let mut answer = Answer::default();
    while let Some(line) = lines.next_record()? {
        let read = match Line::read(&line.text) {
            Ok(read) => read,
            Err(error) => {
                if wanted.is_of(&line) {
                    lines.broken(line.number, &error);
                }
                if wanted.is_past(line.number) {
                    break;
                }
                continue;
            }
        };
        let checked = replay
            .line(&read, &line.text)
            .map_err(|e| lines.at_line(line.number, &e.to_string()))?;
        if let Line::Checkpoint(checkpoint) = &read
            && checkpoint.program != env!("CARGO_PKG_VERSION")
        {
            answer.programs.insert(checkpoint.program.clone());
        }
        if !wanted.is_one() {
            if wanted.is_of(&line) {
                answer.take(&line, checked, None);
            }
        } else if let Line::Tick(record) = &read
            && wanted.takes(&line)
        {
            answer.count = Count::default();
            answer.rows.clear();
            answer.take(&line, checked, Some(record));
        }
        if wanted.is_past(line.number) {
            break;
        }
    }
    Ok(answer)
}

impl Answer {
    /// Takes in a line; `shown` is its decision where that is to be told too.
    fn take(&mut self, line: &Numbered, checked: Checked, shown: Option<&Record>) {
        let count = &mut self.count;
        let is_decision = line.head.kind == crate::record::Kind::Tick;
        count.decisions += u64::from(is_decision);
        let (what, differences) = match checked {
            Checked::Begins => return,
            Checked::BeginsAfterLoss { from, to } => {
                let lost = (to - from).saturating_add(1);
                count.missing += lost;
                (
                    format!("{lost} decisions before it are missing, {from} to {to} of its run"),
                    Vec::new(),
                )
            }
            Checked::MemorySame => {
                count.memory_same += 1;
                (SAME.to_owned(), Vec::new())
            }
            Checked::Same { exact } => {
                count.same += 1;
                let what = if exact { SAME } else { "the same values, written by another program" };
                (what.to_owned(), Vec::new())
            }
            Checked::MemoryDiffers { differences } => {
                count.memory_differs += 1;
                ("the memory of the checkpoint is another".to_owned(), differences)
            }
            Checked::Differs { differences } => {
                count.differ += 1;
                ("comes out differently".to_owned(), differences)
            }
            Checked::Cannot { why } => {
                count.not_replayed += 1;
                (format!("cannot be replayed: {why}"), Vec::new())
            }
        };
        let decisions = u64::from(is_decision);
        if let Some(row) = self.rows.last_mut()
            && differences.is_empty()
            && row.differences.is_empty()
            && alike(row, &what)
        {
            row.to = line.number;
            row.decisions += decisions;
            return;
        }
        let decided = shown.map(decided).unwrap_or_default();
        let (from, to) = (line.number, line.number);
        self.rows.push(Row { from, to, decisions, what, decided, differences });
    }

    fn text(&self, name: &str) -> String {
        let Self { count, rows, programs } = self;
        let mut out = format!("{name}\n");
        let mut shown = 0;
        for row in rows {
            let Row { from, to, decisions, what, decided, differences } = row;
            let place =
                if from == to { format!("line {from}") } else { format!("lines {from} to {to}") };
            let many =
                if *decisions > 1 { format!(" ({decisions} decisions)") } else { String::new() };
            put!(out, "{place}{many}: {what}\n{decided}");
            // Of the first line that differs all is shown; what differs after it follows from it
            // more often than not.
            let most = if shown == 0 { SHOWN } else { 1 };
            for Difference { place, recorded, now } in differences.iter().take(most) {
                let or_nothing = |x: &Option<String>| x.clone().unwrap_or_else(|| "nothing".into());
                put!(
                    out,
                    "  {place}\n    recorded  {}\n    now       {}\n",
                    or_nothing(recorded),
                    or_nothing(now)
                );
            }
            if differences.len() > most {
                put!(out, "  and {} more places\n", differences.len() - most);
            }
            shown += usize::from(!differences.is_empty());
        }
        let Count {
            decisions,
            same,
            differ,
            not_replayed,
            missing,
            unreadable,
            memory_same,
            memory_differs,
        } = count;
        put!(
            out,
            "{decisions} decisions: {same} the same, {differ} different, {not_replayed} not replayed\n"
        );
        for (many, what) in [
            (missing, "decisions before a checkpoint are missing"),
            (unreadable, "lines cannot be read"),
        ] {
            if *many > 0 {
                put!(out, "{many} {what}\n");
            }
        }
        if memory_same + memory_differs > 0 {
            put!(
                out,
                "memory at checkpoints: {memory_same} the same, {memory_differs} different\n"
            );
        }
        if differ + memory_differs > 0 && !programs.is_empty() {
            put!(
                out,
                "recorded by version {} of the program, and this is {}: it may decide otherwise on \
                 purpose\n",
                programs.iter().cloned().collect::<Vec<_>>().join(", "),
                env!("CARGO_PKG_VERSION")
            );
        }
        out
    }

    fn json(&self) -> Result<String, CliError> {
        #[derive(Serialize)]
        struct Place<'a> {
            place: &'a str,
            recorded: Option<&'a str>,
            now: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Of<'a> {
            from_line: u64,
            to_line: u64,
            decisions: u64,
            result: &'a str,
            differences: Vec<Place<'a>>,
        }
        #[derive(Serialize)]
        struct All<'a> {
            #[serde(flatten)]
            count: Count,
            lines: Vec<Of<'a>>,
        }
        let mut lines = Vec::new();
        for Row { from, to, decisions, what, decided: _, differences } in &self.rows {
            let places = differences.iter().map(|d| Place {
                place: &d.place,
                recorded: d.recorded.as_deref(),
                now: d.now.as_deref(),
            });
            lines.push(Of {
                from_line: *from,
                to_line: *to,
                decisions: *decisions,
                result: what,
                differences: places.collect(),
            });
        }
        let all = All { count: self.count, lines };
        Ok(serde_json::to_string(&all).context("write the answer as JSON")? + "\n")
    }

    fn verdict(&self, name: &str) -> Result<(), CliError> {
        let Count {
            decisions,
            same,
            differ,
            not_replayed,
            missing,
            unreadable,
            memory_same: _,
            memory_differs,
        } = self.count;
        if differ + memory_differs > 0 {
            let error = anyhow::anyhow!(
                "{name}: {differ} of {decisions} decisions and the memory at {memory_differs} \
                 checkpoints are not what this program makes of the same input"
            );
            return Err(CliError::new(Exit::Differs, error));
        }
        if same == 0 {
            let why = self.rows.last().map_or("", |row| row.what.as_str());
            return Err(CliError::bad_input(format!("{name}: {why}")).hint(
                "replay needs the lines from a checkpoint on, as version 2 of the record has them; \
                 `why` explains any",
            ));
        }
        if not_replayed + missing + unreadable > 0 {
            let error = anyhow::anyhow!(
                "{name}: {same} of {decisions} decisions come out the same, and that is not the whole \
                 record: {not_replayed} cannot be decided again, {missing} are missing, {unreadable} \
                 lines cannot be read"
            );
            return Err(CliError::new(Exit::Incomplete, error).hint(
                "the lines above say which and why; what comes before the first checkpoint of a file \
                 that was cut can be replayed with the part that was cut off",
            ));
        }
        Ok(())
    }
}

const SAME: &str = "the same, byte for byte";

/// Whether a line says what the row before it says, but for the numbers in it.
fn alike(row: &Row, what: &str) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    words(&row.what) == words(what)
}

/// The decision in words.
fn decided(record: &Record) -> String {
    let pools = record.decision.pools.iter().map(|pool| format!("  {pool}"));
    let pools: Vec<String> = pools.collect();
    format!("  {} {}\n{}\n", records::time(record.at), record.dgd, pools.join("\n"))
}
