//! Counts the pods of one service: a pure function.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::api::{DynamoGraphDeployment, Service, ServiceStatus, names};
use crate::observe::{PoolInventory, ReplicaStart, StuckReplica};
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
    let (mut stuck, mut starts) = (Vec::new(), Vec::new());
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
        // Of an engine of several pods nobody knows which belong together.
        if per_engine == 1 {
            starts.extend(start(pod));
        }
        if is_ready(pod) {
            ready += 1;
            continue;
        }
        let no_place = unschedulable(pod);
        let is_placed = no_place.is_none();
        if let Some(why) = no_place.or_else(|| container_trouble(pod)) {
            let age = age(pod, now);
            stuck.push(StuckReplica { name: pod.name_any(), why, age, no_place: !is_placed });
        }
    }
    stuck.sort_by(|a, b| a.name.cmp(&b.name));
    starts.sort_by(|a, b| a.name.cmp(&b.name));
    let ready = ready / per_engine;
    let present = present.div_ceil(per_engine);
    PoolInventory {
        desired,
        ready: Replicas::new(ready),
        starting: Replicas::new(present.max(desired.get()).saturating_sub(ready)),
        draining: Replicas::new(draining.div_ceil(per_engine)),
        gpus_per_replica: service.gpus_per_replica(),
        stuck,
        starts,
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
        starts: Vec::new(),
    }
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// When the pod was made, and since when it is ready. A pod that fell out of service and came back
/// shows the later time.
fn start(pod: &Pod) -> Option<ReplicaStart> {
    let asked = millis(pod.creation_timestamp()?);
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True");
    let ready = match ready {
        Some(ready) => Some(millis(ready.last_transition_time.clone()?)),
        None => None,
    };
    Some(ReplicaStart { name: pod.name_any(), asked, ready })
}

fn millis(time: Time) -> Timestamp {
    Timestamp::from_millis(time.0.as_millisecond())
}

/// What a container waits for that does not come by itself, as the kubelet says it.
fn container_trouble(pod: &Pod) -> Option<String> {
    const HOPELESS: [&str; 7] = [
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    ];
    let status = pod.status.as_ref()?;
    let of = |list: &Option<Vec<ContainerStatus>>| list.clone().unwrap_or_default();
    let all = of(&status.init_container_statuses).into_iter().chain(of(&status.container_statuses));
    all.filter_map(|container| container.state?.waiting).find_map(|waiting| {
        let reason = waiting.reason.filter(|reason| HOPELESS.contains(&reason.as_str()))?;
        Some(match waiting.message.filter(|message| !message.is_empty()) {
            Some(message) => format!("{reason}: {message}"),
            None => reason,
        })
    })
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
    pod.creation_timestamp().map_or(Duration::ZERO, |created| now.since(millis(created)))
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
    fn a_pod_whose_image_does_not_come_is_named_and_would_find_a_place() {
        let statuses = json!([{
            "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        }]);
        let mut pulling = starting("p");
        pulling.status.as_mut().unwrap().container_statuses =
            serde_json::from_value(statuses).unwrap();
        let pods = [pulling, starting("s")];
        let counted = by_pods(pods.iter(), &service(json!({})), Replicas::new(2), NOW);
        let [stuck] = &counted.stuck[..] else { panic!("{:?}", counted.stuck) };
        assert_eq!((stuck.name.as_str(), stuck.no_place), ("p", false));
        assert_eq!(stuck.why, "ImagePullBackOff: no such image");
    }

    #[test]
    fn a_start_is_from_the_making_of_the_pod_until_it_was_ready() {
        let conditions = json!([
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:30Z"}
        ]);
        let pods = [starting("b"), pod("a", json!({"status.conditions": conditions}))];
        let counted = by_pods(pods.iter(), &service(json!({})), Replicas::new(2), NOW);
        let [a, b] = &counted.starts[..] else { panic!("{:?}", counted.starts) };
        assert_eq!(a.ready.unwrap().since(a.asked), Duration::from_secs(90));
        assert_eq!((b.name.as_str(), b.ready), ("b", None));
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
