//! How a request finds a worker.

use std::cmp::Reverse;

use super::World;
use crate::sim::config::Router;
use crate::sim::engine::Job;
use crate::sim::rng::below;
use crate::units::Role;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor(usize);

impl World<'_> {
    /// The worker for a request, and the job with what that worker holds of its prompt already.
    /// The job as it was, where no worker can take it.
    ///
    /// A trace says how much of a prompt an unbounded cache would have held, not which worker has
    /// it: one of those that serve is drawn. A router that does not look finds it with the chance
    /// of one in as many as serve, so that more replicas have fewer hits.
    pub(super) fn pick(&mut self, role: Role, job: Job, hit: u32) -> Option<(usize, Job)> {
        let serving = self.fleet.serving(role);
        if serving.is_empty() {
            return None;
        }
        let holder = if hit > 0 {
            serving.get(below(&mut self.streams.prefix, serving.len())).copied()
        } else {
            None
        };
        let engine = |worker: usize| &self.fleet.workers[worker].engine;
        let worker = match self.config.router {
            Router::RoundRobin => {
                let cursor = self.cursors.entry(role).or_default();
                let turn = cursor.0 % serving.len();
                cursor.0 = turn + 1;
                serving[turn]
            }
            Router::Random => serving[below(&mut self.streams.router, serving.len())],
            Router::LeastLoaded => {
                let load = |w: usize| (engine(w).unread(), engine(w).requests(), w);
                serving.iter().copied().min_by_key(|w| load(*w))?
            }
            Router::KvAware => {
                let own = |w: usize| if Some(w) == holder { u64::from(hit) } else { 0 };
                let load = |w: usize| {
                    let to_read = engine(w).unread() + u64::from(job.prefill) - own(w);
                    let kv = engine(w).kv() + engine(w).waiting_kv();
                    let free = engine(w).max_kv().saturating_sub(kv);
                    (to_read, Reverse(free), engine(w).requests(), w)
                };
                serving.iter().copied().min_by_key(|w| load(*w))?
            }
            Router::SharedQueue => {
                let waits = self.held.get(&role).is_some_and(|held| !held.is_empty());
                let free = |w: &usize| engine(*w).can_begin(job);
                let fewest = |w: &usize| (engine(*w).requests(), *w);
                (!waits).then(|| serving.iter().copied().filter(free).min_by_key(fewest))??
            }
        };
        let cached = if holder == Some(worker) { hit } else { 0 };
        let job = Job { prefill: job.prefill - cached, cached: job.cached + cached, ..job };
        Some((worker, job))
    }
}
