//! KEDA's operator and metrics adapter with the rights of its own manifests.

use std::fs;
use std::path::Path;

use crate::bench::control_plane::Bench;
use crate::bench::guard::{Guarded, tail};
use crate::bench::ports::free_port;
use crate::bench::programs::Programs;
use crate::bench::user::rule;
use crate::bench::wait::eventually;

use super::READY_WITHIN;

/// Its namespace, as its manifests have it.
const NAMESPACE: &str = "keda";

/// Starts both. They serve `external.metrics.k8s.io`.
pub(super) async fn start(bench: &'static Bench) -> [Guarded; 2] {
    bench.kinds_of_others().await;
    let namespace = bench.namespace_called(NAMESPACE).await;
    bench.apply_file(Programs::get().manifests("of-keda")).await;
    let scales = rule("nvidia.com", &["dynamographdeploymentscalingadapters/scale"], &["update"]);
    let user = namespace.account("keda-operator", &scales, "default").await;
    let kubeconfig = user.kubeconfig().display().to_string();
    let env = [
        ("KUBECONFIG", kubeconfig.as_str()),
        ("POD_NAMESPACE", NAMESPACE),
        ("KEDA_CLUSTER_OBJECT_NAMESPACE", NAMESPACE),
        ("WATCH_NAMESPACE", ""),
    ];
    let logs = &bench.ready().logs;
    let certificates = bench.dir().join("keda");
    write_certificates(bench.dir(), &certificates);
    let certificates = certificates.display();

    let (probes, metrics) = (free_port(), free_port());
    let args = [
        "--leader-elect=false".to_owned(),
        "--metrics-bind-address=0".to_owned(),
        format!("--health-probe-bind-address=127.0.0.1:{probes}"),
        format!("--metrics-service-bind-address=127.0.0.1:{metrics}"),
        format!("--cert-dir={certificates}"),
    ];
    let mut operator =
        Guarded::start("keda-operator", logs, Programs::get().keda_operator(), args, &env);
    eventually("KEDA's operator to be ready", READY_WITHIN, async || {
        if let Some(status) = operator.ended() {
            panic!("KEDA's operator ended: {status}; {}", tail(&operator.stderr()));
        }
        let ready = reqwest::get(format!("http://127.0.0.1:{probes}/readyz")).await;
        ready.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())
    })
    .await;

    let (api, own_metrics) = (free_port(), free_port());
    let args = [
        format!("--lister-kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={api}"),
        format!("--port={own_metrics}"),
        // The name is in the certificate.
        format!("--metrics-service-address=localhost:{metrics}"),
        format!("--client-ca-file={certificates}/ca.crt"),
        format!("--tls-cert-file={certificates}/tls.crt"),
        format!("--tls-private-key-file={certificates}/tls.key"),
        format!("--cert-dir={certificates}"),
    ];
    let adapter = Guarded::start("keda-adapter", logs, Programs::get().keda_adapter(), args, &env);
    bench.serve_api("external.metrics.k8s.io", NAMESPACE, "keda-metrics-apiserver", api).await;
    [operator, adapter]
}

/// The API server's own certificate, which is good for `localhost`, under the names that KEDA expects.
fn write_certificates(bench: &Path, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder of its own");
    for (from, to) in
        [("ca.crt", "ca.crt"), ("kube-apiserver.crt", "tls.crt"), ("kube-apiserver.key", "tls.key")]
    {
        fs::copy(bench.join(from), folder.join(to)).expect("the bench made it");
    }
}
