//! Who may work: what was seen of the lease, and the time, make the next step.

use std::time::Duration;

/// A moment on the clock of this process, which only goes forward: the time since some start.
pub type Moment = Duration;

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others leave a lease alone until they have seen no change of it for so long; whole seconds.
    pub duration: Duration,
    /// A holder works for so long after it asked for its last renewal, and then no more. It is
    /// shorter than `duration`: what is left is the time for a write that was cut off to be over, and
    /// for clocks that do not go at the same speed.
    pub give_up: Duration,
    /// Between two renewals, and between two looks of one who waits.
    pub every: Duration,
    /// Before a holder whose renewal failed tries again.
    pub again: Duration,
    /// Longest time for one call.
    pub call: Duration,
}

impl Timing {
    /// The times of Kubernetes' own controllers (15, 10 and 2 seconds). With calls of 3 seconds a
    /// holder tries three times before it gives up.
    pub const STANDARD: Self = Self {
        duration: Duration::from_secs(15),
        give_up: Duration::from_secs(10),
        every: Duration::from_secs(2),
        again: Duration::from_millis(500),
        call: Duration::from_secs(3),
    };
}

/// The duration in a lease that was handed back, as Kubernetes' own controllers write it. It tells such
/// a lease from one whose holder somebody took out by hand, who may still be working.
pub(super) const RELEASED: Duration = Duration::from_secs(1);

/// Before the next look after somebody else changed the lease: long enough that two who write at the
/// same time do not do it all day.
const CHANGED_PAUSE: Duration = Duration::from_millis(100);

/// What a lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` is nobody.
    pub holder: Option<String>,
    /// How long it stands without a change; `None` is not said.
    pub duration: Option<Duration>,
    /// How often it changed hands.
    pub transitions: i32,
    /// When it was taken and when it was renewed, by the clock of its holder: compared, never reckoned
    /// with.
    pub times: (Option<jiff::Timestamp>, Option<jiff::Timestamp>),
}

/// A lease that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub record: Record,
    /// Its `resourceVersion`.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the lease.
    Look {
        /// Not before.
        at: Moment,
    },
    /// Write it.
    Write {
        /// Not before.
        at: Moment,
        /// What.
        what: Write,
    },
}

/// A write of the lease. Each is refused where the lease is not as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Make it, held by us.
    Create,
    /// Take it.
    Claim {
        /// The version that was seen.
        over: String,
        /// How often it has changed hands then.
        transitions: i32,
    },
    /// Say that we still hold it.
    Renew {
        /// The version that was seen.
        over: String,
    },
    /// Hand it back.
    Release {
        /// The version that was seen.
        over: String,
    },
}

/// Why a write was not done, or is not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The lease is not as it was seen.
    Changed,
    /// Anything else; it may have been done all the same.
    Failed,
}

/// Why a lease is held no more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lost {
    /// It could not be renewed in time.
    NotRenewed,
    /// Somebody else's name is in it, or none.
    Taken {
        /// Whose.
        by: Option<String>,
    },
}

/// What was seen last.
#[derive(Clone, Debug)]
enum Seen {
    /// Nobody has looked.
    Unknown,
    /// There is no such lease.
    Gone {
        /// When it may be made.
        free_at: Moment,
    },
    /// There is one.
    There {
        /// As it was.
        found: Found,
        /// Since when it says this, as far as we know.
        since: Moment,
    },
}

/// One who would hold a lease.
#[derive(Clone, Debug)]
pub struct Elector {
    me: String,
    timing: Timing,
    seen: Seen,
    held_until: Option<Moment>,
    next: Next,
}

impl Elector {
    /// One of this name, which no other process ever has.
    #[must_use]
    pub const fn new(me: String, timing: Timing) -> Self {
        let next = Next::Look { at: Moment::ZERO };
        Self { me, timing, seen: Seen::Unknown, held_until: None, next }
    }

    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> &Next {
        &self.next
    }

    /// Whether we may work.
    #[must_use]
    pub fn holds(&self, now: Moment) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Until when we may work, unless the lease is renewed or lost.
    #[must_use]
    pub const fn held_until(&self) -> Option<Moment> {
        self.held_until
    }

    /// Who holds the lease, where that is somebody else.
    #[must_use]
    pub fn other(&self) -> Option<&str> {
        match &self.seen {
            Seen::There { found, since: _ } => {
                found.record.holder.as_deref().filter(|holder| *holder != self.me)
            }
            Seen::Unknown | Seen::Gone { .. } => None,
        }
    }

    /// Says that the time is up, where it is.
    pub fn expire(&mut self, now: Moment) -> Option<Lost> {
        self.held_until.take_if(|until| *until <= now).map(|_| Lost::NotRenewed)
    }

    /// Takes in what a read answered.
    pub fn saw(&mut self, now: Moment, found: Option<Found>) -> Option<Lost> {
        let seen = std::mem::replace(&mut self.seen, Seen::Unknown);
        self.seen = match (seen, found) {
            (Seen::There { found: before, since }, Some(found))
                if before.record == found.record =>
            {
                Seen::There { found, since }
            }
            (Seen::There { .. } | Seen::Unknown | Seen::Gone { .. }, Some(found)) => {
                Seen::There { found, since: now }
            }
            // A lease that was deleted was not handed back: its holder may still be at work.
            (Seen::There { found, since: _ }, None) => {
                Seen::Gone { free_at: now.saturating_add(self.stands(&found.record)) }
            }
            (gone @ Seen::Gone { .. }, None) => gone,
            (Seen::Unknown, None) => Seen::Gone { free_at: now },
        };
        let lost = match &self.seen {
            Seen::There { found, since: _ } if found.record.holder.as_ref() != Some(&self.me) => {
                let by = found.record.holder.clone();
                self.held_until.take().map(|_| Lost::Taken { by })
            }
            Seen::There { .. } | Seen::Gone { .. } | Seen::Unknown => None,
        };
        self.next = match (&self.seen, self.free_at()) {
            (_, free_at) if free_at > now => {
                Next::Look { at: free_at.min(now.saturating_add(self.timing.every)) }
            }
            (Seen::There { found, since: _ }, _) => {
                Next::Write { at: now, what: self.claim(found, now) }
            }
            (Seen::Gone { .. } | Seen::Unknown, _) => Next::Write { at: now, what: Write::Create },
        };
        lost
    }

    /// Takes in a write of [`Write::Create`], [`Write::Claim`] or [`Write::Renew`] that was done:
    /// `sent` is when it was asked for.
    pub fn wrote(&mut self, sent: Moment, now: Moment, found: Found) -> Option<Lost> {
        if found.record.holder.as_ref() != Some(&self.me) {
            // Somebody changes on the way what we write.
            return self.saw(now, Some(found));
        }
        let over = found.version.clone();
        self.seen = Seen::There { found, since: now };
        self.held_until = Some(sent.saturating_add(self.timing.give_up));
        let at = sent.saturating_add(self.timing.every).max(now);
        self.next = Next::Write { at, what: Write::Renew { over } };
        None
    }

    /// Takes in that a read failed, or that a write was not done or is not known to be.
    pub fn failed(&mut self, now: Moment, why: Refusal) {
        let pause = match why {
            Refusal::Changed => CHANGED_PAUSE,
            Refusal::Failed if self.holds(now) => self.timing.again,
            Refusal::Failed => self.timing.every,
        };
        self.next = Next::Look { at: now.saturating_add(pause) };
    }

    /// The write that hands the lease back, where we hold it.
    #[must_use]
    pub fn release(&self, now: Moment) -> Option<Write> {
        match &self.seen {
            Seen::There { found, since: _ } if self.holds(now) => {
                Some(Write::Release { over: found.version.clone() })
            }
            Seen::There { .. } | Seen::Gone { .. } | Seen::Unknown => None,
        }
    }

    /// The write that makes a free lease ours. One that has our name already is ours by a write whose
    /// answer was lost.
    fn claim(&self, found: &Found, now: Moment) -> Write {
        let over = found.version.clone();
        if found.record.holder.as_ref() != Some(&self.me) {
            Write::Claim { over, transitions: found.record.transitions.saturating_add(1) }
        } else if self.holds(now) {
            Write::Renew { over }
        } else {
            Write::Claim { over, transitions: found.record.transitions }
        }
    }

    /// When a claim may be made.
    fn free_at(&self) -> Moment {
        match &self.seen {
            Seen::Unknown => Moment::MAX,
            Seen::Gone { free_at } => *free_at,
            Seen::There { found, since } => since.saturating_add(self.stands(&found.record)),
        }
    }

    /// How long a record stands from when it was first seen.
    fn stands(&self, record: &Record) -> Duration {
        match (&record.holder, record.duration) {
            (Some(holder), _) if *holder == self.me => Duration::ZERO,
            (Some(_), duration) => duration.unwrap_or_default().max(self.timing.duration),
            (None, Some(duration)) if duration > RELEASED => duration,
            (None, _) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
