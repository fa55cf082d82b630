//! What is to be played: from the flags, or from a suite file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use serde::Deserialize;

use super::{Args, Scenario, measured};
use crate::backtest::OWN;
use crate::backtest::policy::{KNOWN, PolicySpec};
use crate::backtest::report::Measured;
use crate::cli::exit::{CliError, Exit};
use crate::cli::files;
use crate::spec::parse_duration;

/// A suite file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Policies; all known ones where there is none.
    #[serde(default)]
    policies: Vec<String>,
    /// Start-up times.
    #[serde(default)]
    startups: Vec<String>,
    /// Seeds.
    #[serde(default)]
    seeds: Vec<u64>,
    /// Flags of every scenario.
    #[serde(default)]
    flags: String,
    /// The flags of `simulate`, by the name of the scenario; `{dir}` is the directory of --dir.
    scenarios: BTreeMap<String, String>,
}

#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    scenario: Scenario,
}

/// One run to play.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Name of the scenario; `None` takes that of its trace.
    pub(super) name: Option<String>,
    pub(super) scenario: Scenario,
    pub(super) policy: PolicySpec,
}

/// All runs, in order.
pub(super) fn plan(args: &Args, measured: Option<&[Measured]>) -> Result<Vec<Planned>, CliError> {
    let (file, scenarios) = match &args.suite {
        None => (None, vec![(None, args.scenario.clone())]),
        Some(path) => {
            let file = read(path)?;
            let scenarios = scenarios(args, path, &file)?;
            (Some(file), scenarios)
        }
    };
    let policies = policies(args, file.as_ref())?;
    let startups = startups(args, file.as_ref())?;
    let seeds = match &file {
        _ if !args.seeds.is_empty() => args.seeds.clone(),
        Some(file) => file.seeds.clone(),
        None => Vec::new(),
    };
    if let (Some(measured), Some(file)) = (measured, &file) {
        let unknown = measured.iter().find(|m| !file.scenarios.contains_key(&m.scenario));
        if let Some(unknown) = unknown {
            let why =
                format!("the file of --measured has {:?}, the suite has not", unknown.scenario);
            return Err(CliError::bad_input(why));
        }
        if startups.len() > 1 || seeds.len() > 1 {
            let why = "--measured sets one run beside each fleet, and there are several start-up times or seeds";
            return Err(CliError::bad_input(why).hint("name one, as in --startups 60s --seeds 1"));
        }
    }
    let mut planned = Vec::new();
    for (name, scenario) in scenarios {
        let startups: Vec<Option<Duration>> = if startups.is_empty() {
            vec![scenario.fleet.startup]
        } else {
            startups.iter().copied().map(Some).collect()
        };
        let seeds = if seeds.is_empty() { vec![scenario.fleet.seed] } else { seeds.clone() };
        let of_it = match (&name, measured) {
            (Some(name), Some(measured)) => Some(measured::fleets(measured, name)?),
            _ => None,
        };
        let policies = of_it.as_ref().unwrap_or(&policies);
        for startup in &startups {
            for seed in &seeds {
                for policy in policies {
                    let mut scenario = scenario.clone();
                    (scenario.fleet.startup, scenario.fleet.seed) = (*startup, *seed);
                    let (name, policy) = (name.clone(), policy.clone());
                    planned.push(Planned { name, scenario, policy });
                }
            }
        }
    }
    if planned.is_empty() {
        let why = "none of the scenarios to play is in the file of --measured";
        return Err(CliError::bad_input(why));
    }
    Ok(planned)
}

fn read(path: &Path) -> Result<File, CliError> {
    let text = files::text(path)?;
    serde_saphyr::from_str(&text).map_err(|e| {
        CliError::bad_input(format!("{}: {e}", path.display())).hint(
            "a suite has `scenarios`, and may have `policies`, `startups`, `seeds` and `flags`",
        )
    })
}

type Named = (Option<String>, Scenario);

fn scenarios(args: &Args, path: &Path, file: &File) -> Result<Vec<Named>, CliError> {
    let own = path.parent().unwrap_or(Path::new("."));
    let dir = args.dir.as_deref().unwrap_or(own).display().to_string();
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|o| name.starts_with(o));
    let mut all = Vec::new();
    for (name, flags) in file.scenarios.iter().filter(|(name, _)| wanted(name)) {
        let text = format!("{} {flags}", file.flags);
        let words = text.split_whitespace().map(|word| word.replace("{dir}", &dir));
        let parsed = Flags::try_parse_from(words).map_err(|e| {
            let why = e.to_string();
            let first = why.lines().next().unwrap_or_default().trim_start_matches("error: ");
            CliError::bad_input(format!("{}: scenario {name}: {first}", path.display()))
        })?;
        all.push((Some(name.clone()), parsed.scenario));
    }
    if all.is_empty() {
        return Err(CliError::bad_input(format!("{}: no scenario to play", path.display())));
    }
    Ok(all)
}

fn policies(args: &Args, file: Option<&File>) -> Result<Vec<PolicySpec>, CliError> {
    if !args.policies.is_empty() {
        return Ok(args.policies.clone());
    }
    let named = file.map(|f| f.policies.clone()).unwrap_or_default();
    let named = if named.is_empty() {
        let own = OWN.iter().map(|(name, _)| *name).filter(|name| *name != "static");
        own.chain(KNOWN.iter().map(|r| r.name)).map(str::to_owned).collect()
    } else {
        named
    };
    named
        .iter()
        .map(|text| text.parse().map_err(|e| CliError::new(Exit::BadInput, anyhow::Error::new(e))))
        .collect()
}

fn startups(args: &Args, file: Option<&File>) -> Result<Vec<Duration>, CliError> {
    if !args.startups.is_empty() {
        return Ok(args.startups.clone());
    }
    let named = file.map(|f| f.startups.as_slice()).unwrap_or_default();
    named
        .iter()
        .map(|text| parse_duration(text).map_err(|e| CliError::bad_input(format!("startups: {e}"))))
        .collect()
}
