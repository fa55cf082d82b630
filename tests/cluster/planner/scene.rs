//! One deployment with everything that belongs to it, and the planner as a process beside it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};
use sla_planner::api::Version;
use sla_planner::observe::Role;
use sla_planner::record::{Line, Record};

use crate::bench::{Guarded, Namespace, Prometheus, Target, User, eventually, rule};
use crate::frontend_double::{FrontendDouble, Load};
use crate::operator_double::{OperatorDouble, PodTimes};
use crate::serving::{DGD, Proxy, controller_rules, create_dgd, namespace, planner_rules};

/// What takes a metric window, some ticks and pods, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(120);

/// How long a pod takes to be ready.
pub(super) const START_UP: Duration = Duration::from_secs(3);

pub(super) const MODEL: &str = "Meta/Llama-3.1-8B";

/// Enough for several engines of both pools, by the shipped profile and the targets below.
pub(super) const HIGH: Load = Load { rps: 60.0, isl: 3000.0, osl: 300.0, ttft: 0.05, itl: 0.003 };

/// One engine of each serves it.
pub(super) const LOW: Load = Load { rps: 2.0, isl: 500.0, osl: 50.0, ttft: 0.05, itl: 0.003 };

/// A deployment that is served, and scraped.
pub(super) struct Scene {
    pub(super) ns: Namespace,
    pub(super) frontend: FrontendDouble,
    pub(super) prometheus: Prometheus,
    _operator: OperatorDouble,
    folder: PathBuf,
}

/// A frontend and one worker of each kind, with fields that nobody knows.
pub(super) fn graph(adapters: bool) -> Value {
    let worker = |kind: &str| {
        json!({
            "componentType": "worker", "subComponentType": kind, "replicas": 1,
            "resources": {"limits": {"gpu": "1"}},
            "scalingAdapter": {"enabled": adapters},
            "fieldOfTomorrow": {"kept": [1, {"as": "it is"}]}
        })
    };
    json!({
        "backendFramework": "vllm",
        "services": {
            "Frontend": {"componentType": "frontend", "replicas": 1},
            "VllmPrefillWorker": worker("prefill"),
            "VllmDecodeWorker": worker("decode")
        }
    })
}

impl Scene {
    /// A graph in a namespace of its own, its frontend, its operator, and who scrapes it.
    pub(super) async fn set(name: &str, graph: Value) -> Self {
        let ns = namespace(name).await;
        create_dgd(&ns, graph).await;
        Self::around(ns, Version::V1alpha1).await
    }

    /// What belongs to the graph of a namespace.
    pub(super) async fn around(ns: Namespace, version: Version) -> Self {
        ns.node("gpus", 40).await;
        let times = PodTimes { start_up: START_UP, ..PodTimes::default() };
        let operator = OperatorDouble::start_in(version, ns.admin().await, ns.name(), DGD, times);
        let frontend = FrontendDouble::start(MODEL).await;
        let dynamo_namespace = format!("{}-{DGD}", ns.name());
        let target = Target::new(frontend.address())
            .label("dynamo_namespace", &dynamo_namespace)
            .label("pod", "frontend-0");
        let prometheus = Prometheus::start(&[target]).await;
        let folder = ns.bench().dir().join(format!("planner-{}", ns.name()));
        std::fs::create_dir_all(&folder).expect("a folder for the planner");
        Self { ns, frontend, prometheus, _operator: operator, folder }
    }

    /// The rights of a planner that also runs the adapter controller.
    pub(super) fn rules() -> Vec<PolicyRule> {
        controller_rules().into_iter().chain(planner_rules()).collect()
    }

    /// The rights without one of them.
    pub(super) fn rules_without(resource: &str, verb: &str) -> Vec<PolicyRule> {
        let has = |rule: &PolicyRule| rule.resources.iter().flatten().any(|r| r == resource);
        Self::rules()
            .into_iter()
            .map(|mut rule| {
                if has(&rule) {
                    rule.verbs.retain(|v| v != verb);
                }
                rule
            })
            .filter(|rule| !rule.verbs.is_empty())
            .collect()
    }

    /// Of the rights those with one of these verbs.
    pub(super) fn rules_to(verbs: &[&str]) -> Vec<PolicyRule> {
        let mut rules = Self::rules();
        for rule in &mut rules {
            rule.verbs.retain(|verb| verbs.contains(&verb.as_str()));
        }
        rules.retain(|rule| !rule.verbs.is_empty());
        rules
    }

    pub(super) async fn user(&self, rules: Vec<PolicyRule>) -> User {
        self.ns.token(rules).await
    }

    /// A configuration for this scene, with `more` lines at its end.
    pub(super) fn config(&self, prometheus: &str, more: &str) -> PathBuf {
        let path = self.folder.join("planner.yaml");
        let profile = sla_planner::profile::library::DEFAULT;
        let text = format!(
            "sla: {{ttft: 500ms, itl: 12ms}}\n\
             pools:\n  prefill: {{max: 12, profile: {profile}}}\n  \
             decode: {{max: 12, profile: {profile}}}\n\
             max_gpu_budget: 24\n\
             intervals:\n  adjustment: 2s\n  window: 8s\n  max_metric_age: 5s\n  \
             scale_down_stabilization: 1s\n  longest_hold: 1s\n\
             prometheus: {{url: '{prometheus}', timeout: 5s}}\n\
             target: {{namespace: {}, dgd: {DGD}, model: {MODEL}}}\n\
             metrics_port: 0\n\
             record: {}\n\
             {more}\n",
            self.ns.name(),
            self.records_path().display(),
        );
        std::fs::write(&path, text).expect("a configuration");
        path
    }

    fn records_path(&self) -> PathBuf {
        self.folder.join("records.jsonl")
    }

    /// A way to the API server that can be cut, and a kubeconfig of `user` that takes it.
    pub(super) async fn through_proxy(&self, user: &User) -> (Proxy, PathBuf) {
        let server = &self.ns.bench().ready().server;
        let proxy = Proxy::start(server).await;
        let direct = std::fs::read_to_string(user.kubeconfig()).expect("a kubeconfig");
        let kubeconfig = self.folder.join("kubeconfig");
        std::fs::write(&kubeconfig, direct.replace(server, proxy.url())).expect("a kubeconfig");
        (proxy, kubeconfig)
    }

    /// Starts the planner as `user`, with its adapter controller.
    pub(super) fn start(&self, user: &User) -> Guarded {
        let config = self.config(&self.prometheus.url(), "adapter_controller: true");
        self.start_with(user.kubeconfig(), &config)
    }

    /// Starts the planner as `user` under a high load, with an API server that it cannot reach until
    /// the proxy is mended: it has noticed.
    pub(super) async fn start_cut_off(&self, user: &User) -> (Proxy, Guarded) {
        let (proxy, kubeconfig) = self.through_proxy(user).await;
        proxy.cut(true);
        let config = self.config(&self.prometheus.url(), "adapter_controller: true");
        self.frontend.set_load(Some(HIGH));
        let planner = self.start_with(&kubeconfig, &config);
        self.record("no inventory", 0, |r| code(r, Role::Prefill) == "hold_no_inventory").await;
        (proxy, planner)
    }

    /// Starts the planner with a kubeconfig and a configuration.
    pub(super) fn start_with(&self, kubeconfig: &Path, config: &Path) -> Guarded {
        Guarded::start(
            &format!("planner-{}", self.ns.name()),
            &self.ns.bench().ready().logs,
            Path::new(env!("CARGO_BIN_EXE_sla-planner")),
            ["run", "--config", &config.display().to_string()],
            &[("KUBECONFIG", &kubeconfig.display().to_string())],
        )
    }

    /// Starts the planner as NVIDIA's operator starts one: with the arguments of a manifest, and with
    /// the environment that it gives the pod of a planner (kubernetes.md 6.2).
    pub(super) fn start_stock(&self, user: &User, args: &[&str]) -> Guarded {
        let dynamo_namespace = format!("{}-{DGD}", self.ns.name());
        let url = self.prometheus.url();
        let kubeconfig = user.kubeconfig().display().to_string();
        Guarded::start(
            &format!("planner-{}", self.ns.name()),
            &self.ns.bench().ready().logs,
            Path::new(env!("CARGO_BIN_EXE_sla-planner")),
            std::iter::once("run").chain(args.iter().copied()),
            &[
                ("KUBECONFIG", &kubeconfig),
                ("DYN_NAMESPACE", &dynamo_namespace),
                ("DYN_COMPONENT", "planner"),
                ("DYN_PARENT_DGD_K8S_NAME", DGD),
                ("DYN_PARENT_DGD_K8S_NAMESPACE", self.ns.name()),
                ("POD_NAMESPACE", self.ns.name()),
                ("PROMETHEUS_ENDPOINT", &url),
                ("PLANNER_PROMETHEUS_PORT", "0"),
            ],
        )
    }

    /// The decisions so far.
    pub(super) fn records(&self) -> Vec<Record> {
        let text = std::fs::read_to_string(self.records_path()).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| match Line::read(line).expect("a record") {
                Line::Tick(record) => Some(*record),
                Line::Checkpoint(_) => None,
            })
            .collect()
    }

    /// Waits until a record after the first `seen` ones is as wanted, and answers it.
    pub(super) async fn record(
        &self,
        what: &str,
        seen: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Record {
        eventually(&format!("a record with {what}"), SOON, async || {
            let records = self.records();
            let found = records.iter().skip(seen).find(|r| wanted(r)).cloned();
            found.ok_or_else(|| {
                let last: Vec<String> = records.iter().rev().take(2).map(summary).collect();
                format!("{} records, the last ones {last:#?}", records.len())
            })
        })
        .await
    }

    /// The replicas that the adapters of both workers ask for.
    pub(super) async fn asked(&self) -> (u32, u32) {
        let adapters = crate::serving::adapters(&self.ns).await;
        let of = async |name: &str| {
            let found = adapters.get_opt(name).await.expect("an answer");
            found.map_or(0, |adapter| adapter.spec.replicas().get())
        };
        (of("llama-vllmprefillworker").await, of("llama-vllmdecodeworker").await)
    }

    /// Waits until the adapters ask for what is wanted.
    pub(super) async fn asks(&self, what: &str, wanted: impl Fn((u32, u32)) -> bool) -> (u32, u32) {
        eventually(what, SOON, async || {
            let asked = self.asked().await;
            if wanted(asked) {
                Ok(asked)
            } else {
                Err(format!("{asked:?}; {:#?}", self.records().last().map(summary)))
            }
        })
        .await
    }
}

/// The reason of a pool in a record.
pub(super) fn code(record: &Record, role: Role) -> &'static str {
    record.decision.pools.iter().find(|p| p.role == role).map_or("", |p| p.reason.code())
}

/// What a record comes to, for a failed test.
fn summary(record: &Record) -> String {
    let pools: Vec<String> = record
        .decision
        .pools
        .iter()
        .map(|p| format!("{} {:?} -> {:?}: {}", p.role, p.current, p.target, p.reason))
        .collect();
    format!(
        "{pools:?} writes {:?} arrivals {:?}",
        record.writes, record.observation.traffic.arrivals
    )
}

/// A right that nobody has, to take the place of all others.
pub(super) fn no_rights() -> Vec<PolicyRule> {
    vec![rule("", &["configmaps"], &["get"])]
}
