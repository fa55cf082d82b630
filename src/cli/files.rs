//! Reading what the command line names: configurations, profiles, traces, the environment.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::exit::{CliError, Exit};
use super::stock::{self, Said};
use crate::api::names;
use crate::profile::{EngineProfile, FILE_NAMES, ProfileFile, ProfileFiles, library};
use crate::spec::{Config, Defaults};
use crate::trace::{Reader, TraceError};
use crate::units::Role;

/// The longest configuration or profile file that is read: profiles take kilobytes.
const FILE_LIMIT: u64 = 64 << 20;

/// The variables that NVIDIA's operator injects into a planner pod.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub(super) fn defaults() -> Result<Defaults, CliError> {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let port = match var("PLANNER_PROMETHEUS_PORT") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            CliError::bad_input(format!(
                "environment variable PLANNER_PROMETHEUS_PORT: expected a port from 0 to 65535, \
                 found `{text}`"
            ))
        })?),
    };
    Ok(Defaults {
        namespace: var("DYN_PARENT_DGD_K8S_NAMESPACE").or_else(|| var("POD_NAMESPACE")),
        dgd: var("DYN_PARENT_DGD_K8S_NAME"),
        dynamo_namespace: var("DYN_NAMESPACE"),
        prometheus_url: var("PROMETHEUS_ENDPOINT"),
        metrics_port: port,
        pod_namespace: var("POD_NAMESPACE"),
    })
}

/// What this process is called: the host name, which in a pod is the pod's.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub(super) fn instance() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| names::FIELD_MANAGER.to_owned())
}

/// What the environment says of a start by the options or the keys of Dynamo's planner.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
fn stock_environment() -> stock::Environment {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let said = [
        ("PROMETHEUS_TOKEN", "metric_pulling_prometheus_token"),
        ("PROMETHEUS_TOKEN_FILE", "metric_pulling_prometheus_token_file"),
        ("PROMETHEUS_SSL_VERIFY", "metric_pulling_prometheus_ssl_verify"),
        ("PROMETHEUS_CA_BUNDLE", "metric_pulling_prometheus_ca_bundle"),
        ("PROMETHEUS_EXTRA_QUERY_PARAMS", "metric_pulling_prometheus_extra_query_params"),
        (
            "DYN_PLANNER_PROMETHEUS_REQUEST_TIMEOUT_SECONDS",
            "metric_pulling_prometheus_request_timeout_seconds",
        ),
    ];
    let said = said.into_iter().filter_map(|(name, key)| {
        Some(Said { key: key.to_owned(), shown: name.to_owned(), value: var(name)?.into() })
    });
    stock::Environment {
        said: said.collect(),
        has_prometheus: var("PROMETHEUS_ENDPOINT").is_some(),
        has_profile: Path::new(stock::PROFILE_DIR).is_dir(),
    }
}

/// Reads and validates a configuration: a file, or the text itself where it begins with `{`. One that
/// was written for Dynamo's planner 1.x is translated, and what must be told of that goes to
/// standard error.
pub(super) fn config(path: &Path) -> Result<Config, CliError> {
    let (text, origin) = match inline(path) {
        Some(text) => (text.to_owned(), origin(path)),
        None => (text(path)?, origin(path)),
    };
    match stock::of_text(&text) {
        Some(said) => stock_config(&said, &origin),
        None => ours(&text, &origin),
    }
}

/// The text itself, where a configuration is given in place of a file.
fn inline(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.trim_start().starts_with('{'))
}

/// How a configuration is called in messages: a text may hold a secret.
pub(super) fn origin(path: &Path) -> String {
    inline(path).map_or_else(|| path.display().to_string(), |_| "--config".to_owned())
}

/// The configuration that was said in the words of Dynamo's planner.
pub(super) fn stock_config(said: &[Said], origin: &str) -> Result<Config, CliError> {
    let stock::Translated { text, token, notes } = stock::translate(said, &stock_environment())
        .map_err(|e| CliError { error: anyhow!("{origin}: {}", e.error), ..e })?;
    for note in notes {
        super::talk(&format!("note: {origin}: {note}"));
    }
    let mut config = ours(&text, origin)?;
    if let Some(prometheus) = &mut config.prometheus
        && token.is_some()
    {
        prometheus.bearer_token = token;
    }
    Ok(config)
}

fn ours(text: &str, origin: &str) -> Result<Config, CliError> {
    crate::spec::load(text, origin, &defaults()?).map_err(|e| CliError::new(Exit::BadInput, e))
}

/// Loads a profile by directory, file, or the name of a shipped one.
pub(super) fn profile(name: &str) -> Result<EngineProfile, CliError> {
    EngineProfile::from_files(&profile_files(name)?).map_err(|e| CliError::new(Exit::BadInput, e))
}

/// The files of a profile by directory, file, or the name of a shipped one.
pub(super) fn profile_files(name: &str) -> Result<ProfileFiles, CliError> {
    let path = Path::new(name);
    if path.is_dir() {
        return files_below(path);
    }
    if path.is_file() {
        if has_extension(path, &["npz"]) {
            return Err(CliError::bad_input(format!(
                "profile {name}: an npz file holds the table of one role, and both are needed"
            ))
            .hint(format!(
                "give the directory that holds {} and {}",
                FILE_NAMES[1], FILE_NAMES[4]
            )));
        }
        let file = ProfileFile { name: name.to_owned(), bytes: read(path)? };
        return Ok(ProfileFiles { place: name.to_owned(), files: vec![file], row: Vec::new() });
    }
    if name.contains(['/', '\\']) || has_extension(path, &["json", "npz"]) {
        return Err(CliError::bad_input(format!("profile {name}: no such directory or file"))
            .hint(format!(
                "give a directory with {} and {}, or the name of a shipped profile: {}",
                FILE_NAMES[2],
                FILE_NAMES[5],
                library::names().collect::<Vec<_>>().join(", ")
            )));
    }
    library::files(name).map_err(|e| {
        CliError::new(Exit::BadInput, e)
            .hint("a directory or file that is meant is named by its path: ./name")
    })
}

/// The denser tables of the same engine beside a profile's directory, where there are any: the truth
/// of a simulation whose planner knows the coarse ones.
pub(super) fn dense_profile(name: &str) -> Result<Option<EngineProfile>, CliError> {
    let directory = Path::new(name);
    let mut files = Vec::new();
    for (dense, usual) in
        [("prefill_dense.json", FILE_NAMES[2]), ("decode_dense.json", FILE_NAMES[5])]
    {
        let path = directory.join(dense);
        if !path.is_file() {
            return Ok(None);
        }
        files.push(ProfileFile {
            name: directory.join(usual).display().to_string(),
            bytes: read(&path)?,
        });
    }
    let place = format!("{name} (dense)");
    EngineProfile::from_files(&ProfileFiles { place, files, row: Vec::new() })
        .map(Some)
        .map_err(|e| CliError::new(Exit::BadInput, e))
}

/// Where a profile is that a graph names: a shipped one, or an entry of the folder of profiles. Nobody
/// reads other files of the service by naming them.
pub(super) fn profile_place(name: &str, folder: Option<&str>) -> Result<String, CliError> {
    if library::names().any(|shipped| shipped == name) {
        return Ok(name.to_owned());
    }
    let mut parts = Path::new(name).components();
    let is_entry = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    match folder {
        Some(folder) if is_entry => Ok(format!("{folder}/{name}")),
        Some(_) => Err(CliError::bad_input(format!(
            "profile {name}: expected a shipped profile, or the name of an entry of the folder \
             `cluster.profiles`"
        ))),
        None => Err(CliError::bad_input(format!(
            "profile {name}: expected a shipped profile; with `cluster.profiles` the service has a \
             folder of others"
        ))),
    }
}

/// Loads the profile that a configuration names for a pool; errors name the pool.
pub(super) fn profile_of(role: Role, name: &str) -> Result<EngineProfile, CliError> {
    profile(name).map_err(|e| CliError {
        error: e.error.context(format!("profile of the {role} pool")),
        ..e
    })
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    path.extension().is_some_and(|e| known.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn files_below(directory: &Path) -> Result<ProfileFiles, CliError> {
    let mut files = Vec::new();
    for name in FILE_NAMES {
        let path = directory.join(name);
        if path.is_file() {
            files.push(ProfileFile { name: path.display().to_string(), bytes: read(&path)? });
        }
    }
    Ok(ProfileFiles { place: directory.display().to_string(), files, row: Vec::new() })
}

/// Opens a trace; errors name the file.
pub(super) fn trace(path: &Path) -> Result<Reader<BufReader<File>>, CliError> {
    Reader::new(BufReader::with_capacity(1 << 16, open(path)?))
        .map_err(|e| bad_trace(e, &path.display().to_string()))
}

/// A trace that cannot be used, by the name of its source.
pub(super) fn bad_trace(error: TraceError, origin: &str) -> CliError {
    // A line of JSON is parsed by itself, so that its parser calls each one line 1.
    let problem = format!("{:#}", anyhow!(error)).replace(" at line 1 column ", " at column ");
    CliError::bad_input(format!("{origin}: failed to {problem}"))
}

#[expect(clippy::disallowed_methods, reason = "the one reader of files on the command line")]
pub(super) fn open_raw(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

pub(super) fn open(path: &Path) -> Result<File, CliError> {
    open_raw(path)
        .with_context(|| format!("cannot open {}", path.display()))
        .map_err(|e| CliError::new(Exit::BadInput, e))
}

/// Reads a text file.
pub(super) fn text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read(path)?)
        .map_err(|_| CliError::bad_input(format!("{} is not UTF-8 text", path.display())))
}

/// The files of a directory with an extension, by name.
#[expect(clippy::disallowed_methods, reason = "the one reader of directories on the command line")]
pub(super) fn in_dir(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, CliError> {
    let entries = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot read {}", dir.display()))
        .map_err(|e| CliError::new(Exit::BadInput, e))?;
    let mut found: Vec<PathBuf> =
        entries.into_iter().filter(|path| has_extension(path, &[extension])).collect();
    found.sort();
    Ok(found)
}

/// Makes a directory where there is none.
#[expect(clippy::disallowed_methods, reason = "the one writer of files on the command line")]
pub(super) fn make_dir(dir: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the directory {}", dir.display()))
        .map_err(Into::into)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(|e| CliError::new(Exit::BadInput, e))?;
    if bytes.len() as u64 == FILE_LIMIT {
        return Err(CliError::bad_input(format!(
            "{} is larger than {} MiB: is it the right file?",
            path.display(),
            FILE_LIMIT >> 20
        )));
    }
    Ok(bytes)
}

/// Whether two names lead to one regular file, by whatever path or link.
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        // What is not there yet is no file that is read.
        (Ok(_) | Err(_), _) => false,
    }
}

/// A file that is read, and what it is to the user.
pub(super) type Input = (PathBuf, &'static str);

/// Refuses to write over what is read; `written` are files with their flags.
pub(super) fn spare(written: &[(&str, &Path)], read: &[Input]) -> Result<(), CliError> {
    for (path, what) in read {
        if let Some((flag, written)) = written.iter().find(|(_, file)| is_same(file, path)) {
            return Err(CliError::bad_input(format!(
                "{flag} {}: it is {what} {}, which would be written over",
                written.display(),
                path.display()
            ))
            .hint("name another file"));
        }
    }
    Ok(())
}

/// The files of a profile that is named: a file, or a directory with files of these names.
pub(super) fn tables(profile: &str) -> Vec<Input> {
    let below = FILE_NAMES.iter().map(|file| Path::new(profile).join(file));
    below.chain([PathBuf::from(profile)]).map(|path| (path, "of the profile")).collect()
}

/// Makes a file to be written bit by bit, empty where it was there.
#[expect(clippy::disallowed_methods, reason = "the one writer of files on the command line")]
pub(super) fn create(path: &Path) -> Result<File, CliError> {
    File::create(path)
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(|e| CliError::new(Exit::BadInput, e))
}

/// Writes a file, whole or not at all.
#[expect(clippy::disallowed_methods, reason = "the one writer of files on the command line")]
pub(super) fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let part = path.with_extension("part");
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(Into::into)
}
