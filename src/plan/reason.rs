//! The closed list of reasons: why a pool got the count it got.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::size::{Bound, Latency, Verdict};
use crate::spec::format_duration;
use crate::units::{Gpus, Millis, Replicas, Role, Share};

/// Why a pool is to have the replicas that the decision names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The promise wants more.
    ScaleUp {
        /// What decided the size.
        bound: Bound,
    },
    /// Fewer keep the promise, and have done so for the whole stabilisation window.
    ScaleDown {
        /// What decided the size.
        bound: Bound,
    },
    /// The count is right as it is.
    Steady {
        /// What decided the size.
        bound: Bound,
    },
    /// No request arrives, as fresh metrics say: down to the minimum.
    Idle,
    /// The count was outside its limits: `min`, `max`, or the GPU budget of all pools.
    IntoLimits,
    /// Requests arrive at a pool without replicas, and how long they are was never seen: one
    /// replica to begin with.
    Wake,
    /// The model of the engines is not trusted: queues and KV memory decide.
    Saturation {
        /// How well the model explains what is seen, 0 to 1.
        trust: Share,
    },
    /// More are wanted to serve what already waits beyond what the promise allows.
    DrainBacklog {
        /// Requests that wait for their first token.
        waiting: u64,
    },
    /// As many serve as are wanted but for a replica that hangs: one more beside it.
    ReplaceStuck {
        /// Name of the pod.
        name: String,
        /// For how long it has been starting.
        age: std::time::Duration,
    },
    /// More are wanted, and the budget allows them, once another pool has given GPUs back.
    WaitsForRoom {
        /// What is wanted.
        wanted: Replicas,
    },
    /// More are wanted, but what another pool takes of the budget is not known.
    HoldBudgetUnknown {
        /// The pool whose replicas are not known.
        pool: Role,
        /// What is wanted.
        wanted: Replicas,
    },
    /// No decision: the arrivals are not known.
    HoldNoMetrics {
        /// What is known of the signal instead.
        detail: String,
    },
    /// No decision: requests arrive, but nobody knows how long they are.
    HoldNoShape {
        /// What is known of the signal instead.
        detail: String,
    },
    /// No decision: the replicas that there are could not be read.
    HoldNoInventory {
        /// What is known instead.
        detail: String,
    },
    /// Fewer would do, but an input is not fresh.
    HoldNotFresh {
        /// Which one, and its state.
        detail: String,
        /// What would do.
        wanted: Replicas,
    },
    /// Fewer would do, but more were wanted within the stabilisation window.
    HoldStabilizing {
        /// What would do now.
        wanted: Replicas,
        /// Length of the window.
        window: std::time::Duration,
    },
    /// Fewer would do by the model, but the latency seen is over target.
    HoldLatency {
        /// Which one.
        latency: Latency,
        /// What was seen at the percentile.
        seen: Millis,
        /// What was promised.
        target: Millis,
    },
    /// More are wanted than `max` or the budget allow.
    Limited {
        /// GPUs that the promise would take.
        needed: Gpus,
    },
    /// Adding replicas cannot help: one request alone is too slow already.
    CannotBeMet {
        /// Which latency.
        latency: Latency,
        /// The best that can be reached.
        best: Millis,
        /// What was promised.
        target: Millis,
    },
    /// One request does not fit an engine's KV cache.
    DoesNotFit,
}

impl Reason {
    /// Every code, for the documentation and the metrics.
    pub const CODES: [(&'static str, &'static str); 20] = [
        ("scale_up", "The promise wants more replicas."),
        ("scale_down", "Fewer replicas keep the promise, and did for the whole window."),
        ("steady", "The count is right as it is."),
        ("idle", "No request arrives, by fresh metrics: down to the minimum."),
        ("into_limits", "The count was outside min, max or the GPU budget, and is moved inside."),
        (
            "wake",
            "Requests arrive where no replica is, their lengths never seen: one to begin with.",
        ),
        ("saturation", "The model of the engines is not trusted: queues and KV memory decide."),
        (
            "drain_backlog",
            "More replicas are wanted to serve requests that wait for too long already.",
        ),
        ("replace_stuck", "A replica hangs while it starts: one more is asked for beside it."),
        ("waits_for_room", "More are wanted, once another pool has given back GPUs of the budget."),
        ("hold_no_metrics", "The arrivals are not known: check Prometheus and the scrape targets."),
        ("hold_no_shape", "Requests arrive, but their lengths were never seen."),
        ("hold_no_inventory", "The replicas could not be read: check the API server and rights."),
        ("hold_not_fresh", "Fewer would do, but an input is too old to take a replica away."),
        ("hold_stabilizing", "Fewer would do, but more were wanted a short while ago."),
        ("hold_latency", "Fewer would do by the model, but the latency seen is over target."),
        ("hold_budget_unknown", "More are wanted, but what another pool takes is not known."),
        ("limited", "More replicas are wanted than `max` or the GPU budget allow."),
        ("cannot_be_met", "A request alone on an engine is slower than promised."),
        ("does_not_fit", "A request does not fit an engine's KV cache."),
    ];

    /// The stable code, for metrics and records.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ScaleUp { .. } => "scale_up",
            Self::ScaleDown { .. } => "scale_down",
            Self::Steady { .. } => "steady",
            Self::Idle => "idle",
            Self::IntoLimits => "into_limits",
            Self::Wake => "wake",
            Self::Saturation { .. } => "saturation",
            Self::DrainBacklog { .. } => "drain_backlog",
            Self::ReplaceStuck { .. } => "replace_stuck",
            Self::WaitsForRoom { .. } => "waits_for_room",
            Self::HoldBudgetUnknown { .. } => "hold_budget_unknown",
            Self::HoldNoMetrics { .. } => "hold_no_metrics",
            Self::HoldNoShape { .. } => "hold_no_shape",
            Self::HoldNoInventory { .. } => "hold_no_inventory",
            Self::HoldNotFresh { .. } => "hold_not_fresh",
            Self::HoldStabilizing { .. } => "hold_stabilizing",
            Self::HoldLatency { .. } => "hold_latency",
            Self::Limited { .. } => "limited",
            Self::CannotBeMet { .. } => "cannot_be_met",
            Self::DoesNotFit => "does_not_fit",
        }
    }

    /// Whether it says that the count stays as it is, whatever would be wanted.
    #[must_use]
    pub const fn is_hold(&self) -> bool {
        match self {
            Self::HoldNoMetrics { .. }
            | Self::HoldNoShape { .. }
            | Self::HoldNoInventory { .. }
            | Self::HoldNotFresh { .. }
            | Self::HoldStabilizing { .. }
            | Self::HoldLatency { .. }
            | Self::HoldBudgetUnknown { .. } => true,
            Self::ScaleUp { .. }
            | Self::ScaleDown { .. }
            | Self::Steady { .. }
            | Self::Idle
            | Self::IntoLimits
            | Self::Wake
            | Self::Saturation { .. }
            | Self::DrainBacklog { .. }
            | Self::ReplaceStuck { .. }
            | Self::WaitsForRoom { .. }
            | Self::Limited { .. }
            | Self::CannotBeMet { .. }
            | Self::DoesNotFit => false,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TtftWait => "the wait before the first token",
            Self::ItlBatch => "the token latency of a fuller batch",
            Self::Room => "slots or KV memory of the engines",
            Self::Min => "the configured minimum",
            Self::Max => "the configured maximum",
            Self::Budget => "the GPU budget",
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ttft => "TTFT",
            Self::Itl => "ITL",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScaleUp { bound } => write!(f, "the promise wants more ({bound})"),
            Self::ScaleDown { bound } => write!(f, "fewer keep the promise ({bound})"),
            Self::Steady { bound } => write!(f, "right as it is ({bound})"),
            Self::Idle => f.write_str("no request arrives: down to the minimum"),
            Self::IntoLimits => f.write_str("moved inside min, max and the GPU budget"),
            Self::Wake => f.write_str("requests arrive and no replica is there: one to begin with"),
            Self::Saturation { trust } => {
                write!(f, "by what is full: the model explains too little ({:.2})", trust.get())
            }
            Self::DrainBacklog { waiting } => {
                write!(f, "{waiting} requests wait for longer than promised")
            }
            Self::ReplaceStuck { name, age } => {
                write!(f, "one more beside {name}, which starts for {}", format_duration(*age))
            }
            Self::WaitsForRoom { wanted } => {
                write!(f, "{wanted} wanted, once another pool has given back GPUs of the budget")
            }
            Self::HoldBudgetUnknown { pool, wanted } => {
                write!(f, "held: {wanted} wanted, but what {pool} takes of the budget is not known")
            }
            Self::HoldNoMetrics { detail } => write!(f, "held: arrivals {detail}"),
            Self::HoldNoShape { detail } => write!(f, "held: request lengths {detail}"),
            Self::HoldNoInventory { detail } => write!(f, "held: replicas {detail}"),
            Self::HoldNotFresh { detail, wanted } => {
                write!(f, "held: {wanted} would do, but {detail}")
            }
            Self::HoldStabilizing { wanted, window } => write!(
                f,
                "held: {wanted} would do, but more were wanted within {}",
                format_duration(*window)
            ),
            Self::HoldLatency { latency, seen, target } => {
                write!(f, "held: {latency} seen is {seen:.0} where {target:.0} is promised")
            }
            Self::Limited { needed } if *needed == Verdict::NO_SIZE => {
                f.write_str("no allowed count of replicas keeps the promise")
            }
            Self::Limited { needed } => {
                write!(f, "the promise would take {needed} GPUs, more than the limits allow")
            }
            Self::CannotBeMet { latency, best, target } => write!(
                f,
                "{latency} of {target:.1} cannot be met by adding replicas: {best:.1} is the best"
            ),
            Self::DoesNotFit => f.write_str("a request does not fit an engine's KV cache"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_list_and_in_the_serial_form() {
        let some = [
            Reason::Idle,
            Reason::ScaleUp { bound: Bound::Min },
            Reason::HoldNoMetrics { detail: String::new() },
            Reason::Limited { needed: Gpus::new(1) },
            Reason::DoesNotFit,
        ];
        for r in some {
            assert!(Reason::CODES.iter().any(|(code, _)| *code == r.code()), "{r:?}");
            assert_eq!(serde_json::to_value(&r).unwrap()["code"], r.code());
            assert_eq!(r.is_hold(), r.code().starts_with("hold_"), "{r:?}");
        }
    }
}
