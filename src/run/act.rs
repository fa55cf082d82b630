//! Acting: carrying a decision out, shrinking pools first.

use std::collections::BTreeMap;

use super::look::Services;
use crate::api::names;
use crate::check::PoolLimits;
use crate::controllers::scale::{Refusal, ScaleOutcome, ScalePath, ScaleTarget, ScaleWriter};
use crate::plan::{Decision, Write};
use crate::record::WriteOutcome;
use crate::spec::DgdTarget;
use crate::units::{Gpus, Replicas, Role};

/// What became of one write: for the record, and its label for the metrics.
pub(super) struct Acted {
    pub(super) outcome: WriteOutcome,
    pub(super) label: &'static str,
    /// Whether the count may have been written although there is an error.
    pub(super) may_have_arrived: bool,
}

impl Acted {
    /// Whether the count was written.
    pub(super) fn is_written(&self) -> bool {
        self.label == WRITTEN
    }

    /// Why it failed; that a pool is left to somebody else is no failure.
    pub(super) fn failure(&self) -> Option<&str> {
        self.outcome.error.as_deref().filter(|_| self.label != CONFLICT)
    }
}

/// The label of a write that was done.
const WRITTEN: &str = "written";

/// The label of a write that was left to somebody else.
const CONFLICT: &str = "conflict";

/// The GPUs that are asked for while a decision is carried out.
struct Ledger<'a> {
    limits: &'a [PoolLimits],
    budget: Option<Gpus>,
    asked: BTreeMap<Role, Replicas>,
}

impl<'a> Ledger<'a> {
    fn new(limits: &'a [PoolLimits], budget: Option<Gpus>, decision: &Decision) -> Self {
        let asked = decision.pools.iter().filter_map(|p| Some((p.role, p.current?))).collect();
        Self { limits, budget, asked }
    }

    /// Whether the budget holds this write; what shrinks always may.
    fn has_room(&self, write: Write) -> bool {
        let Some(budget) = self.budget.filter(|_| write.to > write.from) else { return true };
        let total = self.limits.iter().fold(Gpus::new(0), |sum, pool| {
            let asked = self.asked.get(&pool.role).copied().unwrap_or_default();
            let n = if pool.role == write.role { write.to } else { asked };
            sum.plus(n.gpus(pool.gpus_per_replica))
        });
        total <= budget
    }

    /// Takes in what became of a write. One that failed may have arrived all the same, where the
    /// answer was lost: the larger count is what must be reckoned with.
    fn note(&mut self, write: Write, failed: bool) {
        let count = if failed { write.from.max(write.to) } else { write.to };
        self.asked.insert(write.role, count);
    }
}

/// Writes what changes, in the order of [`Decision::writes`], but for pools that `stopped` leaves to somebody else. A
/// write that failed stops no other one but growth for which it was to make room in the budget.
pub(super) async fn act(
    writer: &ScaleWriter,
    target: &DgdTarget,
    services: &Services,
    stopped: &BTreeMap<Role, String>,
    decision: &Decision,
    limits: &[PoolLimits],
    budget: Option<Gpus>,
) -> Vec<Acted> {
    let mut done: Vec<Acted> = Vec::new();
    let mut ledger = Ledger::new(limits, budget, decision);
    for write in decision.writes() {
        let service = services.iter().find(|(role, _)| *role == write.role).map(|(_, s)| s);
        let other = stopped.get(&write.role);
        let acted = match (other, service) {
            (Some(other), _) => {
                not_written(write, CONFLICT, &format!("{other} sets the replicas too"))
            }
            _ if !ledger.has_room(write) => {
                not_written(write, "skipped", "an earlier write that was to make room was not made")
            }
            (None, Some(Ok(service))) => {
                let at = ScaleTarget {
                    namespace: target.namespace.clone(),
                    dgd: target.dgd.clone(),
                    service: service.clone(),
                };
                write_one(writer, &at, write).await
            }
            (None, Some(Err(why))) => not_written(write, "no_service", why),
            (None, None) => not_written(write, "no_service", "the pool has no service"),
        };
        ledger.note(write, acted.outcome.error.is_some());
        done.push(acted);
    }
    done
}

fn not_written(write: Write, label: &'static str, why: &str) -> Acted {
    let outcome = WriteOutcome { write, path: None, error: Some(why.to_owned()) };
    Acted { outcome, label, may_have_arrived: false }
}

async fn write_one(writer: &ScaleWriter, at: &ScaleTarget, write: Write) -> Acted {
    let written = |path: Option<String>, label| Acted {
        outcome: WriteOutcome { write, path, error: None },
        label,
        may_have_arrived: false,
    };
    match writer.write(at, write.from, write.to).await {
        Ok(ScaleOutcome::Unchanged { replicas: _ }) => written(None, "unchanged"),
        Ok(ScaleOutcome::Wrote { path, from: _, to: _ }) => {
            let object = match path {
                ScalePath::Scale => format!(
                    "{}/{}/scale",
                    names::DGDSA_PLURAL,
                    names::adapter_name(&at.dgd, &at.service)
                ),
                ScalePath::Dgd => format!("{}/{}", names::DGD_PLURAL, at.dgd),
            };
            written(Some(object), WRITTEN)
        }
        Ok(ScaleOutcome::Refused { why: why @ (Refusal::Moved { .. } | Refusal::Overtaken) }) => {
            not_written(write, "moved", &format!("{why}: the next tick decides anew"))
        }
        Ok(ScaleOutcome::Refused { why }) => not_written(write, "refused", &why.to_string()),
        Err(error) => Acted {
            may_have_arrived: error.may_have_arrived(),
            ..not_written(write, error.label(), &error.to_string())
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PoolDecision, Reason};
    use crate::units::Timestamp;

    /// Prefill 4 to 2 and decode 2 to 5, of 2 GPUs each, with prefill's write failed or not.
    fn may_grow(budget: Option<u32>, failed: bool) -> bool {
        let limits = [Role::Prefill, Role::Decode].map(|role| PoolLimits {
            role,
            min: Replicas::new(1),
            max: None,
            gpus_per_replica: Gpus::new(2),
        });
        let pools =
            [(Role::Prefill, 4, 2), (Role::Decode, 2, 5)].map(|(role, from, to)| PoolDecision {
                role,
                current: Some(Replicas::new(from)),
                target: Some(Replicas::new(to)),
                reason: Reason::Idle,
            });
        let at = Timestamp::default();
        let decision = Decision { at, pools: pools.into(), next_tick: at };
        let mut ledger = Ledger::new(&limits, budget.map(Gpus::new), &decision);
        let writes = decision.writes();
        assert!(ledger.has_room(writes[0]), "what shrinks always may");
        ledger.note(writes[0], failed);
        ledger.has_room(writes[1])
    }

    #[test]
    fn growth_waits_only_for_room_in_the_budget_that_a_failed_write_was_to_make() {
        assert!(may_grow(Some(14), false));
        assert!(!may_grow(Some(14), true), "9 replicas of 2 GPUs would be 18");
        assert!(may_grow(Some(18), true), "there is room without it");
        assert!(may_grow(None, true));
    }
}
