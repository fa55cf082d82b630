//! Files that an edge found, and which of them holds what.

use super::engine::Meta;
use super::error::ProfileError;
use super::fields::{DECODE, Fields, PREFILL, from_json, from_npz, json_object, npz_rows, words};
use super::finding::Table;

const PREFILL_NAMES: [&str; 3] =
    ["selected_prefill_interpolation/raw_data.npz", "prefill.npz", "prefill_raw_data.json"];
const DECODE_NAMES: [&str; 3] =
    ["selected_decode_interpolation/raw_data.npz", "decode.npz", "decode_raw_data.json"];
const META_NAME: &str = "meta.json";

/// The files an edge should look for below a directory or in a ConfigMap. None is required by
/// itself; a role needs one of its own. Where a role has both forms the npz is read, as Dynamo does.
pub const FILE_NAMES: [&str; 7] = [
    PREFILL_NAMES[0],
    PREFILL_NAMES[1],
    PREFILL_NAMES[2],
    DECODE_NAMES[0],
    DECODE_NAMES[1],
    DECODE_NAMES[2],
    META_NAME,
];

/// One file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileFile {
    /// Its name, as found; any leading directories are kept for messages.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What was found at one place: any of [`FILE_NAMES`], or one JSON file of any name that holds both
/// tables (side by side, or below `prefill` and `decode`) and perhaps `model` and `gpus_per_engine`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileFiles {
    /// The directory, ConfigMap or file, for messages.
    pub place: String,
    /// The files found there, in any order.
    pub files: Vec<ProfileFile>,
    /// Which sweep to take from an npz that holds several: key columns and the values they must
    /// have, such as `("tp", "4")`. Empty takes the only one. Refused where no file holds sweeps.
    pub row: Vec<(String, String)>,
}

impl ProfileFiles {
    fn named(&self, name: &str) -> Option<&ProfileFile> {
        let plain = |f: &ProfileFile| f.name.replace('\\', "/");
        self.files
            .iter()
            .find(|f| plain(f) == name)
            .or_else(|| self.files.iter().find(|f| plain(f).ends_with(&format!("/{name}"))))
    }

    fn first(&self, names: [&str; 3]) -> Option<&ProfileFile> {
        names.into_iter().find_map(|name| self.named(name))
    }

    /// The name of the file that a table is read from.
    #[must_use]
    pub fn table(&self, table: Table) -> Option<&str> {
        let found = self.first(match table {
            Table::Prefill => PREFILL_NAMES,
            Table::Decode => DECODE_NAMES,
        });
        found.or_else(|| self.files.first()).map(|f| f.name.as_str())
    }

    /// The choices of [`ProfileFiles::row`] that there are: one for each sweep of the prefill table, by
    /// its keys; one without keys where it holds a single sweep, as JSON does.
    ///
    /// # Errors
    ///
    /// An npz that cannot be read.
    pub fn rows(&self) -> Result<Vec<Vec<(String, String)>>, ProfileError> {
        match self.first(PREFILL_NAMES) {
            Some(file) if file.name.ends_with(".npz") => npz_rows(&file.name, &file.bytes),
            Some(_) | None => Ok(vec![Vec::new()]),
        }
    }
}

/// The columns of both roles.
pub(super) struct Read {
    pub(super) prefill: Fields,
    pub(super) decode: Fields,
    pub(super) meta: Meta,
}

pub(super) fn read(files: &ProfileFiles) -> Result<Read, ProfileError> {
    let read = read_files(files)?;
    // A choice that chose nothing was made for other files than these.
    let chosen = [&read.prefill, &read.decode].into_iter().any(Fields::has_keys);
    if files.row.is_empty() || chosen {
        return Ok(read);
    }
    Err(ProfileError::NoChoice { place: files.place.clone(), wanted: words(&files.row) })
}

fn read_files(files: &ProfileFiles) -> Result<Read, ProfileError> {
    let named = |name: &str| files.named(name);
    let (prefill, decode) = (files.first(PREFILL_NAMES), files.first(DECODE_NAMES));
    if let ([one], None, None) = (files.files.as_slice(), prefill, decode)
        && named(META_NAME).is_none()
    {
        return read_combined(one);
    }
    let missing = |role: &'static str, names: [&str; 3]| ProfileError::Missing {
        place: files.place.clone(),
        role,
        looked_for: names.join(", "),
    };
    let prefill = prefill.ok_or_else(|| missing("prefill", PREFILL_NAMES))?;
    let decode = decode.ok_or_else(|| missing("decode", DECODE_NAMES))?;
    let meta = match named(META_NAME) {
        None => Meta::default(),
        Some(file) => Meta::from_object(&file.name, &json_object(&file.name, &file.bytes)?)?,
    };
    let (prefill, decode) = (read_one(prefill, &files.row)?, read_one(decode, &files.row)?);
    let meta = meta.or_keys_of(&prefill);
    Ok(Read { prefill, decode, meta })
}

fn read_one(file: &ProfileFile, row: &[(String, String)]) -> Result<Fields, ProfileError> {
    if file.name.ends_with(".npz") {
        from_npz(&file.name, &file.bytes, row)
    } else {
        Ok(from_json(&file.name, &json_object(&file.name, &file.bytes)?))
    }
}

fn read_combined(file: &ProfileFile) -> Result<Read, ProfileError> {
    let object = json_object(&file.name, &file.bytes)?;
    let part = |name: &str| {
        object.get(name).and_then(|v| v.as_object()).map_or_else(
            || from_json(&file.name, &object),
            |inner| from_json(&format!("{} ({name})", file.name), inner),
        )
    };
    let (prefill, decode) = (part("prefill"), part("decode"));
    for (role, fields, names) in [("prefill", &prefill, PREFILL), ("decode", &decode, DECODE)] {
        if !fields.has_any(names) {
            return Err(ProfileError::Missing {
                place: file.name.clone(),
                role,
                looked_for: format!("the fields {}", names.join(", ")),
            });
        }
    }
    Ok(Read { prefill, decode, meta: Meta::from_object(&file.name, &object)? })
}
