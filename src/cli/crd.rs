//! `sla-planner crd`: the custom resource definitions.

use std::path::PathBuf;

use super::exit::CliError;
use super::{files, say};
use crate::api::crd_yaml;

/// Prints the custom resource definitions, or writes them to a folder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write one file each into this folder instead of printing them.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    match &args.write {
        Some(folder) => {
            for (name, text) in crd_yaml() {
                files::write(&folder.join(name), &text)?;
            }
            Ok(())
        }
        None => {
            let all: Vec<String> = crd_yaml().into_iter().map(|(_, text)| text).collect();
            say(&all.join("---\n"))
        }
    }
}
