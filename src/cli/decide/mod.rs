//! `sla-planner decide`: decisions over JSON lines, for a simulator, a shadow run or another
//! controller.
//!
//! [`protocol`] is what a line says, [`observe`] what it means (a pure function), [`session`] what
//! carries over from one line to the next. Every decision is of the same `plan` as in a cluster.

mod fields;
mod observe;
mod protocol;
mod session;

use std::io::{BufRead, Read as _, Write};
use std::time::Instant;

use anyhow::Context as _;

use super::exit::CliError;
use super::{files, is_gone};

use fields::Wrong;
use protocol::Answer;
use session::Session;

/// Answers JSON lines on standard input with scaling decisions on standard output; needs no cluster.
///
/// The first line is an `init` with the promise, the limits and the profile of the engines; every
/// further one is a `tick` with what was seen since the one before. Each is answered with one line.
/// `null`, NaN and Infinity are unknown, which is not zero: an unknown or impossible figure holds the
/// replicas, with the reason. Unknown fields are ignored.
///
/// Exit code 0 at the end of input. A line that cannot be read (not JSON, a field missing or of the
/// wrong type, a tick before any init) is answered with {"error": ...}, and exit code 2 follows.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Profiling data where the init line's `profile` is null: a directory, a file, or the name of a
    /// shipped profile.
    #[arg(long, value_name = "DIR|FILE|NAME")]
    profile: Option<String>,
    /// Add the report to each answer: what was seen, what was decided for each pool, and why.
    #[arg(long)]
    explain: bool,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner decide < examples/sessions/disagg.jsonl
  sla-planner decide --explain --profile profiling_results < session.jsonl";

/// The longest line that is read. A tick takes 400 bytes an engine: a fleet of ten thousand fits.
const LONGEST_LINE: u64 = 16 << 20;

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let profile = args.profile.as_deref().map(files::profile).transpose()?;
    let session = Session::new(profile, args.explain);
    converse(session, std::io::stdin().lock(), std::io::stdout().lock())
}

/// Answers line by line until the input ends, or a line cannot be read.
fn converse(
    mut session: Session,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), CliError> {
    for number in 1_u64.. {
        let mut line = Vec::new();
        input
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .context("cannot read standard input")?;
        if line.is_empty() {
            break;
        }
        let answered =
            answer(&mut session, &line).map_err(|wrong| format!("line {number}: {wrong}"));
        let failed = answered.as_ref().err().cloned();
        let answer = answered.unwrap_or_else(|error| Answer::Failed { error });
        let mut text = serde_json::to_string(&answer).context("cannot write an answer as JSON")?;
        text.push('\n');
        match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
            // Nobody listens any more.
            Err(error) if is_gone(&error) => break,
            written => written.context("cannot write to standard output")?,
        }
        if let Some(error) = failed {
            return Err(CliError::bad_input(error));
        }
    }
    Ok(())
}

fn answer(session: &mut Session, line: &[u8]) -> Result<Answer, Wrong> {
    if !line.ends_with(b"\n") && line.len() as u64 >= LONGEST_LINE {
        return Err(Wrong::line("too long", format!("at most {LONGEST_LINE} bytes")));
    }
    let text = std::str::from_utf8(line)
        .map_err(|_| Wrong::line("not UTF-8 text", "a JSON object"))?
        .trim();
    #[expect(clippy::disallowed_methods, reason = "how long a decision took is for people only")]
    let began = Instant::now();
    let mut answer = session.answer(text)?;
    if let Answer::Decided(decided) = &mut answer {
        #[expect(
            clippy::disallowed_methods,
            reason = "how long a decision took is for people only"
        )]
        let took = began.elapsed();
        decided.decision_ms = took.as_secs_f64() * 1e3;
    }
    Ok(answer)
}
