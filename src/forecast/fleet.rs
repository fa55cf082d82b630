//! What a fleet of a given size makes of a load: the account by which rules and fixed fleets are
//! compared.

use serde::{Deserialize, Serialize};

/// What one engine of a pool takes of a work, per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// The most that it can do; 0 where that is not known yet, and fleets are of any size.
    pub most: f64,
    /// The share of that up to which a fleet is sized, the rest being room for chance.
    pub used: f64,
}

impl Default for Engine {
    /// Before anything was sized.
    fn default() -> Self {
        Self { most: 0.0, used: 0.8 }
    }
}

impl Engine {
    /// The most that the fleet can do which is asked for at this level.
    pub(super) fn fleet(&self, level: f64) -> f64 {
        let each = self.used * self.most;
        if each > 0.0 && each.is_finite() && level > 0.0 {
            (level / each - 1e-9).ceil().max(1.0) * self.most
        } else {
            level / self.used
        }
    }
}

/// The share of requests that are late where a fleet has just the level that it is sized for. Below,
/// the share falls exponentially, as the tail of a wait does; at the most that it takes, all are.
pub const LATE_AT_LEVEL: f64 = 0.3;

/// How fast the share of late requests falls below that level: a level stays for less time than a
/// queue needs to show its law, so faster than [`LATE_AT_LEVEL`] alone says. At 1 the same share of
/// good requests took 2 % more GPU-hours on D1 to D8 of docs/results.md, and a steady load was given
/// 1.8 times its level.
const FALL: f64 = 1.4;

/// A fleet's own queue and account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Work that waits.
    pub(super) backlog: f64,
    /// Requests that came too late, decayed.
    pub(super) late: f64,
    /// Work-seconds of capacity held, decayed.
    pub(super) cost: f64,
}

/// What came in one step, and how it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) seconds: f64,
    /// Work, and requests, per second.
    pub(super) rate: f64,
    pub(super) requests: f64,
    /// The level of the work.
    pub(super) level: f64,
    /// Seconds.
    pub(super) patience: f64,
    /// How much of what was counted before stays.
    pub(super) keep: f64,
    /// See [`Engine::used`].
    pub(super) used: f64,
}

/// A fleet under what came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    /// The most that it can do, per second.
    pub(super) capacity: f64,
    /// The share of requests that it makes late by chance: where nothing has piled up.
    late: f64,
}

impl Fleet {
    pub(super) fn new(came: &Came, capacity: f64) -> Self {
        // The share of its most that is free, over that at the level it was sized for.
        let free = (1.0 - came.level / capacity.max(1e-9)) / (1.0 - came.used);
        Self { capacity, late: (LATE_AT_LEVEL.ln() * FALL * free.max(0.0)).exp() }
    }
}

impl Account {
    /// Lets what was counted weigh less, where nobody knows what was held.
    pub(super) fn forget(&mut self, keep: f64) {
        self.late *= keep;
        self.cost *= keep;
    }

    /// Serves what came with this fleet, while `paid` is asked for.
    pub(super) fn serve(&mut self, came: &Came, fleet: Fleet, paid: f64) {
        let (before, Fleet { capacity, late }) = (self.backlog, fleet);
        self.backlog = (before + (came.rate - capacity) * came.seconds).max(0.0);
        let waits = f64::midpoint(before, self.backlog) > came.patience * capacity;
        let share = if waits { 1.0 } else { late };
        self.late = self.late * came.keep + share * came.requests * came.seconds;
        self.cost = self.cost * came.keep + paid * came.seconds;
    }
}
