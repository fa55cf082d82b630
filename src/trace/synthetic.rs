//! Requests that are drawn, not recorded: known shapes of load, seeded.
//!
//! Written `shape:key=value,…`, as in `poisson:rps=12,isl=3000,osl=150,for=30m` or
//! `flash:rps=5,at=20m,times=10,lasting=5m`. [`Shape::HELP`] lists them all.

mod parse;
#[cfg(test)]
mod tests;

pub use parse::SyntheticError;

use std::time::Duration;

use rand::SeedableRng as _;
use rand_distr::{Distribution as _, Exp1, Gamma, StandardNormal};
use rand_pcg::Pcg64Mcg;

use super::Request;
use crate::units::{Timestamp, round_to_u32, round_to_u64, seconds_of};

/// Drawn lengths are cut here, tokens: no model of today reads more.
const LONGEST: f64 = 1_000_000.0;

/// A load to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// How the rate goes over time.
    pub shape: Shape,
    /// Requests a second, before the shape.
    pub rps: f64,
    /// How long it lasts.
    pub duration: Duration,
    /// Coefficient of variation of the gaps between arrivals: 1 is Poisson, more is burstier.
    pub cv: f64,
    /// Prompts.
    pub isl: LengthLaw,
    /// Outputs.
    pub osl: LengthLaw,
    /// Seed of every draw.
    pub seed: u64,
}

/// Lengths: log-normal, or all alike where `cv` is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthLaw {
    /// Mean, tokens; 1 or more.
    pub mean: f64,
    /// Coefficient of variation.
    pub cv: f64,
}

/// How the rate goes over time: factors of [`Synthetic::rps`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Always the same.
    Steady,
    /// A sinusoid around the rate.
    Diurnal {
        /// The most that it is above or below, as a share; 0 to 1.
        amplitude: f64,
        /// From one peak to the next.
        period: Duration,
    },
    /// Another rate from a moment on.
    Step {
        /// When.
        at: Duration,
        /// The factor from then on.
        times: f64,
    },
    /// On and off, beginning with on.
    Square {
        /// Length of an on phase.
        on: Duration,
        /// Length of an off phase.
        off: Duration,
        /// The factor while off.
        low: f64,
    },
    /// A crowd that comes and goes.
    Flash {
        /// When it comes.
        at: Duration,
        /// The factor while it is there.
        times: f64,
        /// How long it stays.
        lasting: Duration,
    },
    /// Nothing for a while, and then many at once.
    Silence {
        /// When it falls silent.
        at: Duration,
        /// For how long.
        lasting: Duration,
        /// The factor for one minute after it.
        times: f64,
    },
    /// A straight line from the rate to another one at the end.
    Ramp {
        /// The factor at the end.
        times: f64,
    },
}

impl Shape {
    /// Every shape with its own keys and their defaults.
    pub const HELP: [(&'static str, &'static str); 8] = [
        ("poisson", "always the same rate"),
        ("gamma", "the same with bursts: cv=3"),
        ("diurnal", "a sinusoid: amplitude=0.5,period=24h"),
        ("step", "another rate from a moment on: at=30m,times=3"),
        ("square", "on and off: on=10m,off=10m,low=0"),
        ("flash", "a crowd that comes and goes: at=30m,times=10,lasting=5m"),
        ("silence", "nothing, then a minute of many: at=20m,lasting=20m,times=3"),
        ("ramp", "a straight line: times=3"),
    ];

    /// The integral of the factor from the beginning to `t` of `whole` seconds: what the rate is
    /// multiplied with for the requests that are expected until then.
    fn until(&self, t: f64, whole: f64) -> f64 {
        let s = seconds_of;
        let inside = |from: f64, lasting: f64| (t - from).clamp(0.0, lasting);
        match *self {
            Self::Steady => t,
            Self::Diurnal { amplitude, period } => {
                let turn = std::f64::consts::TAU / s(period);
                t + amplitude / turn * (1.0 - (turn * t).cos())
            }
            Self::Step { at, times } => t + (times - 1.0) * (t - s(at)).max(0.0),
            Self::Square { on, off, low } => {
                let (on, off) = (s(on), s(off));
                let cycles = (t / (on + off)).floor();
                let rest = t - cycles * (on + off);
                cycles * (on + low * off) + rest.min(on) + low * (rest - on).max(0.0)
            }
            Self::Flash { at, times, lasting } => t + (times - 1.0) * inside(s(at), s(lasting)),
            Self::Silence { at, lasting, times } => {
                let back = s(at) + s(lasting);
                t - inside(s(at), s(lasting)) + (times - 1.0) * inside(back, 60.0)
            }
            Self::Ramp { times } => t + (times - 1.0) * t * t / (2.0 * whole.max(1e-9)),
        }
    }
}

impl Synthetic {
    /// Draws the requests, one after the other. The same seed gives the same ones.
    #[must_use]
    pub fn requests(&self) -> Requests {
        let stream =
            |n: u64| Pcg64Mcg::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(n));
        // Gaps of a gamma law with this coefficient of variation, in means.
        let shape = 1.0 / (self.cv * self.cv).max(1e-6);
        let poisson = (self.cv - 1.0).abs() < 1e-9;
        let gamma = if poisson { None } else { Gamma::new(shape, 1.0 / shape).ok() };
        Requests {
            load: self.clone(),
            gamma,
            now: 0.0,
            due: 0.0,
            gaps: stream(11),
            prompts: stream(13),
            outputs: stream(14),
        }
    }
}

/// The requests of a [`Synthetic`], by growing arrival.
#[derive(Clone, Debug)]
pub struct Requests {
    load: Synthetic,
    gamma: Option<Gamma<f64>>,
    /// The last arrival, seconds.
    now: f64,
    /// Requests expected until then.
    due: f64,
    gaps: Pcg64Mcg,
    prompts: Pcg64Mcg,
    outputs: Pcg64Mcg,
}

impl LengthLaw {
    pub(super) fn draw(&self, rng: &mut Pcg64Mcg) -> u32 {
        let mean = if self.cv <= 0.0 {
            self.mean
        } else {
            let variance = (1.0 + self.cv * self.cv).ln();
            let normal: f64 = StandardNormal.sample(rng);
            self.mean * (variance.sqrt() * normal - variance / 2.0).exp()
        };
        round_to_u32(mean.clamp(1.0, LONGEST))
    }
}

impl Iterator for Requests {
    type Item = Request;

    /// Gaps of mean one, in requests expected: exact for Poisson arrivals of a rate that changes, and
    /// bursts keep their size where the rate is low.
    fn next(&mut self) -> Option<Request> {
        let gap: f64 = match &self.gamma {
            Some(gamma) => gamma.sample(&mut self.gaps),
            None => Exp1.sample(&mut self.gaps),
        };
        self.due += gap;
        self.now = self.when(self.due)?;
        let ms = i64::try_from(round_to_u64(self.now * 1e3)).unwrap_or(i64::MAX);
        Some(Request {
            at: Timestamp::from_millis(ms),
            isl: self.load.isl.draw(&mut self.prompts),
            osl: self.load.osl.draw(&mut self.outputs),
            prefix_hit: None,
        })
    }
}

/// Halvings of the interval in which an arrival is looked for: of a year, to a ten-thousandth of a
/// millisecond.
const HALVINGS: u32 = 48;

impl Requests {
    /// When `due` requests are expected to have come; `None` where the end comes first.
    fn when(&self, due: f64) -> Option<f64> {
        let whole = seconds_of(self.load.duration);
        let expected = |t: f64| self.load.rps * self.load.shape.until(t, whole);
        let (mut from, mut to) = (self.now, whole);
        if expected(to) <= due {
            return None;
        }
        for _ in 0..HALVINGS {
            let middle = from.midpoint(to);
            if expected(middle) < due {
                from = middle;
            } else {
                to = middle;
            }
        }
        Some(to)
    }
}
