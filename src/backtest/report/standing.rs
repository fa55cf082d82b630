//! How a policy stands in a group: its runs with every seed, taken together.

use super::super::{Promise, RunResult, Score};
use super::text::{foresees, number, percent};

/// A mean of shares that are all the promised one may be short of it by a rounding error, which is
/// far below one request of any trace that fits into memory.
const ROUNDING: f64 = 1e-9;

/// One policy in a group, with all seeds that it was played with.
pub(super) struct Standing<'a> {
    /// The policy with its knobs.
    pub(super) policy: &'a str,
    /// The promise that the group was scored by.
    promise: Promise,
    /// Its runs, one for each seed, by seed; at least one.
    pub(super) runs: Vec<&'a RunResult>,
}

impl<'a> Standing<'a> {
    /// Of the first run of a policy.
    pub(super) fn new(run: &'a RunResult) -> Self {
        Self { policy: &run.run.policy, promise: run.promise, runs: vec![run] }
    }

    /// Adds a run of the same policy; the first of two with the same seed counts.
    pub(super) fn add(&mut self, run: &'a RunResult) {
        if let Err(at) = self.runs.binary_search_by_key(&run.run.seed, |r| r.run.seed) {
            self.runs.insert(at, run);
        }
    }

    /// The mean over the seeds.
    pub(super) fn mean(&self, of: impl Fn(&Score) -> f64) -> f64 {
        self.mean_of_some(|s| Some(of(s))).unwrap_or(f64::NAN)
    }

    /// The mean over the seeds that have a value; `None` where none has.
    pub(super) fn mean_of_some(&self, of: impl Fn(&Score) -> Option<f64>) -> Option<f64> {
        let values = self.runs.iter().filter_map(|r| of(&r.score));
        let (n, sum) = values.fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + x));
        (n > 0.0).then(|| sum / n)
    }

    /// The largest of any seed.
    pub(super) fn most(&self, of: impl Fn(&Score) -> f64) -> f64 {
        self.runs.iter().map(|r| of(&r.score)).fold(0.0, f64::max)
    }

    /// The mean good share, percent.
    pub(super) fn attainment(&self) -> f64 {
        self.mean(|s| s.attainment)
    }

    /// The mean GPU-hours.
    pub(super) fn gpu_hours(&self) -> f64 {
        self.mean(|s| s.gpu_hours)
    }

    /// Whether the promised share was good, in the mean over the seeds.
    pub(super) fn kept(&self) -> bool {
        self.attainment() + ROUNDING >= self.promise.percentile
    }

    /// The good share in words: the mean, and where there are several seeds their spread.
    pub(super) fn attainment_words(&self) -> String {
        self.with_spread(self.attainment(), |s| s.attainment, percent)
    }

    /// The GPU-hours in words, as the good share.
    pub(super) fn gpu_hours_words(&self) -> String {
        self.with_spread(self.gpu_hours(), |s| s.gpu_hours, number)
    }

    fn with_spread(
        &self,
        mean: f64,
        of: impl Fn(&Score) -> f64,
        words: impl Fn(f64) -> String,
    ) -> String {
        if self.runs.len() < 2 {
            return words(mean);
        }
        let all = || self.runs.iter().map(|r| of(&r.score));
        let (least, most) =
            (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        format!("{} ({}..{})", words(mean), words(least), words(most))
    }

    /// Whether the policy knew the future.
    pub(super) fn foresees(&self) -> bool {
        foresees(self.policy)
    }
}
