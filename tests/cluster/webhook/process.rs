//! `sla-planner webhook` as a process.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::PostParams;
use serde_json::{Value, json};
use sla_planner::api::names;

use super::scene::{
    SECRET, editor_rules, guide, patch_as, register, registration, replicas, until_asked,
};
use crate::bench::{Guarded, Namespace, User, eventually, free_port, rule};
use crate::process::page;
use crate::serving::{SOON, create_dgd, namespace, raw_dgds, raw_object, two_services};

/// A process that serves the webhooks of a namespace.
pub(super) struct Served {
    pub(super) process: Guarded,
    pub(super) metrics_port: u16,
}

/// Registers for the namespace, starts the process as this user with more in its section `webhook`,
/// and returns when it is asked.
pub(super) async fn serve(ns: &Namespace, user: &User, more: Value) -> Served {
    let port = free_port();
    register(ns, port).await;
    let mut webhook = json!({
        "port": port,
        "certificate": {
            "namespace": ns.name(), "secret": SECRET, "registration": registration(ns),
            "extra_names": ["127.0.0.1"],
        },
    });
    json_patch::merge(&mut webhook, &more);
    let served = start(ns, user, &webhook);
    served.until_ready().await;
    until_asked(ns).await;
    served
}

/// Starts the process as this user with this section `webhook`.
pub(super) fn start(ns: &Namespace, user: &User, webhook: &Value) -> Served {
    start_as("webhook", ns, user, json!({"webhook": webhook}))
}

/// Starts a command of the binary as this user with this configuration.
pub(super) fn start_as(command: &str, ns: &Namespace, user: &User, mut config: Value) -> Served {
    let metrics_port = free_port();
    config["metrics_port"] = json!(metrics_port);
    let file = ns.bench().dir().join(format!("{}-{metrics_port}.yaml", ns.name()));
    std::fs::write(&file, config.to_string()).unwrap();
    let process = Guarded::start(
        &format!("webhook-{}-{metrics_port}", ns.name()),
        &ns.bench().ready().logs,
        Path::new(env!("CARGO_BIN_EXE_sla-planner")),
        [command, "--config", &file.display().to_string()],
        &[("KUBECONFIG", &user.kubeconfig().display().to_string()), ("POD_NAMESPACE", ns.name())],
    );
    Served { process, metrics_port }
}

impl Served {
    /// Waits until the probe finds it ready.
    pub(super) async fn until_ready(&self) {
        eventually("the process to be ready", SOON, async || match self.page("readyz").await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}; {}", self.process.stderr())),
        })
        .await;
    }

    /// A page of its metrics port.
    pub(super) async fn page(&self, path: &str) -> Result<(u16, String), String> {
        page(self.metrics_port, path).await
    }
}

/// What the manifest allows, for one namespace and its registration.
pub(super) fn process_rules(ns: &Namespace) -> (Vec<PolicyRule>, Vec<PolicyRule>) {
    let configs = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let mut configs = rule("admissionregistration.k8s.io", &configs, &["get", "patch"]);
    configs.resource_names = Some(vec![registration(ns)]);
    let secrets = rule("", &["secrets"], &["create", "get", "patch"]);
    let leases = rule(names::LEASE_GROUP, &[names::LEASE_PLURAL], &["list"]);
    ([editor_rules(), vec![secrets]].concat(), vec![configs, leases])
}

#[tokio::test]
async fn the_process_makes_its_certificate_knows_its_own_name_and_ends_by_sigterm() {
    let ns = namespace("process").await;
    let (rules, cluster_rules) = process_rules(&ns);
    let user = ns.service_account("sla-planner", rules, cluster_rules).await;
    let editor = ns.token(editor_rules()).await;
    let mut served = serve(&ns, &user, json!({"allowed_users": ["somebody"]})).await;
    create_dgd(&ns, two_services()).await;

    assert_eq!(patch_as(&editor, &ns, &replicas("Decode", 5), false).await, Err(guide(5)));
    // Who serves is who writes for its adapters: nobody had to write the name down.
    assert_eq!(patch_as(&user, &ns, &replicas("Decode", 5), false).await, Ok(()));

    let (_, page) = served.page("metrics").await.unwrap();
    let denied = "sla_planner_webhook_reviews_total{path=\"/validate-nvidia-com-v1alpha1-\
                  dynamographdeployment\",operation=\"UPDATE\",result=\"denied\",reason=\"replicas\"} 1";
    assert!(page.contains(denied), "{page}");
    assert!(page.contains("sla_planner_webhook_duration_seconds_count "), "{page}");
    let end = "sla_planner_webhook_certificate_end_timestamp_seconds{} ";
    let end =
        page.lines().find_map(|line| line.strip_prefix(end)).expect("the end of the certificate");
    let days = (end.parse::<f64>().unwrap() - 1e-3 * now_millis()) / 86_400.0;
    assert!((89.9..90.1).contains(&days), "{days}");
    let log = served.process.stderr();
    assert!(log.contains("\"message\":\"denied\"") && log.contains(&editor.name), "{log}");
    assert!(!log.contains("PRIVATE KEY") && !log.contains("panicked"), "{log}");

    let status = served.process.terminate(Duration::from_secs(12));
    assert_eq!(status.code(), Some(0), "{}", served.process.stderr());
    let object = raw_object("late", two_services());
    let late = raw_dgds(&ns).await.create(&PostParams::default(), &object).await;
    assert!(late.expect_err("Fail").to_string().contains("failed calling webhook"));
}

#[tokio::test]
async fn a_port_in_use_and_a_folder_without_a_certificate_are_told_at_once() {
    let ns = namespace("no-start").await;
    let user = ns.token(vec![rule("", &["secrets"], &["get"])]).await;
    let taken = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let empty = ns.bench().dir().display().to_string();
    for (name, webhook, says) in [
        ("port", json!({"port": port}), format!("cannot serve webhooks on port {port}: ")),
        (
            "folder",
            json!({"port": free_port(), "certificate": {"folder": empty}}),
            "`webhook.certificate.folder`".to_owned(),
        ),
    ] {
        let file = ns.bench().dir().join(format!("{}-{name}.yaml", ns.name()));
        let config = json!({"metrics_port": 0, "webhook": webhook});
        std::fs::write(&file, config.to_string()).unwrap();
        let mut process = Guarded::start(
            &format!("webhook-{name}-{}", ns.name()),
            &ns.bench().ready().logs,
            Path::new(env!("CARGO_BIN_EXE_sla-planner")),
            ["webhook", "--config", &file.display().to_string()],
            &[("KUBECONFIG", &user.kubeconfig().display().to_string())],
        );
        let status = process.wait(SOON);
        assert_eq!(status.code(), Some(2), "{name}: {}", process.stderr());
        assert!(process.stderr().contains(&says), "{name}: {}", process.stderr());
        // Nobody is named, and this process keeps no adapters.
        let warned = process.stderr().contains("nobody may carry the replicas of adapters");
        assert!(warned, "{name}: {}", process.stderr());
    }
}

fn now_millis() -> f64 {
    super::scene::now().as_millis() as f64
}

#[tokio::test]
async fn an_endpoint_picker_is_refused_until_there_are_inference_pools() {
    let ns = namespace("pools").await;
    let (rules, cluster_rules) = process_rules(&ns);
    let user = ns.service_account("sla-planner", rules, cluster_rules).await;
    let _served = serve(&ns, &user, json!({})).await;
    let mut spec = two_services();
    spec["services"]["Picker"] =
        json!({"componentType": "epp", "replicas": 1, "eppConfig": {"config": {}}});
    let graph = raw_object("picked", spec);
    let dgds = raw_dgds(&ns).await;
    eventually("a refusal", SOON, async || {
        // A dry run: what is not known yet refuses nobody.
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match dgds.create(&params, &graph).await {
            Err(error) if error.to_string().contains("needs InferencePools") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "inferencepools.inference.networking.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
        },
        "spec": {
            "group": "inference.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": "InferencePool", "plural": "inferencepools"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    let file = ns.bench().dir().join("inferencepools.json");
    std::fs::write(&file, definition.to_string()).unwrap();
    ns.bench().apply_file(&file.display().to_string()).await;
    eventually("the graph to be taken", SOON * 2, async || {
        dgds.create(&PostParams::default(), &graph).await.map(drop).map_err(|e| e.to_string())
    })
    .await;
}
