//! When the process is ready: when each of its parts is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dashboard::Health;

/// What has to be there before a probe finds the process ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The planner has looked and decided once.
    FirstTick,
    /// It is known which graphs ask and may be planned for, or another process plans for them.
    Asked,
    /// It is known which namespaces have an operator of their own, where that matters.
    Restricted,
    /// The webhooks have a certificate that is registered, and are served.
    Webhooks,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::FirstTick => "the first tick",
            Self::Asked => "the first list of the graphs that ask",
            Self::Restricted => "the first look at the Leases of restricted operators",
            Self::Webhooks => "the certificate of the webhooks",
        }
    }
}

/// The parts that are not there yet. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    health: Health,
    left: Arc<Mutex<BTreeSet<Part>>>,
}

impl Ready {
    /// Not ready until all of these parts are.
    pub(super) fn after(health: Health, parts: impl IntoIterator<Item = Part>) -> Self {
        let ready = Self { health, left: Arc::new(Mutex::new(parts.into_iter().collect())) };
        ready.tell(&ready.left.lock().unwrap_or_else(PoisonError::into_inner));
        ready
    }

    /// This part is ready from now on; saying it again changes nothing.
    pub(super) fn is(&self, part: Part) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.remove(&part) {
            self.tell(&left);
        }
    }

    fn tell(&self, left: &BTreeSet<Part>) {
        if left.is_empty() {
            self.health.set_ready();
        } else {
            let left: Vec<&str> = left.iter().map(|part| part.as_str()).collect();
            self.health.set_not_ready(format!("waiting for {}", left.join(" and ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_all_parts_in_whatever_order() {
        for [one, other] in [[Part::FirstTick, Part::Webhooks], [Part::Webhooks, Part::FirstTick]] {
            let health = Health::default();
            let ready = Ready::after(health.clone(), [Part::FirstTick, Part::Webhooks]);
            let both = "waiting for the first tick and the certificate of the webhooks";
            assert_eq!(health.not_ready().as_deref(), Some(both));
            ready.is(one);
            ready.is(one);
            let waiting = format!("waiting for {}", other.as_str());
            assert_eq!(health.not_ready(), Some(waiting));
            ready.is(other);
            assert_eq!(health.not_ready(), None);
        }
    }
}
