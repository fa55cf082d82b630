//! How a command ends: the exit codes, and errors that carry one.

use std::fmt;
use std::process::ExitCode;

/// Every exit code with its name and meaning, for the documentation.
pub const CODES: [(u8, &str, &str); 9] = [
    (0, "ok", "The command did what it was asked, or ended on SIGTERM or SIGINT as it should."),
    (1, "failed", "Something failed that no other code names, such as a full disk."),
    (
        2,
        "bad_input",
        "The command line, configuration, profile, trace or record cannot be used, and nothing was \
         written; or a line that `decide` was sent cannot be read; or `replay` can make none of the \
         decisions of a record again.",
    ),
    (
        3,
        "not_kept",
        "`predict --check`: no allowed number of replicas keeps the promise under this load.",
    ),
    (
        4,
        "unreachable",
        "Prometheus or the API server did not answer where the command cannot do without it.",
    ),
    (5, "forbidden", "The API server or Prometheus refused: a right or a token is missing."),
    (
        6,
        "differs",
        "`replay`: a recorded decision, or the memory at a checkpoint, is not what this program makes \
         of the same input.",
    ),
    (7, "faulty", "`profile lint`: a profile has an error, or cannot be read."),
    (
        8,
        "incomplete",
        "`replay`, `why`: a line of the record cannot be read, or, for `replay`, decisions of it are \
         missing or cannot be made again (no checkpoint before them). The rest was looked at, its \
         result printed, and no difference found. A last line that is torn is no such line.",
    ),
];

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// See [`CODES`].
    Failed,
    /// See [`CODES`].
    BadInput,
    /// See [`CODES`].
    NotKept,
    /// See [`CODES`].
    Unreachable,
    /// See [`CODES`].
    Forbidden,
    /// See [`CODES`].
    Differs,
    /// See [`CODES`].
    Faulty,
    /// See [`CODES`].
    Incomplete,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::NotKept => 3,
            Self::Unreachable => 4,
            Self::Forbidden => 5,
            Self::Differs => 6,
            Self::Faulty => 7,
            Self::Incomplete => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error with the code that the process ends with.
#[derive(Debug)]
pub struct CliError {
    /// The code.
    pub exit: Exit,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// What to do about it; empty where the error says so itself.
    pub hint: String,
}

impl CliError {
    /// An error of this kind.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: String::new() }
    }

    /// Input that cannot be used, in plain words.
    pub fn bad_input(message: impl fmt::Display) -> Self {
        Self::new(Exit::BadInput, anyhow::anyhow!("{message}"))
    }

    /// The same with a line on how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Many errors of others name their own cause: it is said once.
            if !said.contains(&cause) {
                write!(f, ": {cause}")?;
                said.push_str(&cause);
            }
        }
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_the_error_names_itself_is_said_once() {
        let error = anyhow::anyhow!("No such file (os error 2)")
            .context("cannot read `k`: No such file (os error 2)")
            .context("cannot log in");
        assert_eq!(
            CliError::new(Exit::BadInput, error).hint("look").to_string(),
            "error: cannot log in: cannot read `k`: No such file (os error 2)\nhint: look"
        );
    }

    #[test]
    fn every_kind_of_failure_is_documented() {
        for exit in [
            Exit::Failed,
            Exit::BadInput,
            Exit::NotKept,
            Exit::Unreachable,
            Exit::Forbidden,
            Exit::Differs,
            Exit::Faulty,
            Exit::Incomplete,
        ] {
            assert!(CODES.iter().any(|(code, _, _)| *code == exit.code()), "{exit:?}");
        }
    }
}
