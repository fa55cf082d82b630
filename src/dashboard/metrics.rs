//! The registry, and the setters of what it shows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::names;
use super::series::{Counters, Gauges, registered_name};
use crate::observe::{Inventory, LatencySignals, Role, Signal, Traffic};
use crate::plan::{Correction, Starting, Trust};
use crate::units::{Gpus, Millis, PerSecond, Replicas, Share, Timestamp, Tokens, seconds_of};

/// Bounds of a decision's duration, seconds: from a replayed tick to one that waits for a slow
/// Prometheus until its timeout.
const DECISION_BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Bounds of a webhook call, seconds: from a small object on an idle machine to the 10 seconds after
/// which the API server gives up.
const WEBHOOK_BOUNDS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0, 10.0];

/// The states of a signal, as labels.
const STATES: [&str; 5] = ["fresh", "late", "frozen", "contradictory", "missing"];

/// All metrics of the process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

macro_rules! inner {
    ($($field:ident: $kind:ident = $name:ident,)*) => {
        struct Inner {
            registry: Registry,
            decision_seconds: Histogram,
            webhook_seconds: Histogram,
            $($field: $kind,)*
        }

        impl Inner {
            fn new() -> Self {
                let mut registry = Registry::default();
                let decision_seconds = Histogram::new(DECISION_BOUNDS);
                let webhook_seconds = Histogram::new(WEBHOOK_BOUNDS);
                for (metric, histogram) in [
                    (names::DECISION_SECONDS, &decision_seconds),
                    (names::WEBHOOK_SECONDS, &webhook_seconds),
                ] {
                    #[expect(clippy::disallowed_methods, reason = "the metric is one of the table")]
                    registry.register(registered_name(&metric), metric.help, histogram.clone());
                }
                $(let $field = $kind::register(&mut registry, names::$name);)*
                Self { registry, decision_seconds, webhook_seconds, $($field,)* }
            }

            /// Takes away every series of a deployment.
            fn forget(&self, deployment: &str) {
                $(if names::$name.labels.first() == Some(&names::DEPLOYMENT) {
                    self.$field.forget(&[deployment]);
                })*
            }
        }
    };
}

inner! {
    build_info: Gauges = BUILD_INFO,
    leader: Gauges = LEADER,
    adapter_leader: Gauges = ADAPTER_LEADER,
    errors: Counters = ERRORS,
    webhook_reviews: Counters = WEBHOOK_REVIEWS,
    webhook_certificate_end: Gauges = WEBHOOK_CERTIFICATE_END,
    ticks: Counters = TICKS,
    last_success: Gauges = LAST_SUCCESS,
    decisions: Counters = DECISIONS,
    writes: Counters = WRITES,
    conflict: Gauges = CONFLICT,
    replicas: Gauges = REPLICAS,
    recommended: Gauges = RECOMMENDED,
    gpu_seconds: Counters = GPU_SECONDS,
    sla_target: Gauges = SLA_TARGET,
    observed_rate: Gauges = OBSERVED_RATE,
    observed_tokens: Gauges = OBSERVED_TOKENS,
    observed_latency: Gauges = OBSERVED_LATENCY,
    observed_queued: Gauges = OBSERVED_QUEUED,
    observed_inflight: Gauges = OBSERVED_INFLIGHT,
    observed_kv: Gauges = OBSERVED_KV,
    signal_state: Gauges = SIGNAL_STATE,
    signal_age: Gauges = SIGNAL_AGE,
    predicted_rate: Gauges = PREDICTED_RATE,
    predicted_tokens: Gauges = PREDICTED_TOKENS,
    estimated_latency: Gauges = ESTIMATED_LATENCY,
    late: Gauges = LATE,
    burn: Gauges = BURN,
    startup: Gauges = STARTUP,
    expected: Gauges = EXPECTED,
    trust: Gauges = TRUST,
    correction: Gauges = CORRECTION,
    regret: Gauges = REGRET,
    compat_prefill: Gauges = COMPAT_PREFILL,
    compat_decode: Gauges = COMPAT_DECODE,
    compat_ttft: Gauges = COMPAT_TTFT,
    compat_itl: Gauges = COMPAT_ITL,
    compat_rate: Gauges = COMPAT_RATE,
    compat_duration: Gauges = COMPAT_DURATION,
    compat_isl: Gauges = COMPAT_ISL,
    compat_osl: Gauges = COMPAT_OSL,
    compat_predicted_rate: Gauges = COMPAT_PREDICTED_RATE,
    compat_predicted_isl: Gauges = COMPAT_PREDICTED_ISL,
    compat_predicted_osl: Gauges = COMPAT_PREDICTED_OSL,
    compat_predicted_prefill: Gauges = COMPAT_PREDICTED_PREFILL,
    compat_predicted_decode: Gauges = COMPAT_PREDICTED_DECODE,
    compat_gpu_hours: Gauges = COMPAT_GPU_HOURS,
    compat_target_ttft: Gauges = COMPAT_TARGET_TTFT,
    compat_target_itl: Gauges = COMPAT_TARGET_ITL,
    compat_estimated_ttft: Gauges = COMPAT_ESTIMATED_TTFT,
    compat_estimated_itl: Gauges = COMPAT_ESTIMATED_ITL,
}

impl Metrics {
    /// A registry of its own; `version` is that of the program.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let inner = Inner::new();
        inner.build_info.set(&[version], Some(1.0));
        Self(Arc::new(inner))
    }

    /// The part that belongs to one deployment (`namespace/name`).
    #[must_use]
    pub fn deployment(&self, name: impl Into<String>) -> DeploymentMetrics {
        DeploymentMetrics { metrics: self.clone(), name: name.into() }
    }

    /// Something failed: `source` is what ("prometheus", "kubernetes"), `kind` how. Both are a
    /// fixed, small set of words.
    pub fn error(&self, source: &'static str, kind: &'static str) {
        self.0.errors.increment(&[source, kind]);
    }

    /// Whether this process may write.
    pub fn set_leader(&self, leads: bool) {
        self.0.leader.set(&[], Some(f64::from(u8::from(leads))));
    }

    /// Whether this process keeps the adapters of a namespace (`*` is every one); where it is never said,
    /// there is no series.
    pub fn set_adapter_leader(&self, namespace: &str, leads: bool) {
        self.0.adapter_leader.set(&[namespace], Some(f64::from(u8::from(leads))));
    }

    /// A call of an admission webhook was answered. All texts are of a fixed, small set of words.
    pub fn webhook_review(
        &self,
        path: &'static str,
        operation: &'static str,
        result: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        self.0.webhook_reviews.increment(&[path, operation, result, reason]);
        self.0.webhook_seconds.observe(seconds_of(took));
    }

    /// When the certificate of the webhooks ends.
    pub fn set_webhook_certificate_end(&self, end: Option<Timestamp>) {
        let seconds = end.map(|end| seconds_of(end.since(Timestamp::from_millis(0))));
        self.0.webhook_certificate_end.set(&[], seconds);
    }

    /// The page, in OpenMetrics text.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.0.registry).expect("writing to a String cannot fail");
        page
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A forecast, as far as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ForecastFigures {
    /// Arrivals: the lower end of the band.
    pub low: Option<PerSecond>,
    /// Arrivals: the point.
    pub point: Option<PerSecond>,
    /// Arrivals: the upper end of the band.
    pub high: Option<PerSecond>,
    /// Mean prompt length.
    pub isl: Option<Tokens>,
    /// Mean output length.
    pub osl: Option<Tokens>,
}

/// The metrics of one deployment.
#[derive(Clone, Debug)]
pub struct DeploymentMetrics {
    metrics: Metrics,
    name: String,
}

impl DeploymentMetrics {
    fn inner(&self) -> &Inner {
        &self.metrics.0
    }

    /// A tick ended, in the way that `outcome` names, and took so long.
    pub fn tick(&self, outcome: &'static str, took: Duration) {
        self.inner().ticks.increment(&[&self.name, outcome]);
        self.inner().decision_seconds.observe(seconds_of(took));
    }

    /// A step of the tick ("observe", "decide", "apply") succeeded at `now`.
    pub fn success(&self, now: Timestamp, step: &'static str) {
        let epoch = seconds_of(now.since(Timestamp::default()));
        self.inner().last_success.set(&[&self.name, step], Some(epoch));
    }

    /// A pool was decided on, for a reason.
    pub fn decision(&self, pool: Role, reason: &'static str) {
        self.inner().decisions.increment(&[&self.name, pool.as_str(), reason]);
    }

    /// A replica count was written, with this result.
    pub fn write(&self, pool: Role, result: &'static str) {
        self.inner().writes.increment(&[&self.name, pool.as_str(), result]);
    }

    /// Whether somebody else sets the replicas of a pool too; `None` where it is not known.
    pub fn set_conflict(&self, pool: Role, conflict: Option<bool>) {
        let figure = conflict.map(|conflict| f64::from(u8::from(conflict)));
        self.inner().conflict.set(&[&self.name, pool.as_str()], figure);
    }

    /// What the latest decision asks for.
    pub fn set_recommended(&self, pool: Role, replicas: Replicas) {
        let inner = self.inner();
        let figure = Some(f64::from(replicas.get()));
        inner.recommended.set(&[&self.name, pool.as_str()], figure);
        match pool {
            Role::Prefill => &inner.compat_predicted_prefill,
            Role::Decode | Role::Aggregated => &inner.compat_predicted_decode,
        }
        .set(&[&self.name], figure);
    }

    /// The pools held so many GPUs for so long.
    pub fn add_gpu_time(&self, gpus: Gpus, time: Duration) {
        let seconds = f64::from(gpus.get()) * seconds_of(time);
        self.inner().gpu_seconds.add(&[&self.name], seconds);
        self.inner().compat_gpu_hours.add(&[&self.name], seconds / 3600.0);
    }

    /// What is promised; a latency without a promise has no series.
    pub fn set_targets(&self, ttft: Option<Millis>, itl: Option<Millis>) {
        let inner = self.inner();
        self.latencies(
            &inner.sla_target,
            [&inner.compat_target_ttft, &inner.compat_target_itl],
            [ttft, itl],
        );
    }

    /// What the decision expects.
    pub fn set_estimates(&self, ttft: Option<Millis>, itl: Option<Millis>) {
        let inner = self.inner();
        self.latencies(
            &inner.estimated_latency,
            [&inner.compat_estimated_ttft, &inner.compat_estimated_itl],
            [ttft, itl],
        );
    }

    fn latencies(&self, ours: &Gauges, compat: [&Gauges; 2], values: [Option<Millis>; 2]) {
        for ((name, compat), value) in ["ttft", "itl"].into_iter().zip(compat).zip(values) {
            ours.set(&[&self.name, name], value.map(seconds));
            compat.set(&[&self.name], value.map(Millis::get));
        }
    }

    /// What is expected to come.
    pub fn set_forecast(&self, forecast: &ForecastFigures) {
        let inner = self.inner();
        let ForecastFigures { low, point, high, isl, osl } = *forecast;
        for (bound, rate) in [("low", low), ("point", point), ("high", high)] {
            inner.predicted_rate.set(&[&self.name, bound], rate.map(PerSecond::get));
        }
        inner.predicted_tokens.set(&[&self.name, "isl"], isl.map(Tokens::get));
        inner.predicted_tokens.set(&[&self.name, "osl"], osl.map(Tokens::get));
        inner.compat_predicted_rate.set(&[&self.name], point.map(PerSecond::get));
        inner.compat_predicted_isl.set(&[&self.name], isl.map(Tokens::get));
        inner.compat_predicted_osl.set(&[&self.name], osl.map(Tokens::get));
    }

    /// What was late in an hour or a day (`window`), and that over what may be.
    pub fn set_late(&self, window: &'static str, late: Option<Share>, burn: Option<f64>) {
        let inner = self.inner();
        inner.late.set(&[&self.name, window], late.map(Share::get));
        inner.burn.set(&[&self.name, window], burn);
    }

    /// What is known of the starts of each pool.
    pub fn set_starting(&self, starting: &[Starting]) {
        let inner = self.inner();
        for pool in starting {
            let role = pool.role.as_str();
            for (quantile, time) in
                [("0.5", pool.median), ("0.9", pool.p90), ("0.99", pool.given_up_after)]
            {
                inner.startup.set(&[&self.name, role, quantile], Some(seconds_of(time)));
            }
            inner.expected.set(&[&self.name, role], Some(pool.expected));
        }
    }

    /// The model beside what is seen.
    pub fn set_trust(&self, trust: &Trust) {
        let inner = self.inner();
        inner.trust.set(&[&self.name], Some(trust.score.get()));
        let Correction { prefill, decode, memory } = trust.correction;
        inner.correction.set(&[&self.name, "prefill"], Some(prefill));
        inner.correction.set(&[&self.name, "decode"], Some(decode));
        inner.correction.set(&[&self.name, "memory"], Some(memory));
    }

    /// What was asked for beside the best fixed fleet; `None` where it is not known.
    pub fn set_regret(&self, work: &str, regret: Option<f64>) {
        self.inner().regret.set(&[&self.name, work], regret);
    }

    /// The replicas there are; a pool that could not be read has no series.
    pub fn set_inventory(&self, inventory: &Inventory) {
        let inner = self.inner();
        let ready = |role| inventory.pool(role).map(|pool| f64::from(pool.ready.get()));
        for role in [Role::Prefill, Role::Decode, Role::Aggregated] {
            let pool = inventory.pool(role);
            let stuck = pool.map(|p| u32::try_from(p.stuck.len()).unwrap_or(u32::MAX));
            for (state, count) in [
                ("desired", pool.map(|p| p.desired.get())),
                ("ready", pool.map(|p| p.ready.get())),
                ("starting", pool.map(|p| p.starting.get())),
                ("draining", pool.map(|p| p.draining.get())),
                ("stuck", stuck),
            ] {
                inner.replicas.set(&[&self.name, role.as_str(), state], count.map(f64::from));
            }
        }
        inner.compat_prefill.set(&[&self.name], ready(Role::Prefill));
        let decode = ready(Role::Decode).or_else(|| ready(Role::Aggregated));
        inner.compat_decode.set(&[&self.name], decode);
    }

    /// What was seen at `now`; a figure that is not known has no series, its state has.
    pub fn set_traffic(&self, now: Timestamp, traffic: &Traffic) {
        let inner = self.inner();
        let Traffic {
            window: _,
            arrivals,
            isl,
            osl,
            ttft,
            itl,
            request_duration,
            queued,
            inflight,
            kv_usage,
        } = traffic;

        let rate = self.signal(now, "arrivals", arrivals, |x| x.get());
        inner.observed_rate.set(&[&self.name], rate);
        inner.compat_rate.set(&[&self.name], rate);
        for (name, signal, compat) in
            [("isl", isl, &inner.compat_isl), ("osl", osl, &inner.compat_osl)]
        {
            let tokens = self.signal(now, name, signal, |x| x.get());
            inner.observed_tokens.set(&[&self.name, name], tokens);
            compat.set(&[&self.name], tokens);
        }
        for (name, quantile_name, latency, compat) in [
            ("ttft", "ttft_quantile", ttft, &inner.compat_ttft),
            ("itl", "itl_quantile", itl, &inner.compat_itl),
        ] {
            let LatencySignals { mean, quantile, percentile: _ } = latency;
            let at_mean = self.signal(now, name, mean, |x| seconds(*x));
            inner.observed_latency.set(&[&self.name, name, "mean"], at_mean);
            compat.set(&[&self.name], mean.known().map(|x| x.get()));
            let at_quantile = self.signal(now, quantile_name, quantile, |x| seconds(*x));
            inner.observed_latency.set(&[&self.name, name, "quantile"], at_quantile);
        }
        let duration = self.signal(now, "request_duration", request_duration, |x| seconds(*x));
        inner.observed_latency.set(&[&self.name, "request", "mean"], duration);
        inner.compat_duration.set(&[&self.name], duration);
        let figure = self.signal(now, "queued", queued, |x| *x);
        inner.observed_queued.set(&[&self.name], figure);
        let figure = self.signal(now, "inflight", inflight, |x| *x);
        inner.observed_inflight.set(&[&self.name], figure);
        let figure = self.signal(now, "kv_usage", kv_usage, |x| x.get());
        inner.observed_kv.set(&[&self.name], figure);
    }

    /// Notes the state of one signal, and returns its figure where it is known.
    fn signal<T>(
        &self,
        now: Timestamp,
        name: &'static str,
        signal: &Signal<T>,
        figure: impl FnOnce(&T) -> f64,
    ) -> Option<f64> {
        let found = match signal {
            Signal::Fresh { .. } => "fresh",
            Signal::Late { .. } => "late",
            Signal::Frozen { .. } => "frozen",
            Signal::Contradictory { .. } => "contradictory",
            Signal::Missing { .. } => "missing",
        };
        for state in STATES {
            let is_it = f64::from(u8::from(state == found));
            self.inner().signal_state.set(&[&self.name, name, state], Some(is_it));
        }
        self.inner().signal_age.set(&[&self.name, name], signal.age(now).map(seconds_of));
        signal.known().map(figure)
    }

    /// Takes away all series of the deployment, when it is planned for no more.
    pub fn forget(&self) {
        self.inner().forget(&self.name);
    }
}

fn seconds(latency: Millis) -> f64 {
    latency.get() / 1e3
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
