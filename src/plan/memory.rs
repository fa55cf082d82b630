//! What the planner carries from one tick to the next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::learn::Learned;
use super::starting::Starts;
use crate::forecast::{DemandForecast, Engines};
use crate::units::{Replicas, Role, Timestamp};

/// The planner's memory. An empty one is that of a planner just started, which takes no replica
/// away before it has seen one whole stabilisation window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What was learned of the demand.
    pub forecast: DemandForecast,
    /// What was seen of the promise.
    #[serde(default)]
    pub account: Account,
    /// What was learned of the engines.
    #[serde(default)]
    pub learned: Learned,
    /// What was learned of the start-up times.
    #[serde(default)]
    pub starts: BTreeMap<Role, Starts>,
    /// What one engine takes, by the sizes so far.
    #[serde(default)]
    pub engines: Engines,
    /// When the first decision on full data was made.
    pub since: Option<Timestamp>,
    /// The replicas wanted at each decision, newest last, as far back as the stabilisation window.
    pub wanted: BTreeMap<Role, VecDeque<(Timestamp, Replicas)>>,
}

impl Memory {
    /// Keeps what is wanted now, forgets what is older than `window`, and answers the most that was
    /// wanted within it.
    pub(super) fn stabilised(
        &mut self,
        role: Role,
        now: Timestamp,
        wanted: Replicas,
        window: Duration,
    ) -> Replicas {
        let past = self.wanted.entry(role).or_default();
        past.retain(|(at, _)| *at <= now && now.since(*at) <= window);
        past.push_back((now, wanted));
        past.iter().map(|(_, n)| *n).max().unwrap_or(wanted)
    }

    /// When what is wanted of a pool now will have been the most that was wanted for a whole
    /// `window`; in the past where it has been. `None` before the first decision on full data.
    pub(super) fn settles(
        &self,
        role: Role,
        wanted: Replicas,
        window: Duration,
    ) -> Option<Timestamp> {
        let past = self.wanted.get(&role)?;
        let last = past.iter().rev().find(|(_, n)| *n > wanted).map(|(at, _)| *at);
        let since = last.into_iter().chain(self.since).max()?;
        Some(since.plus(window))
    }

    /// Whether a whole `window` has been seen since the first decision.
    pub(super) fn has_seen(&self, now: Timestamp, window: Duration) -> bool {
        self.since.is_some_and(|since| now.since(since) >= window)
    }
}
