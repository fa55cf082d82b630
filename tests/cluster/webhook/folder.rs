//! A certificate that somebody else makes, mounted as the kubelet mounts a Secret.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sla_planner::webhook::certs::{Made, make};

use super::process::start;
use super::scene::{Load, editor_rules, now, register, registration, until_asked};
use crate::bench::{Namespace, eventually, free_port};
use crate::serving::{SOON, create_dgd, namespace, two_services};

/// What cert-manager would have made, for so many hours.
fn made(hours: u64) -> Made {
    let validity = Duration::from_secs(3600 * hours);
    make(&["127.0.0.1".to_owned()], validity, now()).expect("a certificate")
}

/// Puts a pair into the folder as the kubelet does: the files are links to those in a folder that is
/// a link itself, which is replaced at once.
fn mount(folder: &Path, version: &str, made: &Made) {
    let inside = folder.join(version);
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::write(inside.join("tls.crt"), &made.cert).unwrap();
    std::fs::write(inside.join("tls.key"), &made.key).unwrap();
    let next = folder.join("..next");
    symlink(version, &next).unwrap();
    std::fs::rename(next, folder.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(PathBuf::from("..data").join(name), link).unwrap();
        }
    }
}

/// Writes the `caBundle` as cert-manager's injector does.
async fn inject(ns: &Namespace, authorities: &[&Made]) {
    let bundle: String = authorities.iter().map(|made| made.ca.as_str()).collect();
    let bundle = k8s_openapi::ByteString(bundle.into_bytes());
    let name = registration(ns);
    for (kind, count) in
        [("validatingwebhookconfiguration", 3), ("mutatingwebhookconfiguration", 2)]
    {
        let step = |index: usize| {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            json!({"op": "add", "path": path, "value": bundle})
        };
        let patch = Value::Array((0..count).map(step).collect()).to_string();
        ns.kubectl(&["patch", kind, &name, "--type=json", "-p", &patch]).await.success();
    }
}

/// Whether who trusts one authority alone finds its certificate served.
async fn is_served(port: u16, made: &Made) -> bool {
    drop(rustls::crypto::ring::default_provider().install_default());
    let ca = reqwest::Certificate::from_pem(made.ca.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    client.get(format!("https://127.0.0.1:{port}/healthz")).send().await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_from_a_folder_is_replaced_while_it_is_served() {
    let ns = namespace("folder").await;
    let port = free_port();
    register(&ns, port).await;
    let editor = ns.token(editor_rules()).await;
    // It keeps nothing in the cluster, and needs no right there.
    let user = ns.token(vec![]).await;
    let (first, second) = (made(1), made(2));
    let folder = ns.bench().dir().join(format!("{}-certificate", ns.name()));
    mount(&folder, "..1", &first);
    inject(&ns, &[&first]).await;
    let webhook = json!({
        "port": port, "allowed_users": ["somebody"], "leave_restricted": false,
        "certificate": {"folder": folder.display().to_string()},
    });
    let served = start(&ns, &user, &webhook);
    served.until_ready().await;
    until_asked(&ns).await;
    create_dgd(&ns, two_services()).await;

    let load = Load::default();
    let replace = async {
        load.goes_on_for(20).await;
        assert!(is_served(port, &first).await && !is_served(port, &second).await);
        // Both are trusted before the second is served.
        inject(&ns, &[&first, &second]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        mount(&folder, "..2", &second);
        eventually("the second certificate", SOON, async || {
            if is_served(port, &second).await { Ok(()) } else { Err(served.process.stderr()) }
        })
        .await;
        assert!(!is_served(port, &first).await);
        load.goes_on_for(20).await;
        inject(&ns, &[&second]).await;
        load.goes_on_for(40).await;
        load.stop();
    };
    let (slowest, ()) = tokio::join!(load.run(&editor, &ns), replace);
    eprintln!("{} reviews in a change of certificates, slowest two {slowest:?}", load.asked());
    // The metric follows with the look that took the second one.
    let (_, page) = served.page("metrics").await.expect("metrics");
    let end = "sla_planner_webhook_certificate_end_timestamp_seconds{} ";
    let end = page.lines().find_map(|line| line.strip_prefix(end)).expect("the end");
    let end: f64 = end.parse().expect("seconds");
    let expected = (second.not_after.as_millis() / 1000) as f64;
    assert!((end - expected).abs() < 0.5, "{end}, not {expected}");
    let said = served.process.stderr();
    assert!(!said.contains("not allowed") && !said.contains("not read"), "{said}");
}
