//! The webhooks as `deploy/` installs them, under the service account and the rights that it gives.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::webhook::Serving;
use sla_planner::webhook::certs::Step;

use super::process::{Served, start};
use super::scene::{
    SECRET, bundles, editor_rules, for_one, guide, is_registration, keeper, manifest, now,
    patch_as, register, registration, replicas, until_asked,
};
use crate::bench::{Namespace, User, eventually, free_port};
use crate::deploy::{
    config_of, helm, kustomize, labelled_as_restricted, manifests, of_kind, placed, text_of,
};
use crate::serving::{SOON, client_through, create_dgd, namespace, two_services};

/// The Deployment, the account and the objects' names in both ways.
const NAME: &str = "sla-planner-webhook";

const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

/// The objects of the overlay and of its optional component, for one namespace alone: what they are
/// called in the whole cluster and whom they judge is its own.
fn overlay(ns: &Namespace, port: u16) -> Vec<Value> {
    let mut objects = placed(manifest(), &[("sla-planner", ns.name())]);
    let mut policy = manifests("components/webhook-network-policy/networkpolicy.yaml");
    policy[0]["metadata"]["namespace"] = json!(ns.name());
    objects.append(&mut policy);
    let own = json!(format!("{}-webhook", ns.name()));
    for object in &mut objects {
        match object["kind"].as_str().expect("a kind") {
            "ClusterRole" => {
                object["metadata"]["name"] = own.clone();
                object["rules"][0]["resourceNames"] = json!([registration(ns)]);
            }
            "ClusterRoleBinding" => {
                object["metadata"]["name"] = own.clone();
                object["roleRef"]["name"] = own.clone();
            }
            _ if is_registration(object) => *object = for_one(object.take(), ns, port),
            _ => {}
        }
    }
    objects
}

/// The section `webhook` of the installed configuration, for a process on the loopback.
fn section(config: &Value, ns: &Namespace, port: u16) -> Value {
    let text = config["webhook"].to_string();
    let text =
        text.replace("serviceaccount:sla-planner:", &format!("serviceaccount:{}:", ns.name()));
    let mut webhook: Value = serde_json::from_str(&text).expect("JSON");
    webhook["port"] = json!(port);
    webhook["certificate"]["extra_names"] = json!(["127.0.0.1"]);
    webhook
}

/// Two nodes for the pods of a namespace, with the label that a kubelet gives its own.
async fn two_nodes(ns: &Namespace) {
    for node in ["one", "two"] {
        let name = ns.node(node, 0).await;
        let label = format!("kubernetes.io/hostname={name}");
        ns.kubectl(&["label", "node", &name, &label]).await.success();
    }
}

/// Waits until both replicas run, on two nodes.
async fn two_replicas_on_two_nodes(ns: &Namespace) {
    let deployments: Api<Deployment> = ns.api().await;
    eventually("two replicas", SOON, async || {
        let found = deployments.get(NAME).await.map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        if status.ready_replicas == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let pods: Api<Pod> = ns.api().await;
    let of_webhook = ListParams::default().labels("app.kubernetes.io/component=webhook");
    let pods = pods.list(&of_webhook).await.expect("pods").items;
    let mut nodes: Vec<_> =
        pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!((pods.len(), nodes.len()), (2, 2), "{nodes:?}");
}

/// Runs the installed configuration with the account's token and looks whether it guards.
async fn guards(ns: &Namespace, user: &User, planner: &User, webhook: &Value) -> Served {
    let editor = ns.token(editor_rules()).await;
    let served = start(ns, user, webhook);
    served.until_ready().await;
    until_asked(ns).await;
    create_dgd(ns, two_services()).await;
    assert_eq!(patch_as(&editor, ns, &replicas("Decode", 5), false).await, Err(guide(5)));
    // The planner's account, which runs the adapter controller, is let pass by the configuration.
    assert_eq!(patch_as(planner, ns, &replicas("Decode", 5), false).await, Ok(()));
    let said = served.process.stderr();
    assert!(!said.contains("not allowed") && !said.contains("nobody may carry"), "{said}");
    served
}

/// Whether this account may.
async fn may(ns: &Namespace, user: &User, ask: &[&str]) -> bool {
    let who = format!("--as={}", user.name);
    let args = [&["auth", "can-i", &who, "--namespace", ns.name()], ask].concat();
    ns.bench().kubectl(&args).await.stdout.trim() == "yes"
}

/// Neither account may do the other one's work.
async fn rights_are_apart(ns: &Namespace, webhook: &User, planner: &User, secret: &str, of: &str) {
    let certificate = format!("secrets/{secret}");
    let [validating, mutating] = [VALIDATING, MUTATING].map(|kind| format!("{kind}/{of}"));
    for ask in [
        &["create", "secrets"][..],
        &["get", &certificate],
        &["patch", &certificate],
        &["get", &validating],
        &["patch", &validating],
        &["get", &mutating],
        &["patch", &mutating],
    ] {
        assert!(may(ns, webhook, ask).await, "the webhooks: {ask:?}");
        assert!(!may(ns, planner, ask).await, "the planner: {ask:?}");
    }
    for ask in [
        &["get", "secrets/another"][..],
        &["list", "secrets"],
        &["delete", &certificate],
        &["patch", "validatingwebhookconfigurations/another"],
        &["create", VALIDATING],
        &["get", "dynamographdeployments"],
        &["patch", "dynamographdeployments"],
        &["patch", "dynamographdeploymentscalingadapters", "--subresource=scale"],
        &["list", "pods"],
    ] {
        assert!(!may(ns, webhook, ask).await, "the webhooks: {ask:?}");
    }
}

#[tokio::test]
async fn the_overlay_installs_two_replicas_that_guard_with_the_token_of_their_account() {
    let ns = namespace("hooked").await;
    two_nodes(&ns).await;
    labelled_as_restricted(&ns).await;
    let port = free_port();
    let objects = overlay(&ns, port);
    ns.bench().apply_yaml(&text_of(&objects)).await;
    two_replicas_on_two_nodes(&ns).await;

    let rules: Vec<PolicyRule> =
        serde_json::from_value(of_kind(&objects, "Role")["rules"].clone()).expect("rules");
    let user = ns.account(NAME, &rules[1], ns.name()).await;
    // The planner beside it, as overlays/cluster installs it, and with the rights of its controller.
    let planner = ns.service_account("sla-planner", editor_rules(), vec![]).await;
    rights_are_apart(&ns, &user, &planner, SECRET, &registration(&ns)).await;
    let mut webhook = section(&config_of(&objects, "webhook.yaml"), &ns, port);
    webhook["certificate"]["registration"] = json!(registration(&ns));
    guards(&ns, &user, &planner, &webhook).await;
}

#[tokio::test]
async fn the_chart_installs_upgrades_and_removes_the_same() {
    let ns = namespace("hooked-by-helm").await;
    two_nodes(&ns).await;
    labelled_as_restricted(&ns).await;
    let only_here = format!("webhook.namespaces={{{}}}", ns.name());
    let values = [
        "config.target.dgd=llama",
        "config.prometheus.url=http://prometheus.monitoring.svc:9090",
        "webhook.enabled=true",
        "webhook.networkPolicy.enabled=true",
        "webhook.config.allowed_users={ada}",
        &only_here,
    ];
    let said = helm(&ns, "install", &values).await;
    let account = format!("system:serviceaccount:{}:sla-planner", ns.name());
    assert!(said.contains(&format!("  {account}\n  ada\n")), "{said}");
    two_replicas_on_two_nodes(&ns).await;

    let get = async |what: &[&str]| -> Value {
        let args = [&["get", "-o", "json"], what].concat();
        serde_json::from_str(&ns.kubectl(&args).await.success()).expect("JSON")
    };
    let map = get(&["configmap", NAME]).await;
    let config = config_of(&[map], "webhook.yaml");
    let of = config["webhook"]["certificate"]["registration"].as_str().expect("a name").to_owned();
    let secret = config["webhook"]["certificate"]["secret"].as_str().expect("a name").to_owned();
    // A process on the loopback takes the place of the pods, which are simulated.
    let port = free_port();
    let mut shipped = Vec::new();
    for (kind, count) in [(VALIDATING, 3), (MUTATING, 2)] {
        let found = get(&[kind, &of]).await;
        let hooks = found["webhooks"].as_array().expect("webhooks");
        assert_eq!(hooks.len(), count);
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for (index, hook) in hooks.iter().enumerate() {
            let service = &hook["clientConfig"]["service"];
            assert_eq!(
                (&service["name"], &service["namespace"]),
                (&json!(NAME), &json!(ns.name()))
            );
            let path = service["path"].as_str().expect("a path");
            let at = format!("/webhooks/{index}/clientConfig");
            let url = json!(format!("https://127.0.0.1:{port}{path}"));
            there.push(json!({"op": "remove", "path": format!("{at}/service")}));
            there.push(json!({"op": "add", "path": format!("{at}/url"), "value": url}));
            back.push(json!({"op": "remove", "path": format!("{at}/url")}));
            back.push(json!({"op": "add", "path": format!("{at}/service"), "value": service}));
        }
        let patch = Value::Array(there).to_string();
        ns.kubectl(&["patch", kind, &of, "--type=json", "-p", &patch]).await.success();
        shipped.push((kind, Value::Array(back).to_string()));
    }
    let role: Vec<PolicyRule> =
        serde_json::from_value(get(&["role", NAME]).await["rules"].clone()).expect("rules");
    let user = ns.account(NAME, &role[1], ns.name()).await;
    // The planner of the release, here with the rights that `adapter_controller` would give it.
    let bind = ["create", "rolebinding", "writer", "--clusterrole=cluster-admin"];
    let planner =
        ns.account("sla-planner", &crate::bench::rule("", &["pods"], &["list"]), ns.name()).await;
    rights_are_apart(&ns, &user, &planner, &secret, &of).await;
    let whose = format!("--serviceaccount={}:sla-planner", ns.name());
    ns.kubectl(&[&bind[..], &[&whose]].concat()).await.success();
    let webhook = section(&config, &ns, port);
    let _served = guards(&ns, &user, &planner, &webhook).await;

    // An upgrade leaves the bundle where the process put it.
    let bundle = async || {
        let found = get(&[VALIDATING, &of]).await;
        found["webhooks"][0]["clientConfig"]["caBundle"].as_str().map(str::to_owned)
    };
    let before = bundle().await;
    assert!(before.is_some());
    for (kind, patch) in &shipped {
        ns.kubectl(&["patch", kind, &of, "--type=json", "-p", patch]).await.success();
    }
    let three = [&values[..], &["webhook.replicas=3"]].concat();
    helm(&ns, "upgrade", &three).await;
    assert_eq!(bundle().await, before);
    let count = get(&["deployment", NAME]).await["spec"]["replicas"].clone();
    assert_eq!(count, 3);

    helm(&ns, "uninstall", &[]).await;
    let namespaced = "deployment,configmap,serviceaccount,role,rolebinding,service,poddisruptionbudget,\
                      networkpolicy,clusterrole,clusterrolebinding,validatingwebhookconfiguration,\
                      mutatingwebhookconfiguration";
    let left = ["get", namespaced, "-l", "app.kubernetes.io/instance=sla-planner", "-o", "name"];
    let left = ns.kubectl(&left).await.success();
    assert_eq!(left, "");
}

/// A right of the deployed roles that the certificate needs, and whether a Secret must be broken for it
/// to be used.
const RIGHTS: [(&str, &str, bool); 7] = [
    ("secrets", "create", false),
    ("secrets", "get", false),
    ("secrets", "patch", true),
    (VALIDATING, "get", false),
    (VALIDATING, "patch", false),
    (MUTATING, "get", false),
    (MUTATING, "patch", false),
];

/// Rules without one right.
fn without(rules: &[PolicyRule], (resource, verb, _): (&str, &str, bool)) -> Vec<PolicyRule> {
    let mut left = Vec::new();
    for rule in rules {
        for one in rule.resources.iter().flatten() {
            let mut rule = PolicyRule { resources: Some(vec![one.clone()]), ..rule.clone() };
            if one == resource {
                rule.verbs.retain(|v| v != verb);
            }
            if !rule.verbs.is_empty() {
                left.push(rule);
            }
        }
    }
    left
}

#[test]
fn every_right_of_the_deployed_roles_is_one_that_a_test_takes_away() {
    let objects = kustomize("overlays/webhook");
    let mut found = Vec::new();
    for kind in ["Role", "ClusterRole"] {
        let rules: Vec<PolicyRule> =
            serde_json::from_value(of_kind(&objects, kind)["rules"].clone()).expect("rules");
        for rule in rules {
            for resource in rule.resources.iter().flatten() {
                found.extend(rule.verbs.iter().map(|verb| (resource.clone(), verb.clone())));
            }
        }
    }
    let of_certificate = RIGHTS.map(|(resource, verb, _)| (resource, verb));
    // What happens without the last one is told in the tests of the process.
    let named = of_certificate.into_iter().chain([(names::LEASE_PLURAL, "list")]);
    let named: Vec<_> =
        named.map(|(resource, verb)| (resource.to_owned(), verb.to_owned())).collect();
    assert_eq!(found, named);
}

#[tokio::test]
async fn the_webhooks_name_each_right_of_their_roles_that_they_lack() {
    for (number, right) in RIGHTS.into_iter().enumerate() {
        let ns = namespace(&format!("hooks-lack{number}")).await;
        let port = free_port();
        register(&ns, port).await;
        let objects = overlay(&ns, port);
        let rules_of = |kind: &str| -> Vec<PolicyRule> {
            let rules = of_kind(&objects, kind)["rules"].clone();
            without(&serde_json::from_value::<Vec<PolicyRule>>(rules).expect("rules"), right)
        };
        let user = ns.token_with_cluster_rules(rules_of("Role"), rules_of("ClusterRole")).await;
        let (resource, verb, is_broken) = right;
        if is_broken {
            let broken = ["create", "secret", "generic", SECRET, "--from-literal=tls.key=nonsense"];
            ns.kubectl(&broken).await.success();
        }
        let serving = Serving::default();
        let mut keeper = keeper(&ns, &serving, client_through(&user, None).await);
        let error = keeper.look(now()).await.expect_err("a right is missing").to_string();
        let group = if resource == "secrets" { "" } else { "admissionregistration.k8s.io" };
        let rule = format!(
            r#"{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}} is missing"#
        );
        assert!(
            error.starts_with(&format!("{verb} {resource} ")) && error.ends_with(&rule),
            "{error}"
        );
    }
}

#[tokio::test]
async fn with_all_rights_of_the_roles_nothing_is_missing() {
    let ns = namespace("hooks-lack-none").await;
    let port = free_port();
    register(&ns, port).await;
    let objects = overlay(&ns, port);
    let rules_of = |kind: &str| -> Vec<PolicyRule> {
        serde_json::from_value(of_kind(&objects, kind)["rules"].clone()).expect("rules")
    };
    let user = ns.token_with_cluster_rules(rules_of("Role"), rules_of("ClusterRole")).await;
    let serving = Serving::default();
    let mut keeper = keeper(&ns, &serving, client_through(&user, None).await);
    assert_eq!(keeper.look(now()).await.expect("kept").step, Step::Begin);
    assert!(bundles(&ns).await.iter().all(|bundle| !bundle.is_empty()));
}
