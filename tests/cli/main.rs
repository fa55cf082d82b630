//! The binary as a user meets it: what it prints, where, and the code it ends with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
#![allow(clippy::disallowed_methods, reason = "tests make the files that the binary reads")]

mod bad_input;
mod compat;
mod decide;
mod decide_mad;
mod forecast;
mod predict;
mod profile;
mod record;
mod rest;
mod simulate;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// What a command left behind.
pub(crate) struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// It worked; what it printed.
    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// It worked; what it printed, as JSON.
    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It failed with this code, printed nothing, and said all of this in its message.
    fn refused(self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert_eq!(self.out, "", "data is printed only where there is some");
        for part in says {
            assert!(self.err.contains(part), "`{part}` is not in: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// The binary, in an environment without any of the operator's variables.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sla-planner"));
    for name in [
        "DYN_NAMESPACE",
        "DYN_PARENT_DGD_K8S_NAME",
        "DYN_PARENT_DGD_K8S_NAMESPACE",
        "POD_NAMESPACE",
        "PROMETHEUS_ENDPOINT",
        "PLANNER_PROMETHEUS_PORT",
    ] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

fn planner(args: &[&str]) -> Done {
    Done::of(command(args).output().unwrap())
}

/// A folder with one file in it.
fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

/// A file of this checkout.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const TRACE: &str = "examples/traces/azure-2023-conv-10min.jsonl";

const PROFILE: &str = "profiles/measured_llama-3.1-8b-fp8_h200_vllm_tp1";

/// The table of one role, as Dynamo 0.9.0 brings it.
const NPZ: &str = "tests/data/profile/dynamo-0.9.0/h200_8b/prefill.npz";
