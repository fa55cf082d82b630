//! The cluster that all tests of this binary share.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::autoscalers::{Autoscalers, External};
use super::programs::{Programs, source};
use super::user::Identity;

/// What `sla-bench up` prints when its cluster can be used.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReadyLine {
    /// URL of the API server.
    pub(crate) server: String,
    /// File with the certificate of the API server's authority.
    pub(crate) ca: PathBuf,
    /// Kubeconfig of the administrator.
    pub(crate) kubeconfig: PathBuf,
    /// JSON file with the identities that tests give rights to.
    pub(crate) users: PathBuf,
    /// How kubectl is called: program and first arguments.
    pub(crate) kubectl: Vec<String>,
    /// The folder that `up` removes at its end.
    pub(crate) dir: PathBuf,
    /// The folder with one log per part.
    pub(crate) logs: PathBuf,
    /// Process of each part.
    pub(crate) pids: std::collections::BTreeMap<String, u32>,
    /// Milliseconds until each part was ready, and `total`.
    pub(crate) took_ms: std::collections::BTreeMap<String, u64>,
}

impl ReadyLine {
    /// Waits for the line of a supervisor whose stdout is a pipe.
    ///
    /// # Errors
    /// When the supervisor ended instead; its reason stands on its stderr.
    pub(crate) fn read(up: &mut Child) -> Result<Self, String> {
        let stdout = up.stdout.take().expect("stdout is a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line)
            .map_err(|error| format!("`sla-bench up` said {line:?}: {error}"))
    }
}

/// The cluster of this test binary. [`Bench::get`] starts it when the first test
/// asks; it ends with the binary.
pub(crate) struct Bench {
    ready: ReadyLine,
    users: Vec<Identity>,
    next_user: AtomicUsize,
    external: External,
    /// What all tests of this cluster need, started by the first that asks.
    autoscalers: OnceCell<Autoscalers>,
    kinds_of_others: OnceCell<()>,
    prepared: OnceCell<()>,
    /// Open for as long as the binary lives. Its end is `up`'s order to stop, so
    /// nobody has to wait for the process.
    _up: Child,
}

impl Bench {
    /// The cluster, ready. The first call takes seconds (minutes when the programs
    /// have to be built), later ones nothing.
    ///
    /// # Panics
    /// When it does not start, in each test that asks.
    pub(crate) async fn get() -> &'static Self {
        static BENCH: OnceLock<Result<Bench, String>> = OnceLock::new();
        started(&BENCH, External::Keda).await
    }

    /// A second cluster, in which prometheus-adapter holds the API of external metrics: an API server
    /// has one provider of it, and in the first cluster that is KEDA. Only tests that need it start it.
    ///
    /// # Panics
    /// When it does not start, in each test that asks.
    pub(crate) async fn without_keda() -> &'static Self {
        static BENCH: OnceLock<Result<Bench, String>> = OnceLock::new();
        started(&BENCH, External::PrometheusAdapter).await
    }

    /// A cluster of its own for tests of other definitions of our kinds: every test of a cluster sees
    /// the same ones. Only tests that need it start it, and its autoscalers never start.
    ///
    /// # Panics
    /// When it does not start, in each test that asks.
    pub(crate) async fn of_other_kinds() -> &'static Self {
        static BENCH: OnceLock<Result<Bench, String>> = OnceLock::new();
        started(&BENCH, External::Keda).await
    }

    /// A cluster for the one test in which the definitions of our kinds change.
    ///
    /// # Panics
    /// When it does not start.
    pub(crate) async fn of_changing_kinds() -> &'static Self {
        static BENCH: OnceLock<Result<Bench, String>> = OnceLock::new();
        started(&BENCH, External::Keda).await
    }

    /// The autoscalers of this cluster and their Prometheus. The first call starts them and takes
    /// seconds; they end with the binary.
    pub(crate) async fn autoscalers(&'static self) -> &'static Autoscalers {
        self.autoscalers.get_or_init(async || Autoscalers::start(self, self.external).await).await
    }

    /// Sees to it that the cluster knows the kinds of KEDA and of the Prometheus operator, by their
    /// own definitions.
    pub(crate) async fn kinds_of_others(&self) {
        let install = async || {
            let folder = Programs::get().manifests("crds");
            self.apply_file(&folder).await;
            let folder = folder.to_str().expect("a UTF-8 path");
            let established = "--for=condition=Established";
            let wait = ["wait", established, "--timeout=60s", "--filename", folder];
            self.kubectl(&wait).await.success();
        };
        self.kinds_of_others.get_or_init(install).await;
    }

    /// Set when the cluster is prepared for the tests of this binary.
    pub(crate) fn prepared(&self) -> &OnceCell<()> {
        &self.prepared
    }

    /// What the cluster said when it was ready.
    pub(crate) fn ready(&self) -> &ReadyLine {
        &self.ready
    }

    /// A client that may do everything.
    ///
    /// A client belongs to the runtime that made it and each test has its own
    /// runtime, so this makes a new one at each call.
    pub(crate) async fn admin(&self) -> kube::Client {
        client_from(&self.ready.kubeconfig).await
    }

    /// A folder for a test's files that goes when the cluster goes.
    pub(crate) fn dir(&self) -> &Path {
        &self.ready.dir
    }

    /// An identity that no other test has, without any rights yet.
    pub(super) fn next_identity(&self) -> Identity {
        let index = self.next_user.fetch_add(1, Ordering::Relaxed);
        self.users.get(index).expect("enough users for one binary: see testUsers in up.go").clone()
    }
}

/// The cluster of a binary, started when it is not there yet.
async fn started(
    bench: &'static OnceLock<Result<Bench, String>>,
    external: External,
) -> &'static Bench {
    use_ring();
    let started = tokio::task::spawn_blocking(move || bench.get_or_init(|| start(external)));
    match started.await.expect("the start returns its failures") {
        Ok(bench) => bench,
        Err(why) => panic!("the bench did not start: {why}"),
    }
}

/// Makes ring the TLS provider of this process, for clients of any kind.
pub(super) fn use_ring() {
    // An error says that it is set already, by an earlier test or by the library.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A client that logs in as a kubeconfig says.
pub(super) async fn client_from(kubeconfig: &Path) -> kube::Client {
    use_ring();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the bench wrote the kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the bench's kubeconfig is complete");
    kube::Client::try_from(config).expect("the bench's kubeconfig has a usable certificate")
}

/// A folder that does not exist yet, for one cluster.
fn fresh_dir() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The process id may come round again after a crash left a folder behind.
    let nanos = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").subsec_nanos();
    std::env::temp_dir().join(format!("sla-bench-{}-{count}-{nanos}", std::process::id()))
}

/// The command that runs a cluster in `dir` until its standard input ends.
pub(crate) fn up_command(dir: &Path) -> Command {
    let programs = Programs::get();
    let mut command = Command::new(programs.supervisor());
    command.arg("up");
    command.arg("--bin").arg(programs.dir());
    command.arg("--dir").arg(dir);
    command.arg("--stages").arg(source("stages.yaml"));
    command
}

fn start(external: External) -> Result<Bench, String> {
    let mut up = up_command(&fresh_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let ready = ReadyLine::read(&mut up)?;
    let users = fs::read(&ready.users).map_err(|error| error.to_string())?;
    let users = serde_json::from_slice(&users).map_err(|error| error.to_string())?;
    eprintln!("bench: cluster ready in {} ms at {}", ready.took_ms["total"], ready.server);
    Ok(Bench {
        ready,
        users,
        next_user: AtomicUsize::new(0),
        external,
        autoscalers: OnceCell::const_new(),
        kinds_of_others: OnceCell::const_new(),
        prepared: OnceCell::const_new(),
        _up: up,
    })
}
