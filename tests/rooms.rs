//! The room rule, held by reading the sources: which folder of `src/` may name which other one,
//! and what a pure room never names at all.
//!
//! The table is [`ROOMS`]. Code that is built for tests only (`#[cfg(test)]`) is free: it may read
//! files and borrow other rooms for its fixtures. `examples` tries the reader itself on code that
//! breaks the rule, since a check that cannot fail is worth nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reads files and may fail loudly"
)]

#[path = "rooms/examples.rs"]
mod examples;
#[path = "rooms/lex.rs"]
mod lex;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One folder of `src/`.
struct Room {
    name: &'static str,
    /// No runtime, no client, no clock, no environment, no files, no dice.
    pure: bool,
    /// The rooms it may name, besides itself.
    may_use: &'static [&'static str],
}

const PURE: [&str; 11] = [
    "units", "spec", "profile", "observe", "forecast", "plan", "check", "trace", "sim", "backtest",
    "record",
];

const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, pure: true, may_use }
}

const fn edge(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, pure: false, may_use }
}

/// Who may use whom. Rooms that are still to be built are here too. `cli` and `run` wire the edges
/// together; [`EVERYTHING`] stands for all rooms.
const ROOMS: [Room; 18] = [
    pure("units", &[]),
    pure("spec", &["units"]),
    pure("profile", &["units"]),
    pure("observe", &["units"]),
    pure("forecast", &["units"]),
    pure("plan", &["units", "spec", "profile", "observe", "forecast"]),
    pure("check", &["units", "spec", "observe", "plan"]),
    pure("trace", &["units", "observe"]),
    pure("sim", &["units", "spec", "profile", "observe", "trace", "plan", "check"]),
    pure("backtest", &PURE),
    pure("record", &["units", "spec", "profile", "observe", "forecast", "plan"]),
    edge("api", &["units", "spec"]),
    edge("prometheus", &["units", "spec", "observe"]),
    edge("controllers", &["units", "spec", "profile", "observe", "plan", "check", "api"]),
    edge("webhook", &["units", "spec", "api"]),
    edge("dashboard", &["units", "spec", "observe", "plan", "backtest", "record"]),
    edge("cli", EVERYTHING),
    edge("run", EVERYTHING),
];

const EVERYTHING: &[&str] = &["*"];

/// What a pure room never names: parts of a path, found anywhere in it. The right side says what
/// to do instead.
const FORBIDDEN_IN_PURE_ROOMS: &[(&[&str], &str)] = &[
    (&["tokio"], "pure rooms are synchronous: wait in an edge room and hand in the result"),
    (&["futures"], "pure rooms are synchronous: wait in an edge room and hand in the result"),
    (&["kube"], "convert the object in `controllers` and hand in a type of `observe`"),
    (&["k8s_openapi"], "convert the object in `controllers` and hand in a type of `observe`"),
    (&["reqwest"], "fetch in `prometheus` and hand in the text"),
    (&["hyper"], "fetch in an edge room and hand in the text"),
    (&["axum"], "serve in `dashboard`"),
    (&["clap"], "read flags in `cli` and hand in the options"),
    (&["tracing"], "return what is worth saying; the caller logs it"),
    (&["jiff"], "use `units::Timestamp`; calendars belong to the edges"),
    (&["chrono"], "use `units::Timestamp`; calendars belong to the edges"),
    (&["Instant"], "take `now: Timestamp` as an argument"),
    (&["SystemTime"], "take `now: Timestamp` as an argument"),
    (&["UNIX_EPOCH"], "take `now: Timestamp` as an argument"),
    (&["std", "env"], "take the value as an argument; `cli` and `run` read the environment"),
    (&["std", "fs"], "take the text or any `BufRead`; `cli` opens files"),
    (&["std", "net"], "take the bytes as an argument"),
    (&["std", "os"], "take the value as an argument"),
    (&["std", "process"], "return an error; `main` ends the process"),
    (&["std", "thread"], "stay on the caller's thread; a sweep's threads live in `cli`"),
    (&["io", "stdin"], "take any `BufRead`"),
    (&["io", "stdout"], "return the text; `cli` prints"),
    (&["io", "stderr"], "return the text; `cli` prints"),
    (&["rand", "rng"], "take the seeded generator as an argument"),
    (&["rand", "random"], "take the seeded generator as an argument"),
    (&["thread_rng"], "take the seeded generator as an argument"),
    (&["from_os_rng"], "take the seed as an argument"),
    (&["from_entropy"], "take the seed as an argument"),
    (&["make_rng"], "take the seed as an argument"),
    (&["OsRng"], "take the seeded generator as an argument"),
    (&["SysRng"], "take the seeded generator as an argument"),
    (&["getrandom"], "take the seed as an argument"),
    (&["fastrand"], "take the seeded generator as an argument"),
    (&["RandomState"], "use a BTreeMap: its order is part of the answer"),
];

/// Modules that are not taken in whole, since an alias hides what is used: `use std as x`.
const ONLY_BY_MEMBER: &[&[&str]] =
    &[&["std"], &["std", "*"], &["std", "time"], &["std", "time", "*"]];

const MAIN_LINES: usize = 60;
const FILE_LINES: usize = 800;

/// Something that breaks the rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: String,
    line: usize,
    what: String,
    todo: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what, todo } = self;
        write!(f, "{file}:{line}: {what}\n    to do: {todo}")
    }
}

/// A source file: its path from the root of the repository, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// Everything that is wrong with the files, in the order of the files.
fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let read: Vec<(&Source, lex::Code)> =
        sources.iter().map(|s| (s, lex::without_tests(lex::tokens(&s.text)))).collect();
    let for_tests: Vec<String> =
        read.iter().flat_map(|(s, code)| test_files(&s.path, &code.test_modules)).collect();
    for (source, code) in &read {
        let lines = source.text.lines().count();
        let most = if source.path == "src/main.rs" { MAIN_LINES - 1 } else { FILE_LINES };
        if lines > most {
            findings.push(Finding {
                file: source.path.clone(),
                line: lines,
                what: format!("{lines} lines, where {most} are the most"),
                todo: "split it by what it is about; main.rs only calls `cli`".into(),
            });
        }
        let is_test = for_tests
            .iter()
            .any(|t| source.path == format!("{t}.rs") || source.path.starts_with(&format!("{t}/")));
        if source.path.starts_with("src/") && !is_test {
            check_rooms(&source.path, code, &mut findings);
        }
    }
    findings.sort();
    findings
}

/// Where `#[cfg(test)] mod name;` of a file finds its text, without the ending.
fn test_files(path: &str, modules: &[lex::TestModule]) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".rs");
    modules
        .iter()
        .map(|module| match (&module.path, stem) {
            (Some(path), _) => format!("{folder}/{}", path.trim_end_matches(".rs")),
            (None, "mod" | "lib" | "main") => format!("{folder}/{}", module.name),
            (None, stem) => format!("{folder}/{stem}/{}", module.name),
        })
        .collect()
}

/// The path of a module: `src/plan/capacity/mod.rs` is `plan::capacity`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn check_rooms(file: &str, code: &lex::Code, findings: &mut Vec<Finding>) {
    let module = module_of(file);
    let mut add = |line, what: String, todo: String| {
        findings.push(Finding { file: file.to_owned(), line, what, todo });
    };
    if file == "src/main.rs" {
        for path in lex::paths(&code.tokens, &module) {
            if path.segments[0] == "sla_planner" && path.segments.get(1).is_none_or(|s| s != "cli")
            {
                add(
                    path.line,
                    format!("main names `{}`", path.text()),
                    "main only calls `sla_planner::cli`".into(),
                );
            }
        }
        return;
    }
    let Some(own) = module.first() else { return };
    let Some(room) = ROOMS.iter().find(|room| room.name == *own) else {
        add(
            1,
            format!("`{own}` is no room"),
            "move it into a room, or add the room to the table in design.md and to ROOMS here"
                .into(),
        );
        return;
    };
    for path in lex::paths(&code.tokens, &module) {
        if let Some(inside) = &path.inside {
            if let Some((what, todo)) = check_inside(room, inside) {
                add(path.line, what, todo);
            }
        } else if room.pure
            && let Some(todo) = forbidden(&path.segments)
        {
            add(path.line, format!("the pure room `{own}` names `{}`", path.text()), todo.into());
        }
    }
}

/// What is wrong with naming `inside`, a path from the root of our crate.
fn check_inside(room: &Room, inside: &[String]) -> Option<(String, String)> {
    let own = room.name;
    let first = inside.first().map_or("*", String::as_str);
    if first == own {
        return None;
    }
    if first == "*" {
        return Some((
            format!("`{own}` takes in the root of the crate, and so every room"),
            "name the room that is meant: `use crate::room::Thing`".into(),
        ));
    }
    let Some(named) = ROOMS.iter().find(|room| room.name == first) else {
        return Some((
            format!("`{own}` names `crate::{first}`, which is no room"),
            "put it into a room: lib.rs holds nothing but the list of rooms".into(),
        ));
    };
    if own == "cli" && first == "run" && inside.len() > 2 && starts_lower(&inside[1]) {
        return Some((
            format!("`cli` reaches into `run`: `crate::{}`", inside.join("::")),
            "export what `cli` needs from src/run/mod.rs".into(),
        ));
    }
    if room.may_use == EVERYTHING || room.may_use.contains(&first) {
        return None;
    }
    let may = if room.may_use.is_empty() {
        "nothing of ours".to_owned()
    } else {
        format!("only {}", room.may_use.join(", "))
    };
    let todo = match (room.pure, named.pure) {
        (false, false) => {
            "edge rooms do not know each other: pass a type of a pure room, or wire \
                           the two in `run`"
        }
        (true, false) => "a pure room knows no edge: turn the dependency round",
        (_, true) => "move the type to a room that both may use, or pass the value as an argument",
    };
    Some((format!("`{own}` names `crate::{}`; it may use {may}", inside.join("::")), todo.into()))
}

fn starts_lower(name: &str) -> bool {
    name.chars().next().is_some_and(char::is_lowercase)
}

fn forbidden(segments: &[String]) -> Option<&'static str> {
    if ONLY_BY_MEMBER.iter().any(|path| segments == *path) {
        return Some("name each item, so that a reader and this test see what is used");
    }
    FORBIDDEN_IN_PURE_ROOMS
        .iter()
        .find(|(path, _)| segments.windows(path.len()).any(|part| part == *path))
        .map(|(_, todo)| *todo)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the repository.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.push(Source { path: path.to_str().unwrap().replace('\\', "/"), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[test]
fn the_sources_keep_the_room_rule() {
    let sources: Vec<Source> = ["src", "tests", "benches"].into_iter().flat_map(sources).collect();
    assert!(sources.len() > 50, "the sources were not found");
    let findings = check(&sources);
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(list.is_empty(), "{} places break the room rule:\n{}", list.len(), list.join("\n"));
}

#[test]
fn every_room_is_in_lib_and_the_edges_come_with_the_feature() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let lines: Vec<&str> = lib.lines().map(str::trim).collect();
    for room in &ROOMS {
        let name = room.name;
        if !root().join("src").join(name).is_dir() {
            continue;
        }
        let at = lines.iter().position(|line| *line == format!("pub mod {name};"));
        let at = at.unwrap_or_else(|| panic!("src/lib.rs: `pub mod {name};` is missing"));
        let is_gated = lines[at - 1] == r#"#[cfg(feature = "cluster")]"#;
        assert_eq!(
            is_gated,
            !room.pure,
            "src/lib.rs:{}: `{name}` is {}: edge rooms, and they alone, stand under \
             #[cfg(feature = \"cluster\")]",
            at + 1,
            if room.pure { "pure" } else { "an edge" },
        );
    }
}

/// The names under `deny = [` in deny.toml.
fn denied_crates(deny: &str) -> Vec<&str> {
    deny.lines()
        .skip_while(|line| !line.starts_with("deny = ["))
        .take_while(|line| !line.starts_with(']'))
        .filter_map(|line| line.split("crate = \"").nth(1)?.split('"').next())
        .collect()
}

#[test]
fn what_deny_toml_bans_is_not_in_the_lock_file() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let denied = denied_crates(&deny);
    for must in ["openssl-sys", "native-tls", "aws-lc-sys", "async-std", "smol"] {
        assert!(denied.contains(&must), "deny.toml: {must} is no longer banned");
    }
    let locked: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(locked.contains("serde"), "Cargo.lock was not understood");
    let found: Vec<&str> = denied.into_iter().filter(|name| locked.contains(name)).collect();
    assert!(
        found.is_empty(),
        "Cargo.lock: {found:?} are banned by deny.toml; `cargo tree -i NAME --all-features` says \
         who brought them, and a feature of that crate is what to turn off"
    );
}
