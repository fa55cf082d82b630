//! A Prometheus of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::control_plane::use_ring;
use super::guard::{Guarded, tail};
use super::ports::free_port;
use super::wait::eventually;

/// Prometheus starts within a second when idle; a restart also replays its log.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Something to scrape.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: String,
    labels: BTreeMap<String, String>,
}

impl Target {
    /// `address` is `host:port`; the path is `/metrics`.
    pub(crate) fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), labels: BTreeMap::new() }
    }

    /// Adds a label to all series of this target, as relabelling by a PodMonitor would
    /// (`dynamo_namespace`, `pod`, …).
    #[must_use]
    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// All labels, the metric's name as `__name__`.
    pub(crate) labels: BTreeMap<String, String>,
    /// The value.
    pub(crate) value: f64,
}

/// The Debian Prometheus with a configuration, a port and data of its own.
pub(crate) struct Prometheus {
    dir: tempfile::TempDir,
    port: u16,
    targets: Mutex<Vec<Target>>,
    process: Option<Guarded>,
}

impl Prometheus {
    /// Scrapes `targets` every second, and returns when it answers.
    pub(crate) async fn start(targets: &[Target]) -> Self {
        Self::start_with(targets, Duration::from_secs(1)).await
    }

    /// Scrapes `targets` at this interval, and returns when it answers.
    pub(crate) async fn start_with(targets: &[Target], scrape_interval: Duration) -> Self {
        Self::start_in(&std::env::temp_dir(), targets, scrape_interval).await
    }

    /// The same with its data in a folder of this one, which goes with it.
    pub(super) async fn start_in(
        parent: &Path,
        targets: &[Target],
        scrape_interval: Duration,
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("sla-bench-prometheus-").tempdir_in(parent);
        let mut this =
            Self { dir: dir.unwrap(), port: free_port(), targets: Mutex::default(), process: None };
        this.set_targets(targets);
        this.write_config(scrape_interval);
        this.start_again().await;
        this
    }

    /// `http://127.0.0.1:PORT`, the same for all its life.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Scrapes these targets from now on; Prometheus collects such changes for up to five
    /// seconds. The same holds for its first scrape.
    pub(crate) fn set_targets(&self, targets: &[Target]) {
        let mut held = self.targets.lock().expect("no holder of the lock panics");
        *held = targets.to_vec();
        self.write_targets(&held);
    }

    /// Scrapes this target too from now on: for a Prometheus that tests share.
    pub(crate) fn add_target(&self, target: Target) {
        let mut held = self.targets.lock().expect("no holder of the lock panics");
        held.push(target);
        self.write_targets(&held);
    }

    /// Under the lock of the targets, since they are written to one file.
    fn write_targets(&self, targets: &[Target]) {
        let entries: Vec<Value> = targets
            .iter()
            .map(|target| json!({"targets": [target.address], "labels": target.labels}))
            .collect();
        // Written aside and renamed: Prometheus never reads half a list.
        let aside = self.dir.path().join("targets.tmp");
        fs::write(&aside, serde_json::to_vec(&entries).unwrap()).unwrap();
        fs::rename(aside, self.dir.path().join("targets.json")).unwrap();
    }

    /// Kills it. Its data and its port stay.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port with the data it had, and returns when it answers.
    pub(crate) async fn start_again(&mut self) {
        use_ring();
        let dir = self.dir.path();
        let args = [
            format!("--config.file={}", dir.join("prometheus.json").display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            // New targets are scraped at once instead of every five seconds.
            "--scrape.discovery-reload-interval=100ms".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        let mut process = Guarded::start("prometheus", dir, "prometheus", args, &[]);
        let ready = format!("{}/-/ready", self.url());
        eventually("Prometheus to be ready", READY_WITHIN, async || {
            if let Some(status) = process.ended() {
                panic!("Prometheus ended: {status}; {}", tail(&process.stderr()));
            }
            let response = reqwest::get(&ready).await.map_err(|error| error.to_string())?;
            response.error_for_status().map_err(|error| error.to_string())
        })
        .await;
        self.process = Some(process);
    }

    /// An instant query whose answer is a vector.
    ///
    /// # Errors
    /// What Prometheus or the connection to it said.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let response = reqwest::Client::new()
            .get(format!("{}/api/v1/query", self.url()))
            .query(&[("query", expression)])
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let body: Value = response.json().await.map_err(|error| error.to_string())?;
        let elements = body["data"]["result"].as_array().ok_or_else(|| body.to_string())?;
        elements.iter().map(|element| decode(element).ok_or_else(|| element.to_string())).collect()
    }

    /// Waits until a query has samples, and returns them.
    pub(crate) async fn eventually(&self, expression: &str) -> Vec<Sample> {
        eventually(&format!("samples of {expression}"), Duration::from_secs(30), async || {
            let samples = self.query(expression).await?;
            if samples.is_empty() { Err("no samples".to_owned()) } else { Ok(samples) }
        })
        .await
    }

    fn write_config(&self, scrape_interval: Duration) {
        let interval = format!("{}ms", scrape_interval.as_millis());
        let config = json!({
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [{
                "job_name": "bench",
                "file_sd_configs": [{"files": [self.dir.path().join("targets.json")]}],
            }],
        });
        // JSON is YAML too.
        fs::write(self.dir.path().join("prometheus.json"), config.to_string()).unwrap();
    }
}

fn decode(element: &Value) -> Option<Sample> {
    let labels = serde_json::from_value(element["metric"].clone()).ok()?;
    let value = element["value"][1].as_str()?.parse().ok()?;
    Some(Sample { labels, value })
}
