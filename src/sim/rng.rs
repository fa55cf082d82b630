//! Seeded randomness: one stream for each purpose, so that a draw for one does not shift the others.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, StandardNormal};
use rand_pcg::Pcg64Mcg;

use super::config::Startup;
use super::time::nanos_of_millis;
use crate::units::millis_of;

/// The streams of one simulation.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// Which worker a router picks at random.
    pub(super) router: Pcg64Mcg,
    /// Which worker holds a prompt's prefix.
    pub(super) prefix: Pcg64Mcg,
    /// How long starts take, and which fail.
    pub(super) startup: Pcg64Mcg,
    /// When workers are lost.
    pub(super) faults: Pcg64Mcg,
}

impl Streams {
    pub(super) fn new(seed: u64) -> Self {
        // Far apart in the sequence of seeds; PCG spreads each over its whole state.
        let stream = |n: u64| Pcg64Mcg::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(n));
        Self { router: stream(1), prefix: stream(2), startup: stream(3), faults: stream(4) }
    }
}

/// A whole number below `n` (0 where `n` is 0).
pub(super) fn below(rng: &mut Pcg64Mcg, n: usize) -> usize {
    if n < 2 { 0 } else { rng.random_range(0..n) }
}

/// Whether an event of probability `p` happens. Draws only where it is not certain.
pub(super) fn happens(rng: &mut Pcg64Mcg, p: f64) -> bool {
    p > 0.0 && rng.random::<f64>() < p
}

/// A start-up time, ns.
pub(super) fn startup_time(rng: &mut Pcg64Mcg, startup: &Startup) -> u64 {
    let mean = millis_of(startup.mean);
    if startup.cv <= 0.0 {
        return nanos_of_millis(mean);
    }
    // A log-normal of this mean and coefficient of variation.
    let variance = (1.0 + startup.cv * startup.cv).ln();
    let normal: f64 = StandardNormal.sample(rng);
    let drawn = mean * (variance.sqrt() * normal - variance / 2.0).exp();
    nanos_of_millis(drawn.min(mean * 100.0))
}

/// The time to the next event of a Poisson process with `every` between two on average; `None`
/// where there is none.
pub(super) fn until_next(rng: &mut Pcg64Mcg, every: Option<Duration>) -> Option<u64> {
    let every = every.filter(|d| !d.is_zero())?;
    let uniform: f64 = rng.random();
    Some(nanos_of_millis(-(1.0 - uniform).ln() * millis_of(every)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_up_times_have_the_mean_and_spread_they_should() {
        let startup = Startup { cv: 0.5, ..Startup::fixed(Duration::from_secs(60)) };
        let mut rng = Streams::new(1).startup;
        let times: Vec<f64> =
            (0..20_000).map(|_| startup_time(&mut rng, &startup) as f64 / 1e9).collect();
        let mean = times.iter().sum::<f64>() / 20_000.0;
        let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 60.0).abs() < 1.5, "{mean}");
        assert!((variance.sqrt() / mean - 0.5).abs() < 0.03, "{}", variance.sqrt() / mean);
        let fixed = Startup::fixed(Duration::from_secs(60));
        assert_eq!(startup_time(&mut rng, &fixed), 60_000_000_000);
    }

    #[test]
    fn streams_differ_from_each_other_and_not_from_run_to_run() {
        let (mut a, mut b) = (Streams::new(7), Streams::new(7));
        let draw = |rng: &mut Pcg64Mcg| rng.random::<u64>();
        assert_eq!(draw(&mut a.router), draw(&mut b.router));
        assert_ne!(draw(&mut a.router), draw(&mut a.startup));
    }
}
