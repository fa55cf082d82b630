//! The bench itself does what the other tests take for granted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::bench::{
    Bench, Exporter, Guarded, Namespace, Prometheus, ReadyLine, Target, eventually,
    eventually_blocking, rule, up_command,
};

/// What anything in a running cluster takes at most when the machine is busy.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ten_one_gpu_replicas_on_eight_gpus_run_eight_and_keep_two_pending() {
    let ns = Bench::get().await.namespace("gpus").await;
    ns.node("a", 8).await;
    ns.apply_yaml(&workers(10, &[], &[])).await;

    ready_replicas(&ns, 8).await;
    let pods: Api<Pod> = ns.api().await;
    eventually("eight running and two pending pods", SOON, async || {
        let phases = phases(&pods).await;
        let expected = BTreeMap::from([("Pending".to_owned(), 2), ("Running".to_owned(), 8)]);
        if phases == expected { Ok(()) } else { Err(format!("{phases:?}")) }
    })
    .await;

    let scale = json!({"spec": {"replicas": 3}});
    let deployments: Api<Deployment> = ns.api().await;
    deployments
        .patch_scale("workers", &PatchParams::default(), &Patch::Merge(&scale))
        .await
        .expect("the deployment scales");
    eventually("three pods", SOON, async || {
        let phases = phases(&pods).await;
        if phases == BTreeMap::from([("Running".to_owned(), 3)]) {
            Ok(())
        } else {
            Err(format!("{phases:?}"))
        }
    })
    .await;

    deployments.delete("workers", &DeleteParams::default()).await.expect("it can be deleted");
    eventually("the pods of a deleted deployment to be collected", SOON, async || {
        let phases = phases(&pods).await;
        if phases.is_empty() { Ok(()) } else { Err(format!("{phases:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_pod_is_ready_only_after_its_own_start_up_time() {
    let ns = Bench::get().await.namespace("start-up").await;
    ns.node("a", 8).await;
    let slow = Duration::from_millis(3000);
    let annotations = [("bench.sla-planner/start-up-ms", "3000")];
    ns.apply_yaml(&workers(1, &annotations, &[])).await;

    let pods: Api<Pod> = ns.api().await;
    eventually("the pod to run", SOON, async || {
        let phases = phases(&pods).await;
        phases.contains_key("Running").then_some(()).ok_or(format!("{phases:?}"))
    })
    .await;
    ready_replicas(&ns, 1).await;
    let (started, ready) = started_and_ready(&pods).await;
    // Kubernetes keeps whole seconds, so two of them can hide almost one.
    assert!(ready - started >= slow.as_secs_f64() - 1.0, "ready after {} s", ready - started);
}

#[tokio::test]
async fn a_stuck_pod_runs_without_ever_being_ready_and_recovers_when_the_label_goes() {
    let ns = Bench::get().await.namespace("stuck").await;
    ns.node("a", 1).await;
    ns.apply_yaml(&workers(1, &[], &[("bench.sla-planner/stuck", "true")])).await;

    let pods: Api<Pod> = ns.api().await;
    let name = eventually("the pod to run", SOON, async || {
        let list = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let pod = list.items.first().ok_or("no pod")?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let name = pod.metadata.name.clone().ok_or("no name")?;
        if phase == Some("Running") { Ok(name) } else { Err(format!("{phase:?}")) }
    })
    .await;
    assert_eq!(is_ready(&pods, &name).await, Some(false));

    set_stuck(&pods, &name, None).await;
    ready_replicas(&ns, 1).await;
    set_stuck(&pods, &name, Some("true")).await;
    eventually("a pod that got stuck to lose its readiness", SOON, async || {
        let ready = is_ready(&pods, &name).await;
        if ready == Some(false) { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_job_completes_after_its_run_time() {
    let ns = Bench::get().await.namespace("job").await;
    ns.node("a", 0).await;
    ns.apply_yaml(
        &json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "profile"},
            "spec": {"template": {
                "metadata": {"annotations": {"bench.sla-planner/run-ms": "500"}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "profile", "image": "none"}],
                },
            }},
        })
        .to_string(),
    )
    .await;
    let jobs: Api<Job> = ns.api().await;
    eventually("the job to succeed", SOON, async || {
        let job = jobs.get("profile").await.map_err(|error| error.to_string())?;
        let status = job.status.unwrap_or_default();
        if status.succeeded == Some(1) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_users_rights_end_at_its_namespace() {
    let bench = Bench::get().await;
    let (mine, other) = tokio::join!(bench.namespace("mine"), bench.namespace("other"));
    let config_maps = || vec![rule("", &["configmaps"], &["get", "list", "create"])];
    let user = mine.token(config_maps()).await;
    let robot = other.service_account("robot", config_maps(), vec![]).await;

    for (someone, home, away) in [(&user, &mine, &other), (&robot, &other, &mine)] {
        let client = someone.client().await;
        let at_home: Api<ConfigMap> = Api::namespaced(client.clone(), home.name());
        at_home.list(&ListParams::default()).await.expect("the role allows it");
        let not_at_home: Api<ConfigMap> = Api::namespaced(client.clone(), away.name());
        assert_eq!(refusal(not_at_home.list(&ListParams::default()).await), Some(403));
        let pods: Api<Pod> = Api::namespaced(client, home.name());
        assert_eq!(refusal(pods.list(&ListParams::default()).await), Some(403));
    }

    let who = bench.kubectl_as(&robot, &["auth", "whoami", "--output", "json"]).await.success();
    assert!(who.contains(&format!("system:serviceaccount:{}:robot", other.name())), "{who}");
    let denied = bench.kubectl_as(&user, &["get", "pods"]).await;
    assert!(!denied.status.success());
    assert!(denied.stderr.contains("Forbidden"), "{}", denied.stderr);
}

#[tokio::test]
async fn prometheus_scrapes_and_keeps_its_data_over_a_restart() {
    let exporter = Exporter::start("requests_total 1\n");
    let target = Target::new(exporter.address()).label("dynamo_namespace", "ns-dgd");
    let mut prometheus = Prometheus::start(&[target]).await;

    let samples = prometheus.eventually("requests_total").await;
    assert_eq!(samples[0].labels["dynamo_namespace"], "ns-dgd");
    exporter.set("requests_total 5\n");
    prometheus.eventually("requests_total == 5").await;

    let url = prometheus.url();
    prometheus.stop();
    prometheus.query("requests_total").await.expect_err("nothing answers");
    exporter.set("requests_total 9\n");
    prometheus.start_again().await;
    assert_eq!(prometheus.url(), url);
    prometheus.eventually("requests_total == 9").await;
    prometheus.eventually("min_over_time(requests_total[1h]) == 1").await;

    prometheus.set_targets(&[]);
    eventually("the target to be forgotten", SOON, async || {
        let up = prometheus.query("up").await?;
        if up.is_empty() { Ok(()) } else { Err(format!("{up:?}")) }
    })
    .await;
}

#[test]
fn a_guarded_process_is_signalled_and_dies_with_its_guard() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let script = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let mut polite = Guarded::start("polite", dir.path(), "sh", ["-c", script], &[]);
    eventually_blocking("the process to run", SOON, || {
        let said = polite.stdout();
        if said == "up\n" { Ok(()) } else { Err(said) }
    });
    assert_eq!(polite.terminate(SOON).code(), Some(7));
    assert_eq!(polite.stdout(), "up\nasked\n");

    // A number that no other process on the machine is likely to sleep.
    let seconds = format!("86{}", std::process::id());
    let sleeper = Guarded::start("sleeper", dir.path(), "sleep", [&seconds], &[]);
    eventually_blocking("the process to run", SOON, || {
        if processes_with(&["sleep", &seconds]).is_empty() { Err("not there") } else { Ok(()) }
    });
    drop(sleeper);
    assert_eq!(processes_with(&["sleep", &seconds]), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_a_cluster_whose_holder_was_killed() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let dir = parent.path().join("cluster");
    // Stands for a test binary: it holds the write end of `up`'s standard input.
    let mut holder =
        Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().expect("the holder starts");
    let held = holder.stdout.take().expect("stdout is a pipe");
    let mut up =
        up_command(&dir).stdin(held).stdout(Stdio::piped()).spawn().expect("the supervisor starts");
    let ready = ReadyLine::read(&mut up).expect("the second cluster starts");
    let dir_name = dir.to_str().expect("a UTF-8 path");
    assert_eq!(ready.pids.len(), 5, "{:?}", ready.pids);
    assert!(processes_with(&[dir_name]).len() > 5, "{:?}", processes_with(&[dir_name]));

    holder.kill().expect("the holder can be killed");
    holder.wait().expect("the holder can be waited for");
    eventually_blocking("the cluster to end", SOON, || {
        let status = up.try_wait().expect("the supervisor can be waited for");
        status.ok_or("it runs")
    });
    assert_eq!(processes_with(&[dir_name]), Vec::<String>::new());
    assert!(!Path::new(dir_name).exists());
}

/// A Deployment called `workers` of one-GPU pods.
fn workers(replicas: i32, annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> String {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    let mut labels: BTreeMap<_, _> = labels.iter().copied().collect();
    labels.insert("app", "workers");
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "workers"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "workers"}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {"containers": [{
                    "name": "worker",
                    "image": "none",
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                }]},
            },
        },
    })
    .to_string()
}

async fn ready_replicas(ns: &Namespace, expected: i32) {
    let deployments: Api<Deployment> = ns.api().await;
    eventually(&format!("{expected} ready replicas"), SOON, async || {
        let found = deployments.get("workers").await.map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        if status.ready_replicas == Some(expected) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

/// How many pods are in each phase.
async fn phases(pods: &Api<Pod>) -> BTreeMap<String, usize> {
    let mut phases = BTreeMap::new();
    for pod in pods.list(&ListParams::default()).await.expect("pods can be listed") {
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        *phases.entry(phase).or_default() += 1;
    }
    phases
}

/// When the first pod started and when it became ready, in seconds.
async fn started_and_ready(pods: &Api<Pod>) -> (f64, f64) {
    let list = pods.list(&ListParams::default()).await.expect("pods can be listed");
    let status = list.items[0].status.clone().expect("a running pod has a status");
    let ready = status.conditions.iter().flatten().find(|one| one.type_ == "Ready");
    let ready = ready.and_then(|one| one.last_transition_time.clone()).expect("it is ready");
    let started = status.start_time.expect("it has started");
    (seconds(&started.0), seconds(&ready.0))
}

fn seconds(time: &k8s_openapi::jiff::Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

async fn is_ready(pods: &Api<Pod>, name: &str) -> Option<bool> {
    let status = pods.get(name).await.expect("the pod is there").status?;
    let ready = status.conditions?.into_iter().find(|one| one.type_ == "Ready")?;
    Some(ready.status == "True")
}

async fn set_stuck(pods: &Api<Pod>, name: &str, value: Option<&str>) {
    let patch = json!({"metadata": {"labels": {"bench.sla-planner/stuck": value}}});
    pods.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a label");
}

/// The HTTP status with which the API server refused, if it was asked at all.
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> Option<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Some(status.code),
        Ok(_) | Err(_) => None,
    }
}

/// The command lines of running processes that contain all of `words`.
fn processes_with(words: &[&str]) -> Vec<String> {
    fs::read_dir("/proc")
        .expect("Linux")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .collect()
}
