//! How the process ends: by a signal wherever it is, with its holder, or at the start.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::scene::SOON;
use crate::bench::{Guarded, Programs, eventually_blocking, free_port};

/// A second is promised; the guard and a busy machine get another one.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Nothing listens on the port of `discard`.
const NOWHERE: &str = "127.0.0.1:9";

#[test]
fn sigterm_between_two_ticks_ends_it_with_code_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut planner = start(dir.path(), &format!("http://{NOWHERE}"), NOWHERE, "");
    has_decided(&planner);
    ends_well(&mut planner);
}

#[test]
fn sigterm_at_the_start_ends_it_while_an_api_server_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let mut planner = start(dir.path(), &format!("http://{NOWHERE}"), &server, "");
    // It asks for its rights, and waits for an answer that does not come.
    let _held = silent.accept().unwrap();
    ends_well(&mut planner);
    assert_eq!(planner.stdout(), "", "nothing was decided");
}

#[test]
fn a_token_file_that_hangs_neither_stops_the_ticks_nor_holds_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    // A pipe that nobody writes to: opening it waits for ever, as a mount without its server does.
    let token = dir.path().join("token");
    assert!(Command::new("mkfifo").arg(&token).status().unwrap().success());
    let more = format!("token_file: {}, timeout: 500ms", token.display());
    let mut planner = start(dir.path(), &format!("http://{NOWHERE}"), NOWHERE, &more);
    has_decided(&planner);
    let record = planner.stdout();
    assert!(record.contains(&format!("read the token file {}", token.display())), "{record}");
    ends_well(&mut planner);
}

#[test]
fn a_metrics_port_in_use_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = config(dir.path(), &format!("http://{NOWHERE}"), "", port);
    let mut planner = run(dir.path(), &config, &kubeconfig(dir.path(), NOWHERE));
    assert_eq!(planner.wait(SOON).code(), Some(2));
    assert_eq!(
        planner.stderr(),
        format!(
            "error: cannot serve metrics on port {port}: Address already in use (os error 98); \
             give another `metrics_port`, or 0 for none\n"
        )
    );
    assert_eq!(planner.stdout(), "");
}

#[test]
fn nothing_is_left_of_a_planner_whose_holder_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &format!("http://{NOWHERE}"), "", free_port());
    // Stands for a test binary: it holds the write end of the guard's standard input.
    let mut holder = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
    let held = holder.stdout.take().unwrap();
    let records = dir.path().join("records");
    let mut guard = Command::new(Programs::get().supervisor())
        .args(["guard", "--", env!("CARGO_BIN_EXE_sla-planner"), "run", "--config"])
        .arg(&config)
        .env("KUBECONFIG", kubeconfig(dir.path(), NOWHERE))
        .stdin(held)
        .stdout(std::fs::File::create(&records).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually_blocking("a decision", SOON, || {
        let text = std::fs::read_to_string(&records).unwrap();
        if text.ends_with('\n') { Ok(()) } else { Err(text) }
    });
    assert_eq!(processes_with(&config).len(), 2, "the guard and the planner");

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually_blocking("the guard to end", SOON, || guard.try_wait().unwrap().ok_or("it runs"));
    assert_eq!(processes_with(&config), [""; 0]);
}

/// Starts a planner that finds a Prometheus and an API server there.
fn start(dir: &Path, prometheus: &str, server: &str, more: &str) -> Guarded {
    run(dir, &config(dir, prometheus, more, free_port()), &kubeconfig(dir, server))
}

fn run(dir: &Path, config: &Path, kubeconfig: &Path) -> Guarded {
    Guarded::start(
        "planner",
        dir,
        env!("CARGO_BIN_EXE_sla-planner"),
        ["run", "--config", config.to_str().unwrap()],
        &[("KUBECONFIG", kubeconfig.to_str().unwrap())],
    )
}

/// A configuration with `more` about Prometheus; the records go to stdout.
fn config(dir: &Path, prometheus: &str, more: &str, metrics_port: u16) -> PathBuf {
    let profile = sla_planner::profile::library::DEFAULT;
    let path = dir.join("planner.yaml");
    let text = format!(
        "pools: {{prefill: {{profile: {profile}}}, decode: {{profile: {profile}}}}}\n\
         intervals: {{adjustment: 1s}}\n\
         prometheus: {{url: '{prometheus}', {more}}}\n\
         target: {{dgd: chat}}\n\
         adapter_controller: true\n\
         metrics_port: {metrics_port}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn kubeconfig(dir: &Path, server: &str) -> PathBuf {
    let path = dir.join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "there",
        "clusters": [{"name": "there", "cluster": {"server": format!("https://{server}")}}],
        "users": [{"name": "me", "user": {"token": "none"}}],
        "contexts": [{"name": "there", "context": {"cluster": "there", "user": "me"}}]
    });
    std::fs::write(&path, text.to_string()).unwrap();
    path
}

/// Waits for two decisions, which hold.
fn has_decided(planner: &Guarded) {
    eventually_blocking("two decisions", SOON, || {
        let records = planner.stdout();
        if records.matches("\"hold_no_metrics\"").count() >= 4 { Ok(()) } else { Err(records) }
    });
}

/// Ends a planner by SIGTERM as it should end.
fn ends_well(planner: &mut Guarded) {
    let begun = Instant::now();
    let status = planner.terminate(SOON);
    let took = begun.elapsed();
    let log = planner.stderr();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < SHUTDOWN, "{took:?}: {log}");
}

/// The command lines of processes that name this file.
fn processes_with(file: &Path) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(file.to_str().unwrap()))
        .collect()
}
