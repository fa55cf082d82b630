//! One tick: look, plan, judge, act, tell.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use crate::api::names;
use crate::check::{self, PoolLimits};
use crate::controllers::client::Call;
use crate::controllers::clock;
use crate::controllers::inventory::{self, DgdInventory, InventoryError};
use crate::controllers::rights;
use crate::controllers::scale::{SCALE, ScaleWriter};
use crate::dashboard::{DeploymentMetrics, ForecastFigures, Metrics};
use crate::plan::{Memory, Outcome, PlanInput, PoolInput, plan};
use crate::profile::EngineProfile;
use crate::prometheus::Client as PrometheusClient;
use crate::record::{Record, VERSION};
use crate::spec::{Config, DgdTarget, Mode, Pool};
use crate::units::{Gpus, Millis, PerSecond, Role, Timestamp};

use super::act::{Acted, act};
use super::look::{Look, Looker, read_inventory};
use super::sink::Sink;
use super::{CALL_DEADLINE, RunError};

/// The planner of one deployment.
pub(super) struct Planner {
    config: Config,
    target: DgdTarget,
    engines: BTreeMap<Role, EngineProfile>,
    looker: Looker,
    writer: ScaleWriter,
    kube: Client,
    memory: Memory,
    metrics: Metrics,
    figures: DeploymentMetrics,
    sink: Sink,
    last_tick: Option<Timestamp>,
}

impl Planner {
    pub(super) fn new(
        config: Config,
        target: DgdTarget,
        engines: BTreeMap<Role, EngineProfile>,
        kube: Client,
        prometheus: PrometheusClient,
        metrics: Metrics,
        sink: Sink,
    ) -> Self {
        let figures = metrics.deployment(format!("{}/{}", target.namespace, target.dgd));
        figures.set_targets(Some(config.sla.ttft), Some(config.sla.itl));
        Self {
            looker: Looker::new(&config, kube.clone(), prometheus),
            writer: ScaleWriter::new(kube.clone(), CALL_DEADLINE),
            config,
            target,
            engines,
            kube,
            memory: Memory::default(),
            metrics,
            figures,
            sink,
            last_tick: None,
        }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.config.intervals.adjustment
    }

    /// Asks for the rights that the first write would need. An API server that does not answer is
    /// no obstacle: the loop says so at every tick until it does.
    pub(super) async fn may_start(&self) -> Result<(), RunError> {
        let forbidden = |what: String| RunError::Forbidden { what };
        let now = clock::now();
        let found = match read_inventory(&self.kube, &self.target, now, CALL_DEADLINE).await {
            Ok(found) => found,
            Err(InventoryError::Dgd(error)) if error.is_forbidden() => {
                return Err(forbidden(error.to_string()));
            }
            Err(error) => {
                tracing::warn!(%error, "the API server is not ready for us yet");
                return Ok(());
            }
        };
        if self.config.mode == Mode::Advise {
            return Ok(());
        }
        let DgdTarget { namespace, .. } = &self.target;
        let may = |resource| Call::all("patch", names::GROUP, resource, Some(namespace));
        let wanted = [
            (self.has_pool(&found, true), may(SCALE)),
            (self.has_pool(&found, false), may(names::DGD_PLURAL)),
        ];
        for (needed, call) in wanted {
            if !needed {
                continue;
            }
            match rights::allowed(&self.kube, &call, CALL_DEADLINE).await {
                Ok(true) => {}
                Ok(false) => {
                    return Err(forbidden(format!(
                        "{call}: not allowed; add to the Role of namespace {namespace} the rule {}",
                        call.rbac_rule()
                    )));
                }
                Err(error) => tracing::warn!(%error, "cannot ask for our rights"),
            }
        }
        Ok(())
    }

    /// Whether a pool is a service with (or without) an adapter.
    fn has_pool(&self, found: &DgdInventory, adapter_enabled: bool) -> bool {
        self.config.pools.iter().any(|(role, pool)| {
            let name = inventory::resolve(&found.dgd, *role, pool.service.as_deref()).ok();
            name.and_then(|n| found.services.get(n))
                .is_some_and(|s| s.adapter_enabled == adapter_enabled)
        })
    }

    /// One tick.
    pub(super) async fn tick(&mut self, now: Timestamp) {
        let Look { observation, services, trouble } =
            self.looker.look(now, &self.config, &self.target).await;
        for (source, kind, text) in &trouble {
            self.metrics.error(source, kind);
            tracing::warn!(source, kind, "{text}");
        }
        let began = Instant::now();
        let input = PlanInput {
            now,
            sla: self.config.sla,
            pools: self.pools(&observation),
            budget: self.config.budget,
            intervals: self.config.intervals,
            observation,
        };
        // A fault of ours must not take the fleet down with it: it counts, and the counts stay.
        let outcome = catch_unwind(AssertUnwindSafe(|| plan(&input, &self.memory)));
        let took = began.elapsed();
        let Ok(Outcome { decision, report, memory }) = outcome else {
            self.metrics.error("planner", "panic");
            self.figures.tick("panic", took);
            tracing::error!("the decision panicked; nothing is changed");
            return;
        };
        let limits = limits(&input.pools);
        let notes = check::judge(&limits, input.budget, &input.observation, &decision);
        let observation = input.observation;
        self.memory = memory;
        let acts = self.config.mode == Mode::Act && check::may_act(&notes);
        let acted = if acts {
            act(&self.writer, &self.target, &services, &decision, &limits, self.config.budget).await
        } else {
            Vec::new()
        };
        for note in &notes {
            tracing::error!(rule = note.rule.as_str(), "the referee objects: {}", note.detail);
        }
        let record = Record {
            version: VERSION,
            at: now,
            dgd: format!("{}/{}", self.target.namespace, self.target.dgd),
            mode: self.config.mode,
            sla: self.config.sla,
            budget: self.config.budget,
            observation,
            decision,
            report,
            notes: notes.iter().map(ToString::to_string).collect(),
            writes: acted.iter().map(|a| a.outcome.clone()).collect(),
        };
        self.tell(&record, &acted, took);
        self.last_tick = Some(now);
    }

    /// The pools with their engines; the GPUs of a replica as configured, else as the profile says,
    /// else as the graph does.
    fn pools<'a>(&'a self, observation: &crate::observe::Observation) -> Vec<PoolInput<'a>> {
        self.config
            .pools
            .iter()
            .filter_map(|(role, pool)| {
                let engine = self.engines.get(role)?;
                let Pool { gpus_per_replica, min, max, limits, startup, .. } = pool;
                let told = observation.inventory.pool(*role).and_then(|p| p.gpus_per_replica);
                Some(PoolInput {
                    role: *role,
                    engine,
                    limits: *limits,
                    gpus_per_replica: gpus_per_replica
                        .or_else(|| engine.gpus_per_engine())
                        .or(told)
                        .unwrap_or(Gpus::new(1)),
                    min: *min,
                    max: *max,
                    startup: *startup,
                })
            })
            .collect()
    }

    /// The record, the log line and the metrics of a tick.
    fn tell(&mut self, record: &Record, acted: &[Acted], took: Duration) {
        let now = record.at;
        let figures = &self.figures;
        let failed = acted.iter().find_map(|a| a.outcome.error.as_deref());
        let outcome = if record.notes.is_empty() && failed.is_none() { "ok" } else { "failed" };
        figures.tick(outcome, took);
        figures.set_inventory(&record.observation.inventory);
        figures.set_traffic(now, &record.observation.traffic);
        figures.set_forecast(&record.report.demand.map_or_else(ForecastFigures::default, |d| {
            ForecastFigures {
                low: PerSecond::new(d.rate.low),
                point: PerSecond::new(d.rate.point),
                high: PerSecond::new(d.rate.high),
                isl: Some(d.isl.mean),
                osl: Some(d.osl.mean),
            }
        }));
        let sized = record.report.sizing.as_ref();
        let most = |f: fn(&crate::plan::PoolSize) -> Option<Millis>| {
            sized.and_then(|s| s.pools.iter().find_map(f))
        };
        figures.set_estimates(most(|p| p.ttft), most(|p| p.itl));
        for pool in &record.decision.pools {
            figures.decision(pool.role, pool.reason.code());
            if let Some(target) = pool.target {
                figures.set_recommended(pool.role, target);
            }
        }
        for a in acted {
            figures.write(a.outcome.write.role, a.label);
        }
        if let (Some(last), Some(gpus)) = (self.last_tick, record.report.current_gpus) {
            figures.add_gpu_time(gpus, now.since(last));
        }
        if record.observation.traffic.arrivals.is_fresh() {
            figures.success(now, "observe");
        }
        figures.success(now, "decide");
        if failed.is_none() {
            figures.success(now, "apply");
        }
        let pools: Vec<String> = record.decision.pools.iter().map(describe).collect();
        let rate = record.observation.traffic.arrivals.known().map(|r| r.get());
        tracing::info!(
            dgd = record.dgd,
            rps = rate,
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            error = failed,
            "{}",
            pools.join("; ")
        );
        if let Err(error) = self.sink.write(record) {
            self.metrics.error("record", "write");
            tracing::error!("{error:#}");
        }
    }
}

fn describe(pool: &crate::plan::PoolDecision) -> String {
    match (pool.current, pool.target) {
        (Some(from), Some(to)) if from != to => {
            format!("{} {from} → {to}: {}", pool.role, pool.reason)
        }
        (Some(at), _) => format!("{} {at}: {}", pool.role, pool.reason),
        (None, _) => format!("{}: {}", pool.role, pool.reason),
    }
}

fn limits(pools: &[PoolInput<'_>]) -> Vec<PoolLimits> {
    pools
        .iter()
        .map(|p| PoolLimits {
            role: p.role,
            min: p.min,
            max: p.max,
            gpus_per_replica: p.gpus_per_replica,
        })
        .collect()
}
