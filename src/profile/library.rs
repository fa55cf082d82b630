//! Profiles shipped inside the binary, by name. Sources and licence: `profiles/README.md`.

use super::engine::EngineProfile;
use super::error::ProfileError;
use super::source::{ProfileFile, ProfileFiles};

/// The profile taken where none is named: the only one measured end to end on real GPUs.
pub const DEFAULT: &str = "measured_llama-3.1-8b-fp8_h200_vllm_tp1";

struct Shipped {
    name: &'static str,
    prefill: &'static str,
    decode: &'static str,
    meta: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$(Shipped {
            name: $name,
            prefill: include_str!(concat!("../../profiles/", $name, "/prefill_raw_data.json")),
            decode: include_str!(concat!("../../profiles/", $name, "/decode_raw_data.json")),
            meta: include_str!(concat!("../../profiles/", $name, "/meta.json")),
        }),*]
    };
}

static SHIPPED: [Shipped; 4] = shipped![
    "aic_llama-3.1-70b-fp8_h200_trtllm_tp4",
    "aic_llama-3.1-8b_h100_vllm_tp1",
    "aic_qwen3-32b_h200_vllm_tp2",
    "measured_llama-3.1-8b-fp8_h200_vllm_tp1",
];

/// The names of the shipped profiles, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|s| s.name)
}

/// The shipped profile of that name.
///
/// # Errors
///
/// [`ProfileError::UnknownName`] with the nearest name where there is none like it.
pub fn get(name: &str) -> Result<EngineProfile, ProfileError> {
    EngineProfile::from_files(&files(name)?)
}

/// The files of a shipped profile, to write them out or to read them another way.
///
/// # Errors
///
/// As [`get`].
pub fn files(name: &str) -> Result<ProfileFiles, ProfileError> {
    let Some(found) = SHIPPED.iter().find(|s| s.name == name) else {
        return Err(ProfileError::UnknownName { name: name.to_owned(), hint: hint(name) });
    };
    let file = |file: &str, text: &str| ProfileFile {
        name: format!("{name}/{file}"),
        bytes: text.as_bytes().to_vec(),
    };
    Ok(ProfileFiles {
        place: format!("shipped profile {name}"),
        files: vec![
            file("prefill_raw_data.json", found.prefill),
            file("decode_raw_data.json", found.decode),
            file("meta.json", found.meta),
        ],
        row: Vec::new(),
    })
}

fn hint(name: &str) -> String {
    let nearest = names()
        .map(|n| (strsim::jaro_winkler(&name.to_lowercase(), n), n))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        // Below this likeness a suggestion puzzles more than it helps.
        Some((likeness, nearest)) if likeness > 0.7 => format!("did you mean {nearest:?}?"),
        _ => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    }
}
