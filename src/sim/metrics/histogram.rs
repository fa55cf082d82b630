//! A Prometheus histogram.

/// Upper bounds of Dynamo's frontend histograms but the last, infinite one: `count` bounds spaced
/// evenly in the logarithm, rounded to two significant figures, the first one 0 (kubernetes.md 7.1).
pub(crate) const TTFT: [f64; 18] = [
    0.0, 0.0022, 0.0047, 0.01, 0.022, 0.047, 0.1, 0.22, 0.47, 1.0, 2.2, 4.7, 10.0, 22.0, 48.0,
    100.0, 220.0, 480.0,
];
/// See [`TTFT`]; seconds.
pub(crate) const ITL: [f64; 13] =
    [0.0, 0.0019, 0.0035, 0.0067, 0.013, 0.024, 0.045, 0.084, 0.16, 0.3, 0.56, 1.1, 2.0];
/// See [`TTFT`]; seconds.
pub(crate) const DURATION: [f64; 10] = [0.0, 1.9, 3.4, 6.3, 12.0, 22.0, 40.0, 75.0, 140.0, 260.0];
/// See [`TTFT`]; tokens.
pub(crate) const ISL: [f64; 12] =
    [0.0, 100.0, 210.0, 430.0, 870.0, 1800.0, 3600.0, 7400.0, 15000.0, 31000.0, 63000.0, 130_000.0];
/// See [`TTFT`]; tokens.
pub(crate) const OSL: [f64; 10] =
    [0.0, 100.0, 210.0, 430.0, 880.0, 1800.0, 3700.0, 7600.0, 16000.0, 32000.0];

/// Counts of observations in `N` buckets, the last one without an upper bound, with their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram<const N: usize> {
    bounds: &'static [f64],
    counts: [u64; N],
    sum: f64,
    count: u64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one; `bounds` has one entry less than there are buckets.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: [0; N], sum: 0.0, count: 0 }
    }

    /// Takes in `times` observations of `value`.
    pub(crate) fn observe(&mut self, value: f64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value).min(N - 1);
        self.counts[bucket] += times;
        self.sum += value * times as f64;
        self.count += times;
    }

    /// All observations so far.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// The `q` quantile of what was observed after `earlier`, linear inside a bucket; the bound of
    /// the last finite bucket where it lies beyond, as Prometheus answers. `None` where nothing was
    /// observed.
    #[must_use]
    pub fn quantile_since(&self, earlier: &Self, q: f64) -> Option<f64> {
        let total = self.count - earlier.count;
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (i, (now, then)) in self.counts.iter().zip(&earlier.counts).enumerate() {
            let here = (now - then) as f64;
            if below + here >= rank && here > 0.0 {
                let Some(&high) = self.bounds.get(i) else { break };
                let low = if i == 0 { 0.0 } else { self.bounds[i - 1] };
                return Some(low + (high - low) * ((rank - below) / here).clamp(0.0, 1.0));
            }
            below += here;
        }
        self.bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_linear_inside_its_bucket_and_ends_at_the_last_bound() {
        let mut h = Histogram::<{ ITL.len() + 1 }>::new(&ITL);
        let empty = h.clone();
        assert_eq!(h.quantile_since(&empty, 0.5), None);
        h.observe(0.010, 100);
        // (0.0067, 0.013]: the middle of the bucket.
        let median = h.quantile_since(&empty, 0.5).unwrap();
        assert!((median - (0.0067 + 0.013) / 2.0).abs() < 1e-12, "{median}");
        assert_eq!(h.quantile_since(&h.clone(), 0.5), None, "nothing since");
        h.observe(70.0, 900);
        assert_eq!(h.quantile_since(&empty, 0.95), Some(2.0));
        assert_eq!((h.count(), h.sum()), (1000, 1.0 + 63_000.0));
    }

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let mut h = Histogram::<{ ITL.len() + 1 }>::new(&ITL);
        h.observe(0.013, 1);
        assert_eq!(h.counts[4], 1);
    }
}
