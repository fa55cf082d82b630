//! Rules of profiling requests.

use super::*;

fn alpha_request() -> Value {
    json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"},
        "spec": {
            "model": "m", "backend": "vllm",
            "profilingConfig": {"profilerImage": "i:1", "config": {"sla": {"ttft": 50}}}
        }
    })
}

fn beta_request() -> Value {
    json!({
        "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"}, "spec": {"model": "m"}
    })
}

fn config(config: Value) -> Value {
    json!({"spec": {"profilingConfig": {"config": config}}})
}

#[test]
fn a_request_names_its_profiler_and_its_settings() {
    let empty =
        "spec.profilingConfig.config is required and must not be empty; give at least `sla`";
    check_creations(
        &alpha_request(),
        &[
            (
                json!({"spec": {"profilingConfig": {"profilerImage": null}}}),
                "spec.profilingConfig.profilerImage is required; found none: give the image of the \
                 profiler",
            ),
            (config(Value::Null), empty),
            (config(json!({"sla": null})), empty),
            (
                config(json!("x")),
                "spec.profilingConfig.config: expected a mapping, found the text `x`",
            ),
            (
                config(json!({"engine": "vllm"})),
                "failed to parse spec.profilingConfig.config: spec.profilingConfig.config.engine: \
                 expected a mapping, found the text `vllm`",
            ),
            (
                config(json!({"hardware": {"minNumGpusPerEngine": 8, "maxNumGpusPerEngine": 4}})),
                "invalid GPU range: minNumGpusPerEngine (8) cannot be greater than \
                 maxNumGpusPerEngine (4); change one of them in spec.profilingConfig.config.hardware",
            ),
            (
                config(
                    json!({"hardware": {"min_num_gpus_per_engine": 4, "maxNumGpusPerEngine": 4}}),
                ),
                "",
            ),
            (json!({"spec": {"enableGpuDiscovery": true}}), ""),
        ],
    );
}

#[test]
fn settings_that_the_spec_overrides_are_warned_of() {
    let same = config(json!({"engine": {"backend": "vllm"}, "deployment": {"model": "m"}}));
    assert!(warnings(&with(alpha_request(), &same)).is_empty());
    let other = config(json!({"engine": {"backend": "sglang"}, "deployment": {"model": "n"}}));
    assert_eq!(
        warnings(&with(alpha_request(), &other)),
        [
            "spec.profilingConfig.config.engine.backend (sglang) will be overwritten by spec.backend \
             (vllm)",
            "spec.profilingConfig.config.deployment.model (n) will be overwritten by spec.model (m)"
        ]
    );
}

#[test]
fn without_discovery_the_hardware_is_to_be_given() {
    let rules = Rules { gpu_discovery: false, ..Rules::default() };
    let said = |object: &Value| answer(door(object), &request(None, object), &rules);
    assert_eq!(said(&alpha_request()), Answer::pass());
    let discovery = with(alpha_request(), &json!({"spec": {"enableGpuDiscovery": true}}));
    assert_eq!(
        message(&said(&discovery)),
        "spec.enableGpuDiscovery can only be set to true for cluster-wide operators. \
         Namespace-restricted operators cannot access cluster nodes for GPU discovery. Set it to false \
         and give spec.profilingConfig.config.hardware"
    );
    let given = json!({"gpuSku": "h200_sxm", "vramMb": 141_000, "numGpusPerNode": 8});
    let beta = with(beta_request(), &json!({"spec": {"hardware": given}}));
    assert_eq!(said(&beta), Answer::pass());
    let partly = with(beta, &json!({"spec": {"hardware": {"vramMb": null}}}));
    assert_eq!(
        message(&said(&partly)),
        "spec.hardware.vramMb is required when GPU discovery is unavailable; found none: give it as it \
         is on the nodes to use"
    );
}

#[test]
fn a_thorough_search_needs_one_engine() {
    let thorough = "spec.searchStrategy \"thorough\" is incompatible with spec.backend \"auto\": set \
                    spec.backend to a specific backend (sglang, trtllm, or vllm)";
    check_creations(
        &beta_request(),
        &[
            (json!({"spec": {"searchStrategy": "thorough"}}), thorough),
            (json!({"spec": {"searchStrategy": "thorough", "backend": "auto"}}), thorough),
            (json!({"spec": {"searchStrategy": "thorough", "backend": "vllm"}}), ""),
            (json!({"spec": {"searchStrategy": "rapid", "backend": "auto"}}), ""),
        ],
    );
}

#[test]
fn a_request_that_is_worked_on_keeps_its_spec() {
    let in_state = |state: &str, observed: i64| {
        let status = json!({"state": state, "observedGeneration": observed});
        with(alpha_request(), &json!({"status": status}))
    };
    let changed = json!({"spec": {"model": "other"}});
    for (state, observed, is_free) in [
        ("", 0, true),
        ("Pending", 1, true),
        ("Failed", 1, true),
        ("Profiling", 0, true),
        ("Profiling", 1, false),
        ("Deploying", 1, false),
        ("Ready", 2, false),
        ("DeploymentDeleted", 1, false),
    ] {
        let old = in_state(state, observed);
        let answer = judge(Some(&old), &with(old.clone(), &changed));
        let said = if is_free {
            String::new()
        } else {
            format!(
                "Cannot modify spec in state '{state}'. DynamoGraphDeploymentRequest is immutable once \
                 profiling starts. Create a new resource with a different name instead."
            )
        };
        assert_eq!(message(&answer), said, "{state}");
        let labelled = with(old.clone(), &json!({"metadata": {"labels": {"a": "b"}}}));
        assert_eq!(judge(Some(&old), &labelled), Answer::pass(), "{state}");
    }
    for (phase, is_free) in [
        ("Pending", true),
        ("Failed", true),
        ("Profiling", false),
        ("Ready", false),
        ("Deploying", false),
        ("Deployed", false),
    ] {
        let old = with(beta_request(), &json!({"status": {"phase": phase}}));
        let answer = judge(Some(&old), &with(old.clone(), &changed));
        let said = if is_free {
            String::new()
        } else {
            format!(
                "spec: updates are forbidden while the resource is in phase \"{phase}\"; delete and \
                 recreate the resource to change its spec"
            )
        };
        assert_eq!(message(&answer), said, "{phase}");
    }
}
