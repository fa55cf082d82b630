//! What is simulated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::truth::EngineTruth;
use crate::units::Role;

/// A serving fleet and its surroundings.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Prefill and decode, or aggregated.
    pub pools: BTreeMap<Role, SimPool>,
    /// GPUs that there are; `None` has no end of them. Replicas ordered beyond them wait, and hold
    /// none, until others are gone.
    pub gpus: Option<u32>,
    /// How requests find a worker.
    pub router: Router,
    /// From the end of prefill until the decode engine has the KV cache.
    pub kv_transfer: Duration,
    /// Between two scrapes.
    pub scrape_interval: Duration,
    /// From a scrape until a query sees it.
    pub scrape_delay: Duration,
    /// Samples older than this are forgotten: at least the longest window of a policy.
    pub retention: Duration,
    /// How long after the last arrival the rest is waited for before it counts as unfinished.
    pub patience: Duration,
    /// Seed of every draw.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl SimConfig {
    /// A fleet without faults, with Dynamo's scrape interval of 5 s (kubernetes.md 6.7) and round
    /// robin, which is also what the rival's simulator does. The KV transfer takes no time, as there
    /// (lessons.md a.3).
    #[must_use]
    pub fn new(pools: BTreeMap<Role, SimPool>) -> Self {
        Self {
            pools,
            gpus: None,
            router: Router::RoundRobin,
            kv_transfer: Duration::ZERO,
            scrape_interval: Duration::from_secs(5),
            scrape_delay: Duration::ZERO,
            retention: Duration::from_secs(900),
            patience: Duration::from_secs(3600),
            seed: 1,
            faults: Vec::new(),
        }
    }

    /// Keeps samples for as long at least as a policy with a window of this length looks back: by
    /// the scrape before it too, and by what a query does not see yet.
    #[must_use]
    pub fn keeping(self, window: Duration) -> Self {
        let asked = window.saturating_add(self.scrape_interval).saturating_add(self.scrape_delay);
        Self { retention: self.retention.max(asked), ..self }
    }
}

/// One pool of workers.
#[derive(Clone, Debug)]
pub struct SimPool {
    /// How long an engine takes.
    pub truth: Arc<EngineTruth>,
    /// GPUs of one replica.
    pub gpus: u32,
    /// Replicas that serve at the start of the trace.
    pub initial: u32,
    /// From the order until a replica serves.
    pub startup: Startup,
    /// How long a drained worker may take for what it has; `None` lets it finish, as the rival's
    /// simulator does. Dynamo kills requests 5 s after the signal (dynamo#13559).
    pub drain_limit: Option<Duration>,
}

/// How replicas start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Startup {
    /// Mean time.
    pub mean: Duration,
    /// Coefficient of variation; 0 is always the mean, else log-normal.
    pub cv: f64,
    /// Probability that a start fails at its end and begins again.
    pub failing: f64,
    /// Probability that a replica never gets ready (no GPU, no image).
    pub stuck: f64,
}

impl Startup {
    /// Always the same time.
    #[must_use]
    pub const fn fixed(mean: Duration) -> Self {
        Self { mean, cv: 0.0, failing: 0.0, stuck: 0.0 }
    }
}

/// How requests find a worker.
///
/// A request is bound when it arrives (prefill, aggregated) and again when its prefill is done
/// (decode), and never moved, but for the shared queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Router {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any, with equal chances.
    Random,
    /// The one with the fewest prompt tokens to read, then the fewest requests.
    LeastLoaded,
    /// The one with the fewest prompt tokens to read once this prompt's cached prefix is taken off
    /// where it is held. For decode: the one with the most free KV memory.
    KvAware,
    /// Requests wait together, and go to the first worker that can begin them: what a queueing
    /// model calls a pool.
    SharedQueue,
}

impl Router {
    /// Every name, as written on the command line.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("round-robin", Self::RoundRobin),
        ("random", Self::Random),
        ("least-loaded", Self::LeastLoaded),
        ("kv-aware", Self::KvAware),
        ("shared-queue", Self::SharedQueue),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_kept_for_the_window_of_the_policy() {
        let s = Duration::from_secs;
        let config = SimConfig {
            scrape_interval: s(60),
            scrape_delay: s(10),
            ..SimConfig::new(BTreeMap::new())
        };
        assert_eq!(config.clone().keeping(s(300)).retention, s(900), "never less than it was");
        assert_eq!(config.keeping(s(1800)).retention, s(1870));
    }
}
