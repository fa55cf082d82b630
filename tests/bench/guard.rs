//! Processes that cannot outlive this test binary.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::programs::Programs;
use super::wait::eventually_blocking;

/// One process run by `sla-bench guard`, with stdout and stderr in a file each.
/// It is killed when this is dropped and when the test binary dies.
pub(crate) struct Guarded {
    name: String,
    guard: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Guarded {
    /// Starts `program`; its output goes to `NAME.out` and `NAME.err` in `logs`,
    /// after what an earlier process of that name left there.
    pub(crate) fn start(
        name: &str,
        logs: &Path,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(&str, &str)],
    ) -> Self {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let guard = Command::new(Programs::get().supervisor())
            .args(["guard", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(append_to(&stdout))
            .stderr(append_to(&stderr))
            .spawn()
            .expect("the guard starts");
        Self { name: name.into(), guard, stdout, stderr }
    }

    /// What the process wrote on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What the process wrote on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// How the process ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.guard.try_wait().expect("the guard can be waited for")
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    pub(crate) fn terminate(&mut self, within: Duration) -> ExitStatus {
        // The standard library can only kill; a shell has `kill` built in.
        let kill = format!("kill -TERM {}", self.guard.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell starts");
        assert!(sent.success(), "{kill}: {sent}");
        self.wait(within)
    }

    /// Waits until the process ends by itself.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        eventually_blocking(&what, within, || self.ended().ok_or_else(|| tail(&read(&self.stderr))))
    }

    /// Kills the process (SIGKILL) and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        // The end of its stdin is the guard's order to kill.
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the guard can be waited for");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

fn append_to(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("the log can be written")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("the log can be read")).into_owned()
}

/// The last lines of a log, for a message.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    format!("its log closes with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
}
