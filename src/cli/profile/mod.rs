//! `sla-planner profile`: performance tables checked, shown and drawn.

mod lint;
mod show;

use super::exit::{CliError, Exit};
use super::files;
use super::out::Out;
use crate::backtest::report::profile_svg;
use crate::profile::{EngineProfile, ProfileFiles};

/// Checks, shows and draws performance tables.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tells what looks wrong in tables, where, how bad it is, and how to mend it.
    Lint(lint::Args),
    /// Prints the tables of an engine and what is made of them.
    Show(OneArgs),
    /// Draws the tables of an engine: one SVG.
    Plot(PlotArgs),
}

/// One profile.
#[derive(Clone, Debug, clap::Args)]
struct OneArgs {
    /// Profiling data: a directory, a file, or the name of a shipped profile.
    #[arg(value_name = "DIR|FILE|NAME")]
    profile: String,
    #[command(flatten)]
    row: Row,
}

#[derive(Clone, Debug, clap::Args)]
struct PlotArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    out: Out,
}

/// Which sweep of a file that holds several.
#[derive(Clone, Debug, clap::Args)]
struct Row {
    /// Which sweep of an npz that holds several, by its keys, such as tp=4; more than once for more
    /// keys.
    #[arg(long = "row", value_name = "KEY=VALUE", value_parser = key_value)]
    keys: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("expected a key and its value, such as tp=4".to_owned()),
    }
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Lint(args) => lint::main(args),
        Command::Show(args) => super::say(&show::render(&load(args)?)),
        Command::Plot(PlotArgs { one, out }) => {
            out.check()?;
            out.spares(&files::tables(&one.profile))?;
            out.tell(&profile_svg(&load(one)?))
        }
    }
}

fn load(args: &OneArgs) -> Result<EngineProfile, CliError> {
    let files = ProfileFiles { row: args.row.keys.clone(), ..files::profile_files(&args.profile)? };
    EngineProfile::from_files(&files).map_err(|e| {
        CliError::new(Exit::BadInput, e).hint("`sla-planner profile lint` tells more of a profile")
    })
}
