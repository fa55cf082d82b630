//! The series of one metric, which can be taken away again.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric as Registrable, Registry};

use super::names::Metric;

type Labels = Vec<(&'static str, String)>;

/// A metric with its label sets.
#[derive(Debug)]
pub(super) struct Series<M> {
    metric: Metric,
    family: Family<Labels, M>,
    /// The label sets there are: a family does not tell.
    known: Mutex<BTreeSet<Labels>>,
}

/// Gauges of one name.
pub(super) type Gauges = Series<Gauge<f64, AtomicU64>>;
/// Counters of one name.
pub(super) type Counters = Series<Counter<f64, AtomicU64>>;

impl<M: Default + Clone + Registrable> Series<M>
where
    Family<Labels, M>: Registrable,
{
    pub(super) fn register(registry: &mut Registry, metric: Metric) -> Self {
        let family = Family::<Labels, M>::default();
        #[expect(clippy::disallowed_methods, reason = "the metric is one of the table")]
        registry.register(registered_name(&metric), metric.help, family.clone());
        Self { metric, family, known: Mutex::default() }
    }

    fn labels(&self, values: &[&str]) -> Labels {
        debug_assert_eq!(values.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.metric.labels.iter().copied().zip(values.iter().map(|v| (*v).to_owned())).collect()
    }

    fn with(&self, values: &[&str], f: impl FnOnce(&M)) {
        let labels = self.labels(values);
        f(&self.family.get_or_create(&labels));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(labels);
    }

    /// Takes away every series whose first labels have these values.
    pub(super) fn forget(&self, first: &[&str]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|labels| {
            let is_meant = labels.len() >= first.len()
                && labels.iter().zip(first).all(|((_, value), meant)| value == meant);
            if is_meant {
                self.family.remove(labels);
            }
            !is_meant
        });
    }
}

impl Gauges {
    /// Sets one series; what is not known has none.
    pub(super) fn set(&self, values: &[&str], figure: Option<f64>) {
        match figure {
            Some(figure) => self.with(values, |gauge| {
                gauge.set(figure);
            }),
            None => self.forget(values),
        }
    }

    /// Adds to one series, which begins at 0.
    pub(super) fn add(&self, values: &[&str], more: f64) {
        self.with(values, |gauge| {
            gauge.inc_by(more);
        });
    }
}

impl Counters {
    pub(super) fn add(&self, values: &[&str], more: f64) {
        self.with(values, |counter| {
            counter.inc_by(more);
        });
    }

    pub(super) fn increment(&self, values: &[&str]) {
        self.add(values, 1.0);
    }
}

/// The registry appends `_total` to counters by itself.
pub(super) fn registered_name(metric: &Metric) -> &'static str {
    metric.name.strip_suffix("_total").unwrap_or(metric.name)
}
