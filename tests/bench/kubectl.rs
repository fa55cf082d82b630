//! kubectl against the bench.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::control_plane::Bench;
use super::user::User;

/// What a command said.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote on stdout.
    pub(crate) stdout: String,
    /// What it wrote on stderr.
    pub(crate) stderr: String,
}

impl Output {
    /// Its stdout.
    ///
    /// # Panics
    /// When the command failed, with all that it said.
    pub(crate) fn success(self) -> String {
        assert!(self.status.success(), "{}\n{}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

impl Bench {
    /// Runs kubectl as the administrator.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> Output {
        self.run_kubectl(&self.ready().kubeconfig, args, "", &[]).await
    }

    /// Runs kubectl as this user, in the user's namespace unless `args` name another.
    pub(crate) async fn kubectl_as(&self, user: &User, args: &[&str]) -> Output {
        self.run_kubectl(user.kubeconfig(), args, "", &[]).await
    }

    /// Runs `kubectl edit` as this user; `editor` is a command that changes the file it is given.
    pub(crate) async fn edit_as(&self, user: &User, args: &[&str], editor: &str) -> Output {
        let args = [&["edit"], args].concat();
        self.run_kubectl(user.kubeconfig(), &args, "", &[("KUBE_EDITOR", editor)]).await
    }

    /// Applies manifests as the administrator.
    ///
    /// # Panics
    /// When kubectl refuses them.
    pub(crate) async fn apply_yaml(&self, yaml: &str) {
        self.apply_in(None, yaml).await;
    }

    /// Applies the manifests of a file or a folder as the administrator.
    ///
    /// # Panics
    /// When kubectl refuses them.
    pub(crate) async fn apply_file(&self, path: impl AsRef<Path>) {
        let path = path.as_ref().to_str().expect("a UTF-8 path");
        self.kubectl(&["apply", "--server-side", "--filename", path]).await.success();
    }

    pub(super) async fn apply_in(&self, namespace: Option<&str>, yaml: &str) {
        let mut args = vec!["apply", "--server-side", "--filename", "-"];
        if let Some(namespace) = namespace {
            args.extend(["--namespace", namespace]);
        }
        self.run_kubectl(&self.ready().kubeconfig, &args, yaml, &[]).await.success();
    }

    async fn run_kubectl(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        stdin: &str,
        env: &[(&str, &str)],
    ) -> Output {
        let [program, first @ ..] = self.ready().kubectl.as_slice() else {
            panic!("`sla-bench up` says how kubectl is called")
        };
        let mut child = Command::new(program)
            .args(first)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            // Its caches and preferences stay with the bench.
            .env("HOME", self.dir())
            .env_remove("KUBECONFIG")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let mut pipe = child.stdin.take().expect("stdin is a pipe");
        // A kubectl that ended before it read has its reason on stderr.
        drop(pipe.write_all(stdin.as_bytes()).await);
        drop(pipe);
        let output = child.wait_with_output().await.expect("kubectl can be waited for");
        Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: without_discovery(&String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Without the lines on what of the API could not be discovered. Whoever asks while the program behind
/// an aggregated API starts or ends gets one for it, whatever was asked: what kubectl answers is not
/// changed by that.
fn without_discovery(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.contains(" memcache.go:")).collect()
}
