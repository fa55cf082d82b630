//! Every metric that leaves the process: its name, type, labels and help, in one table.

use std::fmt::Write as _;

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus stores it, `_total` of a counter included.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in the order of the page.
    pub labels: &'static [&'static str],
    /// One line, without a full stop (the page adds it).
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As in the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The deployment that a series is about: `namespace/name`.
pub(super) const DEPLOYMENT: &str = "deployment";
/// The pool: `prefill`, `decode` or `aggregated`.
pub(super) const POOL: &str = "pool";

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal [$($label:expr),*] $help:literal;)*) => {
        $(pub(super) const $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// Every metric, in the order of the table.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "sla_planner_build_info" ["version"]
        "Always 1; the version is in the label";
    LEADER = Gauge "sla_planner_leader" []
        "1 while this process may write, 0 while another one does";
    ADAPTER_LEADER = Gauge "sla_planner_adapter_leader" ["adapters_of"]
        "1 while this process keeps the adapters of that namespace (* is every one), else 0; none where it is not to";
    ERRORS = Counter "sla_planner_errors_total" ["source", "kind"]
        "Failures, by what failed and how";
    DECISION_SECONDS = Histogram "sla_planner_decision_duration_seconds" []
        "From the start of a tick to its decision, the observation included";

    WEBHOOK_REVIEWS = Counter "sla_planner_webhook_reviews_total" ["path", "operation", "result", "reason"]
        "Calls of the admission webhooks (allowed, denied, error), a refusal with its kind of rule";
    WEBHOOK_SECONDS = Histogram "sla_planner_webhook_duration_seconds" []
        "From the head of a call to its answer";
    WEBHOOK_CERTIFICATE_END = Gauge "sla_planner_webhook_certificate_end_timestamp_seconds" []
        "When the certificate of the webhooks ends, since the epoch";

    TICKS = Counter "sla_planner_ticks_total" [DEPLOYMENT, "outcome"]
        "Ticks of the planning loop, by how they ended";
    LAST_SUCCESS = Gauge "sla_planner_last_success_timestamp_seconds" [DEPLOYMENT, "step"]
        "When a step of the tick last succeeded, since the epoch";
    DECISIONS = Counter "sla_planner_decisions_total" [DEPLOYMENT, POOL, "reason"]
        "Decisions, by their reason; holding is a decision";
    WRITES = Counter "sla_planner_scale_writes_total" [DEPLOYMENT, POOL, "result"]
        "Writes of a replica count to the cluster, by result";
    CONFLICT = Gauge "sla_planner_conflict" [DEPLOYMENT, POOL]
        "1 while somebody else sets the replicas of the pool too";
    REPLICAS = Gauge "sla_planner_replicas" [DEPLOYMENT, POOL, "state"]
        "Replicas that are desired, ready, starting, draining, and stuck among the starting";
    RECOMMENDED = Gauge "sla_planner_recommended_replicas" [DEPLOYMENT, POOL]
        "Replicas that the latest decision asks for";
    GPU_SECONDS = Counter "sla_planner_gpu_seconds_total" [DEPLOYMENT]
        "GPU time held by the pools";

    SLA_TARGET = Gauge "sla_planner_sla_target_seconds" [DEPLOYMENT, "latency"]
        "The promised latency (ttft, itl)";
    OBSERVED_RATE = Gauge "sla_planner_observed_requests_per_second" [DEPLOYMENT]
        "Arrivals over the window";
    OBSERVED_TOKENS = Gauge "sla_planner_observed_tokens" [DEPLOYMENT, "length"]
        "Mean length over the window (isl, osl)";
    OBSERVED_LATENCY = Gauge "sla_planner_observed_latency_seconds" [DEPLOYMENT, "latency", "stat"]
        "Latency over the window (ttft, itl, request): its mean, and the quantile of the promise";
    OBSERVED_QUEUED = Gauge "sla_planner_observed_queued_requests" [DEPLOYMENT]
        "Requests without their first token";
    OBSERVED_INFLIGHT = Gauge "sla_planner_observed_inflight_requests" [DEPLOYMENT]
        "Requests not finished";
    OBSERVED_KV = Gauge "sla_planner_observed_kv_usage_ratio" [DEPLOYMENT]
        "KV cache in use, mean over the engines, 0 to 1";
    SIGNAL_STATE = Gauge "sla_planner_signal_state" [DEPLOYMENT, "signal", "state"]
        "1 for the state that a signal is in (fresh, late, frozen, contradictory, missing)";
    SIGNAL_AGE = Gauge "sla_planner_signal_age_seconds" [DEPLOYMENT, "signal"]
        "Age of the newest sample behind a signal";
    PREDICTED_RATE = Gauge "sla_planner_predicted_requests_per_second" [DEPLOYMENT, "bound"]
        "Forecast of the arrivals (low, point, high)";
    PREDICTED_TOKENS = Gauge "sla_planner_predicted_tokens" [DEPLOYMENT, "length"]
        "Forecast of the mean lengths (isl, osl)";
    ESTIMATED_LATENCY = Gauge "sla_planner_estimated_latency_seconds" [DEPLOYMENT, "latency"]
        "Latency that the decision expects (ttft, itl)";

    LATE = Gauge "sla_planner_late_requests_ratio" [DEPLOYMENT, "window"]
        "Share of the requests of about an hour or a day that missed the promise, by the histograms";
    BURN = Gauge "sla_planner_error_budget_burn" [DEPLOYMENT, "window"]
        "That share over the one that the promise allows (hour, day): above 1 it is missed";

    STARTUP = Gauge "sla_planner_startup_seconds" [DEPLOYMENT, POOL, "quantile"]
        "Start-up time of a replica (0.5, 0.9, 0.99): as configured until one was seen to start";
    EXPECTED = Gauge "sla_planner_expected_replicas" [DEPLOYMENT, POOL]
        "Replicas that serve one start-up from now, starting ones by their chance";
    TRUST = Gauge "sla_planner_model_trust_ratio" [DEPLOYMENT]
        "How well the capacity model explains what is seen, 0 to 1";
    CORRECTION = Gauge "sla_planner_profile_correction_ratio" [DEPLOYMENT, "work"]
        "What engines take over what their profile says (prefill, decode), and running sequences hold over what mean lengths say (memory)";
    REGRET = Gauge "sla_planner_regret_ratio" [DEPLOYMENT, "work"]
        "What the forecast asked for cost so much more than the best fixed fleet of the last hours \
         would have (prefill, decode), late requests at their price included; below 0 it cost less";

    COMPAT_PREFILL = Gauge "dynamo_planner_num_prefill_replicas" [DEPLOYMENT]
        "Ready prefill replicas (name of Dynamo's planner)";
    COMPAT_DECODE = Gauge "dynamo_planner_num_decode_replicas" [DEPLOYMENT]
        "Ready decode or aggregated replicas (name of Dynamo's planner)";
    COMPAT_TTFT = Gauge "dynamo_planner_observed_ttft_ms" [DEPLOYMENT]
        "Mean time to first token (name of Dynamo's planner)";
    COMPAT_ITL = Gauge "dynamo_planner_observed_itl_ms" [DEPLOYMENT]
        "Mean inter-token latency (name of Dynamo's planner)";
    COMPAT_RATE = Gauge "dynamo_planner_observed_requests_per_second" [DEPLOYMENT]
        "Arrivals over the window (name of Dynamo's planner)";
    COMPAT_DURATION = Gauge "dynamo_planner_observed_request_duration_seconds" [DEPLOYMENT]
        "Mean duration of a request (name of Dynamo's planner)";
    COMPAT_ISL = Gauge "dynamo_planner_observed_input_sequence_tokens" [DEPLOYMENT]
        "Mean prompt length (name of Dynamo's planner)";
    COMPAT_OSL = Gauge "dynamo_planner_observed_output_sequence_tokens" [DEPLOYMENT]
        "Mean output length (name of Dynamo's planner)";
    COMPAT_PREDICTED_RATE = Gauge "dynamo_planner_predicted_requests_per_second" [DEPLOYMENT]
        "Forecast of the arrivals (name of Dynamo's planner)";
    COMPAT_PREDICTED_ISL = Gauge "dynamo_planner_predicted_input_sequence_tokens" [DEPLOYMENT]
        "Forecast of the mean prompt length (name of Dynamo's planner)";
    COMPAT_PREDICTED_OSL = Gauge "dynamo_planner_predicted_output_sequence_tokens" [DEPLOYMENT]
        "Forecast of the mean output length (name of Dynamo's planner)";
    COMPAT_PREDICTED_PREFILL = Gauge "dynamo_planner_predicted_num_prefill_replicas" [DEPLOYMENT]
        "Prefill replicas asked for (name of Dynamo's planner)";
    COMPAT_PREDICTED_DECODE = Gauge "dynamo_planner_predicted_num_decode_replicas" [DEPLOYMENT]
        "Decode or aggregated replicas asked for (name of Dynamo's planner)";
    COMPAT_GPU_HOURS = Gauge "dynamo_planner_gpu_hours" [DEPLOYMENT]
        "GPU time held by the pools, in hours (name of Dynamo's planner)";
    COMPAT_TARGET_TTFT = Gauge "dynamo_planner_sla_target_ttft_ms" [DEPLOYMENT]
        "The promised time to first token (name of Dynamo's planner)";
    COMPAT_TARGET_ITL = Gauge "dynamo_planner_sla_target_itl_ms" [DEPLOYMENT]
        "The promised inter-token latency (name of Dynamo's planner)";
    COMPAT_ESTIMATED_TTFT = Gauge "dynamo_planner_estimated_ttft_ms" [DEPLOYMENT]
        "Time to first token that the decision expects (name of Dynamo's planner)";
    COMPAT_ESTIMATED_ITL = Gauge "dynamo_planner_estimated_itl_ms" [DEPLOYMENT]
        "Inter-token latency that the decision expects (name of Dynamo's planner)";
}

/// The table as Markdown, for the documentation.
#[must_use]
pub fn metric_table() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for Metric { name, kind, labels, help } in ALL {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |")
            .expect("writing to a String cannot fail");
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_once_and_end_by_their_kind() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"));
            assert!(!metric.help.ends_with('.'), "{}", metric.help);
            let prefixes = ["sla_planner_", "dynamo_planner_"];
            assert!(prefixes.iter().any(|prefix| metric.name.starts_with(prefix)));
        }
    }

    #[test]
    fn the_table_has_a_line_for_every_metric() {
        assert_eq!(metric_table().lines().count(), ALL.len() + 2);
        assert!(metric_table().contains(
            "| `sla_planner_decisions_total` | counter | `deployment`, `pool`, `reason` | "
        ));
    }
}
