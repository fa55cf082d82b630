//! `sla-planner why`: a recorded decision in words.

mod around;
mod page;
mod text;

use super::exit::CliError;
use super::out::Format;
use super::{records, say};
use crate::record::Line;

/// Explains a recorded decision: what was seen, what was planned for, what bound it, what was written.
///
/// Without --line or --at it is the last decision of the file. Ends with code 8 where that may be
/// another one, since a line of the record cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    records: records::Wanted,
    /// Form of the answer: for people, 80 columns wide, or the recorded line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner why decisions.jsonl
  sla-planner why --config planner.yaml --at 2026-11-29T13:15:00Z
  kubectl logs deploy/sla-planner | sla-planner why
  sla-planner simulate --record decisions.jsonl && sla-planner why --at 5m decisions.jsonl";

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let wanted = &args.records;
    let mut lines = wanted.open()?;
    let mut found = None;
    while let Some(line) = lines.next_record()? {
        let past = wanted.is_past(line.number);
        if wanted.takes(&line) {
            found = Some(line);
        }
        if past {
            break;
        }
    }
    lines.tell_left_out();
    let found = found.ok_or_else(|| wanted.found_none(&lines))?;
    let record = match Line::read(&found.text) {
        Ok(Line::Tick(record)) => record,
        Ok(Line::Checkpoint(_)) => return Err(wanted.found_none(&lines)),
        Err(error) => {
            return Err(lines
                .at_line(found.number, &error.to_string())
                .hint("`--line` takes a decision before it"));
        }
    };
    say(&match args.format {
        Format::Text => text::render(&record, &format!("{}:{}", lines.name, found.number)),
        Format::Json => found.text + "\n",
    })?;
    wanted.verdict(&lines)
}
