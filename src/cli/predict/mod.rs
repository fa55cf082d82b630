//! `sla-planner predict`: the fleet that keeps a promise under a load, without a cluster.

mod answer;
mod load;

mod text;

use clap::ValueEnum;

use super::exit::{CliError, Exit};
use super::out::Format;
use super::promise::Promise;
use super::say;

use answer::Prediction;
pub(super) use answer::{bounds, reason};
pub(super) use load::unanswered;

/// Predicts the fleet that keeps a promise under a load; needs no cluster.
///
/// The load is one of: a steady one (--rps, --isl, --osl, or `load` in the --sla file), a trace
/// (--trace), or what a live Prometheus saw last (--prometheus). Without any, the shipped ten-minute
/// trace is used.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    promise: Promise,
    #[command(flatten)]
    load: load::Args,
    /// Whose rules: ours, or those of Dynamo's planner 0.9.0 to compare with.
    #[arg(long, value_name = "RULES")]
    compat: Option<Compat>,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Exit with code 3 where no allowed fleet keeps the promise.
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner predict
  sla-planner predict --rps 12 --isl 3000 --osl 150 --ttft 500ms --itl 50ms
  sla-planner predict --trace examples/traces/azure-2023-conv-10min.jsonl --interval 60s
  sla-planner predict --sla examples/sla.yaml --profile profiling_results --format json
  sla-planner predict --prometheus http://localhost:9090 --dynamo-namespace default-chat";

/// Rules to size by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// The sizing of Dynamo's planner 0.9.0: rates and means, no queue, no TTFT target.
    #[value(name = "dynamo-0.9")]
    Dynamo09,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let config = args.promise.config()?;
    let setup = args.promise.setup(&config)?;
    let loads = load::read(&args.load, &config, setup.sla.percentile)?;
    let prediction = Prediction::of(&setup, args.compat, &loads)?;
    say(&match args.format {
        Format::Text => text::render(&setup, args.compat, &loads, &prediction),
        Format::Json => prediction.json()?,
    })?;
    if args.check && !prediction.feasible() {
        return Err(CliError::new(Exit::NotKept, anyhow::anyhow!("{}", prediction.reason())));
    }
    Ok(())
}
