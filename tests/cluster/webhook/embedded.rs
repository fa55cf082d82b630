//! `sla-planner run` with `webhook.enabled`: planner, adapter controller and webhooks in one process.

use std::time::Duration;

use kube::api::Api;
use serde_json::json;
use sla_planner::api::{DynamoGraphDeploymentScalingAdapter, names};

use super::process::start_as;
use super::scene::{
    SECRET, editor_rules, guide, patch_as, register, registration, replicas, until_asked,
};
use crate::bench::{eventually, free_port, rule};
use crate::restricted_double::Restricted;
use crate::serving::{
    DGD, SOON, controller_rules, create_dgd, dgd_asks_for, namespace, planner_rules, two_services,
};

#[tokio::test]
async fn run_is_ready_with_tick_and_certificate_and_its_controller_passes_its_own_guard() {
    let ns = namespace("embedded").await;
    let port = free_port();
    let rules = [controller_rules(), planner_rules()].concat();
    let configs = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let configs = rule("admissionregistration.k8s.io", &configs, &["get", "patch"]);
    let leases = rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["list"]);
    let user = ns.service_account("sla-planner", rules, vec![configs, leases]).await;
    let editor = ns.token(editor_rules()).await;
    create_dgd(&ns, two_services()).await;
    register(&ns, port).await;
    let profile = sla_planner::profile::library::DEFAULT;
    let config = json!({
        "sla": {"ttft": "500ms", "itl": "12ms"},
        "pools": {
            "prefill": {"max": 12, "profile": profile}, "decode": {"max": 12, "profile": profile}
        },
        "max_gpu_budget": 24,
        "intervals": {"adjustment": "2s", "window": "8s", "max_metric_age": "5s"},
        // Nobody is there: it holds what there is.
        "prometheus": {"url": format!("http://127.0.0.1:{}", free_port()), "timeout": "1s"},
        "target": {"namespace": ns.name(), "dgd": DGD, "model": "llama"},
        "adapter_controller": true,
        "webhook": {
            "enabled": true, "port": port,
            "certificate": {
                "secret": SECRET, "registration": registration(&ns), "extra_names": ["127.0.0.1"]
            },
        },
    });
    let mut served = start_as("run", &ns, &user, config);
    // It may keep no Secret yet: it plans, and is not ready.
    eventually("the first tick alone", SOON, async || match served.page("readyz").await {
        Ok((503, why)) if why.contains("waiting for the certificate of the webhooks") => Ok(()),
        other => Err(format!("{other:?}; {}", served.process.stderr())),
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(served.page("readyz").await.map(|(status, _)| status), Ok(503), "after more ticks");

    let grant = format!("--serviceaccount={}:sla-planner", ns.name());
    ns.kubectl(&["create", "role", "secrets", "--verb=create,get,patch", "--resource=secrets"])
        .await
        .success();
    ns.kubectl(&["create", "rolebinding", "secrets", "--role=secrets", &grant]).await.success();
    served.until_ready().await;
    until_asked(&ns).await;
    let adapters: Api<DynamoGraphDeploymentScalingAdapter> = ns.api().await;
    eventually("the adapter", SOON, async || adapters.get("llama-decode").await).await;

    assert_eq!(patch_as(&editor, &ns, &replicas("Decode", 5), false).await, Err(guide(5)));
    let scale = ["scale", "dgdsa/llama-decode", "--replicas=5"];
    ns.bench().kubectl_as(&editor, &scale).await.success();
    // What the controller of this process carries to the graph is let pass.
    dgd_asks_for(&ns, "Decode", 5).await;
    let said = served.process.stderr();
    assert!(!said.contains("nobody may carry"), "{said}");

    let _operator = Restricted::start(&ns, names::LEASES_RESTRICTED[1]).await;
    let edit = async || patch_as(&editor, &ns, &replicas("Decode", 7), true).await;
    eventually("an edit to pass beside an operator", SOON, edit).await;
    let status = served.process.terminate(Duration::from_secs(12));
    assert_eq!(status.code(), Some(0), "{}", served.process.stderr());
}
