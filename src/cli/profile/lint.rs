//! `sla-planner profile lint`.

use anyhow::Context as _;
use serde::Serialize;

use super::Row;
use crate::cli::exit::{CliError, Exit};
use crate::cli::out::Format;
use crate::cli::{files, say};
use crate::profile::{
    EngineProfile, Finding, ProfileError, ProfileFiles, Severity, lint, lint_together,
};

/// Tells what looks wrong in tables, where, how bad it is, and how to mend it.
///
/// Ends with code 7 where a profile has an error: its answers would be wrong whatever is asked.
/// Warnings and notes end with 0, a --row that a profile does not have with 2.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Profiling data: directories, files, or names of shipped profiles.
    #[arg(value_name = "DIR|FILE|NAME", required = true)]
    profiles: Vec<String>,
    #[command(flatten)]
    row: Row,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  sla-planner profile lint profiling_results
  sla-planner profile lint measured_llama-3.1-8b-fp8_h200_vllm_tp1
  sla-planner profile lint sweeps/tp1 sweeps/tp2 sweeps/tp4 --format json";

/// One finding with its place.
#[derive(Debug, Serialize)]
struct Told {
    severity: Severity,
    /// The profile, and the sweep where its file holds several.
    profile: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// The column.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    found: String,
    mend: String,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    profiles: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<Told>,
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let mut answer = Answer::default();
    let mut read: Vec<(String, EngineProfile)> = Vec::new();
    for name in &args.profiles {
        let files = files::profile_files(name)?;
        let mut sweeps = Vec::new();
        for (label, files) in rows(name, files, &args.row, &mut answer) {
            answer.profiles += 1;
            match EngineProfile::from_files(&files) {
                // That is no fault of the profile.
                Err(error) if error.is_of_choice() && !args.row.keys.is_empty() => {
                    return Err(CliError::new(Exit::BadInput, error)
                        .hint("without --row every sweep of every profile is looked at"));
                }
                Err(error) => answer.findings.push(Told::unreadable(&label, &error)),
                Ok(profile) => {
                    let found = lint(&profile);
                    answer.findings.extend(found.iter().map(|f| Told::of(&label, Some(&files), f)));
                    sweeps.push((label, profile));
                }
            }
        }
        // Sweeps of one file are of one model, whether it names it or not.
        let model = |p: &EngineProfile| p.model().unwrap_or(name).to_owned();
        read.extend(sweeps.into_iter().map(|(_, profile)| (model(&profile), profile)));
    }
    read.sort_by(|a, b| a.0.cmp(&b.0));
    for same in read.chunk_by(|a, b| a.0 == b.0) {
        let profiles: Vec<&EngineProfile> = same.iter().map(|(_, profile)| profile).collect();
        let label = &same[0].0;
        answer.findings.extend(lint_together(&profiles).iter().map(|f| Told::of(label, None, f)));
    }
    for told in &answer.findings {
        *match told.severity {
            Severity::Error => &mut answer.errors,
            Severity::Warning => &mut answer.warnings,
            Severity::Note => &mut answer.notes,
        } += 1;
    }
    say(&match args.format {
        Format::Text => answer.text(),
        Format::Json => serde_json::to_string(&answer).context("write the answer as JSON")? + "\n",
    })?;
    if answer.errors == 0 {
        return Ok(());
    }
    let error = anyhow::anyhow!("{} of the findings are errors", answer.errors);
    Err(CliError::new(Exit::Faulty, error))
}

/// The sweeps of a profile, each with its label. Of a file that cannot be read it is the file itself,
/// which then says why.
fn rows(
    name: &str,
    files: ProfileFiles,
    wanted: &Row,
    answer: &mut Answer,
) -> Vec<(String, ProfileFiles)> {
    if !wanted.keys.is_empty() {
        return vec![(name.to_owned(), ProfileFiles { row: wanted.keys.clone(), ..files })];
    }
    let rows = match files.rows() {
        Ok(rows) => rows,
        Err(error) => {
            answer.profiles += 1;
            answer.findings.push(Told::unreadable(name, &error));
            return Vec::new();
        }
    };
    rows.into_iter()
        .map(|row| {
            let keys: Vec<String> =
                row.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let label = [&[name.to_owned()], &keys[..]].concat().join(" ");
            (label, ProfileFiles { row, ..files.clone() })
        })
        .collect()
}

impl Told {
    fn of(profile: &str, files: Option<&ProfileFiles>, finding: &Finding) -> Self {
        let file = files.and_then(|files| files.table(finding.table()));
        Self {
            severity: finding.severity(),
            profile: profile.to_owned(),
            file: file.map(str::to_owned),
            field: Some(finding.field()),
            found: finding.to_string(),
            mend: finding.mend().to_owned(),
        }
    }

    /// A profile that cannot be read: the message names its place, and how to mend it.
    fn unreadable(profile: &str, error: &ProfileError) -> Self {
        let (found, mend) = error.found_and_mend();
        Self {
            severity: Severity::Error,
            profile: profile.to_owned(),
            file: None,
            field: None,
            found,
            mend: mend.unwrap_or_else(|| "run the profiler again".to_owned()),
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        let Self { profiles, errors, warnings, notes, findings } = self;
        let mut out = String::new();
        for group in findings.chunk_by(|a, b| a.profile == b.profile) {
            put!(out, "{}\n", group[0].profile);
            for Told { severity, profile: _, file, field, found, mend } in group {
                let place: Vec<&str> = file.as_deref().into_iter().chain(*field).collect();
                let place = if place.is_empty() {
                    String::new()
                } else {
                    format!("{}: ", place.join(", "))
                };
                put!(out, "  {severity:<8} {place}{found}\n           to mend: {mend}\n");
            }
        }
        put!(out, "{profiles} profiles: {errors} errors, {warnings} warnings, {notes} notes\n");
        out
    }
}
