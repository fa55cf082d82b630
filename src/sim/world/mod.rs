//! The simulation itself: events by time, and what each of them does.

mod event;
mod fleet;
mod route;

use std::collections::{BTreeMap, VecDeque};

use event::{Agenda, What};
use fleet::{Fleet, State};
use route::Cursor;

use super::config::{Router, SimConfig};
use super::engine::{Done, Job};
use super::fault::Fault;
use super::load::Load;
use super::metrics::{Totals, role_index};
use super::outcome::{End, Ended, SimError, Sink, Summary};
use super::rng::{Streams, startup_time};
use super::{Metrics, Policy, PoolView, SimTime, View};
use crate::trace::Request;
use crate::units::Role;

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    request: Request,
    arrived: SimTime,
    first: Option<SimTime>,
}

/// Runs `load` through the fleet of `config` under `policy`.
///
/// The same input gives the same events to the last bit: time is an integer, everything at the same
/// instant has an order, and every draw comes from a stream of the seed. Within one instant passes
/// end first, then hand-overs and starts, then faults, arrivals, beginnings of passes, scrapes, and
/// last the policy's tick.
///
/// # Errors
///
/// Where the load cannot be read, a request fits no engine, or the pools make no fleet.
pub fn simulate<L: Load>(
    config: &SimConfig,
    load: &mut L,
    policy: &mut dyn Policy,
    sink: &mut dyn Sink,
) -> Result<Summary, SimError<L::Error>> {
    let entry = match config.pools.keys().copied().collect::<Vec<_>>()[..] {
        [Role::Prefill, Role::Decode] => Role::Prefill,
        [Role::Aggregated] => Role::Aggregated,
        ref other => {
            let found = other.iter().map(ToString::to_string).collect::<Vec<_>>();
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            return Err(SimError::Pools { found });
        }
    };
    let mut world = World::new(config, entry, sink);
    world.set_up(policy);
    world.run(load, policy)?;
    Ok(world.summary())
}

struct World<'a> {
    config: &'a SimConfig,
    sink: &'a mut dyn Sink,
    /// Where requests come in.
    entry: Role,
    now: SimTime,
    agenda: Agenda,
    fleet: Fleet,
    flights: Vec<Flight>,
    free: Vec<u32>,
    /// Requests that no worker has been found for.
    held: BTreeMap<Role, VecDeque<Job>>,
    cursors: BTreeMap<Role, Cursor>,
    streams: Streams,
    totals: Totals,
    metrics: Metrics,
    /// What stale scrapes bring.
    frozen: Option<Box<Totals>>,
    /// Gaps that are under way.
    gaps: u32,
    /// Faults under way that make scrapes stale.
    stale: u32,
    /// What the policy's clock is ahead, seconds.
    clock_ahead: i64,
    done: Done,
    inflight: u64,
    queued: u64,
    last_arrival: SimTime,
    summary: Summary,
}

impl<'a> World<'a> {
    fn new(config: &'a SimConfig, entry: Role, sink: &'a mut dyn Sink) -> Self {
        Self {
            config,
            sink,
            entry,
            now: SimTime::ZERO,
            agenda: Agenda::default(),
            fleet: Fleet::new(config),
            flights: Vec::new(),
            free: Vec::new(),
            held: config.pools.keys().map(|role| (*role, VecDeque::new())).collect(),
            cursors: config.pools.keys().map(|role| (*role, Cursor::default())).collect(),
            streams: Streams::new(config.seed),
            totals: Totals::default(),
            metrics: Metrics::new(config.retention, config.scrape_delay),
            frozen: None,
            gaps: 0,
            stale: 0,
            clock_ahead: 0,
            done: Done::default(),
            inflight: 0,
            queued: 0,
            last_arrival: SimTime::ZERO,
            summary: Summary::default(),
        }
    }

    fn set_up(&mut self, policy: &dyn Policy) {
        self.sink.began();
        let roles: Vec<Role> = self.config.pools.keys().copied().collect();
        for role in roles {
            self.tell_fleet(role);
        }
        self.agenda.add(SimTime::ZERO, What::Scrape);
        let first = SimTime::from_start(policy.first_tick());
        if first < SimTime::NEVER {
            self.agenda.add(first, What::Tick);
        }
        for (index, fault) in self.config.faults.iter().enumerate() {
            match *fault {
                Fault::MetricsGap { from, to }
                | Fault::StaleMetrics { from, to }
                | Fault::SlowEngine { from, to, .. } => {
                    self.agenda.add(from, What::Fault { index, begins: true });
                    self.agenda.add(to, What::Fault { index, begins: false });
                }
                Fault::LostWorker { at, .. } | Fault::ClockJump { at, .. } => {
                    self.agenda.add(at, What::Fault { index, begins: true });
                }
                Fault::LosingWorkers { .. } => self.next_loss(index),
            }
        }
    }

    fn run<L: Load>(
        &mut self,
        load: &mut L,
        policy: &mut dyn Policy,
    ) -> Result<(), SimError<L::Error>> {
        let mut coming = self.read(load)?;
        loop {
            let next = self.agenda.next_at();
            if let Some(request) = coming {
                let at = SimTime::from_timestamp(request.at);
                if (at, event::ARRIVAL) < next {
                    self.now = at;
                    self.arrive(request)?;
                    coming = self.read(load)?;
                    continue;
                }
            } else if self.inflight == 0 && !self.agenda.has_arrivals() {
                return Ok(());
            }
            let Some((at, what)) = self.agenda.take() else { return Ok(()) };
            if coming.is_none() && at > self.last_arrival.plus(self.config.patience) {
                self.give_up();
                return Ok(());
            }
            self.now = at;
            self.summary.events += 1;
            self.happen(what, load, policy)?;
        }
    }

    fn read<L: Load>(&self, load: &mut L) -> Result<Option<Request>, SimError<L::Error>> {
        let coming = load.next().transpose().map_err(SimError::Load)?;
        match coming {
            Some(request) if SimTime::from_timestamp(request.at) < self.last_arrival => {
                Err(SimError::OutOfOrder { index: self.summary.requests + 1 })
            }
            coming => Ok(coming),
        }
    }

    fn happen<L: Load>(
        &mut self,
        what: What,
        load: &mut L,
        policy: &mut dyn Policy,
    ) -> Result<(), SimError<L::Error>> {
        match what {
            What::PassEnd { worker, epoch } => {
                if self.fleet.workers[worker].epoch == epoch {
                    self.end_pass(worker, load);
                }
            }
            What::Begin { worker } => {
                self.fleet.workers[worker].to_begin = false;
                self.begin(worker);
            }
            What::Deliver { id } => self.deliver(id),
            What::Ready { worker } => self.ready(worker),
            What::DrainLimit { worker } => {
                if self.fleet.workers[worker].state == State::Draining {
                    self.lose(worker);
                }
            }
            What::Arrive { request } => self.arrive(request)?,
            What::Scrape => self.scrape(),
            What::Tick => self.tick(policy),
            What::Fault { index, begins } => self.fault(index, begins),
            What::Loss { index } => {
                if let Fault::LosingWorkers { role, every: _ } = self.config.faults[index] {
                    let serving = self.fleet.serving(role).to_vec();
                    let picked = super::rng::below(&mut self.streams.faults, serving.len());
                    if let Some(worker) = serving.get(picked) {
                        self.lose_and_replace(*worker);
                    }
                    self.next_loss(index);
                }
            }
        }
        Ok(())
    }

    fn next_loss(&mut self, index: usize) {
        if let Fault::LosingWorkers { every, role: _ } = self.config.faults[index]
            && let Some(nanos) = super::rng::until_next(&mut self.streams.faults, Some(every))
        {
            self.agenda.add(self.now.plus_nanos(nanos), What::Loss { index });
        }
    }

    // ---- Requests ----------------------------------------------------------------------

    fn arrive<E>(&mut self, request: Request) -> Result<(), SimError<E>> {
        self.summary.requests += 1;
        self.last_arrival = self.now;
        self.sink.arrived(self.now);
        let pool = &self.config.pools[&self.entry];
        let holder = self.config.pools.get(&Role::Decode).unwrap_or(pool);
        let max_kv_tokens = holder.truth.max_kv_tokens().min(pool.truth.max_kv_tokens());
        let whole = holder.truth.kv_of(u64::from(request.isl) + u64::from(request.osl));
        if whole + holder.truth.kv_slack() + 1 > max_kv_tokens {
            return Err(SimError::TooLarge {
                index: self.summary.requests,
                isl: request.isl,
                osl: request.osl,
                max_kv_tokens,
            });
        }
        if request.isl > pool.truth.measured_isl() {
            self.summary.beyond_profile += 1;
        }
        let flight = Flight { request, arrived: self.now, first: None };
        let id = match self.free.pop() {
            Some(id) => {
                self.flights[index(id)] = flight;
                id
            }
            None => {
                self.flights.push(flight);
                u32::try_from(self.flights.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.totals.started += 1;
        self.inflight += 1;
        self.queued += 1;
        // The last token of a prompt is always read: it is what the first new one follows from.
        let hit = request.prefix_hit.unwrap_or(0).min(request.isl.saturating_sub(1));
        let prefill = request.isl.max(1);
        let steps = if self.entry == Role::Aggregated { request.osl } else { 0 };
        let job = Job { id, prefill, cached: 0, steps, stopped: None };
        self.route(self.entry, job, hit);
        Ok(())
    }

    fn deliver(&mut self, id: u32) {
        let Request { isl, osl, .. } = self.flights[index(id)].request;
        let job = Job { id, prefill: 0, cached: isl.max(1), steps: osl, stopped: None };
        self.route(Role::Decode, job, 0);
    }

    /// Gives a request to a worker of `role`, of which `hit` tokens are cached by one of them.
    fn route(&mut self, role: Role, job: Job, hit: u32) {
        let Some((worker, job)) = self.pick(role, job, hit) else {
            self.held.entry(role).or_default().push_back(job);
            return;
        };
        self.give(worker, job);
    }

    fn give(&mut self, worker: usize, job: Job) {
        let changed = self.fleet.workers[worker].engine.push(job, self.now);
        if let Some(end) = changed {
            self.expect_end(worker, end);
        } else if !self.fleet.workers[worker].engine.is_working() {
            self.begin_soon(worker);
        }
    }

    /// Begins a pass after everything else that arrives at this instant.
    fn begin_soon(&mut self, worker: usize) {
        if !std::mem::replace(&mut self.fleet.workers[worker].to_begin, true) {
            self.agenda.add(self.now, What::Begin { worker });
        }
    }

    fn expect_end(&mut self, worker: usize, end: SimTime) {
        let w = &mut self.fleet.workers[worker];
        w.epoch = w.epoch.wrapping_add(1);
        let epoch = w.epoch;
        self.agenda.add(end, What::PassEnd { worker, epoch });
    }

    fn begin(&mut self, worker: usize) {
        if self.fleet.workers[worker].engine.is_working() {
            return;
        }
        self.pull(worker);
        if let Some(end) = self.fleet.workers[worker].engine.begin(self.now) {
            self.expect_end(worker, end);
        } else if self.fleet.workers[worker].state == State::Draining {
            self.gone(worker);
        }
    }

    /// Takes what waits for any worker, as far as this one can begin it.
    fn pull(&mut self, worker: usize) {
        let w = &mut self.fleet.workers[worker];
        if self.config.router != Router::SharedQueue || w.state != State::Serving {
            return;
        }
        let Some(held) = self.held.get_mut(&w.role) else { return };
        while let Some(job) = held.front().copied().filter(|job| w.engine.can_begin(*job)) {
            held.pop_front();
            // No pass is under way, so that no end changes.
            let unchanged = w.engine.push(job, self.now).is_none();
            debug_assert!(unchanged, "a worker pulls between passes only");
        }
    }

    fn end_pass<L: Load>(&mut self, worker: usize, load: &mut L) {
        let mut done = std::mem::take(&mut self.done);
        let w = &mut self.fleet.workers[worker];
        w.engine.end(&mut done);
        self.totals.busy[role_index(w.role)] += done.busy;
        if done.tokens > 0 {
            self.totals.itl.observe(done.gap as f64 / 1e9, done.tokens);
        }
        for gap in &done.resumed {
            self.totals.itl.observe(*gap as f64 / 1e9, 1);
        }
        for &(id, at) in &done.first {
            self.first_token(id, at);
        }
        for &id in &done.finished {
            self.finish(id, End::Complete);
            if let Some(request) = load.after(self.now) {
                self.agenda.add(SimTime::from_timestamp(request.at), What::Arrive { request });
            }
        }
        for &id in &done.prefilled {
            if self.config.kv_transfer.is_zero() {
                self.deliver(id);
            } else {
                self.agenda.add(self.now.plus(self.config.kv_transfer), What::Deliver { id });
            }
        }
        self.done = done;
        // Prompts handed over at this instant may go to this worker's next pass.
        self.begin_soon(worker);
    }

    fn first_token(&mut self, id: u32, at: SimTime) {
        let flight = &mut self.flights[index(id)];
        if flight.first.is_some() {
            return;
        }
        flight.first = Some(at);
        self.queued -= 1;
        self.totals.ttft.observe(at.since(flight.arrived) as f64 / 1e9, 1);
        self.totals.isl.observe(f64::from(flight.request.isl), 1);
    }

    fn finish(&mut self, id: u32, end: End) {
        let Flight { request, arrived, first } = self.flights[index(id)];
        self.free.push(id);
        self.inflight -= 1;
        if first.is_none() {
            self.queued -= 1;
        }
        self.totals.finished += 1;
        if end == End::Complete {
            self.totals.duration.observe(self.now.since(arrived) as f64 / 1e9, 1);
            self.totals.osl.observe(f64::from(request.osl), 1);
        }
        self.summary.end = self.summary.end.max(self.now);
        self.sink.ended(&Ended { request, arrived, first, at: self.now, end });
    }

    /// Ends what is left as unfinished.
    fn give_up(&mut self) {
        let mut left: Vec<u32> =
            self.held.values_mut().flat_map(|h| h.drain(..)).map(|j| j.id).collect();
        for w in &mut self.fleet.workers {
            left.extend(w.engine.abandon());
        }
        left.extend(self.agenda.undelivered());
        left.sort_unstable();
        self.now = self.last_arrival.plus(self.config.patience);
        for id in left {
            self.finish(id, End::Unfinished);
        }
    }

    // ---- Workers -----------------------------------------------------------------------

    fn tell_fleet(&mut self, role: Role) {
        let pool = self.fleet.pool(role);
        let gpus = self.config.pools[&role].gpus;
        self.sink.fleet(self.now, role, pool, gpus);
    }

    fn order_one(&mut self, role: Role) {
        self.fleet.add(role, self.config, Some(self.now));
        self.start_pending();
    }

    /// Starts whoever waits for GPUs, as far as there are any.
    fn start_pending(&mut self) {
        while let Some(worker) = self.fleet.next_to_start() {
            self.fleet.start(worker, self.now);
            let role = self.fleet.workers[worker].role;
            let startup = &self.config.pools[&role].startup;
            let stuck = super::rng::happens(&mut self.streams.startup, startup.stuck);
            let time = startup_time(&mut self.streams.startup, startup);
            if !stuck {
                self.agenda.add(self.now.plus_nanos(time), What::Ready { worker });
            }
        }
    }

    /// Gives GPUs that became free to whoever waits for them.
    fn reuse_gpus(&mut self) {
        if self.fleet.next_to_start().is_some() {
            self.start_pending();
            for role in self.config.pools.keys() {
                self.tell_fleet(*role);
            }
        }
    }

    fn ready(&mut self, worker: usize) {
        let w = &self.fleet.workers[worker];
        if w.state != State::Starting {
            return;
        }
        let role = w.role;
        let startup = &self.config.pools[&role].startup;
        if super::rng::happens(&mut self.streams.startup, startup.failing) {
            let time = startup_time(&mut self.streams.startup, startup);
            self.agenda.add(self.now.plus_nanos(time), What::Ready { worker });
            return;
        }
        self.fleet.serve(worker, self.now);
        self.tell_fleet(role);
        if self.config.router == Router::SharedQueue {
            self.begin_soon(worker);
            return;
        }
        for job in std::mem::take(self.held.entry(role).or_default()) {
            self.route(role, job, 0);
        }
    }

    fn scale(&mut self, role: Role, target: u32) {
        let had = self.fleet.pool(role).desired;
        for _ in had..target {
            self.order_one(role);
        }
        for _ in target..had {
            let Some(worker) = self.fleet.to_remove(role) else { break };
            if matches!(self.fleet.workers[worker].state, State::Pending | State::Starting) {
                self.gone(worker);
                continue;
            }
            self.fleet.drain(worker);
            if self.fleet.workers[worker].engine.requests() == 0 {
                self.gone(worker);
            } else if let Some(limit) = self.config.pools[&role].drain_limit {
                self.agenda.add(self.now.plus(limit), What::DrainLimit { worker });
            }
        }
        self.tell_fleet(role);
    }

    fn gone(&mut self, worker: usize) {
        self.summary.gpu_nanos += self.fleet.remove(worker, self.now);
        let role = self.fleet.workers[worker].role;
        self.tell_fleet(role);
        self.reuse_gpus();
    }

    /// The worker is gone with what it had.
    fn lose(&mut self, worker: usize) {
        for id in self.fleet.workers[worker].engine.abandon() {
            self.finish(id, End::Lost);
        }
        let w = &mut self.fleet.workers[worker];
        w.epoch = w.epoch.wrapping_add(1);
        self.gone(worker);
    }

    fn lose_and_replace(&mut self, worker: usize) {
        let role = self.fleet.workers[worker].role;
        self.lose(worker);
        self.order_one(role);
        self.tell_fleet(role);
    }

    // ---- What is seen, and what is ordered ---------------------------------------------

    fn scrape(&mut self) {
        self.agenda.add(self.now.plus(self.config.scrape_interval), What::Scrape);
        if self.gaps > 0 {
            return;
        }
        if let Some(frozen) = &self.frozen {
            self.metrics.scrape(self.now, frozen);
            return;
        }
        self.totals.queued = self.queued;
        self.totals.inflight = self.inflight;
        let (mean, most) = self.fleet.kv_usage();
        (self.totals.kv_usage, self.totals.kv_usage_max) = (mean, most);
        self.metrics.scrape(self.now, &self.totals);
    }

    /// The time by the policy's clock.
    fn policy_now(&self) -> SimTime {
        shifted(self.now, self.clock_ahead)
    }

    fn tick(&mut self, policy: &mut dyn Policy) {
        self.metrics.look(self.now, self.gaps == 0);
        let pools: BTreeMap<Role, PoolView> =
            self.config.pools.keys().map(|role| (*role, self.fleet.pool(*role))).collect();
        let engines = self.fleet.views();
        let ahead = self.clock_ahead;
        let starts = self.fleet.starts(|t| shifted(t, ahead));
        let view = View {
            now: self.policy_now(),
            metrics: &self.metrics,
            pools: &pools,
            engines: &engines,
            starts: &starts,
        };
        let orders = policy.decide(&view);
        if let Some(rate) = orders.forecast {
            self.sink.forecast(self.now, rate);
        }
        // First what shrinks, as the planner writes it.
        let mut changes: Vec<_> = orders
            .targets
            .iter()
            .filter_map(|(role, target)| {
                let from = pools.get(role)?.desired;
                (from != target.replicas).then_some((*role, from, target))
            })
            .collect();
        changes.sort_by_key(|(role, from, target)| (target.replicas > *from, *role));
        for (role, from, target) in changes {
            self.sink.ordered(self.now, role, from, target.replicas, &target.why);
            self.scale(role, target.replicas);
        }
        if let Some(next) = orders.next {
            let next = shifted(next, -self.clock_ahead);
            // A policy that asks for the same instant again would stand still.
            self.agenda.add(next.max(self.now.plus_nanos(1_000_000)), What::Tick);
        }
    }

    fn fault(&mut self, index: usize, begins: bool) {
        match self.config.faults[index] {
            Fault::MetricsGap { .. } => self.gaps = counted(self.gaps, begins),
            Fault::StaleMetrics { .. } => {
                self.stale = counted(self.stale, begins);
                self.frozen = match self.frozen.take().filter(|_| self.stale > 0) {
                    None if self.stale > 0 => Some(Box::new(self.totals.clone())),
                    kept => kept,
                };
            }
            Fault::SlowEngine { role, factor, .. } => {
                if begins {
                    self.fleet.slow_down(index, role, factor);
                } else {
                    self.fleet.speed_up(index);
                }
            }
            Fault::LostWorker { role, at: _ } => {
                if let Some(worker) = self.fleet.serving(role).first().copied() {
                    self.lose_and_replace(worker);
                }
            }
            Fault::ClockJump { seconds, at: _ } => self.clock_ahead += seconds,
            Fault::LosingWorkers { .. } => {}
        }
    }

    fn summary(mut self) -> Summary {
        self.summary.end = self.summary.end.max(self.last_arrival);
        let end = self.summary.end;
        self.summary.gpu_nanos += self.fleet.gpu_nanos_left(end);
        self.summary
    }
}

/// How many faults are under way once one of them begins or ends.
const fn counted(under_way: u32, begins: bool) -> u32 {
    if begins { under_way.saturating_add(1) } else { under_way.saturating_sub(1) }
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

fn shifted(at: SimTime, seconds: i64) -> SimTime {
    let nanos = seconds.unsigned_abs().saturating_mul(1_000_000_000);
    if seconds < 0 {
        SimTime::from_nanos(at.as_nanos().saturating_sub(nanos))
    } else {
        at.plus_nanos(nanos)
    }
}

#[cfg(test)]
mod tests;
