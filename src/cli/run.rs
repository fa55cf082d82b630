//! `sla-planner run`: plan for one DynamoGraphDeployment, or for all that ask, and scale them.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use super::exit::{CliError, Exit};
use super::files;
use super::needs::{self, Need};
use super::stock::Flags;
use crate::profile::{EngineProfile, library};
use crate::prometheus::Endpoint;
use crate::run::{ClusterSetup, RunError, Setup, Warmup};
use crate::spec::{Config, Intervals, Mode, PrometheusSource, format_duration};
use crate::trace::windows;
use crate::units::Role;

/// Plans for one DynamoGraphDeployment, or for all that ask (`cluster` in the file), and scales them,
/// until SIGTERM.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration: a file, or the text itself as JSON; that of Dynamo's planner 1.x will do.
    /// Without it, what NVIDIA's operator tells a planner pod is enough.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    stock: Flags,
    /// Only says what it would write (as `mode: advise` in the file).
    #[arg(long)]
    advise: bool,
    /// Context of the kubeconfig; without it the pod's service account, else the current context.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// What to log: a level, or directives such as `sla_planner=debug,kube=warn`.
    #[arg(long, env = "SLA_PLANNER_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Where a configuration comes from that no file holds.
const ORIGIN: &str = "the command line";

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let mut config = match &args.config {
        Some(path) => files::config(path)?,
        None => files::stock_config(&args.stock.said(), ORIGIN)?,
    };
    if args.advise {
        config.mode = Mode::Advise;
    }
    if config.cluster.is_some() {
        let setup = cluster_setup(config, args)?;
        start_log(&args.log)?;
        return block_on(crate::run::run_cluster(setup));
    }
    let setup = setup(config, args)?;
    start_log(&args.log)?;
    if let Some(text) = needs::without_profile(&setup.config) {
        tracing::warn!("{text}");
    }
    block_on(crate::run::run(setup))
}

fn block_on(run: impl Future<Output = Result<(), RunError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let ended = runtime.block_on(run);
    // A look-up of a name that hangs, or a file, must not hold up the end of the process.
    runtime.shutdown_background();
    ended.map_err(ended_by)
}

/// The code of a run that ended by itself.
pub(super) fn ended_by(error: RunError) -> CliError {
    let exit = match &error {
        RunError::Forbidden { .. } => Exit::Forbidden,
        RunError::BadInput { .. } => Exit::BadInput,
        RunError::Failed { .. } => Exit::Failed,
    };
    CliError::new(exit, error)
}

/// What the configuration is called in messages, where it has all that `run` needs.
fn origin_with_all_needs(config: &Config, args: &Args) -> Result<String, CliError> {
    let file = args.config.as_deref().map_or_else(|| ORIGIN.to_owned(), files::origin);
    match needs::of_run(config).into_iter().next() {
        None => Ok(file),
        Some(Need { what, how }) => {
            Err(CliError::bad_input(format!("{file}: `run` needs {what}")).hint(how))
        }
    }
}

/// What `run` needs beyond a valid configuration.
fn setup(config: Config, args: &Args) -> Result<Setup, CliError> {
    let file = origin_with_all_needs(&config, args)?;
    let (Some(target), Some(source)) = (config.target.clone(), &config.prometheus) else {
        return Err(CliError::bad_input(format!("{file}: `run` needs a target and a Prometheus")));
    };
    let prometheus = endpoint(source);
    let engines = engines(&config, |name| Ok(name.to_owned()))?;
    let warmup = config.forecast.warmup_trace.as_deref().map(|path| warmup(path, &config));
    let warmup = warmup.transpose()?;
    let (context, instance) = (args.context.clone(), files::instance());
    Ok(Setup { config, target, prometheus, engines, warmup, context, instance })
}

/// What a service of the cluster needs beyond a valid configuration. Profiles that the file names are
/// looked at before anything asks.
fn cluster_setup(config: Config, args: &Args) -> Result<ClusterSetup, CliError> {
    let file = origin_with_all_needs(&config, args)?;
    let (Some(cluster), Some(source)) = (config.cluster.clone(), &config.prometheus) else {
        return Err(CliError::bad_input(format!("{file}: `run` needs a Prometheus")));
    };
    let prometheus = endpoint(source);
    let folder = cluster.profiles.clone();
    let place = move |name: &str| files::profile_place(name, folder.as_deref());
    engines(&config, &place)?;
    let engines = move |config: &Config| {
        engines(config, &place).map_err(|CliError { error, hint, .. }| {
            if hint.is_empty() { format!("{error:#}") } else { format!("{error:#}; {hint}") }
        })
    };
    let (context, instance) = (args.context.clone(), files::instance());
    Ok(ClusterSetup { config, cluster, prometheus, engines: Box::new(engines), context, instance })
}

/// The profile of each pool, and a budget that holds the fewest replicas. Without a profile of its own a
/// pool begins with that of another engine, and learns.
fn engines(
    config: &Config,
    place: impl Fn(&str) -> Result<String, CliError>,
) -> Result<BTreeMap<Role, EngineProfile>, CliError> {
    let mut engines = BTreeMap::new();
    for (role, pool) in &config.pools {
        let name =
            pool.profile.as_deref().map_or_else(|| Ok(library::DEFAULT.to_owned()), &place)?;
        engines.insert(*role, files::profile_of(*role, &name)?);
    }
    needs::check_budget(
        config.budget,
        config.pools.iter().map(|(role, pool)| {
            let engine = engines.get(role);
            let own = engine.filter(|_| pool.profile.is_some());
            (pool.min, pool.gpus(own.and_then(EngineProfile::gpus_per_engine)))
        }),
    )?;
    Ok(engines)
}

/// The trace to learn from before the first tick, as the queries of a tick would have seen it.
pub(super) fn warmup(path: &str, config: &Config) -> Result<Warmup, CliError> {
    let bad = |e| files::bad_trace(e, path);
    let mut reader = files::trace(Path::new(path))?;
    let Intervals { adjustment, window, .. } = config.intervals;
    let steps =
        windows(reader.by_ref(), adjustment, window).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if steps.is_empty() {
        return Err(CliError::bad_input(format!(
            "{path}: the warm-up trace is shorter than a tick ({}), so that nothing can be learned \
             from it",
            format_duration(adjustment)
        ))
        .hint("give a longer trace, or leave out `forecast.warmup_trace`"));
    }
    Ok(Warmup { steps, began: reader.began() })
}

/// The address and manners of a Prometheus, from the configuration.
pub(super) fn endpoint(source: &PrometheusSource) -> Endpoint {
    let PrometheusSource { url, bearer_token, token_file, ca_file, extra_query_params, timeout } =
        source;
    Endpoint {
        url: url.clone(),
        bearer_token: bearer_token.as_ref().map(|t| t.expose().to_owned()),
        token_file: token_file.as_ref().map(PathBuf::from),
        ca_file: ca_file.as_ref().map(PathBuf::from),
        extra_query_params: extra_query_params.clone().into_iter().collect(),
        timeout: *timeout,
    }
}

/// Text on a terminal, JSON lines elsewhere; both on standard error.
pub(super) fn start_log(filter: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| CliError::bad_input(format!("--log `{filter}`: {e}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a closed standard error on standard error, and panic.
        .log_internal_errors(false);
    let started = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|e| CliError::new(Exit::Failed, anyhow::anyhow!("cannot start the log: {e}")))
}
