//! `sla-planner validate FILE`: the configuration checked without a cluster.

use std::path::PathBuf;

use super::exit::CliError;
use super::{files, needs, say};
use crate::api::names;
use crate::profile::lint;
use crate::spec::{Mode, format_duration};
use crate::units::Predictor;

/// Checks a configuration file without a cluster.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    file: PathBuf,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let config = files::config(&args.file)?;
    let mut out = format!("{} is valid\n", args.file.display());
    let mut line = |text: String| {
        out.push_str("  ");
        out.push_str(&text);
        out.push('\n');
    };
    let sla = &config.sla;
    line(format!(
        "promise: {} % of requests within TTFT {} and ITL {}",
        sla.percentile.get(),
        sla.ttft,
        sla.itl
    ));
    let mut least = Vec::new();
    for (role, pool) in &config.pools {
        let mut measured = None;
        let most = pool.max.map_or_else(String::new, |max| format!(", at most {max}"));
        line(format!("{role}: at least {}{most} replicas", pool.min));
        if let Some(name) = &pool.profile {
            let place = match &config.cluster {
                Some(cluster) => files::profile_place(name, cluster.profiles.as_deref())?,
                None => name.clone(),
            };
            let profile = files::profile_of(*role, &place)?;
            measured = profile.gpus_per_engine();
            line(format!("{role}: profile {name} is readable"));
            for finding in lint(&profile) {
                line(format!("{role}: profile {name}: {finding}"));
            }
        }
        least.push((pool.min, pool.gpus(measured)));
    }
    needs::check_budget(config.budget, least)?;
    line(match config.budget {
        Some(gpus) => format!("budget: {gpus} GPUs"),
        None => "budget: no limit".to_owned(),
    });
    if config.forecast.predictor != Predictor::Auto {
        line(format!("forecast: by {}", config.forecast.predictor));
    }
    if let Some(path) = &config.forecast.warmup_trace {
        let ticks = super::run::warmup(path, &config)?.steps.len();
        line(format!("forecast: learns from {ticks} ticks of {path}"));
    }
    line(format!("decides every {}", format_duration(config.intervals.adjustment)));
    let does = match config.mode {
        Mode::Act => "scales",
        Mode::Advise => "advises on",
    };
    if let Some(cluster) = &config.cluster {
        let place = match &cluster.namespaces[..] {
            [] => "every namespace".to_owned(),
            names => format!("the namespaces {}", names.join(", ")),
        };
        let annotation = names::ANNOTATION_CONFIG;
        line(format!("{does} each DGD of {place} that asks by the annotation {annotation}"));
    }
    if let Some(t) = &config.target {
        line(format!("{does} DGD {}/{}", t.namespace, t.dgd));
    }
    for need in needs::of_run(&config) {
        line(format!("`run` will need {}: {}", need.what, need.how));
    }
    if let Some(text) = needs::without_profile(&config) {
        line(format!("`run` will have {text}"));
    }
    say(&out)
}
