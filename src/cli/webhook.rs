//! `sla-planner webhook`: the admission webhooks alone, as a Deployment of their own.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::CliError;
use super::{files, run};
use crate::run::WebhookSetup;

/// Serves the admission webhooks alone, until SIGTERM.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file; only `webhook` and `metrics_port` of it are used.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Context of the kubeconfig; without it the pod's service account, else the current context.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// What to log: a level, or directives such as `sla_planner=debug,kube=warn`.
    #[arg(long, env = "SLA_PLANNER_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let Args { config, context, log } = args;
    let config = files::config(config)?;
    run::start_log(log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let setup = WebhookSetup {
        webhook: config.webhook,
        metrics_port: config.metrics_port,
        context: context.clone(),
    };
    let ended = runtime.block_on(crate::run::webhook(setup));
    runtime.shutdown_background();
    ended.map_err(run::ended_by)
}
