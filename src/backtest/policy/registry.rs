//! The rivals by name, with their knobs.

use super::spec::PolicyError;
use super::{PolicySpec, dynamo09, dynamo16, hpa, keda, kpa, llmd, wva};
use crate::backtest::Setting;
use crate::backtest::play::OWN;
use crate::sim::Policy;

/// A rule of another autoscaler.
#[derive(Clone, Copy, Debug)]
pub struct Rival {
    /// As it is written.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Where the rule is from.
    pub source: &'static str,
    /// What can be set; the first is swept by `frontier`.
    pub knobs: &'static [Knob],
    make: fn(&Knobs<'_>, &Setting) -> Result<Box<dyn Policy>, PolicyError>,
}

/// Something that can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// As it is written.
    pub name: &'static str,
    /// Where nothing is said.
    pub default: f64,
    /// Least and most that it takes.
    pub range: (f64, f64),
    /// What it means, with its unit.
    pub about: &'static str,
    /// The values of the published sweep.
    pub sweep: &'static [f64],
}

/// The knobs of one policy as they were set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knobs<'a> {
    spec: &'a PolicySpec,
    known: &'static [Knob],
}

impl Knobs<'_> {
    /// The value of a knob.
    pub(super) fn get(&self, name: &str) -> f64 {
        let default = self.known.iter().find(|k| k.name == name).map_or(0.0, |k| k.default);
        self.spec.knobs.get(name).copied().unwrap_or(default)
    }

    /// For a fleet that the rule is not made for.
    pub(super) fn refuse(&self, expected: &str, found: &str) -> PolicyError {
        PolicyError::Unfit {
            policy: self.spec.name.clone(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

/// All of them.
pub const RIVALS: [Rival; 11] = [
    Rival {
        name: "dynamo-0.9",
        about: "the planner of NVIDIA Dynamo 0.9.0: rates and means of the last interval",
        source: "ai-dynamo 0.9.0 wheel, planner_core.py",
        knobs: dynamo09::KNOBS,
        make: dynamo09::make,
    },
    Rival {
        name: "dynamo-1.6",
        about: "the planner of NVIDIA Dynamo 1.6.1, throughput and load loops together",
        source: "ai-dynamo 1.6.1 wheel, dynamo/planner/core",
        knobs: dynamo16::KNOBS,
        make: dynamo16::make_both,
    },
    Rival {
        name: "dynamo-1.6-throughput",
        about: "its throughput loop alone, which is its default",
        source: "ai-dynamo 1.6.1 wheel, core/throughput_scaling.py",
        knobs: dynamo16::KNOBS,
        make: dynamo16::make_throughput,
    },
    Rival {
        name: "dynamo-1.6-load",
        about: "its load loop alone: one replica up or down every five seconds",
        source: "ai-dynamo 1.6.1 wheel, core/load_scaling.py",
        knobs: dynamo16::KNOBS,
        make: dynamo16::make_load,
    },
    Rival {
        name: "hpa-ttft",
        about: "the Kubernetes HPA on TTFT p95 (prefill) and ITL p95 (decode)",
        source: "Dynamo autoscaling guide 0.9.0; Kubernetes autoscaling/v2",
        knobs: hpa::TTFT_KNOBS,
        make: hpa::make_ttft,
    },
    Rival {
        name: "hpa-queue",
        about: "the Kubernetes HPA on queued requests",
        source: "Dynamo autoscaling guide 0.9.0; Kubernetes autoscaling/v2",
        knobs: hpa::QUEUE_KNOBS,
        make: hpa::make_queue,
    },
    Rival {
        name: "hpa-cpu",
        about: "the Kubernetes HPA on how busy the workers are",
        source: "Dynamo autoscaling guide 0.9.0; Kubernetes autoscaling/v2",
        knobs: hpa::CPU_KNOBS,
        make: hpa::make_cpu,
    },
    Rival {
        name: "keda",
        about: "KEDA's ScaledObject of the guide: TTFT p95 and queued requests",
        source: "Dynamo autoscaling guide 0.9.0; KEDA 2 prometheus scaler",
        knobs: keda::KNOBS,
        make: keda::make,
    },
    Rival {
        name: "llm-d",
        about: "llm-d's SLO-aware KEDA formula over latency p90",
        source: "llm-d/llm-d#2011",
        knobs: llmd::KNOBS,
        make: llmd::make,
    },
    Rival {
        name: "wva",
        about: "llm-d workload-variant-autoscaler, saturation V1",
        source: "llm-d/llm-d-workload-variant-autoscaler, saturation analyzer",
        knobs: wva::KNOBS,
        make: wva::make,
    },
    Rival {
        name: "kpa",
        about: "Knative's pod autoscaler on concurrency, with its panic mode",
        source: "knative/serving, pkg/autoscaler",
        knobs: kpa::KNOBS,
        make: kpa::make,
    },
];

/// The rival of a name.
///
/// # Errors
///
/// Where there is none, with the nearest name.
pub fn rival(name: &str) -> Result<&'static Rival, PolicyError> {
    RIVALS.iter().find(|r| r.name == name).ok_or_else(|| {
        let names = RIVALS.iter().map(|r| r.name).chain(OWN.iter().map(|(name, _)| *name));
        let distance = |known: &&str| strsim::damerau_levenshtein(known, name);
        let nearest = names.min_by_key(distance).filter(|known| distance(known) <= 3);
        PolicyError::Unknown { name: name.to_owned(), nearest: nearest.map(str::to_owned) }
    })
}

/// Makes a rival from its name and knobs.
///
/// # Errors
///
/// Where there is none of that name, it has no such knob, a value is out of range, or it is not made
/// for the pools of the setting.
pub fn make(spec: &PolicySpec, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let rival = rival(&spec.name)?;
    for (name, value) in &spec.knobs {
        let Some(knob) = rival.knobs.iter().find(|k| k.name == name) else {
            let known: Vec<&str> = rival.knobs.iter().map(|k| k.name).collect();
            return Err(PolicyError::Knob {
                policy: spec.name.clone(),
                knob: name.clone(),
                known: known.join(", "),
            });
        };
        let (least, most) = knob.range;
        if !(least..=most).contains(value) {
            return Err(PolicyError::Value {
                policy: spec.name.clone(),
                expected: format!("{name} from {least} to {most}"),
                found: value.to_string(),
            });
        }
    }
    if let Some(n) = spec.counts.first() {
        return Err(PolicyError::Value {
            policy: spec.name.clone(),
            expected: "knob=value".to_owned(),
            found: n.to_string(),
        });
    }
    (rival.make)(&Knobs { spec, known: rival.knobs }, setting)
}
