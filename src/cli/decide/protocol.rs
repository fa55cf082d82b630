//! The lines of the protocol: what comes in, read and checked, and what goes out.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::fields::{Fields, Wrong, object};
use crate::observe::Observation;
use crate::plan::{Decision, Report};
use crate::spec::{EngineLimits, Pool, Sla};
use crate::units::{Gpus, Millis, Percentile, Replicas, Role, Tokens, round_to_u32};

/// The most of anything that is counted one by one. Ten times the largest fleet there is; beyond it
/// a count is a slip.
pub(super) const MOST_COUNT: f64 = 1e6;

/// A line that came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// The session begins, or begins anew.
    Init(Box<Init>),
    /// What was seen.
    Tick(Box<Tick>),
}

/// What is promised, and what may serve it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Init {
    pub(super) sla: Sla,
    pub(super) budget: Option<Gpus>,
    pub(super) startup: Duration,
    pub(super) limits: EngineLimits,
    /// Tokens of prompt and output that a request may have at most; `None` was not said.
    pub(super) context_length: Option<Tokens>,
    /// The points of the profile with the tokens that the KV cache holds; `None` is to be found
    /// elsewhere.
    pub(super) profile: Option<(Value, Tokens)>,
    /// Prefill and decode, or aggregated.
    pub(super) pools: Vec<InitPool>,
}

/// One pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitPool {
    pub(super) role: Role,
    pub(super) gpus: Gpus,
    pub(super) min: Replicas,
    pub(super) max: Option<Replicas>,
    pub(super) initial: Replicas,
}

/// What was seen, as it was sent: `None` is unknown, and no number has been judged yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tick {
    pub(super) now_ms: Option<f64>,
    pub(super) traffic: Figures,
    pub(super) pools: Vec<(Role, Counts)>,
    pub(super) snapshots: Vec<Snapshot>,
}

/// The traffic since the tick before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) duration_s: Option<f64>,
    pub(super) num_req: Option<f64>,
    pub(super) avg_isl: Option<f64>,
    pub(super) avg_osl: Option<f64>,
    pub(super) shape_count: Option<f64>,
    pub(super) avg_ttft_ms: Option<f64>,
    pub(super) ttft_count: Option<f64>,
    pub(super) avg_itl_ms: Option<f64>,
    pub(super) itl_count: Option<f64>,
}

/// The replicas of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) active: Option<f64>,
    pub(super) starting: Option<f64>,
    pub(super) draining: Option<f64>,
    pub(super) non_draining: Option<f64>,
}

/// What one engine said after its last forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) wall_time: Option<f64>,
    pub(super) queued_prefill: Option<f64>,
    pub(super) queued_decode: Option<f64>,
    /// Of an engine that decodes: tokens that its running sequences hold.
    pub(super) decode_kv_tokens: Option<f64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// When the first tick is wanted.
    Ready {
        /// Milliseconds, by the clock of the ticks.
        initial_tick_ms: u64,
    },
    /// What each pool is to have.
    Decided(Box<Decided>),
    /// Why a line cannot be read.
    Failed {
        /// What, where, and what was expected.
        error: String,
    },
}

/// The answer to a tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Decided {
    pub(super) target_prefill: Option<u32>,
    pub(super) target_decode: Option<u32>,
    pub(super) next_tick_ms: i64,
    pub(super) decision_ms: f64,
    pub(super) reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<Explained>,
}

/// Why, at length: the parts of a decision record that a session has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Explained {
    pub(super) observation: Observation,
    pub(super) decision: Decision,
    pub(super) report: Report,
    /// Rules that the referee found broken.
    pub(super) notes: Vec<String>,
}

/// Reads a line; `roles` are the pools of the session, none before it has begun.
pub(super) fn read(line: &str, roles: &[Role]) -> Result<Message, Wrong> {
    let map = object(line)?;
    let fields = Fields::new(&map);
    let expected = "\"init\" or \"tick\"";
    match fields.text("type", expected)? {
        "init" => Ok(Message::Init(Box::new(read_init(&fields)?))),
        "tick" if roles.is_empty() => {
            Err(fields.wrong("type", "a tick before any init", "\"init\" first"))
        }
        "tick" => Ok(Message::Tick(Box::new(read_tick(&fields, roles)?))),
        other => Err(fields.wrong("type", format!("{other:?}"), expected)),
    }
}

fn read_init(fields: &Fields<'_>) -> Result<Init, Wrong> {
    let expected = "\"disagg\" or \"agg\"";
    let is_aggregated = match fields.text("mode", expected)? {
        "disagg" => false,
        "agg" => true,
        other => return Err(fields.wrong("mode", format!("{other:?}"), expected)),
    };
    let latency = |name| {
        let expected = "milliseconds above 0 and at most 1e9";
        fields.needed(name, expected)?;
        let legal = |x: &f64| *x > 0.0 && *x <= 1e9;
        Ok(Millis::clamped(known(fields, name, legal, expected)?))
    };
    let sla = Sla {
        ttft: latency("ttft_ms")?,
        itl: latency("itl_ms")?,
        percentile: percentile(fields)?,
        ttft_percentile: None,
        itl_percentile: None,
    };
    let (limits, context_length, max_kv_tokens) = read_caps(fields)?;
    let points = fields.needed("profile", "an object with prefill and decode, or null")?;
    let profile = if points.is_null() {
        None
    } else {
        let expected = "tokens above 0 where there is a profile";
        let kv =
            max_kv_tokens.ok_or_else(|| Wrong::field("caps.max_kv_tokens", "null", expected))?;
        Some((points.clone(), kv))
    };
    let init = Init {
        sla,
        budget: budget(fields)?,
        startup: startup(fields)?,
        limits,
        context_length,
        profile,
        pools: read_pools(fields, is_aggregated)?,
    };
    let each = init.pools.iter().map(|p| p.min.gpus(p.gpus));
    let least = each.fold(Gpus::new(0), Gpus::plus);
    match init.budget {
        Some(budget) if budget < least => {
            let expected = format!("at least the {least} GPUs of the minimum replicas, or -1");
            Err(fields.wrong("gpu_budget", budget.to_string(), &expected))
        }
        Some(_) | None => Ok(init),
    }
}

fn read_pools(fields: &Fields<'_>, is_aggregated: bool) -> Result<Vec<InitPool>, Wrong> {
    let names: &[(Role, &str)] = if is_aggregated {
        &[(Role::Aggregated, "decode")]
    } else {
        &[(Role::Prefill, "prefill"), (Role::Decode, "decode")]
    };
    fields.needed("gpu_per_engine", GPUS)?;
    let of_all = gpus(fields, "gpu_per_engine")?;
    names.iter().map(|(role, name)| read_pool(fields, *role, name, of_all)).collect()
}

fn read_pool(
    fields: &Fields<'_>,
    role: Role,
    name: &str,
    gpus_of_all: Option<Gpus>,
) -> Result<InitPool, Wrong> {
    let Some(gpus) = gpus(fields, &format!("{name}_gpu_per_engine"))?.or(gpus_of_all) else {
        return Err(fields.wrong("gpu_per_engine", "null", GPUS));
    };
    let replicas = |name: String| -> Result<Option<Replicas>, Wrong> {
        let found = count(fields, &name, 0.0, "a whole number of replicas")?;
        Ok(found.map(Replicas::new))
    };
    let max = replicas(format!("max_{name}"))?;
    let min_name = format!("min_{name}");
    let min = replicas(min_name.clone())?.unwrap_or(Pool::default().min);
    if let Some(max) = max.filter(|max| *max < min) {
        let expected = format!("at most max_{name}, which is {max} (min is 1 where not given)");
        return Err(fields.wrong(&min_name, min.to_string(), &expected));
    }
    let initial = replicas(format!("initial_{name}"))?.unwrap_or_default();
    Ok(InitPool { role, gpus, min, max, initial })
}

const GPUS: &str = "a whole number of GPUs of at least 1";

fn gpus(fields: &Fields<'_>, name: &str) -> Result<Option<Gpus>, Wrong> {
    Ok(count(fields, name, 1.0, GPUS)?.map(Gpus::new))
}

fn budget(fields: &Fields<'_>) -> Result<Option<Gpus>, Wrong> {
    let expected = "a whole number of GPUs, or -1 for none";
    fields.needed("gpu_budget", expected)?;
    let legal = |x: &f64| *x == -1.0 || is_count(*x);
    let found = known(fields, "gpu_budget", legal, expected)?;
    Ok((found >= 0.0).then(|| Gpus::new(round_to_u32(found))))
}

fn startup(fields: &Fields<'_>) -> Result<Duration, Wrong> {
    const MOST_S: f64 = 1e7;
    let expected = "seconds from 0 to 1e7, or null where unknown";
    fields.needed("startup_s", expected)?;
    Ok(match checked(fields, "startup_s", |x| (0.0..=MOST_S).contains(x), expected)? {
        Some(seconds) => Duration::from_secs_f64(seconds),
        None => Pool::STARTUP,
    })
}

fn percentile(fields: &Fields<'_>) -> Result<Percentile, Wrong> {
    let expected = "percent above 0 and below 100";
    let found = checked(fields, "percentile", |x| Percentile::new(*x).is_some(), expected)?;
    Ok(found.and_then(Percentile::new).unwrap_or_default())
}

type Caps = (EngineLimits, Option<Tokens>, Option<Tokens>);

/// What one engine may take on, the longest request, and the tokens of its KV cache.
fn read_caps(fields: &Fields<'_>) -> Result<Caps, Wrong> {
    let usual = EngineLimits::default();
    let Some(caps) = fields.object("caps")? else { return Ok((usual, None, None)) };
    let most = |name| {
        let expected = "a whole number of at least 1, or null where unknown";
        caps.needed(name, expected)?;
        count(&caps, name, 1.0, expected)
    };
    let tokens = |name| {
        let legal = |x: &f64| (1.0..=1e9).contains(x);
        Ok(checked(&caps, name, legal, "1 to 1e9 tokens")?.and_then(Tokens::new))
    };
    let limits = EngineLimits {
        max_num_batched_tokens: most("max_num_batched_tokens")?
            .unwrap_or(usual.max_num_batched_tokens),
        max_num_seqs: most("max_num_seqs")?.unwrap_or(usual.max_num_seqs),
        context_length: count(&caps, "context_length", 1.0, "1 to 1e9 tokens")?,
    };
    caps.needed("max_kv_tokens", "1 to 1e9 tokens, or null where unknown")?;
    Ok((limits, tokens("context_length")?, tokens("max_kv_tokens")?))
}

fn read_tick(fields: &Fields<'_>, roles: &[Role]) -> Result<Tick, Wrong> {
    let traffic = match fields.object("traffic")? {
        None => Figures::default(),
        Some(t) => Figures {
            duration_s: t.number("duration_s")?,
            num_req: t.number("num_req")?,
            avg_isl: t.number("avg_isl")?,
            avg_osl: t.number("avg_osl")?,
            shape_count: t.number("shape_count")?,
            avg_ttft_ms: t.number("avg_ttft_ms")?,
            ttft_count: t.number("ttft_count")?,
            avg_itl_ms: t.number("avg_itl_ms")?,
            itl_count: t.number("itl_count")?,
        },
    };
    let counts = |role: &Role| {
        let name = match role {
            Role::Prefill => "prefill",
            Role::Decode | Role::Aggregated => "decode",
        };
        let one = |state| fields.needed_number(&format!("{state}_{name}_count"));
        let counts = Counts {
            active: one("active")?,
            starting: one("starting")?,
            draining: one("draining")?,
            non_draining: one("non_draining")?,
        };
        Ok((*role, counts))
    };
    let mut snapshots = Vec::new();
    for list in ["prefill_fpm_snapshots", "decode_fpm_snapshots"] {
        for s in fields.objects(list)? {
            snapshots.push(Snapshot {
                wall_time: s.number("wall_time")?,
                queued_prefill: s.number("num_queued_prefill")?,
                queued_decode: s.number("num_queued_decode")?,
                decode_kv_tokens: match list {
                    "decode_fpm_snapshots" => s.number("sum_decode_kv_tokens")?,
                    _ => None,
                },
            });
        }
    }
    Ok(Tick {
        now_ms: fields.needed_number("now_ms")?,
        traffic,
        pools: roles.iter().map(counts).collect::<Result<_, Wrong>>()?,
        snapshots,
    })
}

/// Whether it is a whole number of things.
pub(super) fn is_count(x: f64) -> bool {
    (0.0..=MOST_COUNT).contains(&x) && x.fract() == 0.0
}

fn count(
    fields: &Fields<'_>,
    name: &str,
    least: f64,
    expected: &str,
) -> Result<Option<u32>, Wrong> {
    let legal = |x: &f64| is_count(*x) && *x >= least;
    Ok(checked(fields, name, legal, expected)?.map(round_to_u32))
}

/// A number in its range; `None` where it is absent or null.
fn checked(
    fields: &Fields<'_>,
    name: &str,
    legal: impl Fn(&f64) -> bool,
    expected: &str,
) -> Result<Option<f64>, Wrong> {
    match fields.number(name)? {
        Some(x) if !legal(&x) => Err(fields.wrong(name, format!("{x:?}"), expected)),
        found => Ok(found),
    }
}

/// A number in its range that must be known.
fn known(
    fields: &Fields<'_>,
    name: &str,
    legal: impl Fn(&f64) -> bool,
    expected: &str,
) -> Result<f64, Wrong> {
    checked(fields, name, legal, expected)?.ok_or_else(|| fields.wrong(name, "null", expected))
}
