//! The traffic of one window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Inventory, Signal};
use crate::units::{Millis, PerSecond, Percentile, Share, Timestamp, Tokens};

/// A latency over the window: its mean, and the quantile at the percentile of the promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencySignals {
    /// Mean over the requests of the window.
    pub mean: Signal<Millis>,
    /// The quantile, from the histogram's buckets (so exact only to the width of a bucket).
    pub quantile: Signal<Millis>,
    /// Which quantile that is.
    pub percentile: Percentile,
}

/// What the frontends and the engines saw over one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Length of the window.
    pub window: Duration,
    /// Requests that arrived, per second: arrivals, not completions, which stop growing when the
    /// fleet is overloaded.
    pub arrivals: Signal<PerSecond>,
    /// Mean prompt length.
    pub isl: Signal<Tokens>,
    /// Mean output length.
    pub osl: Signal<Tokens>,
    /// Time to first token.
    pub ttft: LatencySignals,
    /// Inter-token latency.
    pub itl: LatencySignals,
    /// Mean duration of a whole request.
    pub request_duration: Signal<Millis>,
    /// Requests without their first token yet.
    pub queued: Signal<f64>,
    /// Requests not finished yet.
    pub inflight: Signal<f64>,
    /// KV cache in use, the mean over the engines of the pool that has most of it in use: the one that
    /// decodes.
    pub kv_usage: Signal<Share>,
}

impl Traffic {
    /// The same answer for every signal: what a source that is down looks like.
    #[must_use]
    pub fn all_missing(window: Duration, percentile: Percentile, why: &super::Missing) -> Self {
        fn gone<T>(why: &super::Missing) -> Signal<T> {
            Signal::missing(why.clone())
        }
        let latency = || LatencySignals { mean: gone(why), quantile: gone(why), percentile };
        Self {
            window,
            arrivals: gone(why),
            isl: gone(why),
            osl: gone(why),
            ttft: latency(),
            itl: latency(),
            request_duration: gone(why),
            queued: gone(why),
            inflight: gone(why),
            kv_usage: gone(why),
        }
    }
}

/// Everything that was seen at one tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When it was put together.
    pub at: Timestamp,
    /// The traffic.
    pub traffic: Traffic,
    /// The replicas.
    pub inventory: Inventory,
}

/// The load of one stretch of time, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficStep {
    /// Its beginning.
    pub start: Timestamp,
    /// How long it lasts.
    pub length: Duration,
    /// Requests that arrived; `None` where nobody counted, which is not 0.
    pub arrivals: Option<PerSecond>,
    /// Mean prompt; `None` where nothing was counted.
    pub isl: Option<Tokens>,
    /// Mean output.
    pub osl: Option<Tokens>,
}
