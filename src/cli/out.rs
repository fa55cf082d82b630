//! Where a result goes.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::exit::CliError;
use super::files::{self, Input};
use super::say;

/// Form of an answer that has no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Standard output, or a file.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Out {
    /// Write it to this file, whole or not at all, instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Out {
    /// The file, where it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.out.as_deref()
    }

    pub(super) const fn is_printed(&self) -> bool {
        self.out.is_none()
    }

    /// Refuses a file in a directory that is not there, before any work is done for it.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let parent = self.out.as_deref().and_then(Path::parent);
        match parent.filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
            None => Ok(()),
            Some(dir) => {
                Err(CliError::bad_input(format!("--out: there is no directory {}", dir.display())))
            }
        }
    }

    /// Refuses a file that is read.
    pub(super) fn spares(&self, read: &[Input]) -> Result<(), CliError> {
        let written = self.file().map(|path| ("--out", path));
        files::spare(written.as_slice(), read)
    }

    pub(super) fn tell(&self, text: &str) -> Result<(), CliError> {
        match &self.out {
            Some(path) => files::write(path, text),
            None => say(text),
        }
    }
}
