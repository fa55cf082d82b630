//! One named file as columns of numbers, whichever form it has.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::ProfileError;
use super::npz::{self, Array, Data};

/// The columns of a prefill table.
pub(super) const PREFILL: &[&str] = &["prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu"];
/// The columns of a decode table.
pub(super) const DECODE: &[&str] =
    &["x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens"];

/// The columns of one file.
#[derive(Debug)]
pub(super) struct Fields {
    /// The file, for messages.
    pub(super) file: String,
    columns: BTreeMap<String, Column>,
    /// Keys of the sweep chosen (`tp`, `model`), where the file has them.
    keys: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Column {
    Numbers(Vec<f64>),
    Wrong(String),
}

impl Fields {
    /// The numbers of a column, or `None` where the file has no such column.
    pub(super) fn numbers(&self, field: &str) -> Result<Option<&[f64]>, ProfileError> {
        match self.columns.get(field) {
            None => Ok(None),
            Some(Column::Numbers(v)) if v.is_empty() => {
                Err(ProfileError::Empty { file: self.file.clone(), field: field.to_owned() })
            }
            Some(Column::Numbers(v)) => Ok(Some(v)),
            Some(Column::Wrong(found)) => Err(ProfileError::Type {
                file: self.file.clone(),
                field: field.to_owned(),
                expected: "a list of numbers (f8, f4, i8 or i4 in an npz)",
                found: found.clone(),
            }),
        }
    }

    /// Whether the file has any of these columns.
    pub(super) fn has_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|f| self.columns.contains_key(*f))
    }

    /// Whether they are of one sweep of several, which has keys.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What the sweep says of itself under a key.
    pub(super) fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    /// From plain columns.
    pub(super) fn from_columns(file: &str, columns: &[(&str, Vec<f64>)]) -> Self {
        let columns =
            columns.iter().map(|(n, v)| ((*n).to_owned(), Column::Numbers(v.clone()))).collect();
        Self { file: file.to_owned(), columns, keys: BTreeMap::new() }
    }
}

/// A JSON file as an object.
pub(super) fn json_object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>, ProfileError> {
    let malformed = |problem: String| ProfileError::Malformed {
        file: file.to_owned(),
        expected: "a JSON object",
        problem,
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(malformed("it is empty".to_owned()));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(malformed(format!("it holds {}", kind(&other)))),
        Err(e) => Err(malformed(e.to_string())),
    }
}

/// The columns of a JSON object.
pub(super) fn from_json(file: &str, object: &Map<String, Value>) -> Fields {
    let columns = object
        .iter()
        .filter(|(name, _)| PREFILL.contains(&name.as_str()) || DECODE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), json_column(value)))
        .collect();
    Fields { file: file.to_owned(), columns, keys: BTreeMap::new() }
}

fn json_column(value: &Value) -> Column {
    let Value::Array(list) = value else {
        return match value.as_f64() {
            Some(x) => Column::Numbers(vec![x]),
            None => Column::Wrong(kind(value).to_owned()),
        };
    };
    let mut numbers = Vec::with_capacity(list.len());
    for (index, element) in list.iter().enumerate() {
        match element.as_f64() {
            Some(x) => numbers.push(x),
            None => return Column::Wrong(format!("{} at [{index}]", kind(element))),
        }
    }
    Column::Numbers(numbers)
}

/// What a JSON value is, for messages.
pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The columns of an npz file: one-dimensional, or one row of a sweep of several.
pub(super) fn from_npz(
    file: &str,
    bytes: &[u8],
    choice: &[(String, String)],
) -> Result<Fields, ProfileError> {
    let arrays = arrays_of(file, bytes)?;
    let rows = sweeps(file, &arrays)?;
    let (row, keys) = match rows {
        None => (0, BTreeMap::new()),
        Some(rows) => choose_row(file, &arrays, rows, choice)?,
    };
    let columns = arrays
        .iter()
        .filter(|(name, _)| is_data(name))
        .map(|(name, array)| (name.clone(), npz_column(array, rows, row)))
        .collect();
    Ok(Fields { file: file.to_owned(), columns, keys })
}

fn npz_column(array: &Array, rows: Option<usize>, row: usize) -> Column {
    let v = match &array.data {
        Data::Numbers(v) => v,
        Data::Text(_) => return Column::Wrong("an array of text".to_owned()),
        Data::Other(dtype) => return Column::Wrong(format!("an array of type {dtype}")),
    };
    match (array.shape.as_slice(), rows) {
        ([], _) => Column::Numbers(v.clone()),
        // One value a row (`max_kv_tokens`), without a second dimension.
        ([n], Some(rows)) if *n == rows => Column::Numbers(v[row..=row].to_vec()),
        ([_], _) => Column::Numbers(v.clone()),
        ([n, width], Some(_)) if row < *n => {
            Column::Numbers(v[row * width..(row + 1) * width].to_vec())
        }
        (shape, _) => Column::Wrong(format!("an array of shape {shape:?}")),
    }
}

/// The key columns of a file of several sweeps, each with its value in every row; the name first.
fn key_columns(arrays: &BTreeMap<String, Array>, rows: usize) -> Vec<(&str, Vec<String>)> {
    arrays
        .iter()
        .filter(|(name, _)| !PREFILL.contains(&name.as_str()) && !DECODE.contains(&name.as_str()))
        .filter_map(|(name, array)| match &array.data {
            Data::Numbers(v) if v.len() == rows => {
                Some((name.as_str(), v.iter().map(f64::to_string).collect()))
            }
            Data::Text(v) if v.len() == rows => Some((name.as_str(), v.clone())),
            Data::Numbers(_) | Data::Text(_) | Data::Other(_) => None,
        })
        .collect()
}

fn arrays_of(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Array>, ProfileError> {
    npz::read(bytes).map_err(|problem| ProfileError::Malformed {
        file: file.to_owned(),
        expected: "an npz archive",
        problem,
    })
}

/// How many sweeps an archive holds, at least one, where its columns have a second dimension.
fn sweeps(file: &str, arrays: &BTreeMap<String, Array>) -> Result<Option<usize>, ProfileError> {
    let of_several = arrays.iter().filter(|(name, array)| is_data(name) && array.shape.len() == 2);
    match of_several.map(|(_, array)| array.shape[0]).max() {
        Some(0) => Err(ProfileError::NoSweep { file: file.to_owned() }),
        rows => Ok(rows),
    }
}

fn is_data(name: &str) -> bool {
    PREFILL.contains(&name) || DECODE.contains(&name)
}

/// What chooses each sweep of an npz file: its keys and their values, those first left out that all
/// sweeps agree on. One sweep without keys where the file holds one.
pub(super) fn npz_rows(
    file: &str,
    bytes: &[u8],
) -> Result<Vec<Vec<(String, String)>>, ProfileError> {
    let arrays = arrays_of(file, bytes)?;
    let Some(rows) = sweeps(file, &arrays)? else { return Ok(vec![Vec::new()]) };
    let keys = key_columns(&arrays, rows);
    let differs = |values: &[String]| values.iter().any(|v| *v != values[0]);
    let row = |row: usize| {
        let keys = keys.iter().filter(|(_, values)| differs(values));
        keys.map(|(name, values)| ((*name).to_owned(), values[row].clone())).collect()
    };
    Ok((0..rows).map(row).collect())
}

/// The row whose key columns have the values chosen, and the keys of it.
fn choose_row(
    file: &str,
    arrays: &BTreeMap<String, Array>,
    rows: usize,
    choice: &[(String, String)],
) -> Result<(usize, BTreeMap<String, String>), ProfileError> {
    let keys = key_columns(arrays, rows);
    let fits = |row: usize| {
        choice.iter().all(|(key, wanted)| {
            keys.iter().any(|(name, values)| name == key && &values[row] == wanted)
        })
    };
    let fitting: Vec<usize> = (0..rows).filter(|&row| fits(row)).collect();
    let listed = |of: &[usize]| {
        // What all of them agree on does not help to choose, unless there is nothing else.
        let differs = |values: &[String]| of.iter().any(|&row| values[row] != values[of[0]]);
        let any = keys.iter().any(|(_, values)| differs(values));
        let name_row = |row: usize| {
            let cells: Vec<String> = keys
                .iter()
                .filter(|(_, values)| differs(values) || !any)
                .map(|(name, values)| format!("{name}={}", values[row]))
                .collect();
            let keys = if cells.is_empty() { "without keys".to_owned() } else { cells.join(" ") };
            format!("[{row}] {keys}")
        };
        // A file with thousands of rows would drown the message.
        let mut text: Vec<String> = of.iter().take(16).map(|&row| name_row(row)).collect();
        if of.len() > 16 {
            text.push(format!("and {} more", of.len() - 16));
        }
        text.join("; ")
    };
    match fitting.as_slice() {
        [row] => {
            let keys = keys.iter().map(|(name, v)| ((*name).to_owned(), v[*row].clone())).collect();
            Ok((*row, keys))
        }
        [] => Err(ProfileError::NoRow {
            file: file.to_owned(),
            wanted: words(choice),
            rows: listed(&(0..rows).collect::<Vec<_>>()),
        }),
        several => Err(ProfileError::ManyRows {
            file: file.to_owned(),
            count: several.len(),
            rows: listed(several),
        }),
    }
}

/// A choice as it is written.
pub(super) fn words(choice: &[(String, String)]) -> String {
    choice.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
}
