//! What can be wrong with a performance table.

use thiserror::Error;

/// Why a performance table cannot be used. Each says where, what was found, what was expected and
/// how to mend it.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A role has no table at all.
    #[error(
        "{place} has no {role} table: looked for {looked_for}; run the profiler, or name a shipped \
         profile"
    )]
    Missing {
        /// Where was looked: the directory, ConfigMap or file.
        place: String,
        /// `prefill` or `decode`.
        role: &'static str,
        /// The file names looked for.
        looked_for: String,
    },
    /// A file is not what its name promises.
    #[error("{file} is not {expected}: {problem}; write it again with the profiler")]
    Malformed {
        /// The file.
        file: String,
        /// The form expected, with its article.
        expected: &'static str,
        /// What was met instead.
        problem: String,
    },
    /// A field is not there.
    #[error("{file} has no field {field}; a {role} table needs {needed}")]
    NoField {
        /// The file.
        file: String,
        /// The field missing.
        field: String,
        /// `prefill` or `decode`.
        role: &'static str,
        /// The fields of that role.
        needed: &'static str,
    },
    /// A field has a type or shape that cannot be read as numbers.
    #[error("{file}, field {field}: expected {expected}, found {found}")]
    Type {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// The type or shape expected.
        expected: &'static str,
        /// The type or shape found.
        found: String,
    },
    /// A field is empty.
    #[error("{file}, field {field}: no values; at least one measured point is needed")]
    Empty {
        /// The file.
        file: String,
        /// The field.
        field: String,
    },
    /// Two fields that describe the same points differ in length.
    #[error(
        "{file}: {field} has {len} values but {other} has {other_len}; each point needs one of each"
    )]
    Lengths {
        /// The file.
        file: String,
        /// A field.
        field: String,
        /// Its length.
        len: usize,
        /// The field that counts the points.
        other: String,
        /// Its length.
        other_len: usize,
    },
    /// A number is outside what the quantity can be.
    #[error(
        "{file}, field {field}[{index}]: found {found}, expected {expected}; mend or drop that point"
    )]
    Value {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// Position in the field, from 0.
        index: usize,
        /// The number found, as text so that `NaN` shows.
        found: String,
        /// The range expected, with its unit.
        expected: &'static str,
    },
    /// The file holds several sweeps and none was chosen, or the choice fits several.
    #[error("{file} holds {count} sweeps that fit; choose one by its keys: {rows}")]
    ManyRows {
        /// The file.
        file: String,
        /// How many fit.
        count: usize,
        /// The rows with their keys.
        rows: String,
    },
    /// The choice fits no sweep of the file.
    #[error("{file} has no sweep with {wanted}; it holds: {rows}")]
    NoRow {
        /// The file.
        file: String,
        /// The choice.
        wanted: String,
        /// The rows with their keys.
        rows: String,
    },
    /// The file has the columns of several sweeps, and not one sweep in them.
    #[error("{file} holds no sweep: its columns have 0 rows; write it again with the profiler")]
    NoSweep {
        /// The file.
        file: String,
    },
    /// A sweep was chosen, and there is no choice.
    #[error(
        "{place} holds one table for each role and no sweeps to choose {wanted} from; leave the choice out"
    )]
    NoChoice {
        /// The directory, ConfigMap or file.
        place: String,
        /// The choice.
        wanted: String,
    },
    /// No shipped profile has that name.
    #[error("no shipped profile is called {name:?}; {hint}")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// The points cannot carry the interpolation of Dynamo 0.9.0, which needs more of them.
    #[error("the interpolation of dynamo 0.9.0 needs {needed}, found {found}")]
    Degenerate {
        /// What it needs.
        needed: &'static str,
        /// What is there.
        found: String,
    },
}

impl ProfileError {
    /// Whether the choice of a sweep does not fit, in place of a table that is wrong.
    #[must_use]
    pub const fn is_of_choice(&self) -> bool {
        matches!(self, Self::ManyRows { .. } | Self::NoRow { .. } | Self::NoChoice { .. })
    }

    /// The text in two: what is wrong, and how to mend it, where it says so.
    #[must_use]
    pub fn found_and_mend(&self) -> (String, Option<String>) {
        let text = self.to_string();
        // A list of sweeps has the same mark between two of them, and their keys may have any.
        let list = match self {
            Self::ManyRows { rows, .. } | Self::NoRow { rows, .. } => rows.len(),
            Self::Missing { .. }
            | Self::Malformed { .. }
            | Self::NoField { .. }
            | Self::Type { .. }
            | Self::Empty { .. }
            | Self::Lengths { .. }
            | Self::Value { .. }
            | Self::NoSweep { .. }
            | Self::NoChoice { .. }
            | Self::UnknownName { .. }
            | Self::Degenerate { .. } => 0,
        };
        match text[..text.len() - list].rfind("; ") {
            Some(at) => (text[..at].to_owned(), Some(text[at + 2..].to_owned())),
            None => (text, None),
        }
    }

    /// A stable label for metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Malformed { .. } => "malformed",
            Self::NoField { .. } => "no_field",
            Self::Type { .. } => "type",
            Self::Empty { .. } => "empty",
            Self::Lengths { .. } => "lengths",
            Self::Value { .. } => "value",
            Self::ManyRows { .. } => "many_rows",
            Self::NoRow { .. } => "no_row",
            Self::NoSweep { .. } => "no_sweep",
            Self::NoChoice { .. } => "no_choice",
            Self::UnknownName { .. } => "unknown_name",
            Self::Degenerate { .. } => "degenerate",
        }
    }
}
