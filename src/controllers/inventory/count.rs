//! Counts the pods of one service: a pure function.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt;

use crate::api::{DynamoGraphDeployment, Service, ServiceStatus, names};
use crate::observe::{PoolInventory, StuckReplica};
use crate::units::{Replicas, Timestamp};

/// The pods of one service of a graph.
pub(super) fn pods_of<'a>(
    pods: &'a [Pod],
    dgd: &'a str,
    service: &'a str,
) -> impl Iterator<Item = &'a Pod> {
    let selector = names::selector_value(dgd, service);
    pods.iter().filter(move |pod| match pod.labels().get(names::LABEL_COMPONENT) {
        Some(component) => component == service,
        // Older operators did not label the pods of a PodClique with their service.
        None => pod.labels().get(names::LABEL_SELECTOR) == Some(&selector),
    })
}

/// The inventory of a service by its pods.
///
/// An engine of several pods serves when as many pods are ready as it has: how the ready pods are
/// spread over engines is not in their labels on every path, so the count is the most that can serve.
pub(super) fn by_pods<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    service: &Service,
    desired: Replicas,
    now: Timestamp,
) -> PoolInventory {
    let per_engine = service.pods_per_engine();
    let (mut present, mut ready, mut draining) = (0_u32, 0_u32, 0_u32);
    let mut stuck = Vec::new();
    for pod in pods {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Failed" | "Succeeded")) {
            continue;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            draining += 1;
            continue;
        }
        present += 1;
        if is_ready(pod) {
            ready += 1;
        } else if let Some(why) = unschedulable(pod) {
            stuck.push(StuckReplica { name: pod.name_any(), why, age: age(pod, now) });
        }
    }
    stuck.sort_by(|a, b| a.name.cmp(&b.name));
    let ready = ready / per_engine;
    let present = present.div_ceil(per_engine);
    PoolInventory {
        desired,
        ready: Replicas::new(ready),
        starting: Replicas::new(present.max(desired.get()).saturating_sub(ready)),
        draining: Replicas::new(draining.div_ceil(per_engine)),
        gpus_per_replica: service.gpus_per_replica(),
        stuck,
    }
}

/// The inventory of a service by what the operator says, where pods may not be read. What drains
/// cannot be known then, and counts as none.
pub(super) fn by_status(
    dgd: &DynamoGraphDeployment,
    name: &str,
    service: &Service,
    desired: Replicas,
) -> PoolInventory {
    let count = |replicas: Option<i32>| replicas.and_then(|n| u32::try_from(n).ok());
    let status = dgd.service_status(name);
    let ready = status
        .and_then(|ServiceStatus { ready_replicas, available_replicas, .. }| {
            count(*ready_replicas).or_else(|| count(*available_replicas))
        })
        .unwrap_or(0);
    let present = status.and_then(|status| count(status.replicas)).unwrap_or(0);
    PoolInventory {
        desired,
        ready: Replicas::new(ready),
        starting: Replicas::new(present.max(desired.get()).saturating_sub(ready)),
        draining: Replicas::new(0),
        gpus_per_replica: service.gpus_per_replica(),
        stuck: Vec::new(),
    }
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Why the scheduler finds no node, where it says so.
fn unschedulable(pod: &Pod) -> Option<String> {
    let scheduled = condition(pod, "PodScheduled")?;
    let reason = scheduled.reason.as_deref()?;
    if scheduled.status != "False" || reason != "Unschedulable" {
        return None;
    }
    Some(match scheduled.message.as_deref().filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn age(pod: &Pod, now: Timestamp) -> Duration {
    pod.creation_timestamp().map_or(Duration::ZERO, |created| {
        now.since(Timestamp::from_millis(created.0.as_millisecond()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::units::Gpus;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_720_000); // 2026-01-01T00:02:00Z

    fn pod(name: &str, more: Value) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": name, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"nvidia.com/dynamo-component": "Decode"}
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        });
        for (key, value) in more.as_object().unwrap() {
            let (head, tail) = key.split_once('.').unwrap();
            pod[head][tail] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    fn starting(name: &str) -> Pod {
        pod(name, json!({"status.conditions": [{"type": "Ready", "status": "False"}]}))
    }

    fn service(more: Value) -> Service {
        serde_json::from_value(more).unwrap()
    }

    #[test]
    fn pods_are_ready_starting_draining_or_not_there_yet() {
        let going = json!({"metadata.deletionTimestamp": "2026-01-01T00:01:00Z"});
        let pods = [
            pod("a", json!({})),
            starting("b"),
            pod("c", going),
            pod("d", json!({"status.phase": "Failed"})),
        ];
        let four_gpus = service(json!({"resources": {"limits": {"gpu": "4"}}}));
        let counted = by_pods(pods.iter(), &four_gpus, Replicas::new(4), NOW);
        assert_eq!(counted.ready.get(), 1);
        assert_eq!(counted.starting.get(), 3, "one pod, and two that do not exist yet");
        assert_eq!(counted.draining.get(), 1);
        assert_eq!(counted.gpus_per_replica, Some(Gpus::new(4)));
    }

    #[test]
    fn pods_beyond_the_desired_number_are_still_counted() {
        let pods = [pod("a", json!({})), pod("b", json!({})), starting("c")];
        let counted = by_pods(pods.iter(), &service(json!({})), Replicas::new(1), NOW);
        assert_eq!((counted.ready.get(), counted.starting.get()), (2, 1));
    }

    #[test]
    fn a_pod_that_finds_no_node_is_named_with_its_age_and_the_schedulers_words() {
        let conditions = json!([
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}
        ]);
        let waiting = json!({"status.phase": "Pending", "status.conditions": conditions});
        let pods = [pod("w", waiting)];
        let counted = by_pods(pods.iter(), &service(json!({})), Replicas::new(1), NOW);
        assert_eq!(counted.stuck.len(), 1);
        assert_eq!(counted.stuck[0].name, "w");
        assert_eq!(counted.stuck[0].age, Duration::from_secs(120));
        assert!(counted.stuck[0].why.contains("Insufficient nvidia.com/gpu"));
    }

    #[test]
    fn an_engine_of_two_pods_serves_when_both_are_ready() {
        let pods = [pod("a", json!({})), pod("b", json!({})), pod("c", json!({})), starting("d")];
        let two = service(json!({"multinode": {"nodeCount": 2}}));
        let counted = by_pods(pods.iter(), &two, Replicas::new(2), NOW);
        assert_eq!((counted.ready.get(), counted.starting.get()), (1, 1));
    }

    #[test]
    fn pods_of_older_operators_are_found_by_the_selector_label() {
        let mut old = pod("old", json!({}));
        let selector = [("nvidia.com/selector".to_owned(), "graph-decode".to_owned())];
        old.metadata.labels = Some(selector.into());
        let mut other = pod("other", json!({}));
        other.labels_mut().insert("nvidia.com/dynamo-component".into(), "decode".into());
        let pods = [old, other, pod("new", json!({}))];
        let found: Vec<_> = pods_of(&pods, "graph", "Decode").map(ResourceExt::name_any).collect();
        assert_eq!(found, ["old", "new"], "the service's name is told by its case");
    }

    #[test]
    fn without_pods_the_status_of_the_graph_is_read() {
        let dgd: DynamoGraphDeployment = serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "graph"},
            "spec": {"services": {"Decode": {}}},
            "status": {"services": {"Decode": {"replicas": 3, "availableReplicas": 2}}}
        }))
        .unwrap();
        let service = dgd.service("Decode").unwrap();
        let counted = by_status(&dgd, "Decode", service, Replicas::new(4));
        assert_eq!((counted.ready.get(), counted.starting.get()), (2, 2));
    }
}
