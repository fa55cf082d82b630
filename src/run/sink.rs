//! Where decision records go: one JSON line each.

use std::fs::File;
use std::io::{Stdout, Write as _};

use anyhow::Context as _;

use crate::record::Record;

/// An open end for records.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout(Stdout),
    File(File),
}

impl Sink {
    /// Standard output for `-`, else the file of that name, which is appended to.
    #[expect(clippy::disallowed_methods, reason = "the one file that a run writes")]
    pub(super) fn open(place: &str) -> anyhow::Result<Self> {
        if place == "-" {
            return Ok(Self::Stdout(std::io::stdout()));
        }
        File::options()
            .create(true)
            .append(true)
            .open(place)
            .map(Self::File)
            .with_context(|| format!("cannot open the record file {place} (key `record`)"))
    }

    /// Writes one line, at once.
    pub(super) fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        let mut line = record.to_line()?;
        line.push('\n');
        match self {
            Self::Stdout(out) => {
                let mut out = out.lock();
                out.write_all(line.as_bytes()).and_then(|()| out.flush())
            }
            Self::File(file) => file.write_all(line.as_bytes()),
        }
        .context("cannot write the decision record")
    }
}
