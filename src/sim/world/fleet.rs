//! The workers and their lives: starting, serving, draining, gone.

use std::collections::BTreeMap;

use crate::sim::config::SimConfig;
use crate::sim::engine::Engine;
use crate::sim::{EngineView, PoolView, SimTime, StartView};
use crate::units::Role;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Ordered, without GPUs.
    Pending,
    Starting,
    Serving,
    Draining,
    Gone,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) engine: Engine,
    /// Which of the announced ends of a pass counts.
    pub(super) epoch: u32,
    /// Whether a beginning is on the agenda.
    pub(super) to_begin: bool,
    /// Since when it holds its GPUs, where it does.
    since: SimTime,
    gpus: u32,
    /// When it was ordered; `None` of those that the run began with.
    ordered: Option<SimTime>,
    /// Since when it serves, where it does or did.
    ready: Option<SimTime>,
}

/// All workers, by growing id; those that are gone keep theirs.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) workers: Vec<Worker>,
    /// GPUs that nobody holds; `None` has no end of them.
    unused: Option<u32>,
    pending: BTreeMap<Role, Vec<usize>>,
    serving: BTreeMap<Role, Vec<usize>>,
    starting: BTreeMap<Role, Vec<usize>>,
    draining: BTreeMap<Role, Vec<usize>>,
    /// By the fault that does it: the worker, and how many times as long it takes.
    slowed: BTreeMap<usize, (usize, f64)>,
}

impl Fleet {
    pub(super) fn new(config: &SimConfig) -> Self {
        let empty = || config.pools.keys().map(|role| (*role, Vec::new())).collect();
        let mut fleet = Self {
            workers: Vec::new(),
            unused: config.gpus,
            pending: empty(),
            serving: empty(),
            starting: empty(),
            draining: empty(),
            slowed: BTreeMap::new(),
        };
        for (role, pool) in &config.pools {
            for _ in 0..pool.initial {
                fleet.add(*role, config, None);
            }
        }
        // Where there are too few GPUs for all, the pools take turns.
        let most = config.pools.values().map(|pool| pool.initial).max().unwrap_or(0);
        for _ in 0..most {
            for role in config.pools.keys() {
                let next = fleet.pending[role].first().copied();
                if let Some(worker) = next.filter(|worker| fleet.fits(*worker)) {
                    fleet.start(worker, SimTime::ZERO);
                    fleet.serve(worker, SimTime::ZERO);
                }
            }
        }
        fleet
    }

    fn fits(&self, worker: usize) -> bool {
        self.unused.is_none_or(|unused| self.workers[worker].gpus <= unused)
    }

    /// The oldest of those without GPUs for which there are enough: a large one does not keep the
    /// others waiting, as with the scheduler of Kubernetes.
    pub(super) fn next_to_start(&self) -> Option<usize> {
        self.pending.values().filter_map(|of| of.iter().copied().find(|w| self.fits(*w))).min()
    }

    /// Gives a worker its GPUs.
    pub(super) fn start(&mut self, worker: usize, now: SimTime) {
        let w = &mut self.workers[worker];
        (w.state, w.since) = (State::Starting, now);
        self.unused = self.unused.map(|unused| unused.saturating_sub(w.gpus));
        let role = w.role;
        self.pending.entry(role).or_default().retain(|w| *w != worker);
        self.starting.entry(role).or_default().push(worker);
    }

    /// One more, that holds no GPUs yet.
    pub(super) fn add(&mut self, role: Role, config: &SimConfig, ordered: Option<SimTime>) {
        let pool = &config.pools[&role];
        let worker = self.workers.len();
        self.workers.push(Worker {
            role,
            state: State::Pending,
            engine: Engine::new(pool.truth.clone(), role != Role::Prefill),
            epoch: 0,
            to_begin: false,
            since: SimTime::ZERO,
            gpus: pool.gpus,
            ordered,
            ready: None,
        });
        self.pending.entry(role).or_default().push(worker);
    }

    pub(super) fn serve(&mut self, worker: usize, now: SimTime) {
        let w = &mut self.workers[worker];
        (w.state, w.ready) = (State::Serving, Some(now));
        let role = w.role;
        self.starting.entry(role).or_default().retain(|w| *w != worker);
        let serving = self.serving.entry(role).or_default();
        let place = serving.partition_point(|w| *w < worker);
        serving.insert(place, worker);
    }

    pub(super) fn drain(&mut self, worker: usize) {
        let role = self.workers[worker].role;
        self.workers[worker].state = State::Draining;
        self.serving.entry(role).or_default().retain(|w| *w != worker);
        self.draining.entry(role).or_default().push(worker);
    }

    /// Takes a worker out; answers its GPU-nanoseconds.
    pub(super) fn remove(&mut self, worker: usize, now: SimTime) -> u128 {
        let w = &mut self.workers[worker];
        if w.state == State::Gone {
            return 0;
        }
        let held = w.state != State::Pending;
        w.state = State::Gone;
        let role = w.role;
        let gpus = if held { w.gpus } else { 0 };
        let used = u128::from(now.since(w.since)) * u128::from(gpus);
        self.unused = self.unused.map(|unused| unused.saturating_add(gpus));
        for list in [&mut self.pending, &mut self.serving, &mut self.starting, &mut self.draining] {
            list.entry(role).or_default().retain(|w| *w != worker);
        }
        used
    }

    /// GPU-nanoseconds until `end` of those that hold GPUs.
    pub(super) fn gpu_nanos_left(&self, end: SimTime) -> u128 {
        let holding =
            self.workers.iter().filter(|w| !matches!(w.state, State::Gone | State::Pending));
        holding.map(|w| u128::from(end.since(w.since)) * u128::from(w.gpus)).sum()
    }

    /// Those that take requests, by growing id.
    pub(super) fn serving(&self, role: Role) -> &[usize] {
        self.serving.get(&role).map_or(&[], Vec::as_slice)
    }

    /// The next one to take away: the newest without GPUs, else the newest that starts, else the
    /// newest that serves.
    pub(super) fn to_remove(&self, role: Role) -> Option<usize> {
        let newest = |list: &BTreeMap<Role, Vec<usize>>| list.get(&role)?.last().copied();
        newest(&self.pending).or_else(|| newest(&self.starting)).or_else(|| newest(&self.serving))
    }

    pub(super) fn pool(&self, role: Role) -> PoolView {
        let count = |list: &BTreeMap<Role, Vec<usize>>| {
            u32::try_from(list.get(&role).map_or(0, Vec::len)).unwrap_or(u32::MAX)
        };
        let (ready, pending) = (count(&self.serving), count(&self.pending));
        let starting = count(&self.starting) + pending;
        let draining = count(&self.draining);
        PoolView { desired: ready + starting, ready, starting, draining, pending }
    }

    /// A fault slows down the oldest serving worker of a role. Faults on the same worker
    /// add up.
    pub(super) fn slow_down(&mut self, fault: usize, role: Role, factor: f64) {
        if let Some(worker) = self.serving(role).first().copied() {
            self.slowed.insert(fault, (worker, factor));
            self.set_pace(worker);
        }
    }

    /// The fault is over.
    pub(super) fn speed_up(&mut self, fault: usize) {
        if let Some((worker, _)) = self.slowed.remove(&fault) {
            self.set_pace(worker);
        }
    }

    fn set_pace(&mut self, worker: usize) {
        let of_worker = self.slowed.values().filter(|(slowed, _)| *slowed == worker);
        self.workers[worker].engine.slow = of_worker.map(|(_, factor)| factor).product();
    }

    /// Mean and largest share of KV memory in use, over the serving workers that generate.
    pub(super) fn kv_usage(&self) -> (f64, f64) {
        let (mut sum, mut most, mut n) = (0.0, 0.0_f64, 0_u32);
        for (_, serving) in self.serving.iter().filter(|(role, _)| **role != Role::Prefill) {
            for worker in serving {
                let engine = &self.workers[*worker].engine;
                let share = engine.kv() as f64 / engine.max_kv().max(1) as f64;
                sum += share;
                most = most.max(share);
                n += 1;
            }
        }
        (if n == 0 { 0.0 } else { sum / f64::from(n) }, most)
    }

    /// The starts of the workers that were ordered, and serve or are to, by growing id, on the clock
    /// that `shown` reads.
    pub(super) fn starts(&self, shown: impl Fn(SimTime) -> SimTime) -> Vec<StartView> {
        let lists = [&self.pending, &self.starting, &self.serving];
        let mut ids: Vec<usize> =
            lists.iter().flat_map(|list| list.values()).flatten().copied().collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|id| {
                let w = &self.workers[id];
                Some(StartView {
                    id: u32::try_from(id).unwrap_or(u32::MAX),
                    role: w.role,
                    ordered: shown(w.ordered?),
                    ready: w.ready.map(&shown),
                    pending: w.state == State::Pending,
                })
            })
            .collect()
    }

    /// What the workers that serve or drain say of themselves, by growing id.
    pub(super) fn views(&self) -> Vec<EngineView> {
        let mut ids: Vec<usize> =
            self.serving.values().chain(self.draining.values()).flatten().copied().collect();
        ids.sort_unstable();
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        ids.into_iter()
            .map(|id| {
                let Worker { role, state, engine, .. } = &self.workers[id];
                EngineView {
                    id: small(id),
                    role: *role,
                    draining: *state == State::Draining,
                    waiting: small(engine.waiting()),
                    waiting_prefill_tokens: engine.unread(),
                    waiting_kv_tokens: engine.waiting_kv(),
                    running: small(engine.running()),
                    kv_tokens: engine.kv(),
                    max_kv_tokens: engine.max_kv(),
                    last_pass: engine.last_pass(),
                }
            })
            .collect()
    }
}
