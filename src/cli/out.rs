//! Where a result goes.

use std::path::PathBuf;

use super::exit::CliError;
use super::{files, say};

/// Standard output, or a file.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Out {
    /// Write it to this file, whole or not at all, instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Out {
    pub(super) const fn is_printed(&self) -> bool {
        self.out.is_none()
    }

    pub(super) fn tell(&self, text: &str) -> Result<(), CliError> {
        match &self.out {
            Some(path) => files::write(path, text),
            None => say(text),
        }
    }
}
