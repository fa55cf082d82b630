//! A metric as an autoscaler of Kubernetes is configured with it: a query and a target.

use std::time::Duration;

use crate::sim::{Family, Gauge, Metrics};

/// The window of the guide's queries: `rate(..._bucket[5m])`.
pub(super) const GUIDE_WINDOW: Duration = Duration::from_secs(300);

/// A query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sensor {
    /// `histogram_quantile(q, sum by (le) (rate(family_bucket[window])))`, in the family's unit.
    Quantile { family: Family, q: f64, window: Duration },
    /// The newest value.
    Gauge(Gauge),
    /// Requests past their first token: in flight less queued.
    Decoding,
}

/// What a query answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    /// A number.
    Value(f64),
    /// A series without a number, as a quantile of no observations is.
    NotANumber,
    /// No series.
    Empty,
    /// No answer.
    Down,
}

impl Sensor {
    pub(super) fn read(self, metrics: &Metrics) -> Reading {
        if !metrics.is_up() {
            return Reading::Down;
        }
        match self {
            Self::Quantile { family, q, window } => match metrics.quantile(family, q, window) {
                Some(value) => Reading::Value(value),
                None if metrics.observations(family, window).is_some() => Reading::NotANumber,
                None => Reading::Empty,
            },
            Self::Gauge(gauge) => metrics.gauge(gauge).map_or(Reading::Empty, Reading::Value),
            Self::Decoding => {
                let inflight = metrics.gauge(Gauge::Inflight);
                let queued = metrics.gauge(Gauge::Queued);
                inflight
                    .zip(queued)
                    .map_or(Reading::Empty, |(all, queued)| Reading::Value((all - queued).max(0.0)))
            }
        }
    }
}

/// What a metric is held at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// The whole metric.
    Value(f64),
    /// The metric over the number of replicas.
    AverageValue(f64),
}

/// A query with its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trigger {
    pub(super) sensor: Sensor,
    pub(super) target: Target,
}
