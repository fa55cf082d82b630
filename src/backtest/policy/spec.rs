//! A policy as it is written: a name, and knobs behind a colon.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::profile::ProfileError;
use crate::units::{NoPredictor, Predictor, Role};

/// `name`, `name:4,3` or `name:knob=value,knob=value`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// The name before the colon.
    pub name: String,
    /// Numbers without a name, in order.
    pub counts: Vec<u32>,
    /// Knobs by name.
    pub knobs: BTreeMap<String, f64>,
}

/// The knob of ours that names who predicts the demand. Knobs are numbers: this one is kept as the
/// place of its name in [`Predictor::ALL`].
pub const PREDICTOR: &str = "predictor";

impl PolicySpec {
    /// Who predicts the demand, where the policy is ours and says so.
    #[must_use]
    pub fn predictor(&self) -> Option<Predictor> {
        let place = *self.knobs.get(PREDICTOR).filter(|_| self.names_predictor())?;
        Predictor::ALL
            .into_iter()
            .zip(0_u32..)
            .find(|(_, i)| f64::from(*i) == place)
            .map(|(p, _)| p)
    }

    fn names_predictor(&self) -> bool {
        self.name == "ours"
    }
}

/// The most replicas that a count may ask for.
const MOST: u32 = 10_000;

/// Why a policy cannot be made.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PolicyError {
    /// There is no such policy.
    #[error("policy {name:?} is not known{}", crate::backtest::policy::spec::meant(.nearest.as_deref()))]
    Unknown {
        /// As written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// There is no such knob.
    #[error("policy {policy} has no knob {knob:?}; it has {known}")]
    Knob {
        /// The policy.
        policy: String,
        /// As written.
        knob: String,
        /// All that it has.
        known: String,
    },
    /// A part that is neither a count nor a knob, or a value out of range.
    #[error("policy {policy}: expected {expected}, found {found:?}")]
    Value {
        /// The policy.
        policy: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The policy is not of those made from a name and knobs alone.
    #[error("policy {name} is made by the back-test itself, from the trace or the planner")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The policy does not serve such a deployment.
    #[error("policy {policy} cannot scale this deployment: {why}")]
    Unfit {
        /// The policy.
        policy: String,
        /// What it would need.
        why: String,
    },
    /// The policy reads a performance table in its own way, and cannot read this one.
    #[error("policy {policy} cannot read the {role} profile")]
    Profile {
        /// The policy.
        policy: String,
        /// Of which pool.
        role: Role,
        /// What is wrong with it.
        source: Box<ProfileError>,
    },
}

pub(super) fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl FromStr for PolicySpec {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut spec =
            Self { name: name.trim().to_owned(), counts: Vec::new(), knobs: BTreeMap::new() };
        for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = |expected: &str, found: &str| PolicyError::Value {
                policy: spec.name.clone(),
                expected: expected.to_owned(),
                found: found.to_owned(),
            };
            match part.split_once('=') {
                None => {
                    let n =
                        part.parse().map_err(|_| wrong("a whole number or knob=value", part))?;
                    if n > MOST {
                        return Err(wrong(&format!("at most {MOST} replicas"), part));
                    }
                    spec.counts.push(n);
                }
                Some((knob, value)) if knob.trim() == PREDICTOR && spec.names_predictor() => {
                    let value = value.trim();
                    let named: Result<Predictor, NoPredictor> = value.parse();
                    let place = named.ok().and_then(|p| {
                        Predictor::ALL.into_iter().zip(0_u32..).find(|(known, _)| *known == p)
                    });
                    let (_, place) = place.ok_or_else(|| wrong(NoPredictor::KNOWN, value))?;
                    spec.knobs.insert(PREDICTOR.to_owned(), f64::from(place));
                }
                Some((knob, value)) => {
                    let value = value
                        .trim()
                        .parse::<f64>()
                        .ok()
                        .filter(|x| x.is_finite())
                        .ok_or_else(|| wrong(&format!("a number for {knob}"), value))?;
                    spec.knobs.insert(knob.trim().to_owned(), value);
                }
            }
        }
        Ok(spec)
    }
}

impl fmt::Display for PolicySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, counts, knobs } = self;
        f.write_str(name)?;
        let counts = counts.iter().map(ToString::to_string);
        let knobs = knobs.iter().map(|(knob, value)| match self.predictor() {
            Some(predictor) if knob == PREDICTOR => format!("{knob}={predictor}"),
            Some(_) | None => format!("{knob}={value}"),
        });
        for (i, part) in counts.chain(knobs).enumerate() {
            write!(f, "{}{part}", if i == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for text in ["ours", "static:4,3", "hpa-ttft:max=9,target=0.5"] {
            let spec: PolicySpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        let spec: PolicySpec = "hpa-ttft: target = 0.5 ".parse().unwrap();
        assert_eq!(spec.knobs["target"], 0.5);
        let error = "static:4,x".parse::<PolicySpec>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"policy static: expected a whole number or knob=value, found "x""#
        );
        assert!("keda:target=nan".parse::<PolicySpec>().is_err());
    }

    #[test]
    fn a_predictor_is_named() {
        for predictor in Predictor::ALL {
            let text = format!("ours:predictor={predictor}");
            let spec: PolicySpec = text.parse().unwrap();
            assert_eq!((spec.predictor(), spec.to_string()), (Some(predictor), text));
        }
        let error = "ours:predictor=prophets".parse::<PolicySpec>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"policy ours: expected auto, constant, arima, kalman or prophet, found "prophets""#
        );
        let other: PolicySpec = "dynamo-1.6:predictor=1".parse().unwrap();
        assert_eq!(
            (other.predictor(), other.to_string().as_str()),
            (None, "dynamo-1.6:predictor=1")
        );
        assert_eq!("ours".parse::<PolicySpec>().unwrap().predictor(), None);
    }
}
