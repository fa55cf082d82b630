//! `sla-planner docs`: the reference documents, printed from the types and tables of the code.
//!
//! The files in `docs/` of these names are what this prints; a test holds the two together. Nobody
//! edits them: the text of a key is the comment of its field in `spec`, and so on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::exit::{self, CliError};
use super::{files, say};
use crate::backtest::OWN;
use crate::backtest::policy::KNOWN;
use crate::dashboard::metric_table;
use crate::plan::Reason;
use crate::spec::json_schema;

/// Prints the reference documents, or writes them to a folder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write one file each into this folder instead of printing them.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    match &args.write {
        Some(folder) => {
            documents().iter().try_for_each(|(name, text)| files::write(&folder.join(name), text))
        }
        None => {
            let all: Vec<String> = documents().into_iter().map(|(_, text)| text).collect();
            say(&all.join("\n"))
        }
    }
}

const PRINTED: &str =
    "<!-- Printed by `sla-planner docs --write docs`: edit the code, not this. -->";

/// Every generated document: its file name in `docs/`, and its text.
#[must_use]
pub fn documents() -> Vec<(&'static str, String)> {
    let example = include_str!("../../examples/planner.yaml");
    vec![
        ("configuration.md", configuration(&json_schema(), example)),
        ("exit-codes.md", exit_codes(&exit::CODES)),
        ("metrics.md", metrics(&metric_table())),
        ("policies.md", policies()),
        ("reasons.md", reasons(&Reason::CODES)),
    ]
}

fn exit_codes(codes: &[(u8, &str, &str)]) -> String {
    let rows = codes.iter().map(|(code, name, means)| format!("| {code} | `{name}` | {means} |"));
    page(
        "Exit codes",
        "The same for every command. Errors are told on standard error, with a hint where there is \
         something to do.",
        &table("| code | name | meaning |\n|---|---|---|", rows),
    )
}

fn policies() -> String {
    let own = OWN.iter().map(|(name, about)| format!("| `{name}` | {about} | |"));
    let rivals = KNOWN.iter().map(|k| format!("| `{}` | {} | {} |", k.name, k.about, k.source));
    let list =
        table("| policy | what it does | source of its rule |\n|---|---|---|", own.chain(rivals));
    let knobs = KNOWN.iter().flat_map(|k| {
        k.knobs.iter().map(|knob| {
            let swept: Vec<String> = knob.sweep.iter().map(ToString::to_string).collect();
            let star = if knob.name == k.frontier { "*" } else { "" };
            format!(
                "| `{}` | `{}`{star} | {} | {} | {} |",
                k.name,
                knob.name,
                knob.default,
                swept.join(", "),
                knob.about
            )
        })
    });
    let knobs =
        table("| policy | knob | default | swept over | meaning |\n|---|---|---|---|---|", knobs);
    page(
        "Policies",
        "What `simulate`, `backtest` and `frontier` can play: `--policy NAME` or \
         `--policy NAME:knob=value,knob=value`. Each rival follows its documented rule; where that \
         leaves something open, the reading that serves the rival better is taken, and the module \
         of the rival in `src/backtest/policy` says so. `static-best` and `oracle` take \
         `target=PERCENT`, the promise without it.",
        &format!("{list}\n## Knobs\n\n`frontier` sweeps the one with the star.\n\n{knobs}"),
    )
}

fn reasons(codes: &[(&str, &str, &str)]) -> String {
    let rows = codes.iter().map(|(code, means, to_do)| format!("| `{code}` | {means} | {to_do} |"));
    page(
        "Reasons",
        "Every decision says for each pool why it is so, above all when nothing changes. The code \
         is in the decision record (`reason.code`) and in the label `reason` of \
         `sla_planner_decisions_total`; the log line says the same in words, and `sla-planner why` \
         prints a recorded decision with all that it rests on. The list is closed: there are no \
         other codes.",
        &table("| code | meaning | what to do |\n|---|---|---|", rows),
    )
}

fn metrics(table: &str) -> String {
    page(
        "Metrics",
        "Served at `/metrics` on the port `metrics_port`. A figure that is not known has no series: \
         it is neither 0 nor the last value that was known. The label `deployment` is \
         `namespace/name`; `pool` is `prefill`, `decode` or `aggregated`. Names that begin with \
         `dynamo_planner_` are those of Dynamo's planner, so that its dashboards go on working.",
        table,
    )
}

fn page(title: &str, intro: &str, body: &str) -> String {
    format!("{PRINTED}\n# {title}\n\n{intro}\n\n{body}")
}

fn table(head: &str, rows: impl IntoIterator<Item = String>) -> String {
    rows.into_iter().fold(format!("{head}\n"), |text, row| text + &row + "\n")
}

/// The reference of the configuration file, from its JSON schema.
fn configuration(schema: &Value, example: &str) -> String {
    let mut body = String::new();
    let mut variables = BTreeMap::new();
    let sections = sections(schema);
    for section in &sections {
        let Section { paths, schema: object } = section;
        if !paths[0].is_empty() {
            let (heading, _) = heading(section);
            body.extend(["## ", &heading, "\n\n", &one_line(&object["description"]), "\n\n"]);
        }
        let required = object["required"].as_array().map_or(&[][..], Vec::as_slice);
        let rows = properties(object).map(|(key, property)| {
            let (means, default) = split_default(&one_line(&property["description"]));
            let default = if required.iter().any(|name| name == key) {
                "required".to_owned()
            } else {
                default.unwrap_or_else(|| "none".to_owned())
            };
            let kind = kind(schema, &sections, property);
            let is_empty = property.get("$ref").is_some() || kind == NAMES_TO_TEXT;
            let default = if is_empty && default == "none" { "empty".to_owned() } else { default };
            for variable in variables_in(&default) {
                variables.entry(variable).or_insert_with(Vec::new).push(join(&paths[0], key));
            }
            format!("| `{key}` | {kind} | {default} | {means} |")
        });
        body += &table("| key | value | default | meaning |\n|---|---|---|---|", rows);
        body += "\n";
    }
    body += "## Environment variables\n\nDefaults for keys that the file leaves out. NVIDIA's operator \
             injects them into a planner pod.\n\n";
    let rows = variables.iter().map(|(variable, keys)| {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        format!("| `{variable}` | {} |", keys.join(", "))
    });
    body += &table("| variable | key |\n|---|---|", rows);
    body.extend(["\n## Example\n\n`examples/planner.yaml`:\n\n```yaml\n", example, "```\n"]);
    page(
        "Configuration",
        "One YAML file for all commands: `run --config FILE`, `predict --sla FILE`, `validate FILE`. \
         Every key may be left out where its default is no `required`; a command says what it needs \
         beyond that. An unknown key is an error that names the line and the nearest known key. A \
         duration carries its unit (`500ms`, `30s`, `5m`, `1h30m`); a bare number is refused.",
        &body,
    )
}

/// One mapping of the file, and everywhere that it stands.
struct Section<'a> {
    paths: Vec<String>,
    schema: &'a Value,
}

/// The mappings of a schema, each once, in the order of a reader who goes in at every key.
fn sections(root: &Value) -> Vec<Section<'_>> {
    fn visit<'a>(root: &'a Value, path: &str, object: &'a Value, out: &mut Vec<Section<'a>>) {
        if let Some(known) = out.iter_mut().find(|known| std::ptr::eq(known.schema, object)) {
            known.paths.push(path.to_owned());
            return;
        }
        out.push(Section { paths: vec![path.to_owned()], schema: object });
        for (key, property) in properties(object) {
            for inner in forms(root, property) {
                if properties(inner).next().is_some() {
                    visit(root, &join(path, key), inner, out);
                }
            }
        }
    }
    let mut out = Vec::new();
    visit(root, "", root, &mut out);
    out
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn properties(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object["properties"].as_object().into_iter().flatten()
}

/// The forms that a value may have, references followed and `null` left out.
fn forms<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = name.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(vec![], |target| forms(root, target));
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().flat_map(|one| forms(root, one)).collect();
    }
    if schema["type"] == "null" { vec![] } else { vec![schema] }
}

const NAMES_TO_TEXT: &str = "mapping of names to text";

/// What may stand at a key, in words.
fn kind(root: &Value, sections: &[Section<'_>], schema: &Value) -> String {
    let mut words: Vec<String> =
        forms(root, schema).into_iter().map(|form| kind_of_form(form, sections)).collect();
    words.dedup();
    words.join(", or ")
}

fn kind_of_form(form: &Value, sections: &[Section<'_>]) -> String {
    if let Some(section) = sections.iter().find(|section| std::ptr::eq(section.schema, form)) {
        return format!("[section](#{})", heading(section).1);
    }
    if let Some(choices) = form["oneOf"].as_array() {
        let names: Vec<String> = choices
            .iter()
            .filter_map(|choice| choice["const"].as_str())
            .map(|name| format!("`{name}`"))
            .collect();
        return names.join(" or ");
    }
    let one = &form["type"];
    let name = one.as_array().map_or_else(
        || one.as_str(),
        |several| several.iter().find(|name| *name != "null").and_then(Value::as_str),
    );
    match name {
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => match (form["minimum"].as_i64(), form["maximum"].as_i64()) {
            (Some(least), Some(most)) => format!("whole number, {least} to {most}"),
            (Some(least), None) => format!("whole number, {least} or more"),
            (None, _) => "whole number".to_owned(),
        },
        Some("number") => "number".to_owned(),
        Some("array") => "list of texts".to_owned(),
        Some("object") => NAMES_TO_TEXT.to_owned(),
        // The only texts with a description of their own are durations and secrets.
        Some("string") => match form["description"].as_str() {
            Some(text) if text.starts_with("A duration") => "duration".to_owned(),
            Some(text) if text.contains("never printed") => "text, never printed".to_owned(),
            Some(_) | None => "text".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// The heading of a section, and the anchor that it gets.
fn heading(section: &Section<'_>) -> (String, String) {
    let names: Vec<String> = section.paths.iter().map(|path| format!("`{path}`")).collect();
    let heading = names.join(", ");
    let anchor = heading.replace(['`', ',', '.'], "").replace(' ', "-");
    (heading, anchor)
}

fn one_line(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Parts "What it is. Default: 60s." at the default.
fn split_default(text: &str) -> (String, Option<String>) {
    match text.split_once(" Default: ") {
        Some((means, default)) => {
            (means.to_owned(), Some(default.trim_end_matches('.').to_owned()))
        }
        None => (text.to_owned(), None),
    }
}

/// The environment variables that a text names in backticks.
fn variables_in(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            word.contains('_') && word.chars().all(is_name)
        })
        .map(str::to_owned)
        .collect()
}
