//! The command line: one file per subcommand, flags → options → call.
//!
//! Data goes to standard output, talk to standard error. How a command ends is in [`exit`].

pub mod docs;
pub mod exit;

mod backtest;
mod crd;
mod decide;
mod demo;
mod fault;
mod files;
mod fleet;
mod forecast_study;
mod frontier;
mod identity;
mod needs;
mod out;
mod predict;
mod profile;
mod progress;
mod promise;
mod records;
mod replay;
mod run;
mod simulate;
mod stock;
mod tally;
mod traces;
mod validate;
mod webhook;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::CliError;

/// Keeps a TTFT and ITL promise on Kubernetes with the fewest GPUs.
#[derive(Debug, Parser)]
#[command(name = "sla-planner", version, propagate_version = true, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Predicts the fleet that keeps a promise under a load; needs no cluster.
    Predict(Box<predict::Args>),
    /// Plays one policy on a trace in a simulated fleet; needs no cluster.
    Simulate(Box<simulate::Args>),
    /// Plays policies on traces in simulated fleets and compares them.
    Backtest(Box<backtest::Args>),
    /// Puts together what `backtest` played in shards.
    Merge(backtest::MergeArgs),
    /// Sweeps one knob of each policy: good requests against GPU-hours.
    Frontier(Box<frontier::Args>),
    /// Forecasts the rate and the lengths of traces and compares the predictors.
    ForecastStudy(forecast_study::Args),
    /// Shows the planner at work on a simulated cluster, faster than life.
    Demo(Box<demo::Args>),
    /// Answers JSON lines with scaling decisions, for any simulator or controller.
    Decide(decide::Args),
    /// Plans for one DynamoGraphDeployment and scales it.
    Run(Box<run::Args>),
    /// Serves the admission webhooks alone.
    Webhook(webhook::Args),
    /// Explains a recorded decision.
    Why(why::Args),
    /// Decides again what was recorded, and compares byte for byte.
    Replay(replay::Args),
    /// Checks, shows and draws performance tables.
    Profile(profile::Args),
    /// Checks a configuration file without a cluster.
    Validate(validate::Args),
    /// Prints the custom resource definitions, or writes them to a folder.
    Crd(crd::Args),
    /// Prints the reference documents, or writes them to a folder.
    Docs(docs::Args),
}

/// Runs the command line and answers the code to exit with.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to standard output with code 0, mistakes to standard error.
            let code =
                if error.use_stderr() { exit::Exit::BadInput.into() } else { ExitCode::SUCCESS };
            return match error.print() {
                Err(failed) if !error.use_stderr() && !is_gone(&failed) => {
                    exit::Exit::Failed.into()
                }
                Ok(()) | Err(_) => code,
            };
        }
    };
    let done = match args.command {
        Command::Predict(args) => predict::main(&args),
        Command::Simulate(args) => simulate::main(&args),
        Command::Backtest(args) => backtest::main(&args),
        Command::Merge(args) => backtest::merge(&args),
        Command::Frontier(args) => frontier::main(&args),
        Command::ForecastStudy(args) => forecast_study::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Decide(args) => decide::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Webhook(args) => webhook::main(&args),
        Command::Why(args) => why::main(&args),
        Command::Replay(args) => replay::main(&args),
        Command::Profile(args) => profile::main(&args),
        Command::Validate(args) => validate::main(&args),
        Command::Crd(args) => crd::main(&args),
        Command::Docs(args) => docs::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            error.exit.into()
        }
    }
}

/// Says on standard error why the command failed. Where nobody listens any more, the code has to do.
fn complain(error: &CliError) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr().lock(), "{error}"));
}

/// Says something beside the result, on standard error. Where nobody listens, it is not needed.
fn talk(text: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Whether a write failed because the reader went away (`| head`), which is no failure.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Prints a result on standard output. A reader that went away (`| head`) is no failure.
fn say(text: &str) -> Result<(), CliError> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if !is_gone(&error) => {
            Err(anyhow::Error::new(error).context("write to standard output").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
