//! The text form of a synthetic load.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::{LengthLaw, Shape, Synthetic};
use crate::units::parse_duration;

/// Why a text is no synthetic load.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyntheticError {
    /// No such shape.
    #[error("expected a shape of load ({known}), found {found:?}")]
    Shape {
        /// As written.
        found: String,
        /// All that there are.
        known: String,
    },
    /// No such key.
    #[error("{shape} has no key {found:?}; it has {known}")]
    Key {
        /// The shape.
        shape: String,
        /// As written.
        found: String,
        /// All that it has.
        known: String,
    },
    /// A value that is none.
    #[error("key {key}: expected {expected}, found {found:?}")]
    Value {
        /// Which.
        key: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// Keys that every shape has.
const COMMON: [&str; 8] = ["rps", "for", "isl", "osl", "isl-cv", "osl-cv", "cv", "seed"];

struct Keys<'a> {
    shape: &'a str,
    values: BTreeMap<&'a str, &'a str>,
}

impl Keys<'_> {
    fn number(
        &self,
        key: &str,
        default: f64,
        least: f64,
        most: f64,
    ) -> Result<f64, SyntheticError> {
        let Some(text) = self.values.get(key) else { return Ok(default) };
        text.parse().ok().filter(|x| (least..=most).contains(x)).ok_or_else(|| {
            SyntheticError::Value {
                key: key.to_owned(),
                expected: format!("a number from {least} to {most}"),
                found: (*text).to_owned(),
            }
        })
    }

    fn duration(&self, key: &str, default: u64) -> Result<Duration, SyntheticError> {
        let Some(text) = self.values.get(key) else { return Ok(Duration::from_secs(default)) };
        parse_duration(text).ok().filter(|d| !d.is_zero()).ok_or_else(|| SyntheticError::Value {
            key: key.to_owned(),
            expected: "a duration such as 30s, 5m or 2h".to_owned(),
            found: (*text).to_owned(),
        })
    }

    fn only(&self, own: &[&str]) -> Result<(), SyntheticError> {
        match self.values.keys().find(|key| !COMMON.contains(key) && !own.contains(key)) {
            None => Ok(()),
            Some(found) => Err(SyntheticError::Key {
                shape: self.shape.to_owned(),
                found: (*found).to_owned(),
                known: COMMON.iter().chain(own).copied().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

impl Synthetic {
    /// Whether a text names a shape: `name:` or a name alone.
    #[must_use]
    pub fn is_named_by(text: &str) -> bool {
        let name = text.split(':').next().unwrap_or(text);
        Shape::HELP.iter().any(|(known, _)| *known == name)
    }
}

impl FromStr for Synthetic {
    type Err = SyntheticError;

    fn from_str(text: &str) -> Result<Self, SyntheticError> {
        let (shape, rest) = text.split_once(':').unwrap_or((text, ""));
        let parts = rest.split(',').map(str::trim).filter(|part| !part.is_empty());
        let values: BTreeMap<&str, &str> =
            parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
        let keys = Keys { shape, values };
        let (own, shape_of): (&[&str], Shape) = match shape {
            "poisson" | "gamma" => (&[], Shape::Steady),
            "diurnal" => (
                &["amplitude", "period"],
                Shape::Diurnal {
                    amplitude: keys.number("amplitude", 0.5, 0.0, 1.0)?,
                    period: keys.duration("period", 86_400)?,
                },
            ),
            "step" => (
                &["at", "times"],
                Shape::Step {
                    at: keys.duration("at", 1800)?,
                    times: keys.number("times", 3.0, 0.0, 1e3)?,
                },
            ),
            "square" => (
                &["on", "off", "low"],
                Shape::Square {
                    on: keys.duration("on", 600)?,
                    off: keys.duration("off", 600)?,
                    low: keys.number("low", 0.0, 0.0, 1e3)?,
                },
            ),
            "flash" => (
                &["at", "times", "lasting"],
                Shape::Flash {
                    at: keys.duration("at", 1800)?,
                    times: keys.number("times", 10.0, 0.0, 1e3)?,
                    lasting: keys.duration("lasting", 300)?,
                },
            ),
            "silence" => (
                &["at", "lasting", "times"],
                Shape::Silence {
                    at: keys.duration("at", 1200)?,
                    lasting: keys.duration("lasting", 1200)?,
                    times: keys.number("times", 3.0, 0.0, 1e3)?,
                },
            ),
            "ramp" => (&["times"], Shape::Ramp { times: keys.number("times", 3.0, 0.0, 1e3)? }),
            found => {
                let known: Vec<&str> = Shape::HELP.iter().map(|(name, _)| *name).collect();
                return Err(SyntheticError::Shape {
                    found: found.to_owned(),
                    known: known.join(", "),
                });
            }
        };
        keys.only(own)?;
        let law = |mean, cv, default| {
            Ok(LengthLaw {
                mean: keys.number(mean, default, 1.0, 1e6)?,
                cv: keys.number(cv, 0.0, 0.0, 10.0)?,
            })
        };
        Ok(Self {
            shape: shape_of,
            rps: keys.number("rps", 10.0, 1e-6, 1e6)?,
            duration: keys.duration("for", 3600)?,
            cv: keys.number("cv", if shape == "gamma" { 3.0 } else { 1.0 }, 0.01, 100.0)?,
            isl: law("isl", "isl-cv", 1000.0)?,
            osl: law("osl", "osl-cv", 200.0)?,
            seed: keys.number("seed", 1.0, 0.0, 4e9).map(crate::units::round_to_u64)?,
        })
    }
}
