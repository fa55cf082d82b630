//! `sla-planner run` as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bench::{Guarded, Namespace, User, eventually, free_port};
use crate::serving::SOON;

/// What a process serves at a path of its metrics port: status and text.
pub(crate) async fn page(port: u16, path: &str) -> Result<(u16, String), String> {
    let url = format!("http://127.0.0.1:{port}/{path}");
    let response = reqwest::get(url).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    Ok((status, response.text().await.map_err(|error| error.to_string())?))
}

/// A process that plans.
pub(crate) struct Running {
    pub(crate) process: Guarded,
    config: PathBuf,
    metrics_port: u16,
}

impl Running {
    /// Starts one as in the pod of this name. Its metrics get a port of their own.
    pub(crate) fn start(ns: &Namespace, user: &User, pod: &str, config: Value) -> Self {
        Self::start_by(ns, user.kubeconfig(), pod, config)
    }

    /// The same, with this kubeconfig.
    pub(crate) fn start_by(
        ns: &Namespace,
        kubeconfig: &Path,
        pod: &str,
        mut config: Value,
    ) -> Self {
        let metrics_port = free_port();
        config["metrics_port"] = metrics_port.into();
        let file = ns.bench().dir().join(format!("{}-{pod}-{metrics_port}.yaml", ns.name()));
        std::fs::write(&file, config.to_string()).unwrap();
        let process = Guarded::start(
            &format!("run-{}-{pod}-{metrics_port}", ns.name()),
            &ns.bench().ready().logs,
            Path::new(env!("CARGO_BIN_EXE_sla-planner")),
            ["run", "--config", &file.display().to_string()],
            &[("KUBECONFIG", &kubeconfig.display().to_string()), ("HOSTNAME", pod)],
        );
        Self { process, config: file, metrics_port }
    }

    /// Waits until its log has this text.
    pub(crate) async fn says(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), SOON, async || {
            let said = self.process.stderr();
            if said.contains(text) { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// What it serves at a path: status and text.
    pub(crate) async fn page(&self, path: &str) -> Result<(u16, String), String> {
        page(self.metrics_port, path).await
    }

    /// Waits until its metrics have this line, and its probe says that it is ready.
    pub(crate) async fn is_ready_with(&self, line: &str) {
        eventually(line, SOON, async || {
            let (_, metrics) = self.page("metrics").await?;
            let (ready, why) = self.page("readyz").await?;
            if metrics.contains(line) && ready == 200 { Ok(()) } else { Err(why + &metrics) }
        })
        .await;
    }

    /// Stops the process where it stands, or lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        let config = self.config.display().to_string();
        let found = processes(&[&config]);
        let [process] = found.as_slice() else { panic!("{found:?}") };
        let pid = process.file_name().and_then(|name| name.to_str()).expect("a number");
        // The standard library can only kill; a shell has `kill` built in.
        let kill = format!("kill -{signal} {pid}");
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell starts");
        assert!(sent.success(), "{kill}: {sent}");
    }
}

/// The processes whose command lines have all of these words, the guards of processes left out, as
/// folders of /proc.
fn processes(words: &[&str]) -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word)) && !line.contains("guard")
    };
    all.filter(is_it).collect()
}

/// Resident memory of the process of a command with this name in its arguments, the most of it and now,
/// as /proc has it.
pub(crate) fn memory(command: &str, name: &str) -> String {
    let found = processes(&[&format!("sla-planner {command}"), name]);
    let Some(process) = found.first() else { return "not found".to_owned() };
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let lines = status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"));
    lines.map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
