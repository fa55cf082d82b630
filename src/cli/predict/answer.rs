//! The prediction, and its form for machines.

use anyhow::Context as _;
use serde::Serialize;

use super::Compat;
use super::load::{Load, Loads};
use crate::cli::exit::{CliError, Exit};
use crate::cli::promise::{PoolSetup, Setup};
use crate::forecast::Demand;
use crate::plan::compat::{Corrections, Dynamo09Input, size_dynamo_09};
use crate::plan::{SizePool, Sizing, Verdict, assess, size};
use crate::profile::compat::{DynamoDecode, DynamoPrefill};
use crate::units::{Gpus, Millis, Replicas, Role, seconds_of};

/// One pool, for machines.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PoolAnswer {
    pub(super) role: Role,
    pub(super) replicas: u32,
    pub(super) gpus: u32,
    pub(super) utilisation: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttft_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) itl_ms: Option<f64>,
    /// Why this many, for people.
    pub(super) why: String,
}

/// The fleet for one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<u64>,
    pub(super) feasible: bool,
    pub(super) total_gpus: u32,
    /// Share of the requests within both targets, in percent.
    pub(super) attainment: f64,
    pub(super) pools: Vec<PoolAnswer>,
    pub(super) reason: String,
    /// Whether the profile was asked outside its data.
    pub(super) extrapolated: bool,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Prediction {
    /// The load, or the row of a trace that takes the most GPUs.
    #[serde(flatten)]
    pub(super) peak: Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) intervals: Option<Vec<Answer>>,
}

impl Prediction {
    pub(super) fn of(
        setup: &Setup,
        compat: Option<Compat>,
        loads: &Loads,
    ) -> Result<Self, CliError> {
        let sizer = Sizer::new(setup, compat)?;
        let answers: Vec<Answer> =
            loads.rows.iter().map(|load| answer(&sizer.size(load.demand.as_ref()), load)).collect();
        // A row that cannot be served outranks any that can; of equals the busiest.
        let peak = answers
            .iter()
            .rev()
            .max_by_key(|a| (!a.feasible, a.total_gpus, a.requests))
            .cloned()
            .context("the load has no row")?;
        let peak = Answer { start_s: None, requests: None, ..peak };
        Ok(Self { peak, intervals: loads.is_trace.then_some(answers) })
    }

    pub(super) fn json(&self) -> Result<String, CliError> {
        let text = serde_json::to_string(self).context("cannot write the answer as JSON")?;
        Ok(text + "\n")
    }

    pub(super) const fn feasible(&self) -> bool {
        self.peak.feasible
    }

    pub(super) fn reason(&self) -> &str {
        &self.peak.reason
    }
}

/// Sizes by the rules that were asked for.
struct Sizer<'a> {
    setup: &'a Setup,
    pools: Vec<SizePool<'a>>,
    dynamo: Option<(DynamoPrefill, DynamoDecode)>,
}

impl<'a> Sizer<'a> {
    fn new(setup: &'a Setup, compat: Option<Compat>) -> Result<Self, CliError> {
        let pools: Vec<SizePool<'a>> = setup.pools.iter().map(PoolSetup::size_pool).collect();
        let dynamo = match (compat, &pools[..]) {
            (None, _) => None,
            (Some(Compat::Dynamo09), [prefill, decode]) => {
                let bad = |e| CliError::new(Exit::BadInput, e);
                let prefill = DynamoPrefill::new(prefill.engine).map_err(bad)?;
                Some((prefill, DynamoDecode::new(decode.engine).map_err(bad)?))
            }
            (Some(Compat::Dynamo09), _) => {
                return Err(CliError::bad_input(
                    "--compat dynamo-0.9 sizes a prefill and a decode pool, and no others",
                )
                .hint("leave out --aggregated, and give the file both pools or none"));
            }
        };
        Ok(Self { setup, pools, dynamo })
    }

    fn size(&self, demand: Option<&Demand>) -> Sizing {
        let Setup { sla, budget, .. } = self.setup;
        let Some(demand) = demand else {
            let idle = Demand::steady(
                crate::units::PerSecond::ZERO,
                crate::units::Tokens::clamped(1.0),
                crate::units::Tokens::clamped(1.0),
            );
            return size(&self.pools, sla, &idle, *budget);
        };
        let Some((prefill, decode)) = &self.dynamo else {
            return size(&self.pools, sla, demand, *budget);
        };
        let [p, d] = &self.pools[..] else { return size(&self.pools, sla, demand, *budget) };
        // The rule divides requests by the interval at once, so that one second will do.
        let (num_p, num_d) = size_dynamo_09(&Dynamo09Input {
            prefill,
            decode,
            requests: demand.rate.point,
            isl: demand.isl.mean,
            osl: demand.osl.mean,
            interval_s: 1.0,
            itl_target: sla.itl,
            corrections: Corrections::NONE,
            gpus_per_prefill: p.gpus_per_replica,
            gpus_per_decode: d.gpus_per_replica,
            min_endpoint: p.min.min(d.min),
            gpu_budget: budget.unwrap_or(Gpus::new(u32::MAX)),
        });
        assess(&self.pools, &[num_p, num_d], sla, demand)
    }
}

fn answer(sizing: &Sizing, load: &Load) -> Answer {
    let ms = |m: Option<Millis>| m.map(|m| rounded(m.get()));
    let pools = sizing
        .pools
        .iter()
        .map(|p| PoolAnswer {
            role: p.role,
            replicas: Replicas::get(p.replicas),
            gpus: p.gpus.get(),
            utilisation: rounded(p.utilisation),
            ttft_ms: ms(p.ttft),
            itl_ms: ms(p.itl),
            why: p.bound.to_string(),
        })
        .collect();
    Answer {
        start_s: load.start.map(|t| seconds_of(t.since(crate::units::Timestamp::default()))),
        requests: load.requests,
        feasible: sizing.feasible(),
        total_gpus: sizing.total_gpus.get(),
        attainment: rounded(sizing.good.get() * 100.0),
        pools,
        reason: match load.demand {
            Some(_) => reason(sizing),
            None => "no load: the minimum of each pool".to_owned(),
        },
        // The lengths of an idle load are made up.
        extrapolated: sizing.extrapolated && load.demand.is_some(),
    }
}

/// To a thousandth: more digits would claim more than the model knows.
fn rounded(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

/// What decided each pool.
pub(in crate::cli) fn bounds(sizing: &Sizing) -> String {
    let parts: Vec<String> =
        sizing.pools.iter().map(|p| format!("{} by {}", p.role, p.bound)).collect();
    parts.join(", ")
}

/// What became of the promise, in words.
pub(in crate::cli) fn reason(sizing: &Sizing) -> String {
    match sizing.verdict {
        Verdict::Kept => format!("the fewest GPUs that keep the promise: {}", bounds(sizing)),
        Verdict::CannotBeMet { latency, best, target } => format!(
            "{latency} of {target:.1} cannot be met by adding replicas: {best:.1} is the best that \
             an engine does alone"
        ),
        Verdict::DoesNotFit { context, max_kv_tokens } => format!(
            "a request of {context:.0} tokens does not fit the KV cache of an engine \
             ({max_kv_tokens:.0} tokens)"
        ),
        Verdict::LimitsTooTight { needed } if needed.get() == u32::MAX => {
            "no number of replicas within the search limit keeps the promise".to_owned()
        }
        Verdict::LimitsTooTight { needed } => format!(
            "the promise takes {needed} GPUs, more than the limits allow: this fleet makes the \
             fewest requests late"
        ),
        Verdict::NotKept => "this fleet does not keep the promise".to_owned(),
    }
}
