//! What is to happen, by time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::sim::SimTime;
use crate::trace::Request;

/// What happens at an instant, in the order of the ranks.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    PassEnd { worker: usize, epoch: u32 },
    Deliver { id: u32 },
    Ready { worker: usize },
    DrainLimit { worker: usize },
    Fault { index: usize, begins: bool },
    Loss { index: usize },
    Arrive { request: Request },
    Begin { worker: usize },
    Scrape,
    Tick,
}

/// The rank of an arrival of the trace among what happens at its instant.
pub(super) const ARRIVAL: u8 = 4;

impl What {
    /// Passes end before anything new is begun, and a policy looks at an instant when all else of
    /// it has happened.
    const fn rank(&self) -> u8 {
        match self {
            Self::PassEnd { .. } => 0,
            Self::Deliver { .. } => 1,
            Self::Ready { .. } | Self::DrainLimit { .. } => 2,
            Self::Fault { .. } | Self::Loss { .. } => 3,
            Self::Arrive { .. } => ARRIVAL,
            Self::Begin { .. } => 5,
            Self::Scrape => 6,
            Self::Tick => 7,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: SimTime,
    rank: u8,
    /// The order of adding, so that nothing is left to the heap.
    sequence: u64,
    what: What,
}

impl Entry {
    const fn key(&self) -> (SimTime, u8, u64) {
        (self.at, self.rank, self.sequence)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The events to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    arrivals: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: SimTime, what: What) {
        self.sequence += 1;
        self.arrivals += u64::from(matches!(what, What::Arrive { .. }));
        self.heap.push(Reverse(Entry { at, rank: what.rank(), sequence: self.sequence, what }));
    }

    /// Time and rank of the next event.
    pub(super) fn next_at(&self) -> (SimTime, u8) {
        self.heap.peek().map_or((SimTime::NEVER, u8::MAX), |Reverse(e)| (e.at, e.rank))
    }

    pub(super) fn take(&mut self) -> Option<(SimTime, What)> {
        let Reverse(entry) = self.heap.pop()?;
        self.arrivals -= u64::from(matches!(entry.what, What::Arrive { .. }));
        Some((entry.at, entry.what))
    }

    /// Whether a client is about to send.
    pub(super) const fn has_arrivals(&self) -> bool {
        self.arrivals > 0
    }

    /// Requests between two workers.
    pub(super) fn undelivered(&self) -> impl Iterator<Item = u32> {
        self.heap.iter().filter_map(|Reverse(e)| match e.what {
            What::Deliver { id } => Some(id),
            What::PassEnd { .. }
            | What::Ready { .. }
            | What::DrainLimit { .. }
            | What::Fault { .. }
            | What::Loss { .. }
            | What::Arrive { .. }
            | What::Begin { .. }
            | What::Scrape
            | What::Tick => None,
        })
    }
}
