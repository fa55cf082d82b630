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
    /// The model of the engines is not trusted: latencies and KV memory decide.
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
    /// Every code, what it means, and what to do where it is seen, for the documentation and the
    /// metrics.
    pub const CODES: [(&'static str, &'static str, &'static str); 20] = [
        (
            "scale_up",
            "The promise wants more replicas.",
            "None where replicas are added now and then. Where it comes every few minutes, raise \
             `min` or `longest_hold`, or shorten the start-up of a replica.",
        ),
        (
            "scale_down",
            "Fewer replicas keep the promise, and did for the whole window.",
            "None. Where the same pool grows again soon after, give `scale_down_stabilization` \
             more time.",
        ),
        ("steady", "The count is right as it is.", "None."),
        (
            "idle",
            "No request arrives, by fresh metrics: down to the minimum.",
            "None where nothing is sent. Where clients do send, `target.dynamo_namespace` or \
             `target.model` names other series than theirs.",
        ),
        (
            "into_limits",
            "The count was outside min, max or the GPU budget, and is moved inside.",
            "None where a limit was just changed. Where it comes back, somebody else writes the \
             count: look for a HorizontalPodAutoscaler or a pipeline that sets replicas.",
        ),
        (
            "wake",
            "Requests arrive where no replica is, their lengths never seen: one to begin with.",
            "None: once the first answers are out, the lengths are known and the pool is sized. \
             Set `min` to 1 where nobody should wait for it.",
        ),
        (
            "saturation",
            "The model of the engines is not trusted: latencies and KV memory decide.",
            "Give the pool a profile of its own (`pools.*.profile`), or measure it anew: what is \
             seen differs from the one in use by more than a factor of two, and it stays so until that \
             is below 1.7. Without a profile it ends after some minutes of traffic.",
        ),
        (
            "drain_backlog",
            "More replicas are wanted to serve requests that wait for too long already.",
            "None where it comes once in a burst. Where it comes often, raise `min` or \
             `longest_hold`: the burst was there before the replicas were.",
        ),
        (
            "replace_stuck",
            "A replica hangs while it starts: one more is asked for beside it.",
            "Describe the pod that the text names: an image that is not found, a node that is \
             broken, weights that do not load. Delete it once the cause is mended.",
        ),
        (
            "waits_for_room",
            "More are wanted, once another pool has given back GPUs of the budget.",
            "Wait for the other pool to shrink. Where it lasts longer than a stabilisation \
             window, raise `max_gpu_budget` or lower the other pool's `min`.",
        ),
        (
            "hold_no_metrics",
            "The arrivals are not known: check Prometheus and the scrape targets.",
            "Ask Prometheus for the frontend's request counter with the labels of `target`. No \
             answer is its address or token; an empty one is a scrape target or a label.",
        ),
        (
            "hold_no_shape",
            "Requests arrive, but their lengths were never seen.",
            "See that the frontends export the histograms of input and output lengths, and that \
             one request was answered since the start; until then set the count by hand.",
        ),
        (
            "hold_no_inventory",
            "The replicas could not be read: check the API server and rights.",
            "Check that the DGD and the service named in `pools` exist, that the API server \
             answers, and that the Role may read DGDs, their adapters and pods.",
        ),
        (
            "hold_not_fresh",
            "Fewer would do, but an input is too old to take a replica away.",
            "Look for the input named in the text: a scrape that fails, a frontend that is gone, \
             a counter that stands still. `max_metric_age` must be longer than the scrape \
             interval.",
        ),
        (
            "hold_stabilizing",
            "Fewer would do, but more were wanted a short while ago.",
            "None: it shrinks when the window has passed. A shorter `scale_down_stabilization` \
             gives GPUs back sooner and takes them again more often.",
        ),
        (
            "hold_latency",
            "Fewer would do by the model, but the latency seen is over target.",
            "Where it lasts, the engines are slower than their profile, or something outside them \
             is slow: compare `sla-planner why` with the engines' own latencies, and profile them \
             again.",
        ),
        (
            "hold_budget_unknown",
            "More are wanted, but what another pool takes is not known.",
            "Make the replicas of the pool named readable (see `hold_no_inventory`): GPUs that \
             may be in use are not handed out twice.",
        ),
        (
            "limited",
            "More replicas are wanted than `max` or the GPU budget allow.",
            "Raise `max` or `max_gpu_budget` to what the text names, relax the promise, or send \
             less: until then requests are late.",
        ),
        (
            "cannot_be_met",
            "A request alone on an engine is slower than promised.",
            "No count helps. Relax the target to the best that the text names, take faster \
             engines, or shorten prompts (`context_length`).",
        ),
        (
            "does_not_fit",
            "A request does not fit an engine's KV cache.",
            "Shorten requests (`context_length`), or take engines with more memory. See with \
             `profile lint` that `max_kv_tokens` of the profile is of these engines.",
        ),
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
            assert!(Reason::CODES.iter().any(|(code, ..)| *code == r.code()), "{r:?}");
            assert_eq!(serde_json::to_value(&r).unwrap()["code"], r.code());
            assert_eq!(r.is_hold(), r.code().starts_with("hold_"), "{r:?}");
        }
    }

    #[test]
    fn the_list_has_every_code_once_with_a_meaning_and_what_to_do() {
        // The serial form names all codes where it meets one that it does not know.
        let error = serde_json::from_str::<Reason>(r#"{"code": "?"}"#).unwrap_err().to_string();
        let mut known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        let mut listed: Vec<&str> = Reason::CODES.iter().map(|(code, ..)| *code).collect();
        known.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, known, "{error}");
        assert!(listed.len() <= 40, "a list that nobody can know by heart");
        for (code, meaning, to_do) in Reason::CODES {
            for text in [meaning, to_do] {
                assert!(text.len() > 4 && text.ends_with('.'), "{code}: {text:?}");
                assert!(!text.contains(['|', '\n']), "{code}: {text:?} breaks its table");
            }
        }
    }
}
