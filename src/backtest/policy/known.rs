//! The rivals by name, with their knobs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::spec::{PolicyError, PolicySpec};
use super::{dynamo, hpa, keda, kpa, llm_d, wva};
use crate::backtest::Setting;
use crate::sim::Policy;
use crate::units::{floor_to_u32, round_to_u64};

/// Names that the back-test makes itself: our planner, and fleets that need the trace.
pub const RESERVED: [&str; 4] = ["ours", "static", "static-best", "oracle"];

/// A number that can be set behind the name of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// As written.
    pub name: &'static str,
    /// Where nothing is written.
    pub default: f64,
    /// What it is, with its unit.
    pub about: &'static str,
    /// The values of a published sweep, the default among them.
    pub sweep: &'static [f64],
    /// The smallest and the largest value taken.
    pub range: (f64, f64),
}

/// A rival.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// As written.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Where its rule is documented.
    pub source: &'static str,
    /// All that can be set.
    pub knobs: &'static [Knob],
    /// The knob that trades GPUs for attainment: a frontier is drawn over its sweep.
    pub frontier: &'static str,
    pub(super) build: Build,
}

/// Makes a rival from its knobs.
pub(super) type Build = fn(&Knobs, &Setting) -> Result<Box<dyn Policy>, PolicyError>;

/// Every rival, by name.
pub static KNOWN: [Known; 11] = [
    dynamo::V09,
    dynamo::MIXED,
    dynamo::LOAD,
    dynamo::THROUGHPUT,
    hpa::CPU,
    hpa::QUEUE,
    hpa::TTFT,
    keda::KEDA,
    kpa::KPA,
    llm_d::LLM_D,
    wva::WVA,
];

/// The rival of that name.
#[must_use]
pub fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.name == name)
}

/// Makes the rival that `spec` asks for.
///
/// # Errors
///
/// An unknown name or knob, a value out of its range, counts where only knobs are taken, a name that
/// is [`RESERVED`], and a deployment or profile that the rival cannot serve.
pub fn make(spec: &PolicySpec, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let known = named(spec)?;
    (known.build)(&Knobs::read(known, spec)?, setting)
}

/// Whether there is such a rival with such knobs, whatever it is to scale.
///
/// # Errors
///
/// As [`make`], but for the deployment and the profile.
pub fn check(spec: &PolicySpec) -> Result<(), PolicyError> {
    Knobs::read(named(spec)?, spec).map(|_| ())
}

fn named(spec: &PolicySpec) -> Result<&'static Known, PolicyError> {
    if RESERVED.contains(&spec.name.as_str()) {
        return Err(PolicyError::Reserved { name: spec.name.clone() });
    }
    known(&spec.name).ok_or_else(|| PolicyError::Unknown {
        name: spec.name.clone(),
        nearest: nearest(&spec.name).map(str::to_owned),
    })
}

fn nearest(name: &str) -> Option<&'static str> {
    // Below this likeness a suggestion puzzles more than it helps.
    const ALIKE: f64 = 0.7;
    let all = KNOWN.iter().map(|k| k.name).chain(RESERVED);
    all.map(|known| (strsim::jaro_winkler(&name.to_lowercase(), known), known))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// The knobs of one policy, each with the value written or its default.
#[derive(Clone, Debug)]
pub(super) struct Knobs {
    pub(super) policy: &'static str,
    values: BTreeMap<&'static str, f64>,
}

impl Knobs {
    fn read(known: &'static Known, spec: &PolicySpec) -> Result<Self, PolicyError> {
        let wrong = |expected: String, found: String| PolicyError::Value {
            policy: known.name.to_owned(),
            expected,
            found,
        };
        if let Some(count) = spec.counts.first() {
            return Err(wrong("knob=value".to_owned(), count.to_string()));
        }
        let mut values: BTreeMap<_, _> = known.knobs.iter().map(|k| (k.name, k.default)).collect();
        for (name, value) in &spec.knobs {
            let Some(knob) = known.knobs.iter().find(|k| k.name == name.as_str()) else {
                let names: Vec<_> = known.knobs.iter().map(|k| k.name).collect();
                return Err(PolicyError::Knob {
                    policy: known.name.to_owned(),
                    knob: name.clone(),
                    known: names.join(", "),
                });
            };
            let (least, most) = knob.range;
            if !(least..=most).contains(value) {
                let expected = format!("{name} from {least} to {most}");
                return Err(wrong(expected, value.to_string()));
            }
            values.insert(knob.name, *value);
        }
        Ok(Self { policy: known.name, values })
    }

    /// The value of a knob; 0 where the policy has no knob of that name.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or_default()
    }

    pub(super) fn count(&self, name: &str) -> u32 {
        floor_to_u32(self.get(name))
    }

    pub(super) fn on(&self, name: &str) -> bool {
        self.get(name) != 0.0
    }

    pub(super) fn seconds(&self, name: &str) -> Duration {
        Duration::from_millis(round_to_u64(self.get(name) * 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{aggregated, pair};
    use super::*;

    #[test]
    fn every_rival_can_be_made_with_its_defaults() {
        for known in &KNOWN {
            let spec: PolicySpec = known.name.parse().unwrap();
            for setting in [pair(), aggregated()] {
                if known.name == "dynamo-0.9" && setting.is_aggregated() {
                    continue;
                }
                make(&spec, &setting).unwrap();
            }
        }
    }

    #[test]
    fn the_list_is_sorted_and_each_sweep_holds_its_default() {
        assert!(KNOWN.windows(2).all(|w| w[0].name < w[1].name));
        for known in &KNOWN {
            assert!(known.knobs.iter().any(|k| k.name == known.frontier), "{}", known.name);
            for knob in known.knobs {
                let all = [knob.sweep, &[knob.default]].concat();
                assert!(knob.sweep.contains(&knob.default), "{} {}", known.name, knob.name);
                assert!(all.iter().all(|v| (knob.range.0..=knob.range.1).contains(v)));
            }
        }
    }

    fn error(text: &str) -> String {
        let spec: PolicySpec = text.parse().unwrap();
        make(&spec, &pair()).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_not_known_is_answered_with_what_is() {
        assert_eq!(error("hpa-tft"), r#"policy "hpa-tft" is not known; did you mean hpa-ttft?"#);
        assert_eq!(error("xyzzy"), r#"policy "xyzzy" is not known"#);
        assert_eq!(error("statik"), r#"policy "statik" is not known; did you mean static?"#);
        assert_eq!(
            error("hpa-cpu:aim=3"),
            r#"policy hpa-cpu has no knob "aim"; it has target, down"#
        );
        assert_eq!(
            error("hpa-cpu:target=0"),
            r#"policy hpa-cpu: expected target from 1 to 100, found "0""#
        );
        assert_eq!(error("keda:3"), r#"policy keda: expected knob=value, found "3""#);
        assert!(error("oracle").contains("made by the back-test"));
    }
}
