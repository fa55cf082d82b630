//! Where decision records go: one JSON line each.
//!
//! A file is appended to, each line in one write, so that the lines of two planners that name the same
//! file are mixed but whole; each line says by whose run it is.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Stdout, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::record::Line;

/// An open end for records.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout(Stdout),
    File {
        file: File,
        /// Whether the last line may have no end: its writer was killed, or the disk was full.
        torn: bool,
    },
}

/// A sink that planners share: each line is written whole.
#[derive(Clone, Debug)]
pub(super) struct Records(Arc<Mutex<Sink>>);

impl From<Sink> for Records {
    fn from(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }
}

impl Records {
    /// Writes one line, at once.
    pub(super) fn write(&self, line: &Line) -> anyhow::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }
}

impl Sink {
    /// Standard output for `-`, else the file of that name, which is appended to.
    #[expect(clippy::disallowed_methods, reason = "the one file that a run writes")]
    pub(super) fn open(place: &str) -> anyhow::Result<Self> {
        if place == "-" {
            return Ok(Self::Stdout(std::io::stdout()));
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(place)
            .with_context(|| format!("cannot open the record file {place} (key `record`)"))?;
        // What cannot be read (a pipe, a file without that right) is taken to be whole.
        let regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let torn = regular && File::open(place).is_ok_and(|mut file| !ends_a_line(&mut file));
        Ok(Self::File { file, torn })
    }

    /// Writes one line, at once.
    fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = line.to_text()?;
        text.push('\n');
        match self {
            Self::Stdout(out) => {
                let mut out = out.lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
            Self::File { file, torn } => {
                if *torn {
                    text.insert(0, '\n');
                }
                let written = file.write_all(text.as_bytes());
                *torn = written.is_err();
                written
            }
        }
        .context("cannot write the decision record")
    }
}

/// Whether a file is empty or ends with the end of a line.
fn ends_a_line(file: &mut File) -> bool {
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        drop(file.read_exact(&mut last));
    }
    last == [b'\n']
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes and reads files")]
mod tests {
    use super::*;

    fn line() -> Line {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/record-v1.jsonl");
        Line::read(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    #[test]
    fn a_line_after_one_that_was_torn_begins_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        let place = path.to_str().unwrap();
        Sink::open(place).unwrap().write(&line()).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        assert!(whole.ends_with("}\n"));
        std::fs::write(&path, format!("{whole}{}", &whole[..40])).unwrap();
        let mut sink = Sink::open(place).unwrap();
        sink.write(&line()).unwrap();
        sink.write(&line()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{whole}{}\n{whole}{whole}", &whole[..40]));
    }

    #[test]
    fn a_full_disk_is_said() {
        let error = Sink::open("/dev/full").unwrap().write(&line()).unwrap_err();
        assert_eq!(error.to_string(), "cannot write the decision record");
    }
}
