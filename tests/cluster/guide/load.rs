//! What the metrics tell of a graph: how its frontend does, and how busy its pods are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;

use super::scene::{Scene, pods};
use crate::bench::{Exporter, Prometheus, Target};

impl Scene {
    /// A frontend of the graph that is scraped from now on.
    pub(super) async fn frontend(&self, prometheus: &Prometheus) -> Frontend {
        let frontend = Frontend::start();
        prometheus.add_target(self.target(&frontend.exporter.address()));
        // A rate needs a sample from before the first request.
        let series = format!("dynamo_frontend_queued_requests{{namespace=\"{}\"}}", self.ns.name());
        prometheus.eventually(&series).await;
        frontend
    }

    /// What the kubelets would tell of the pods of a service that use `cores` together.
    pub(super) async fn cpu(&self, service: &str, cores: f64, prometheus: &Prometheus) -> Cpu {
        let usage = Arc::new(Mutex::new(Usage {
            cores,
            running: Vec::new(),
            seconds: BTreeMap::new(),
            until: Instant::now(),
        }));
        let page = Arc::clone(&usage);
        let exporter = Exporter::computed(move || {
            let mut usage = page.lock().expect("no holder panics");
            usage.goes_on();
            usage.page()
        });
        prometheus.add_target(Target::new(exporter.address()));
        let (seen, graph, service) = (Arc::clone(&usage), self.graph.clone(), service.to_owned());
        let api: Api<Pod> = self.ns.api().await;
        let task = tokio::spawn(async move {
            // Scraped as long as the pods are looked at.
            let _exporter = exporter;
            loop {
                if let Ok(running) = pods(&api, &graph, &service).await {
                    let mut usage = seen.lock().expect("no holder panics");
                    usage.goes_on();
                    usage.running = running;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
        Cpu { usage, task }
    }
}

/// What the pods of a service have used. It goes on whenever somebody looks, so that the rate between
/// two scrapes is that of the pods however busy the machine is.
struct Usage {
    /// Of all pods together.
    cores: f64,
    running: Vec<Pod>,
    /// Of the processor, by pod.
    seconds: BTreeMap<String, f64>,
    /// Until when they are counted.
    until: Instant,
}

impl Usage {
    fn goes_on(&mut self) {
        let passed = self.until.elapsed().as_secs_f64();
        self.until = Instant::now();
        let each = self.cores / self.running.len().max(1) as f64;
        for pod in &self.running {
            *self.seconds.entry(pod.name_any()).or_default() += each * passed;
        }
    }

    fn page(&self) -> String {
        let mut page = String::new();
        for pod in &self.running {
            let name = pod.name_any();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let labels = format!(
                "namespace=\"{}\",pod=\"{name}\",container=\"main\",node=\"{}\"",
                pod.namespace().unwrap_or_default(),
                node.unwrap_or_default()
            );
            let used = self.seconds.get(&name).copied().unwrap_or_default();
            let (cpu, memory) =
                ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes");
            let lines = format!("{cpu}{{{labels}}} {used}\n{memory}{{{labels}}} 1e9\n");
            page.push_str(&lines);
        }
        page
    }
}

/// Upper bounds of the buckets, seconds. Requests that all fall into the first have a p95 of 45 ms, by
/// Prometheus' interpolation, and those of the fourth one of 975 ms.
const BOUNDS: [&str; 6] = ["0.0473686", "0.1", "0.5", "1.001", "2", "+Inf"];

/// The page of a frontend, as far as the guide looks at it.
pub(super) struct Frontend {
    exporter: Exporter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests by bucket, not yet summed up.
    requests: [u64; BOUNDS.len()],
    queued: u64,
}

impl Frontend {
    fn start() -> Self {
        let state = State::default();
        Self { exporter: Exporter::start(&state.page()), state: Mutex::new(state) }
    }

    /// Requests whose p95 is 45 ms, so many that those before count for nothing.
    pub(super) fn is_fast(&self) {
        self.change(|state| state.requests[0] += 100_000 + 1000 * state.requests[3]);
    }

    /// Requests whose p95 is 975 ms, so many that those before count for nothing.
    pub(super) fn is_slow(&self) {
        self.change(|state| state.requests[3] += 1000 + 1000 * state.requests[0]);
    }

    /// This many requests wait for their first token.
    pub(super) fn has_queued(&self, queued: u64) {
        self.change(|state| state.queued = queued);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().expect("no holder panics");
        change(&mut state);
        self.exporter.set(&state.page());
    }
}

impl State {
    fn page(&self) -> String {
        let model = "model=\"qwen/qwen3-0.6b\"";
        let mut page = format!("dynamo_frontend_queued_requests{{{model}}} {}\n", self.queued);
        let mut sum = 0;
        for (bound, requests) in BOUNDS.iter().zip(self.requests) {
            sum += requests;
            let name = "dynamo_frontend_time_to_first_token_seconds_bucket";
            writeln!(page, "{name}{{{model},le=\"{bound}\"}} {sum}").expect("a string takes it");
        }
        page
    }
}

/// How busy pods are, as long as this lives.
pub(super) struct Cpu {
    usage: Arc<Mutex<Usage>>,
    task: tokio::task::JoinHandle<()>,
}

impl Cpu {
    /// From now on the pods use this many cores together.
    pub(super) fn set(&self, cores: f64) {
        let mut usage = self.usage.lock().expect("no holder panics");
        usage.goes_on();
        usage.cores = cores;
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        self.task.abort();
    }
}
