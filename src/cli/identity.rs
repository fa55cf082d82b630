//! What a run was made from, as a number: the flags, the content of files, the build.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::exit::{CliError, Exit};
use super::files;
use super::fleet::Fleet;
use super::traces::TraceArgs;
use crate::profile::FILE_NAMES;

/// FNV-1a: the same on every machine and in every version of Rust.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hash = Self::new();
        hash.add(bytes);
        hash
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), CliError> {
        let bad = |e: std::io::Error| {
            let error = anyhow::Error::new(e).context(format!("cannot read {}", path.display()));
            CliError::new(Exit::BadInput, error)
        };
        let mut file = files::open_raw(path).map_err(bad)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(bad)? {
                0 => return Ok(()),
                n => self.add(&buffer[..n]),
            }
        }
    }
}

impl fmt::Display for Fnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// All that makes the runs of a scenario comparable but start-up time and seed, wherever its files
/// are.
pub(super) fn scenario(trace: &TraceArgs, fleet: &Fleet) -> Result<String, CliError> {
    let (mut trace, mut fleet) = (trace.clone(), fleet.clone());
    fleet.seed = 0;
    // Times that differ by pool are no single one: those of a file are told from one that is given.
    fleet.startup = fleet.startup.filter(|_| fleet.promise.sla.is_some()).map(|_| Duration::ZERO);
    for text in trace.named_mut() {
        *text = content(text)?;
    }
    let mut profiles = Vec::new();
    if let Some(path) = &fleet.promise.sla {
        for pool in files::config(path)?.pools.values() {
            profiles.push(pool.profile.as_deref().map(content).transpose()?);
        }
        fleet.promise.sla = Some(PathBuf::from(content(&path.display().to_string())?));
    }
    fleet.promise.profile = fleet.promise.profile.as_deref().map(content).transpose()?;
    Ok(Fnv::of(format!("{trace:?} {fleet:?} {profiles:?}").as_bytes()).to_string())
}

/// What stands for the content of a file, or of the profile in a directory; a name that is no path
/// stands for itself.
fn content(name: &str) -> Result<String, CliError> {
    let path = Path::new(name);
    let mut hash = Fnv::new();
    if path.is_dir() {
        for file in FILE_NAMES.iter().copied().chain(["prefill_dense.json", "decode_dense.json"]) {
            if path.join(file).is_file() {
                hash.add(file.as_bytes());
                hash.add_file(&path.join(file))?;
            }
        }
    } else if path.is_file() {
        hash.add_file(path)?;
    } else {
        return Ok(name.to_owned());
    }
    Ok(format!("#{hash}"))
}

/// Which build of the planner this is: what another build kept is not taken.
pub(super) fn build() -> Result<String, CliError> {
    let about =
        std::env::current_exe().and_then(std::fs::metadata).context("look at the binary")?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("{version} {} {:?}", about.len(), about.modified().ok()))
}
