//! `sla-planner predict`: the fleet that keeps a promise under a load, without a cluster.

mod answer;
mod load;
mod text;

use std::path::PathBuf;

use clap::ValueEnum;

use super::exit::{CliError, Exit};
use super::{files, needs, say};
use crate::plan::SizePool;
use crate::profile::{EngineProfile, library};
use crate::spec::{Config, Pool, Sla, parse_duration};
use crate::units::{Gpus, Millis, Percentile, Role, millis_of};

use answer::Prediction;

/// Predicts the fleet that keeps a promise under a load; needs no cluster.
///
/// The load is one of: a steady one (--rps, --isl, --osl, or `load` in the --sla file), a trace
/// (--trace), or what a live Prometheus saw last (--prometheus). Without any, the shipped ten-minute
/// trace is used.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Promise, pools, limits and load, in the format of the configuration file.
    #[arg(long, value_name = "FILE")]
    sla: Option<PathBuf>,
    /// Promised time to first token, such as 500ms.
    #[arg(long, value_name = "DURATION", value_parser = positive_millis, allow_hyphen_values = true)]
    ttft: Option<Millis>,
    /// Promised inter-token latency (mean of a request), such as 50ms.
    #[arg(long, value_name = "DURATION", value_parser = positive_millis, allow_hyphen_values = true)]
    itl: Option<Millis>,
    /// Share of requests, in percent, that must be within both.
    #[arg(long, value_name = "PERCENT", value_parser = percentile, allow_hyphen_values = true)]
    percentile: Option<Percentile>,
    /// Profiling data: a directory, a file, or the name of a shipped profile.
    #[arg(long, value_name = "DIR|FILE|NAME")]
    profile: Option<String>,
    /// Size one pool of aggregated engines instead of prefill and decode.
    #[arg(long)]
    aggregated: bool,
    /// GPUs that all pools together may take.
    #[arg(long, value_name = "GPUS", value_parser = clap::value_parser!(u32).range(1..))]
    max_gpu_budget: Option<u32>,
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

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

fn positive_millis(text: &str) -> Result<Millis, String> {
    let d = parse_duration(text).map_err(|e| e.to_string())?;
    if d.is_zero() {
        return Err("expected more than zero".to_owned());
    }
    Ok(Millis::clamped(millis_of(d)))
}

fn percentile(text: &str) -> Result<Percentile, String> {
    text.parse().ok().and_then(Percentile::new).ok_or_else(|| {
        "expected a percentile between 0 and 100 (in percent, 100 excluded)".to_owned()
    })
}

/// One pool with everything that sizing needs.
struct PoolSetup {
    role: Role,
    pool: Pool,
    engine: EngineProfile,
    gpus: Gpus,
}

impl PoolSetup {
    fn size_pool(&self) -> SizePool<'_> {
        SizePool {
            role: self.role,
            engine: &self.engine,
            limits: self.pool.limits,
            gpus_per_replica: self.gpus,
            min: self.pool.min,
            max: self.pool.max,
        }
    }
}

/// What is predicted for: promise, pools, limits, rules.
struct Setup {
    sla: Sla,
    pools: Vec<PoolSetup>,
    budget: Option<Gpus>,
    compat: Option<Compat>,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let config = match &args.sla {
        Some(path) => files::config(path)?,
        None => crate::spec::load("", "defaults", &files::defaults()?)
            .map_err(|e| CliError::new(Exit::BadInput, e))?,
    };
    let setup = setup(args, &config)?;
    let loads = load::read(&args.load, &config, setup.sla.percentile)?;
    let prediction = Prediction::of(&setup, &loads)?;
    say(&match args.format {
        Format::Text => text::render(&setup, &loads, &prediction),
        Format::Json => prediction.json()?,
    })?;
    if args.check && !prediction.feasible() {
        return Err(CliError::new(Exit::NotKept, anyhow::anyhow!("{}", prediction.reason())));
    }
    Ok(())
}

fn setup(args: &Args, config: &Config) -> Result<Setup, CliError> {
    let mut sla = config.sla;
    sla.ttft = args.ttft.unwrap_or(sla.ttft);
    sla.itl = args.itl.unwrap_or(sla.itl);
    sla.percentile = args.percentile.unwrap_or(sla.percentile);
    let mut wanted = config.pools.clone();
    if args.aggregated && wanted.is_empty() {
        wanted = [(Role::Aggregated, Pool::default())].into();
    } else if args.aggregated && !wanted.contains_key(&Role::Aggregated) {
        return Err(CliError::bad_input(
            "--aggregated sizes one pool, and the file has settings for prefill and decode only",
        )
        .hint("give the file `pools.aggregated` instead of them, or leave out --aggregated"));
    } else if wanted.is_empty() {
        wanted = [(Role::Prefill, Pool::default()), (Role::Decode, Pool::default())].into();
    }
    let pools = wanted
        .into_iter()
        .map(|(role, pool)| {
            let engine = match (&args.profile, &pool.profile) {
                (Some(name), _) => files::profile(name)?,
                (None, Some(name)) => files::profile_of(role, name)?,
                (None, None) => files::profile(library::DEFAULT)?,
            };
            let gpus = pool.gpus(engine.gpus_per_engine());
            Ok(PoolSetup { role, pool, engine, gpus })
        })
        .collect::<Result<Vec<_>, CliError>>()?;
    let budget = args.max_gpu_budget.map(Gpus::new).or(config.budget);
    needs::check_budget(budget, pools.iter().map(|p| (p.pool.min, p.gpus)))?;
    Ok(Setup { sla, pools, budget, compat: args.compat })
}
