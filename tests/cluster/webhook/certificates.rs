//! The certificate in its Secret, the `caBundle` in the registration, and a renewal under load.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::Api;
use serde_json::json;
use sla_planner::spec::Certificate;
use sla_planner::units::Timestamp;
use sla_planner::webhook::certs::Step;
use sla_planner::webhook::{DOORS, Serving};

use super::scene::{
    Hooks, Load, SECRET, bundles, editor_rules, keeper, manifest, now, register, registration,
    rules_for,
};
use crate::bench::{Namespace, eventually, free_port, rule};
use crate::serving::{SOON, client_through, create_dgd, namespace, two_services};

async fn secret(ns: &Namespace) -> Secret {
    let api: Api<Secret> = ns.api().await;
    api.get(SECRET).await.expect("the Secret")
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8(bytes.0.clone()).expect("PEM"))
}

fn certificates(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

/// The rules of a role of the manifest, with the registration of this test.
fn rules_of(kind: &str, ns: &Namespace) -> Vec<PolicyRule> {
    let objects = manifest();
    let role = objects.iter().find(|object| object["kind"] == kind).expect("the role");
    let text = role["rules"].to_string();
    let text = text.replace("[\"sla-planner\"]", &json!([registration(ns)]).to_string());
    serde_json::from_str(&text).expect("rules")
}

#[tokio::test]
async fn the_rights_of_the_manifest_are_enough_and_two_replicas_share_one_certificate() {
    let ns = namespace("cert").await;
    register(&ns, free_port()).await;
    let (role, cluster_role) = (rules_of("Role", &ns), rules_of("ClusterRole", &ns));
    assert_eq!((role.len(), cluster_role.len()), (2, 2));
    let user = ns.token_with_cluster_rules(role, cluster_role).await;
    let client = client_through(&user, None).await;

    let (one, two) = (Serving::default(), Serving::default());
    let mut first = keeper(&ns, &one, client.clone());
    let mut second = keeper(&ns, &two, client);
    let at = now();
    let (a, b) = tokio::join!(first.look(at), second.look(at));
    let steps = [a.expect("kept").step, b.expect("kept").step];
    assert!(steps.contains(&Step::Begin), "{steps:?}");
    let kept = secret(&ns).await;
    assert_eq!(kept.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(
        certificates(&text(&kept, "ca.crt").unwrap()),
        1,
        "whoever came second took it over"
    );
    assert!(one.is_set() && two.is_set());
    let ca = text(&kept, "ca.crt").unwrap();
    let written = bundles(&ns).await;
    assert_eq!(written.len(), 5);
    assert!(written.iter().all(|bundle| *bundle == ca));
    assert_eq!(
        first.look(at).await.expect("kept").step,
        Step::Keep,
        "looking twice changes nothing"
    );
    let version = |secret: &Secret| secret.metadata.resource_version.clone();
    assert_eq!(version(&secret(&ns).await), version(&kept));
}

#[tokio::test]
async fn a_bundle_that_is_gone_comes_back_and_so_does_a_secret() {
    let ns = namespace("healed").await;
    let port = free_port();
    register(&ns, port).await;
    let serving = Serving::default();
    let keeper = keeper(&ns, &serving, ns.admin().await);
    let task = tokio::spawn(keeper.follow(|_| {}));
    let all_have = async |ca: &str| {
        eventually("the bundle everywhere", SOON, async || {
            let found = bundles(&ns).await;
            if found.iter().all(|bundle| bundle == ca) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    let ca = async || {
        let found = eventually("the Secret", SOON, async || {
            let api: Api<Secret> = ns.api().await;
            api.get(SECRET).await
        })
        .await;
        text(&found, "ca.crt").unwrap()
    };
    let first = ca().await;
    all_have(&first).await;
    // Another manifest put in its place.
    let name = registration(&ns);
    let forget = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]).to_string();
    ns.kubectl(&["patch", "validatingwebhookconfiguration", &name, "--type=json", "-p", &forget])
        .await
        .success();
    all_have(&first).await;
    // The manifest applied again leaves it where it is.
    register(&ns, port).await;
    assert!(bundles(&ns).await.iter().all(|bundle| *bundle == first));
    let before = secret(&ns).await;
    for spoil in [
        &["delete", "secret", SECRET][..],
        &["patch", "secret", SECRET, "-p", r#"{"stringData":{"tls.key":"nonsense"}}"#],
    ] {
        ns.kubectl(spoil).await.success();
        eventually("the Secret as it was", SOON, async || {
            let api: Api<Secret> = ns.api().await;
            let found = api.get(SECRET).await.map_err(|error| error.to_string())?;
            if found.data == before.data { Ok(()) } else { Err("another one".to_owned()) }
        })
        .await;
    }
    all_have(&first).await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_renewals_under_load_refuse_no_request() {
    let ns = namespace("renewed").await;
    let editor = ns.token(editor_rules()).await;
    let mut hooks = Hooks::start(&ns, rules_for([])).await;
    create_dgd(&ns, two_services()).await;
    let served = hooks.serving.clone();
    let load = Load::default();
    let renew = async {
        let mut keeper = keeper(&ns, &served, ns.admin().await);
        // Another replica, which looks now and then and serves on the same name.
        let standby = Serving::default();
        let mut other = super::scene::keeper(&ns, &standby, ns.admin().await);
        let mut at: Timestamp = now();
        keeper.look(at).await.expect("kept");
        for _ in 0..3 {
            let before = secret(&ns).await;
            // Due after two thirds of its life. What is made then reaches back an hour, so that it
            // is good now as well.
            at = at.plus(Duration::from_secs(8 * 60));
            assert_eq!(keeper.look(at).await.expect("kept").step, Step::Prepare);
            let both = text(&secret(&ns).await, "ca.crt").unwrap();
            assert_eq!(certificates(&both), 2);
            assert!(bundles(&ns).await.iter().all(|bundle| *bundle == both));
            let soon = at.plus(Duration::from_secs(2));
            assert_eq!(keeper.look(soon).await.expect("kept").step, Step::Keep, "not yet settled");
            // The API server really needs its time to see the bundle.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let settled = at.plus(Duration::from_secs(3));
            assert_eq!(keeper.look(settled).await.expect("kept").step, Step::Promote);
            let after = secret(&ns).await;
            assert_ne!(text(&before, "tls.crt"), text(&after, "tls.crt"));
            assert_eq!(text(&after, "next.key"), None);
            other.look(settled).await.expect("kept");
            load.goes_on_for(40).await;
        }
        load.stop();
    };
    let (slowest, ()) = tokio::join!(load.run(&editor, &ns), renew);
    let asked = load.asked();
    eprintln!("{asked} reviews during three renewals, the slowest two in {slowest:?}");
    assert!(asked >= 120);
    until_asked_anew(&mut hooks).await;
}

/// Connections that are opened now meet the certificate that is served now.
async fn until_asked_anew(hooks: &mut Hooks<'_>) {
    hooks.stop().await;
    hooks.serve().await;
    hooks.until_asked().await;
    let errors = hooks.heard.lock().unwrap().iter().filter(|told| told.result == "error").count();
    assert_eq!(errors, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_deleted_under_load_is_put_back_and_no_request_is_refused() {
    let ns = namespace("put-back").await;
    let editor = ns.token(editor_rules()).await;
    let mut hooks = Hooks::start(&ns, rules_for([])).await;
    create_dgd(&ns, two_services()).await;
    let served = hooks.serving.clone();
    let load = Load::default();
    let delete = async || {
        ns.kubectl(&["delete", "secret", SECRET]).await.success();
    };
    let spoil = async || {
        let nonsense = r#"{"stringData":{"tls.key":"nonsense"}}"#;
        ns.kubectl(&["patch", "secret", SECRET, "-p", nonsense]).await.success();
    };
    let faults = async {
        let mut serving = keeper(&ns, &served, ns.admin().await);
        let mut other = keeper(&ns, &Serving::default(), ns.admin().await);
        let mut at = now();
        serving.look(at).await.expect("kept");
        other.look(at).await.expect("kept");
        for round in 0..3 {
            if round == 2 {
                // In the middle of a renewal.
                at = at.plus(Duration::from_secs(8 * 60));
                assert_eq!(serving.look(at).await.expect("kept").step, Step::Prepare);
                other.look(at).await.expect("kept");
            }
            let before = secret(&ns).await;
            if round == 1 {
                spoil().await;
            } else {
                delete().await;
            }
            // Who looks first is not who is asked.
            assert_eq!(other.look(at).await.expect("kept").step, Step::Restore);
            let after = secret(&ns).await;
            assert_eq!(after.data, before.data);
            assert_eq!(after.metadata.annotations, before.metadata.annotations);
            let ca = text(&before, "ca.crt").unwrap();
            assert!(bundles(&ns).await.iter().all(|bundle| *bundle == ca));
            load.goes_on_for(20).await;
            assert_eq!(serving.look(at).await.expect("kept").step, Step::Keep);
        }
        // A replica that has just started waits for one that knows.
        for is_gone in [true, false] {
            if is_gone {
                delete().await;
            } else {
                spoil().await;
            }
            let mut fresh = keeper(&ns, &Serving::default(), ns.admin().await);
            let error = fresh.look(at).await.expect_err("it waits").to_string();
            assert!(error.ends_with("waiting for another replica to put it back"), "{error}");
            load.goes_on_for(20).await;
            assert_eq!(serving.look(at).await.expect("kept").step, Step::Restore);
            assert_eq!(fresh.look(at).await.expect("kept").step, Step::Keep);
        }
        load.stop();
    };
    let (slowest, ()) = tokio::join!(load.run(&editor, &ns), faults);
    eprintln!("{} reviews while the Secret was gone, the slowest two in {slowest:?}", load.asked());
    until_asked_anew(&mut hooks).await;
    // Where nobody comes who knows, it begins anew.
    delete().await;
    let mut fresh = keeper(&ns, &Serving::default(), ns.admin().await);
    let at = now();
    fresh.look(at).await.expect_err("it waits");
    let later = at.plus(Duration::from_secs(15));
    assert_eq!(fresh.look(later).await.expect("kept").step, Step::Begin);
}

#[tokio::test]
async fn a_missing_right_is_named_and_nothing_is_changed() {
    let ns = namespace("no-secret").await;
    let user = ns.token(vec![rule("", &["secrets"], &["get"])]).await;
    let serving = Serving::default();
    let mut keeper = keeper(&ns, &serving, client_through(&user, None).await);
    let error = keeper.look(now()).await.expect_err("refused").to_string();
    assert_eq!(
        error,
        "create secrets sla-planner-webhook-cert: not allowed; the rule {apiGroups: [\"\"], resources: \
         [\"secrets\"], verbs: [\"create\"]} is missing"
    );
    assert!(!serving.is_set());
}

#[tokio::test]
async fn the_manifest_is_taken_as_it_stands_and_names_what_the_process_serves() {
    let ns = namespace("manifest").await;
    // It may be there already, by another test.
    drop(ns.kubectl(&["create", "namespace", "sla-planner"]).await);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/overlays/webhook");
    let apply = ["apply", "--server-side", "--dry-run=server", "-k", folder];
    let said = ns.bench().kubectl(&apply).await.success();
    assert_eq!(said.lines().count(), manifest().len(), "{said}");

    let config = sla_planner::spec::Defaults {
        pod_namespace: Some("sla-planner".to_owned()),
        ..sla_planner::spec::Defaults::default()
    };
    let config = sla_planner::spec::load("", "", &config).expect("the defaults").webhook;
    let Certificate::Own { namespace, secret, registration, names, .. } = config.certificate else {
        panic!("an own certificate")
    };
    assert_eq!(secret, SECRET);
    for object in manifest() {
        if object["kind"] == "Service" {
            assert_eq!(object["spec"]["ports"][0]["targetPort"], "https");
        }
        if object["kind"] == "Deployment" {
            let ports = &object["spec"]["template"]["spec"]["containers"][0]["ports"];
            assert_eq!(ports[0], json!({"name": "https", "containerPort": config.port}));
        }
        for webhook in object["webhooks"].as_array().into_iter().flatten() {
            assert_eq!(object["metadata"]["name"], json!(registration));
            let service = &webhook["clientConfig"]["service"];
            let path = service["path"].as_str().expect("a path");
            assert!(DOORS.iter().any(|(known, _)| *known == path), "{path}");
            assert_eq!(service["namespace"], json!(namespace));
            let name = service["name"].as_str().expect("a name");
            assert!(names.contains(&format!("{name}.{namespace}.svc")), "{names:?}");
        }
    }
}
