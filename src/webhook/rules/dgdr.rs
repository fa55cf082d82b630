//! Rules of a `DynamoGraphDeploymentRequest` (kubernetes.md 4.8, 4.9 and 5.4).

use super::{Case, Version};
use crate::webhook::field::{Field, Verdict, shown};

/// States of v1alpha1 in which the spec is settled; `Pending` and `Failed` are not among them.
const SETTLED_STATES: [&str; 4] = ["Profiling", "Deploying", "Ready", "DeploymentDeleted"];
/// Phases of v1beta1 in which the spec is settled.
const SETTLED_PHASES: [&str; 4] = ["Profiling", "Ready", "Deploying", "Deployed"];

pub(super) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let spec = case.object.get("spec");
    spec.map(verdict);
    match case.version {
        Version::Alpha => check_alpha(case, &spec, verdict),
        Version::Beta => check_beta(case, &spec, verdict),
    }
    if let Some(old) = &case.old {
        check_settled(case.version, old, &spec, verdict);
    }
}

fn check_alpha(case: &Case<'_>, spec: &Field<'_>, verdict: &mut Verdict) {
    let profiling = spec.get("profilingConfig");
    profiling.map(verdict);
    if profiling.get("profilerImage").text(verdict).is_empty() {
        verdict.field(
            "spec.profilingConfig.profilerImage is required; found none: give the image of the \
             profiler"
                .to_owned(),
        );
    }
    let config = profiling.get("config");
    match config.map(verdict) {
        Some(map) if !map.is_empty() => check_config(spec, &config, verdict),
        _ if config.is_set() && !config.value().is_some_and(serde_json::Value::is_object) => {}
        Some(_) | None => verdict.field(
            "spec.profilingConfig.config is required and must not be empty; give at least `sla`"
                .to_owned(),
        ),
    }
    if !case.rules.gpu_discovery && spec.get("enableGpuDiscovery").flag(verdict) {
        verdict.field(
            "spec.enableGpuDiscovery can only be set to true for cluster-wide operators. \
             Namespace-restricted operators cannot access cluster nodes for GPU discovery. Set it \
             to false and give spec.profilingConfig.config.hardware"
                .to_owned(),
        );
    }
}

/// The settings of the profiler, as far as they can be read.
fn check_config(spec: &Field<'_>, config: &Field<'_>, verdict: &mut Verdict) {
    let mut found = Verdict::default();
    let [engine, deployment, hardware] =
        ["engine", "deployment", "hardware"].map(|key| config.get(key));
    for section in [&engine, &deployment, &hardware] {
        section.map(&mut found);
    }
    for (section, key, names) in [(&engine, "backend", "backend"), (&deployment, "model", "model")]
    {
        let field = section.get(key);
        let (inner, outer) = (field.text(&mut found), spec.get(names).text(verdict));
        if !inner.is_empty() && inner != outer {
            verdict.warn(format!(
                "{} ({}) will be overwritten by spec.{names} ({})",
                field.path(),
                shown(inner),
                shown(outer)
            ));
        }
    }
    let gpus = |camel: &str, snake: &str, found: &mut Verdict| {
        let camel = hardware.get(camel);
        let field = if camel.is_set() { camel } else { hardware.get(snake) };
        field.number(found)
    };
    let least = gpus("minNumGpusPerEngine", "min_num_gpus_per_engine", &mut found);
    let most = gpus("maxNumGpusPerEngine", "max_num_gpus_per_engine", &mut found);
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        verdict.field(format!(
            "invalid GPU range: minNumGpusPerEngine ({least}) cannot be greater than \
             maxNumGpusPerEngine ({most}); change one of them in {}",
            hardware.path()
        ));
    }
    verdict.take("failed to parse spec.profilingConfig.config: ", found);
}

fn check_beta(case: &Case<'_>, spec: &Field<'_>, verdict: &mut Verdict) {
    let strategy = spec.get("searchStrategy").text(verdict);
    let backend = spec.get("backend");
    // What is left out becomes `auto`.
    let backend = if backend.is_set() { backend.text(verdict) } else { "auto" };
    if strategy == "thorough" && backend == "auto" {
        verdict.field(
            "spec.searchStrategy \"thorough\" is incompatible with spec.backend \"auto\": set \
             spec.backend to a specific backend (sglang, trtllm, or vllm)"
                .to_owned(),
        );
    }
    let hardware = spec.get("hardware");
    hardware.map(verdict);
    if !case.rules.gpu_discovery {
        for key in ["gpuSku", "vramMb", "numGpusPerNode"] {
            if super::dgd::is_nothing(&hardware.get(key)) {
                verdict.field(format!(
                    "spec.hardware.{key} is required when GPU discovery is unavailable; found none: \
                     give it as it is on the nodes to use"
                ));
            }
        }
    }
}

/// The spec may not change once it is worked by.
fn check_settled(version: Version, old: &Field<'_>, new: &Field<'_>, verdict: &mut Verdict) {
    let status = old.get("status");
    let spare = &mut Verdict::default();
    if old.get("spec").value() == new.value() {
        return;
    }
    match version {
        Version::Alpha => {
            let state = status.get("state").text(spare);
            let is_observed = status.get("observedGeneration").whole(spare).is_some_and(|g| g > 0);
            if is_observed && SETTLED_STATES.contains(&state) {
                verdict.immutable(format!(
                    "Cannot modify spec in state '{state}'. DynamoGraphDeploymentRequest is \
                     immutable once profiling starts. Create a new resource with a different name \
                     instead."
                ));
            }
        }
        Version::Beta => {
            let phase = status.get("phase").text(spare);
            if SETTLED_PHASES.contains(&phase) {
                verdict.immutable(format!(
                    "spec: updates are forbidden while the resource is in phase \"{phase}\"; delete \
                     and recreate the resource to change its spec"
                ));
            }
        }
    }
}
