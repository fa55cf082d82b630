//! Finite, non-negative quantities.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// None, in this unit.
            pub const ZERO: Self = Self(0.0);

            /// The quantity, or `None` where `x` is negative, infinite or not a number.
            #[must_use]
            pub fn new(x: f64) -> Option<Self> {
                (x.is_finite() && x >= 0.0).then_some(Self(x))
            }

            /// The nearest legal quantity: what is negative or not a number becomes 0, what is
            /// infinite becomes `f64::MAX`. For results of our own arithmetic, never for input.
            #[must_use]
            pub fn clamped(x: f64) -> Self {
                Self(if x.is_nan() { 0.0 } else { x.clamp(0.0, f64::MAX) })
            }

            /// The plain number, in the unit of the type.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = String;

            fn try_from(x: f64) -> Result<Self, String> {
                Self::new(x).ok_or_else(|| {
                    format!("expected a finite number that is not negative, found {x}")
                })
            }
        }

        impl From<$name> for f64 {
            fn from(q: $name) -> Self {
                q.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match f.precision() {
                    Some(p) => write!(f, "{:.*}{}", p, self.0, $unit),
                    None => write!(f, "{}{}", self.0, $unit),
                }
            }
        }
    };
}

quantity!(
    /// A latency in milliseconds.
    Millis,
    " ms"
);
quantity!(
    /// A number of tokens; a mean may be fractional.
    Tokens,
    " tokens"
);
quantity!(
    /// Events per second (requests unless said otherwise).
    PerSecond,
    "/s"
);

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u32);

        impl $name {
            /// `n` of them.
            #[must_use]
            pub const fn new(n: u32) -> Self {
                Self(n)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

count!(
    /// Engines of one pool: what the scale subresource calls replicas. One replica of a multi-node
    /// service is one engine.
    Replicas
);
count!(
    /// GPUs.
    Gpus
);

impl Replicas {
    /// The GPUs that this many replicas take, saturating.
    #[must_use]
    pub const fn gpus(self, per_replica: Gpus) -> Gpus {
        Gpus(self.0.saturating_mul(per_replica.0))
    }

    /// One fewer; none stays none.
    #[must_use]
    pub const fn minus_one(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Gpus {
    /// The sum, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A share of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// Nothing of it.
    pub const NONE: Self = Self(0.0);
    /// All of it.
    pub const ALL: Self = Self(1.0);

    /// The share, or `None` where `x` is outside 0 to 1 or not a number.
    #[must_use]
    pub fn new(x: f64) -> Option<Self> {
        (0.0..=1.0).contains(&x).then_some(Self(x))
    }

    /// The nearest legal share; not a number becomes 0. For results of our own arithmetic.
    #[must_use]
    pub fn clamped(x: f64) -> Self {
        Self(if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) })
    }

    /// The plain number, 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// What is missing to the whole.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(1.0 - self.0)
    }
}

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(x: f64) -> Result<Self, String> {
        Self::new(x).ok_or_else(|| format!("expected a share from 0 to 1, found {x}"))
    }
}

impl From<Share> for f64 {
    fn from(s: Share) -> Self {
        s.0
    }
}

/// The share of requests that a promise covers, in percent: above 0 and below 100.
///
/// 100 is not legal: no finite fleet keeps any latency promise for every request of a random
/// arrival stream.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percentile(f64);

impl Percentile {
    /// The percentile, or `None` where `x` is not strictly between 0 and 100.
    #[must_use]
    pub fn new(x: f64) -> Option<Self> {
        (x > 0.0 && x < 100.0).then_some(Self(x))
    }

    /// The plain number, in percent.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// As a share of 1.
    #[must_use]
    pub fn share(self) -> Share {
        Share::clamped(self.0 / 100.0)
    }
}

impl Default for Percentile {
    /// 95: the percentile of the public autoscaling guide's own examples.
    fn default() -> Self {
        Self(95.0)
    }
}

impl TryFrom<f64> for Percentile {
    type Error = String;

    fn try_from(x: f64) -> Result<Self, String> {
        Self::new(x).ok_or_else(|| format!("expected a percentile between 0 and 100, found {x}"))
    }
}

impl From<Percentile> for f64 {
    fn from(p: Percentile) -> Self {
        p.0
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_quantity_cannot_be_made() {
        for x in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Millis::new(x), None, "{x}");
        }
        assert_eq!(Millis::new(0.0), Some(Millis::ZERO));
        assert_eq!(Tokens::clamped(f64::NAN).get(), 0.0);
        assert!(serde_json::from_str::<Millis>("-3").is_err());
    }

    #[test]
    fn a_promise_for_every_request_is_refused() {
        assert_eq!(Percentile::new(100.0), None);
        assert_eq!(Percentile::new(0.0), None);
        assert_eq!(Percentile::default().share().get(), 0.95);
    }

    #[test]
    fn gpus_of_replicas_saturate() {
        assert_eq!(Replicas::new(3).gpus(Gpus::new(4)), Gpus::new(12));
        assert_eq!(Replicas::new(u32::MAX).gpus(Gpus::new(4)), Gpus::new(u32::MAX));
        assert_eq!(Replicas::new(0).minus_one(), Replicas::new(0));
    }
}
