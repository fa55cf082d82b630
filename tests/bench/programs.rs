//! The bench's programs, built when the cache does not have them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder with the programs and the manifests of others.
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// Runs `tests/bench/build` once. With a full cache it takes a blink, with an
    /// empty one minutes; it says on stderr what it does.
    pub(crate) fn get() -> &'static Self {
        static PROGRAMS: OnceLock<Programs> = OnceLock::new();
        PROGRAMS.get_or_init(build)
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// The supervisor: `up` and `guard`.
    pub(crate) fn supervisor(&self) -> PathBuf {
        self.0.join("sla-bench")
    }

    /// Helm.
    pub(crate) fn helm(&self) -> PathBuf {
        self.0.join("helm")
    }

    /// Kubernetes' own parts in one program, kubectl among them.
    pub(crate) fn control_plane(&self) -> PathBuf {
        self.0.join("control-plane")
    }

    /// prometheus-adapter.
    pub(crate) fn prometheus_adapter(&self) -> PathBuf {
        self.0.join("prometheus-adapter")
    }

    /// KEDA's operator.
    pub(crate) fn keda_operator(&self) -> PathBuf {
        self.0.join("keda-operator")
    }

    /// KEDA's metrics adapter.
    pub(crate) fn keda_adapter(&self) -> PathBuf {
        self.0.join("keda-adapter")
    }

    /// A folder with manifests of others: `crds` (the resource definitions of KEDA and the Prometheus
    /// operator), `of-keda` and `of-prometheus-adapter` (accounts, rights and settings).
    pub(crate) fn manifests(&self, folder: &str) -> PathBuf {
        // kubectl follows no link to a folder.
        self.0.join(folder).canonicalize().expect("the build made it")
    }
}

/// A file of the bench's own sources.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(name)
}

fn build() -> Programs {
    let script = source("build");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{} did not start: {error}", script.display()));
    assert!(output.status.success(), "{} failed: {}", script.display(), output.status);
    let stdout = String::from_utf8(output.stdout).expect("the build prints UTF-8");
    Programs(stdout.lines().last().expect("the build prints the folder last").into())
}
