//! The check, tried on small examples that break the rule and on some that keep it.

use super::*;

/// The findings of one file, as `line: what`.
fn of(path: &str, text: &str) -> Vec<String> {
    check(&[Source { path: path.into(), text: text.into() }])
        .into_iter()
        .map(|f| {
            assert!(!f.todo.is_empty() && f.file == path);
            format!("{}: {}", f.line, f.what)
        })
        .collect()
}

fn bad(path: &str, text: &str, line: usize, says: &str) {
    let found = of(path, text);
    assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    assert!(found[0].starts_with(&format!("{line}: ")), "{text}: {found:?}");
    assert!(found[0].contains(says), "{text}: {found:?}");
}

fn good(path: &str, text: &str) {
    assert_eq!(of(path, text), Vec::<String>::new(), "{path}: {text}");
}

#[test]
fn a_room_may_use_what_the_table_says() {
    good("src/plan/size.rs", "use crate::units::Role;\nuse super::Memory;\nuse crate::plan::X;");
    good("src/cli/predict.rs", "use crate::{prometheus, controllers::scale, run::Options};");
    good("src/run/mod.rs", "use crate::dashboard::Metrics; use crate::prometheus::Client;");
}

#[test]
fn every_way_to_name_another_room_is_seen() {
    let a_room = "src/units/time.rs";
    bad(a_room, "// a\n\nuse crate::plan::Reason;", 3, "crate::plan::Reason");
    bad(a_room, "use crate::{\n  units::X,\n  spec::{Sla},\n};", 3, "crate::spec::Sla");
    bad(a_room, "use super::super::observe::Signal;", 1, "crate::observe::Signal");
    bad(a_room, "mod inner { use super::super::super::plan; }", 1, "crate::plan");
    bad(a_room, "fn f() { crate::check::judge() }", 1, "crate::check::judge");
    bad(a_room, "fn f() -> Vec<crate::plan::Reason> {}", 1, "crate::plan::Reason");
    bad(a_room, "m!($crate::plan::Reason);", 1, "crate::plan::Reason");
    bad(a_room, "use sla_planner::plan;", 1, "crate::plan");
    bad(a_room, "use crate::*;", 1, "root of the crate");
    bad(a_room, "use crate as all;", 1, "root of the crate");
    bad(a_room, "use super::super as all;", 1, "root of the crate");
    bad(a_room, "pub(in crate::plan) fn f() {}", 1, "crate::plan");
    bad(a_room, "use crate::helpers::x;", 1, "no room");
}

#[test]
fn edges_do_not_name_each_other_and_nobody_looks_into_run() {
    bad("src/prometheus/client.rs", "use crate::api::names;", 1, "crate::api");
    bad("src/dashboard/mod.rs", "use crate::prometheus::Client;", 1, "crate::prometheus");
    bad("src/controllers/mod.rs", "use crate::run::Options;", 1, "crate::run");
    bad("src/plan/mod.rs", "use crate::cli::exit;", 1, "crate::cli");
    bad("src/cli/run.rs", "use crate::run::tick::once;", 1, "reaches into `run`");
    good("src/cli/run.rs", "crate::run::Options::new()");
}

#[test]
fn a_pure_room_knows_no_world() {
    for (text, says) in [
        ("use std::time::Instant;", "std::time::Instant"),
        ("use std::time::{Duration, SystemTime};", "SystemTime"),
        ("let t = std::time::UNIX_EPOCH;", "UNIX_EPOCH"),
        ("use std::time::*;", "std::time::*"),
        ("use std::time;", "std::time"),
        ("use std as everything;", "std"),
        ("let e = std::env::var(\"X\");", "std::env::var"),
        ("use std::{fmt, fs};", "std::fs"),
        ("use std::fs::{self, File};", "std::fs"),
        ("use std::thread;", "std::thread"),
        ("use std::net::TcpStream;", "std::net"),
        ("std::process::exit(1)", "std::process"),
        ("io::stdout().lock()", "io::stdout"),
        ("use tokio::time;", "tokio"),
        ("async { kube::Client::x() }", "kube"),
        ("fn f(x: reqwest::Client) {}", "reqwest"),
        ("#[derive(clap::Parser)] struct A;", "clap"),
        ("use k8s_openapi::api::core::v1::Pod;", "k8s_openapi"),
        ("use ::axum::Router;", "axum"),
        ("let mut r = rand::rng();", "rand::rng"),
        ("let r = StdRng::from_os_rng();", "from_os_rng"),
        ("let h = RandomState::new();", "RandomState"),
    ] {
        let found = of("src/plan/decide.rs", text);
        assert!(!found.is_empty(), "not seen: {text}");
        assert!(found.iter().all(|f| f.starts_with("1: the pure room `plan`")), "{found:?}");
        assert!(found[0].contains(says), "{text}: {found:?}");
        good("src/run/mod.rs", text);
    }
    good("src/plan/decide.rs", "use std::time::Duration;\nuse std::io::{self, Read};");
}

#[test]
fn comments_strings_and_lifetimes_are_no_code() {
    good("src/plan/a.rs", "/// As in [`crate::cli`] and std::fs.\n/* /* tokio */ kube */");
    good("src/plan/a.rs", r##"const A: &str = r#"crate::cli "std::fs"#; const B: char = '"';"##);
    good("src/plan/a.rs", "fn a<'kube>(x: &'kube str) -> char { '\\'' }");
    bad("src/plan/a.rs", "const A: &str = \"\n\n\\\"\"; use std::fs;", 3, "std::fs");
    bad("src/plan/a.rs", "const A: char = '\"'; use std::fs; // \"", 1, "std::fs");
}

#[test]
fn only_code_for_tests_is_free() {
    let room = "src/plan/a.rs";
    good(room, "#[cfg(test)]\nmod tests { use std::fs; fn f() { crate::cli::x() } }");
    good(room, "#[cfg(all(test, unix))]\n#[inline]\nfn f() { std::fs::x() }");
    good(room, "#[cfg(test)]\nuse std::{fs, env};\n");
    good(room, "struct A { #[cfg(test)] x: std::fs::File }");
    bad(room, "#[cfg(test)]\nuse std::{fs, env};\nuse std::net::X;", 3, "std::net");
    bad(room, "#[cfg(test)] mod tests { fn f() {} }\nuse std::fs;", 2, "std::fs");
    bad(room, "#[cfg(test)] const A: B = B {};\nuse std::fs;", 2, "std::fs");
    bad(room, "#[cfg(not(test))]\nuse std::fs;", 2, "std::fs");
    bad(room, "#[cfg(any(test, unix))]\nuse std::fs;", 2, "std::fs");
    bad(room, "#[cfg_attr(test, allow(x))]\nuse std::fs;", 2, "std::fs");
}

#[test]
fn files_for_tests_are_found_through_their_module() {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let free = [
        file("src/plan/mod.rs", "#[cfg(test)]\nmod tests;"),
        file("src/plan/tests.rs", "use std::fs;"),
        file("src/plan/tests/more.rs", "use std::fs;"),
        file("src/trace/a.rs", "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;"),
        file("src/trace/a_tests.rs", "use std::fs;"),
        file("src/plan/decide.rs", "#[cfg(test)]\nmod tests;"),
        file("src/plan/decide/tests.rs", "use std::fs;"),
    ];
    assert_eq!(check(&free), []);
    let bound = [
        file("src/plan/mod.rs", "mod tests;"),
        file("src/plan/tests.rs", "use std::fs;"),
        file("src/plan/decide_tests.rs", "use std::fs;"),
    ];
    assert_eq!(check(&bound).len(), 2);
}

#[test]
fn files_stay_small() {
    let lines = |n: usize| "\n".repeat(n);
    good("src/main.rs", &lines(59));
    bad("src/main.rs", &lines(60), 60, "60 lines");
    good("tests/cluster/main.rs", &lines(800));
    bad("src/plan/mod.rs", &lines(801), 801, "801 lines");
    bad("tests/cluster/main.rs", &lines(801), 801, "801 lines");
    bad("src/main.rs", "fn main() { sla_planner::run::main() }", 1, "main names");
    good("src/main.rs", "fn main() { sla_planner::cli::main() }");
}

#[test]
fn a_folder_that_is_no_room_is_told() {
    bad("src/helpers/mod.rs", "", 1, "`helpers` is no room");
    bad("src/helpers.rs", "", 1, "`helpers` is no room");
}

#[test]
fn a_message_says_where_what_and_what_to_do() {
    let source = Source { path: "src/spec/a.rs".into(), text: "use crate::plan::P;".into() };
    assert_eq!(
        check(&[source])[0].to_string(),
        "src/spec/a.rs:1: `spec` names `crate::plan::P`; it may use only units\n    to do: \
         move the type to a room that both may use, or pass the value as an argument"
    );
}
