//! What people read is what the code does: the generated documents, the examples, and the links and
//! commands of the README.
//!
//! To write the documents anew: `cargo run -- docs --write docs`, or
//! `UPDATE_DOCS=1 cargo test --test docs`.
#![cfg(feature = "cluster")]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reads files and may fail loudly"
)]

#[path = "docs/deploy.rs"]
mod deploy;

use std::path::{Path, PathBuf};
use std::{env, fs};

use sla_planner::cli::docs::documents;
use sla_planner::profile::library;
use sla_planner::spec::{self, Config, Defaults};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn example(name: &str) -> Config {
    let path = format!("examples/{name}");
    spec::load(&read(&path), &path, &Defaults::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_documents_are_what_the_code_prints() {
    for (name, text) in documents() {
        let path = root().join("docs").join(name);
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let line = kept.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
        assert!(
            kept == text,
            "docs/{name}:{line}: not what the code prints; run `cargo run -- docs --write docs` \
             and commit what it wrote"
        );
    }
}

/// The text of every source file in a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_pain_of_users_has_a_test_that_is_there() {
    let mut text = String::new();
    for folder in ["src", "tests"] {
        sources(&root().join(folder), &mut text);
    }
    let page = read("docs/user-pains.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| #")).collect();
    assert!(rows.len() >= 15, "{}", rows.len());
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for name in named {
            assert!(text.contains(&format!("fn {name}(")), "no test {name}: {row}");
        }
    }
}

#[test]
fn the_reference_has_a_row_for_every_key_of_the_file() {
    fn keys(schema: &serde_json::Value, out: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            out.extend(properties.keys().cloned());
        }
        if let Some(inner) = schema["$defs"].as_object() {
            inner.values().for_each(|one| keys(one, out));
        }
    }
    let mut all = Vec::new();
    keys(&spec::json_schema(), &mut all);
    assert!(all.len() > 30, "{all:?}");
    let (_, reference) = &documents()[0];
    for key in all {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{key}` | ")));
        let row = row.unwrap_or_else(|| panic!("`{key}` is not in docs/configuration.md"));
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {row}");
    }
}

#[test]
fn the_planner_example_has_everything_that_run_needs() {
    let config = example("planner.yaml");
    assert!(config.target.is_some() && config.prometheus.is_some());
    assert_eq!(config.pools.len(), 2);
    for pool in config.pools.values() {
        assert!(library::get(pool.profile.as_deref().unwrap()).is_ok());
    }
}

#[test]
fn the_sla_example_has_a_load_to_predict_for() {
    let config = example("sla.yaml");
    assert!(config.load.is_some());
    assert_eq!(config.pools.len(), 2);
}

#[test]
fn every_link_in_the_documents_leads_to_a_file_and_its_heading() {
    let mut pages: Vec<PathBuf> = vec!["README.md".into(), "deploy/README.md".into()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        pages.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    assert!(pages.len() > 4, "{pages:?}");
    for page in pages {
        let text = read(page.to_str().unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(root().join(&target).exists(), "{}: no file {link}", page.display());
            if !heading.is_empty() {
                let text = read(target.to_str().unwrap());
                let found = text.lines().filter(|l| l.starts_with('#')).any(|l| slug(l) == heading);
                assert!(found, "{}: no heading {link}", page.display());
            }
        }
    }
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_yaml_block_of_the_readme_is_a_valid_configuration() {
    let readme = read("README.md");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        spec::load(block, "README.md", &Defaults::default()).unwrap_or_else(|e| panic!("{e}"));
    }
}
