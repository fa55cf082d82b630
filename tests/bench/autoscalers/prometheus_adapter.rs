//! prometheus-adapter with the rights and resource rules of its own manifests, and the external rules
//! of the values file that we ship.

use std::fs;

use serde_json::Value;

use crate::bench::control_plane::Bench;
use crate::bench::guard::Guarded;
use crate::bench::ports::free_port;
use crate::bench::programs::Programs;
use crate::bench::prometheus::Prometheus;
use crate::bench::user::rule;

const NAME: &str = "prometheus-adapter";

/// Namespace of its account, as its manifests have it.
const NAMESPACE: &str = "monitoring";

/// The values of its Helm chart that we ship.
const VALUES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/prometheus-adapter/values.yaml");

/// Starts it. It always serves `metrics.k8s.io`; `external` adds the external metrics.
pub(super) async fn start(
    bench: &'static Bench,
    prometheus: &Prometheus,
    external: bool,
) -> Guarded {
    let namespace = bench.namespace_called(NAMESPACE).await;
    bench.apply_file(Programs::get().manifests("of-prometheus-adapter")).await;
    let reads = rule("", &["pods"], &["list"]);
    let user = namespace.account(NAME, &reads, "default").await;
    let kubeconfig = user.kubeconfig().display();

    let dir = bench.dir().join(NAME);
    fs::create_dir_all(&dir).expect("a folder of its own");
    let config = dir.join("config.yaml");
    fs::write(&config, configuration(external).to_string()).expect("a configuration");
    let port = free_port();
    let args = [
        format!("--lister-kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--prometheus-url={}", prometheus.url()),
        format!("--config={}", config.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", dir.display()),
        // A series that is new is served within this. It is asked for those of the last minutes.
        "--metrics-relist-interval=2s".to_owned(),
        "--metrics-max-age=5m".to_owned(),
    ];
    let process =
        Guarded::start(NAME, &bench.ready().logs, Programs::get().prometheus_adapter(), args, &[]);
    bench.serve_api("metrics.k8s.io", NAMESPACE, NAME, port).await;
    if external {
        bench.serve_api("external.metrics.k8s.io", NAMESPACE, NAME, port).await;
    }
    process
}

/// Its configuration file as the chart makes it of the values.
fn configuration(external: bool) -> Value {
    let folder = Programs::get().manifests("of-prometheus-adapter");
    let map = fs::read_to_string(folder.join("deploy-manifests-config-map.yaml")).expect("a file");
    let map: Value = serde_saphyr::from_str(&map).expect("YAML");
    let file = map["data"]["config.yaml"].as_str().expect("a configuration");
    let mut config: Value = serde_saphyr::from_str(file).expect("YAML");
    if external {
        let values = fs::read_to_string(VALUES).expect("the values file");
        let values: Value = serde_saphyr::from_str(&values).expect("YAML");
        config["externalRules"] = values["rules"]["external"].clone();
    }
    config
}
