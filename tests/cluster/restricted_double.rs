//! Plays an operator that is restricted to a namespace, as far as others see it: a Lease that is renewed,
//! by a clock that is hours behind.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::bench::Namespace;

/// How long the Lease stands: less than between two looks, so that only its renewals keep
/// it live.
pub(crate) const STANDS: Duration = Duration::from_secs(5);

/// The Lease of an operator that is restricted to a namespace, renewed every second until this is dropped.
pub(crate) struct Restricted(JoinHandle<()>);

impl Restricted {
    pub(crate) async fn start(ns: &Namespace, name: &'static str) -> Self {
        let leases: Api<Lease> = ns.api().await;
        let lease = json!({
            "metadata": {"name": name},
            "spec": {
                "holderIdentity": "operator", "leaseDurationSeconds": STANDS.as_secs(),
                "acquireTime": written(), "renewTime": written(),
            },
        });
        let lease = serde_json::from_value(lease).expect("a lease");
        leases.create(&PostParams::default(), &lease).await.expect("a new lease");
        Self(tokio::spawn(renew(leases, name)))
    }
}

/// Never ends.
async fn renew(leases: Api<Lease>, name: &'static str) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        let patch = Patch::Merge(json!({"spec": {"renewTime": written()}}));
        let renewed = leases.patch(name, &PatchParams::default(), &patch).await;
        renewed.expect("a renewed lease");
    }
}

impl Drop for Restricted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The time on the clock of the operator.
fn written() -> MicroTime {
    MicroTime(Timestamp::now() - SignedDuration::from_hours(3))
}
