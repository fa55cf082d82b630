//! One tick: look, plan, judge, act, tell.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use crate::api::names;
use crate::check::{self, PoolLimits};
use crate::controllers::client::{Call, CallError};
use crate::controllers::clock;
use crate::controllers::inventory::{self, DgdInventory, InventoryError};
use crate::controllers::kinds::Kinds;
use crate::controllers::rights;
use crate::controllers::scale::ScaleWriter;
use crate::dashboard::{DeploymentMetrics, ForecastFigures, Metrics};
use crate::observe::{Inventory, Missing, Observation, Traffic, TrafficStep};
use crate::plan::{Memory, Outcome, PlanInput, PoolInput, Starting, learn_history, plan};
use crate::profile::EngineProfile;
use crate::record::{Line, Record, Recorder};
use crate::spec::{Config, DgdTarget, Mode, Pool};
use crate::trace::before;
use crate::units::{Gpus, Millis, PerSecond, Role, Timestamp, format_duration};

use super::act::{Acted, act};
use super::edges::Edges;
use super::gpus;
use super::look::{Look, Looker, read_inventory, seen_pools};
use super::rivals::{Conflicts, Rivals};
use super::sink::Records;
use super::{CALL_DEADLINE, RunError};

/// The planner of one deployment.
pub(super) struct Planner {
    config: Config,
    target: DgdTarget,
    engines: BTreeMap<Role, EngineProfile>,
    looker: Looker,
    writer: ScaleWriter,
    rivals: Rivals,
    kube: Client,
    kinds: Kinds,
    memory: Memory,
    metrics: Metrics,
    figures: DeploymentMetrics,
    records: Records,
    recorder: Recorder,
    last_tick: Option<Timestamp>,
    /// Whether the API server has said what we may do, and that it is enough.
    rights_known: bool,
    /// The GPUs of a replica, as the graph said last.
    told_gpus: BTreeMap<Role, Gpus>,
    /// The replicas that hang, as far as they were named.
    told_stuck: BTreeSet<String>,
}

impl Planner {
    pub(super) fn new(
        config: Config,
        target: DgdTarget,
        engines: BTreeMap<Role, EngineProfile>,
        edges: Edges,
    ) -> Self {
        let Edges { kube, kinds, prometheus, metrics, records } = edges;
        let name = format!("{}/{}", target.namespace, target.dgd);
        let recorder =
            Recorder::new(run_id(clock::now()), env!("CARGO_PKG_VERSION"), name.as_str());
        let figures = metrics.deployment(name);
        figures.set_targets(Some(config.sla.ttft), Some(config.sla.itl));
        Self {
            looker: Looker::new(&config, kinds.clone(), prometheus),
            writer: ScaleWriter::new(kinds.clone(), CALL_DEADLINE),
            rivals: Rivals::new(&config, &target, kube.clone()),
            config,
            target,
            engines,
            kube,
            kinds,
            memory: Memory::default(),
            metrics,
            figures,
            records,
            recorder,
            last_tick: None,
            rights_known: false,
            told_gpus: BTreeMap::new(),
            told_stuck: BTreeSet::new(),
        }
    }

    /// Learns from the load of a time before the first tick.
    pub(super) fn learn_history(
        &mut self,
        now: Timestamp,
        steps: Vec<TrafficStep>,
        began: Option<Timestamp>,
    ) {
        let until = now.minus(self.config.intervals.adjustment);
        let steps = before(until, steps, began);
        let percentile = self.config.sla.percentile;
        let nothing = Missing::NoSamples;
        let unseen = Observation {
            at: now,
            traffic: Traffic::all_missing(self.config.intervals.window, percentile, &nothing),
            inventory: Inventory::default(),
        };
        let input = input(&self.config, &self.engines, &self.told_gpus, now, unseen);
        let mut memory = Memory::default();
        learn_history(&input, &mut memory, &steps);
        self.memory = memory;
        let from = steps.first().map_or(0, |step| step.start.as_millis());
        tracing::info!(ticks = steps.len(), from_ms = from, "learned from the warm-up trace");
    }

    /// Goes on from what another planner of the same graph and pools has learned.
    pub(super) fn go_on_from(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Ends, and gives up what it has learned.
    pub(super) fn into_memory(mut self) -> Memory {
        std::mem::take(&mut self.memory)
    }

    /// Takes away what the adapters say of who else writes them, but for those that the `next` planner of
    /// the graph scales too.
    pub(super) async fn leave(&mut self, next: Option<&Config>) {
        let found = read_inventory(&self.kinds, &self.target, clock::now(), CALL_DEADLINE).await;
        let found = match found {
            Ok(found) => found,
            // It takes its adapters with it.
            Err(InventoryError::Dgd(error)) if error.is_not_found() => return,
            Err(error) => {
                let DgdTarget { namespace, dgd, .. } = &self.target;
                tracing::warn!(namespace, dgd, %error, "no condition Conflict is withdrawn");
                return;
            }
        };
        let (_, mut left) = seen_pools(&self.config, &found);
        let kept = next.map(|next| seen_pools(next, &found).1).unwrap_or_default();
        left.retain(|(_, service)| !kept.iter().any(|(_, kept)| kept == service));
        self.rivals.withdraw(&found, &left).await;
    }

    pub(super) const fn interval(&self) -> Duration {
        self.config.intervals.adjustment
    }

    /// Asks for the rights that the first write would need. An API server that does not answer is
    /// no obstacle: the first look that succeeds asks then.
    pub(super) async fn may_start(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        let found = read_inventory(&self.kinds, &self.target, now, CALL_DEADLINE).await;
        match &found {
            Err(InventoryError::Dgd(error)) if error.is_not_found() => {
                tracing::warn!(%error, "there is no such DGD yet");
            }
            Err(error) if !is_forbidden(error) => {
                tracing::warn!(%error, "the API server is not ready for us yet");
            }
            Ok(_) | Err(_) => {}
        }
        self.ask_rights(&found).await
    }

    /// Asks, once, for the rights to write the objects of our pools.
    async fn ask_rights(
        &mut self,
        found: &Result<DgdInventory, InventoryError>,
    ) -> Result<(), RunError> {
        if self.rights_known {
            return Ok(());
        }
        let found = match found {
            Ok(found) => found,
            Err(error) if is_forbidden(error) => {
                return Err(RunError::Forbidden { what: error.to_string() });
            }
            Err(_) => return Ok(()),
        };
        let calls = self.writes_to(found);
        // A pool without a service is asked for when it has one.
        self.rights_known = calls.len() == self.config.pools.len();
        for call in calls.iter().filter(|_| self.config.mode == Mode::Act) {
            match rights::allowed(&self.kube, call, CALL_DEADLINE).await {
                Ok(true) => {}
                Ok(false) => {
                    let what = CallError::forbidden(call).to_string();
                    return Err(RunError::Forbidden { what });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot ask for our rights");
                    self.rights_known = false;
                }
            }
        }
        if self.rights_known && self.config.mode == Mode::Act {
            self.tell_of_blind_writes(&calls).await;
        }
        Ok(())
    }

    /// Says, once, where a scale may be written and not read: nothing fails by that, so nothing else
    /// would tell.
    async fn tell_of_blind_writes(&self, writes: &[Call]) {
        for write in writes.iter().filter(|call| call.resource == names::DGDSA_SCALE) {
            let call = Call { verb: "get", ..write.clone() };
            match rights::allowed(&self.kube, &call, CALL_DEADLINE).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    "{call}: not allowed, so that a change by somebody else just before a write is \
                     overwritten; add to the Role of namespace {} the rule {}",
                    self.target.namespace,
                    call.rbac_rule()
                ),
                Err(error) => tracing::warn!(%error, "cannot ask for our rights"),
            }
        }
    }

    /// The writes that a decision could make: object by object, since a Role may name its objects.
    fn writes_to(&self, found: &DgdInventory) -> Vec<Call> {
        let DgdTarget { namespace, dgd, .. } = &self.target;
        let may =
            |resource, name: &str| Call::object("patch", names::GROUP, resource, namespace, name);
        let pools = self.config.pools.iter();
        pools
            .filter_map(|(role, pool)| {
                let service =
                    inventory::resolve(&found.dgd, *role, pool.service.as_deref()).ok()?;
                Some(if found.services.get(service)?.adapter_enabled {
                    may(names::DGDSA_SCALE, &names::adapter_name(dgd, service))
                } else {
                    may(names::DGD_PLURAL, dgd)
                })
            })
            .collect()
    }

    /// One tick.
    ///
    /// # Errors
    ///
    /// Where the first look that succeeds finds that a right is missing.
    pub(super) async fn tick(&mut self, now: Timestamp) -> Result<(), RunError> {
        let Look { found, observation, services, mut trouble } =
            self.looker.look(now, &self.config, &self.target).await;
        self.ask_rights(&found).await?;
        // Who only advises does not mind who writes.
        let conflicts = match &found {
            Ok(found) if self.config.mode == Mode::Act => {
                self.rivals.look(now, found, &services, &mut trouble).await
            }
            Ok(_) | Err(_) => Conflicts::new(),
        };
        self.learn_gpus(&observation);
        for (source, kind, text) in &trouble {
            self.metrics.error(source, kind);
            tracing::warn!(source, kind, "{text}");
        }
        let began = Instant::now();
        let input = input(&self.config, &self.engines, &self.told_gpus, now, observation);
        let checkpoint = self.recorder.checkpoint(&input, &self.memory);
        // A fault of ours must not take the fleet down with it: it counts, and the counts stay. The
        // next tick begins as after a restart, since what was learned may be what brought it about.
        let memory = std::mem::take(&mut self.memory);
        let outcome = catch_unwind(AssertUnwindSafe(|| plan(&input, memory)));
        let took = began.elapsed();
        let Outcome { decision, report, memory } = match outcome {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.metrics.error("planner", "panic");
                self.figures.tick("panic", took);
                self.recorder.lost();
                // No record can be made without a decision. With the memory that a replay of the
                // record carries to this moment, what was seen makes the input whole.
                tracing::error!(
                    dgd = format!("{}/{}", self.target.namespace, self.target.dgd),
                    at_ms = now.as_millis(),
                    observation = serde_json::to_string(&input.observation).unwrap_or_default(),
                    "the decision panicked; nothing is changed or recorded: {}",
                    words_of(panic.as_ref())
                );
                return Ok(());
            }
        };
        let limits: Vec<PoolLimits> = input.pools.iter().map(PoolLimits::from).collect();
        let notes = check::judge(&limits, input.budget, &input.observation, &decision);
        self.memory = memory;
        let acts = self.config.mode == Mode::Act && check::may_act(&notes);
        let acted = if acts {
            let stopped = self.rivals.stopped(&conflicts);
            let budget = self.config.budget;
            act(&self.writer, &self.target, &services, &stopped, &decision, &limits, budget).await
        } else {
            Vec::new()
        };
        for role in self.config.pools.keys() {
            self.figures.set_conflict(*role, conflicts.get(role).map(Option::is_some));
        }
        if let Ok(found) = &found {
            match self.config.mode {
                Mode::Act => {
                    self.rivals.tell(now, found, &services, &conflicts, &acted).await;
                }
                Mode::Advise => self.rivals.withdraw(found, &services).await,
            }
        }
        for note in &notes {
            tracing::error!(rule = note.rule.as_str(), "the referee objects: {}", note.detail);
        }
        let record = self.recorder.tick(
            self.config.mode,
            input,
            decision,
            report,
            notes.iter().map(ToString::to_string).collect(),
            acted.iter().map(|a| a.outcome.clone()).collect(),
        );
        self.tell(&record, &acted, took);
        let lines = checkpoint.map(|c| Line::Checkpoint(Box::new(c))).into_iter();
        for line in lines.chain([Line::Tick(Box::new(record))]) {
            if let Err(error) = self.records.write(&line) {
                self.recorder.lost();
                self.metrics.error("record", "write");
                tracing::error!("{error:#}");
                // A decision without its checkpoint would be replayed on another one.
                break;
            }
        }
        self.last_tick = Some(now);
        Ok(())
    }

    /// Keeps what the graph says of the GPUs of a replica, for ticks at which it cannot be read, and
    /// says, once for each answer, where that is not what we were told.
    fn learn_gpus(&mut self, observation: &Observation) {
        for (role, pool) in &self.config.pools {
            let Some(told) = observation.inventory.pool(*role).and_then(|p| p.gpus_per_replica)
            else {
                continue;
            };
            if self.told_gpus.insert(*role, told) == Some(told) {
                continue;
            }
            let engine = self.engines.get(role).filter(|_| pool.profile.is_some());
            let profile = engine.and_then(EngineProfile::gpus_per_engine);
            if let Some(text) = gpus::differ(*role, pool.gpus_per_replica, told, profile) {
                self.metrics.error("kubernetes", "gpus_differ");
                tracing::warn!("{text}");
            }
        }
    }

    /// The log line and the metrics of a tick.
    fn tell(&mut self, record: &Record, acted: &[Acted], took: Duration) {
        let now = record.at;
        let figures = &self.figures;
        let failed = acted.iter().find_map(Acted::failure);
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
        let budget = &record.report.error_budget;
        for (window, spent) in [("hour", budget.hour), ("day", budget.day)] {
            figures.set_late(window, spent.map(|s| s.late), spent.map(|s| s.burn));
        }
        figures.set_starting(&record.report.starting);
        name_stuck(&mut self.told_stuck, &record.report.starting);
        figures.set_trust(&record.report.trust);
        let standing = |i: usize| record.report.standing.get(i).and_then(|s| s.regret);
        for (i, work) in ["prefill", "decode"].into_iter().enumerate() {
            figures.set_regret(work, standing(i).map(|regret| regret.regret));
        }
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
        let pools: Vec<String> = record.decision.pools.iter().map(ToString::to_string).collect();
        let rate = record.observation.traffic.arrivals.known().map(|r| r.get());
        tracing::info!(
            dgd = record.dgd,
            rps = rate,
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            error = failed,
            "{}",
            pools.join("; ")
        );
    }
}

impl Drop for Planner {
    /// The graph is planned for by this process no more.
    fn drop(&mut self) {
        self.figures.forget();
    }
}

/// Names each replica that hangs once, until it no longer does.
fn name_stuck(told: &mut BTreeSet<String>, starting: &[Starting]) {
    let hang = || starting.iter().flat_map(|pool| pool.stuck.iter().map(move |s| (pool.role, s)));
    told.retain(|name| hang().any(|(_, stuck)| stuck.name == *name));
    for (role, stuck) in hang() {
        if told.insert(stuck.name.clone()) {
            let age = format_duration(stuck.age);
            tracing::warn!(%role, pod = stuck.name, age, "a replica hangs: {}", stuck.why);
        }
    }
}

/// What a decision is made from: what is configured, and what was seen.
fn input<'a>(
    config: &Config,
    engines: &'a BTreeMap<Role, EngineProfile>,
    told_gpus: &BTreeMap<Role, Gpus>,
    now: Timestamp,
    observation: Observation,
) -> PlanInput<'a> {
    PlanInput {
        now,
        sla: config.sla,
        pools: pools(config, engines, told_gpus),
        budget: config.budget,
        intervals: config.intervals,
        predictor: config.forecast.predictor,
        observation,
    }
}

/// The pools with their engines.
fn pools<'a>(
    config: &Config,
    engines: &'a BTreeMap<Role, EngineProfile>,
    told_gpus: &BTreeMap<Role, Gpus>,
) -> Vec<PoolInput<'a>> {
    let with_engine = |(role, pool): (&Role, &Pool)| {
        let engine = engines.get(role)?;
        let Pool { gpus_per_replica, min, max, limits, startup, profile, .. } = pool;
        let measured = profile.is_some();
        let of_profile = engine.gpus_per_engine().filter(|_| measured);
        let told = told_gpus.get(role).copied();
        Some(PoolInput {
            role: *role,
            engine,
            limits: *limits,
            gpus_per_replica: gpus::of(*gpus_per_replica, told, of_profile),
            min: *min,
            max: *max,
            startup: *startup,
            measured,
        })
    };
    config.pools.iter().filter_map(with_engine).collect()
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// What tells this run from others that write the same file: when it started, and its process.
fn run_id(now: Timestamp) -> String {
    format!("{}-{}", now.as_millis(), std::process::id())
}

/// The graph cannot be read for want of a right, which nothing but a change of the Role mends.
fn is_forbidden(error: &InventoryError) -> bool {
    matches!(error, InventoryError::Dgd(call) if call.is_forbidden())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_said_is_told() {
        let said = |panics: fn()| {
            let panic = catch_unwind(panics).unwrap_err();
            words_of(panic.as_ref()).to_owned()
        };
        assert_eq!(said(|| panic!("no pools")), "no pools");
        assert_eq!(said(|| panic!("{} pools", 3)), "3 pools");
        assert_eq!(said(|| std::panic::panic_any(7)), "without a word");
    }
}
