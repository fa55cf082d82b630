//! The flags of a promise, its engines and limits, which several commands share.

use std::path::PathBuf;
use std::time::Duration;

use super::exit::{CliError, Exit};
use super::files::{self, Input};
use super::needs;
use crate::plan::{Correction, SizePool};
use crate::profile::{EngineProfile, library};
use crate::spec::{Config, Pool, Sla, parse_duration};
use crate::units::{Gpus, Millis, Percentile, Role, millis_of};

/// What is promised, and what may serve it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Promise {
    /// Promise, pools, limits and load, in the format of the configuration file.
    #[arg(long, value_name = "FILE")]
    pub(super) sla: Option<PathBuf>,
    /// Promised time to first token, such as 500ms.
    #[arg(long, value_name = "DURATION", value_parser = positive_millis, allow_hyphen_values = true)]
    pub(super) ttft: Option<Millis>,
    /// Promised inter-token latency (mean of a request), such as 50ms.
    #[arg(long, value_name = "DURATION", value_parser = positive_millis, allow_hyphen_values = true)]
    pub(super) itl: Option<Millis>,
    /// Share of requests, in percent, that must be within both.
    #[arg(long, value_name = "PERCENT", value_parser = percentile, allow_hyphen_values = true)]
    pub(super) percentile: Option<Percentile>,
    /// Profiling data: a directory, a file, or the name of a shipped profile.
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub(super) profile: Option<String>,
    /// One pool of aggregated engines instead of prefill and decode.
    #[arg(long)]
    pub(super) aggregated: bool,
    /// GPUs that all pools together may take. A simulated cluster has no more than these: replicas
    /// ordered beyond them wait, at no cost, until others are gone.
    #[arg(long, value_name = "GPUS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_gpu_budget: Option<u32>,
}

impl Promise {
    /// The files that it is read from.
    pub(super) fn files(&self) -> Vec<Input> {
        let sla = self.sla.iter().map(|path| (path.clone(), "the --sla file"));
        sla.chain(self.profile.iter().flat_map(|name| files::tables(name))).collect()
    }
}

/// A duration above zero.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    let d = parse_duration(text).map_err(|e| e.to_string())?;
    if d.is_zero() { Err("expected more than zero".to_owned()) } else { Ok(d) }
}

/// A duration above zero, in milliseconds.
pub(super) fn positive_millis(text: &str) -> Result<Millis, String> {
    Ok(Millis::clamped(millis_of(positive(text)?)))
}

pub(super) fn percentile(text: &str) -> Result<Percentile, String> {
    text.parse().ok().and_then(Percentile::new).ok_or_else(|| {
        "expected a percentile between 0 and 100 (in percent, 100 excluded)".to_owned()
    })
}

/// One pool with everything that sizing needs.
pub(super) struct PoolSetup {
    pub(super) role: Role,
    pub(super) pool: Pool,
    pub(super) engine: EngineProfile,
    pub(super) gpus: Gpus,
}

impl PoolSetup {
    pub(super) fn size_pool(&self) -> SizePool<'_> {
        SizePool {
            role: self.role,
            engine: &self.engine,
            limits: self.pool.limits,
            gpus_per_replica: self.gpus,
            min: self.pool.min,
            max: self.pool.max,
            correction: Correction::default(),
        }
    }
}

/// Promise, pools, limits.
pub(super) struct Setup {
    pub(super) sla: Sla,
    pub(super) pools: Vec<PoolSetup>,
    pub(super) budget: Option<Gpus>,
}

impl Promise {
    /// The configuration that the flags stand on: the file, or the defaults.
    pub(super) fn config(&self) -> Result<Config, CliError> {
        match &self.sla {
            Some(path) => files::config(path),
            None => crate::spec::load("", "defaults", &files::defaults()?)
                .map_err(|e| CliError::new(Exit::BadInput, e)),
        }
    }

    /// The flags over `config`.
    pub(super) fn setup(&self, config: &Config) -> Result<Setup, CliError> {
        let mut sla = config.sla;
        sla.ttft = self.ttft.unwrap_or(sla.ttft);
        sla.itl = self.itl.unwrap_or(sla.itl);
        sla.percentile = self.percentile.unwrap_or(sla.percentile);
        let mut wanted = config.pools.clone();
        if self.aggregated && wanted.is_empty() {
            wanted = [(Role::Aggregated, Pool::default())].into();
        } else if self.aggregated && !wanted.contains_key(&Role::Aggregated) {
            return Err(CliError::bad_input(
                "--aggregated is one pool, and the file has settings for prefill and decode only",
            )
            .hint("give the file `pools.aggregated` instead of them, or leave out --aggregated"));
        } else if wanted.is_empty() {
            wanted = [(Role::Prefill, Pool::default()), (Role::Decode, Pool::default())].into();
        }
        let pools = wanted
            .into_iter()
            .map(|(role, pool)| {
                let engine = match (&self.profile, &pool.profile) {
                    (Some(name), _) => files::profile(name)?,
                    (None, Some(name)) => files::profile_of(role, name)?,
                    (None, None) => files::profile(library::DEFAULT)?,
                };
                let gpus = pool.gpus(engine.gpus_per_engine());
                Ok(PoolSetup { role, pool, engine, gpus })
            })
            .collect::<Result<Vec<_>, CliError>>()?;
        let budget = self.max_gpu_budget.map(Gpus::new).or(config.budget);
        needs::check_budget(budget, pools.iter().map(|p| (p.pool.min, p.gpus)))?;
        Ok(Setup { sla, pools, budget })
    }
}
