//! How the service ends where the API server does not answer.

use std::time::{Duration, Instant};

use super::{asks_for, config, create, decode_of, rules};
use crate::process::Running;
use crate::serving::{Proxy, SOON, namespace};

/// A second is promised; the guard and a busy machine get another one.
const SHUTDOWN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn sigterm_ends_it_within_a_second_while_the_api_server_hangs() {
    let ns = namespace("service-ends").await;
    create(&ns, "one", Some(&decode_of(3))).await;
    let user = ns.token(rules()).await;
    let server = &ns.bench().ready().server;
    let proxy = Proxy::start(server).await;
    let by_proxy = ns.bench().dir().join(format!("{}-proxy.yaml", ns.name()));
    let kubeconfig = std::fs::read_to_string(user.kubeconfig()).expect("a kubeconfig");
    std::fs::write(&by_proxy, kubeconfig.replace(server.as_str(), proxy.url())).expect("a file");
    let config = config(&ns, &[ns.name()], true);
    let mut service = Running::start_by(&ns, &by_proxy, "pod-1", config);
    asks_for(&ns, "one", 3).await;
    service.is_ready_with("sla_planner_leader{} 1.0\n").await;
    proxy.hang(true);
    // Ticks, watches and the renewal of two leases wait for an answer.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    let status = service.process.terminate(SOON);
    assert_eq!(status.code(), Some(0), "{}", service.process.stderr());
    assert!(began.elapsed() < SHUTDOWN, "{:?}: {}", began.elapsed(), service.process.stderr());
}
