//! The flags of a simulated fleet: what is served, by what, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::exit::CliError;
use super::promise::{PoolSetup, Promise, Setup, positive};
use super::traces::Trace;
use super::{fault, files};
use crate::backtest::{Case, PoolSetting, Setting};
use crate::plan::size;
use crate::sim::{EngineTruth, Fault, Resume, Router, SimConfig, SimPool, Startup, TruthOptions};
use crate::spec::{Config, parse_duration};
use crate::units::{Gpus, Replicas, Role};

/// A fleet to simulate.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Fleet {
    #[command(flatten)]
    pub(super) promise: Promise,
    /// Start-up time of a replica; what the --sla file says of its pools without it, else 60s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) startup: Option<Duration>,
    /// Coefficient of variation of the start-up time (log-normal).
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, value_parser = factor_or_zero, hide_short_help = true)]
    startup_cv: f64,
    /// Probability that a start fails and begins again.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, hide_short_help = true)]
    startup_failing: f64,
    /// Probability that a replica never becomes ready.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, hide_short_help = true)]
    startup_stuck: f64,
    /// Replicas at the start, by pool: 2,2 is prefill and decode. Sized for the first minute of the
    /// trace without it.
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(super) initial: Vec<u32>,
    /// Seed of every draw: the same seed gives the same result to the last bit.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) seed: u64,
    /// How requests find a worker.
    #[arg(long, value_name = "ROUTER", default_value = "round-robin", value_parser = router)]
    router: Router,
    /// Time to hand a KV cache from prefill to decode.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, hide_short_help = true)]
    kv_transfer: Duration,
    /// A drained replica is killed after this; it may finish what it has without it.
    #[arg(long, value_name = "DURATION", value_parser = duration, hide_short_help = true)]
    drain_limit: Option<Duration>,
    /// Prefill really takes this many times what the profile says.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor, hide_short_help = true)]
    prefill_factor: f64,
    /// Decode really takes this many times what the profile says.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor, hide_short_help = true)]
    decode_factor: f64,
    /// Part of the quadratic time of a long prompt that is attention to itself.
    #[arg(long, value_name = "SHARE", value_parser = factor_or_zero, hide_short_help = true)]
    attention_share: Option<f64>,
    /// KV tokens of one engine, where it is to differ from the profile's.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true)]
    max_kv_tokens: Option<u64>,
    /// A sequence put back for want of KV memory goes on after all that wait, as in the rival's
    /// simulator, and not before them, as in vLLM.
    #[arg(long, hide_short_help = true)]
    resume_last: bool,
    /// Between two scrapes of Prometheus.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive, hide_short_help = true)]
    scrape_interval: Duration,
    /// From a scrape until a query sees it.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, hide_short_help = true)]
    scrape_delay: Duration,
    /// Something that goes wrong, such as metrics-gap:10m..15m; more than once for more.
    #[arg(long = "fault", value_name = "FAULT", value_parser = fault::parse, long_help = fault::HELP)]
    faults: Vec<Fault>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

fn number(text: &str, fits: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|x| fits(*x)).ok_or_else(|| format!("expected {expected}"))
}

fn factor(text: &str) -> Result<f64, String> {
    number(text, |x| (1e-3..=1e3).contains(&x), "a factor from 0.001 to 1000")
}

fn factor_or_zero(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=10.0).contains(&x), "a number from 0 to 10")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..1.0).contains(&x), "a share from 0 to below 1")
}

fn router(text: &str) -> Result<Router, String> {
    Router::NAMES.iter().find(|(name, _)| *name == text).map(|(_, router)| *router).ok_or_else(
        || {
            let known: Vec<&str> = Router::NAMES.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}", known.join(", "))
        },
    )
}

impl Fleet {
    /// The case that the flags describe, for a trace.
    pub(super) fn case(&self, trace: &Trace) -> Result<Case, CliError> {
        let config = self.promise.config()?;
        let setup = self.promise.setup(&config)?;
        for role in self.faults.iter().filter_map(Fault::role) {
            if !setup.pools.iter().any(|pool| pool.role == role) {
                let pools: Vec<String> = setup.pools.iter().map(|p| p.role.to_string()).collect();
                return Err(CliError::bad_input(format!(
                    "--fault: there is no {role} pool; there is {}",
                    pools.join(" and ")
                )));
            }
        }
        trace.refuse_empty()?;
        let initial = self.initial(&setup, trace)?;
        let pools = setup
            .pools
            .iter()
            .map(|pool| {
                Ok((
                    pool.role,
                    self.pool(pool, initial[&pool.role], self.startup(&config, pool.role))?,
                ))
            })
            .collect::<Result<_, CliError>>()?;
        let settings = setup
            .pools
            .iter()
            .map(|p| {
                let setting = PoolSetting {
                    engine: p.engine.clone(),
                    measured: true,
                    limits: p.pool.limits,
                    gpus: p.gpus,
                    min: p.pool.min,
                    max: p.pool.max,
                    startup: self.startup(&config, p.role),
                    initial: Replicas::new(initial[&p.role]),
                };
                (p.role, setting)
            })
            .collect();
        let sim = SimConfig {
            gpus: setup.budget.map(Gpus::get),
            router: self.router,
            kv_transfer: self.kv_transfer,
            scrape_interval: self.scrape_interval,
            scrape_delay: self.scrape_delay,
            seed: self.seed,
            faults: self.faults.clone(),
            ..SimConfig::new(pools)
        }
        .keeping(config.intervals.window);
        let setting = Setting {
            sla: setup.sla,
            pools: settings,
            budget: setup.budget,
            intervals: config.intervals,
            predictor: config.forecast.predictor,
        };
        Ok(Case { setting, sim })
    }

    /// The start-up time of a pool: as given, else as its file says, where one has the pool.
    fn startup(&self, config: &Config, role: Role) -> Duration {
        /// Below `Pool::STARTUP`, which is that of a 32B model: the usual profile is of an 8B one.
        const USUAL: Duration = Duration::from_secs(60);
        self.startup.or_else(|| Some(config.pools.get(&role)?.startup)).unwrap_or(USUAL)
    }

    fn pool(&self, pool: &PoolSetup, initial: u32, startup: Duration) -> Result<SimPool, CliError> {
        let options = TruthOptions {
            prefill_factor: self.prefill_factor,
            decode_factor: self.decode_factor,
            max_kv_tokens: self.max_kv_tokens,
            resume: if self.resume_last { Resume::Last } else { Resume::First },
            ..TruthOptions::default()
        };
        let options = match self.attention_share {
            Some(attention_share) => TruthOptions { attention_share, ..options },
            None => options,
        };
        let named = self.promise.profile.as_ref().or(pool.pool.profile.as_ref());
        let dense = named.map(|name| files::dense_profile(name)).transpose()?.flatten();
        let engine = dense.as_ref().unwrap_or(&pool.engine);
        let truth = EngineTruth::new(engine, pool.pool.limits, options);
        Ok(SimPool {
            truth: Arc::new(truth),
            gpus: pool.gpus.get(),
            initial,
            startup: Startup {
                mean: startup,
                cv: self.startup_cv,
                failing: self.startup_failing,
                stuck: self.startup_stuck,
            },
            drain_limit: self.drain_limit,
        })
    }

    /// The replicas at the start: as given, else what the first minute of the trace asks for.
    fn initial(&self, setup: &Setup, trace: &Trace) -> Result<BTreeMap<Role, u32>, CliError> {
        let roles = setup.pools.iter().map(|p| p.role);
        if !self.initial.is_empty() {
            if self.initial.len() != setup.pools.len() {
                let names: Vec<String> = roles.map(|role| role.to_string()).collect();
                return Err(CliError::bad_input(format!(
                    "--initial: expected one count for each pool ({}), found {}",
                    names.join(","),
                    self.initial.len()
                )));
            }
            return Ok(roles.zip(self.initial.iter().copied()).collect());
        }
        let demand = trace.first_demand(Duration::from_secs(60))?;
        let sized = demand.map(|demand| {
            let pools: Vec<_> = setup.pools.iter().map(PoolSetup::size_pool).collect();
            size(&pools, &setup.sla, &demand, setup.budget)
        });
        let counts = setup.pools.iter().enumerate().map(|(i, pool)| {
            let sized = sized.as_ref().map_or(pool.pool.min, |s| s.pools[i].replicas);
            (pool.role, sized.max(pool.pool.min).get().max(1))
        });
        Ok(counts.collect())
    }

    /// What of the promise is planned for and not scored, in words; `None` where nothing is.
    pub(super) fn not_scored(&self) -> Result<Option<String>, CliError> {
        let sla = self.promise.config()?.sla;
        let percentile = self.promise.percentile.unwrap_or(sla.percentile);
        let own = [("TTFT", sla.ttft_percentile), ("ITL", sla.itl_percentile)];
        let own: Vec<String> = own
            .iter()
            .filter_map(|(name, share)| {
                Some(format!("{} % of {name} alone", share.as_ref()?.get()))
            })
            .collect();
        Ok((!own.is_empty()).then(|| {
            format!(
                "note: {} is planned for and not scored: a request is good within both limits, and {} % \
                 are to be",
                own.join(" and "),
                percentile.get()
            )
        }))
    }

    /// The promise in words.
    pub(super) fn described(case: &Case) -> String {
        let sla = &case.setting.sla;
        format!(
            "{} % of requests with TTFT within {} and ITL within {}",
            sla.percentile.get(),
            sla.ttft,
            sla.itl
        )
    }
}
