//! Fleets that do not look at anything.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sim::{Orders, Policy, SimTime, View};
use crate::units::Role;

/// Keeps the fleet that it was started with.
#[derive(Clone, Debug, Default)]
pub struct Static;

impl Policy for Static {
    fn first_tick(&self) -> Duration {
        Duration::MAX
    }

    fn decide(&mut self, _: &View<'_>) -> Orders {
        Orders::default()
    }
}

/// Orders at given times what it was told to, whatever happens.
#[derive(Clone, Debug)]
pub struct Schedule {
    steps: Vec<(SimTime, BTreeMap<Role, u32>)>,
    next: usize,
}

impl Schedule {
    /// By the time of each order.
    #[must_use]
    pub fn new(mut steps: Vec<(SimTime, BTreeMap<Role, u32>)>) -> Self {
        steps.sort_by_key(|step| step.0);
        Self { steps, next: 0 }
    }
}

impl Policy for Schedule {
    fn first_tick(&self) -> Duration {
        self.steps.first().map_or(Duration::MAX, |step| Duration::from_nanos(step.0.as_nanos()))
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::default();
        while let Some((at, targets)) = self.steps.get(self.next).filter(|s| s.0 <= view.now) {
            for (role, replicas) in targets {
                orders.want(*role, *replicas, format!("scheduled for {:.0} s", at.as_secs()));
            }
            self.next += 1;
        }
        orders.next = self.steps.get(self.next).map(|step| step.0);
        orders
    }
}
