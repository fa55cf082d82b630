//! What can go wrong between here and Prometheus.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::DecodeError;

/// Why a question was not answered. Every text fits after "failed to".
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrometheusError {
    /// The address is no address.
    #[error("use {url:?} as the address of Prometheus")]
    Address {
        /// As configured.
        url: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A token or CA file could not be read.
    #[error("read the {what} file {}", path.display())]
    File {
        /// "token" or "CA".
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTP client could not be made: the CA file holds no certificate, or no TLS provider is
    /// installed.
    #[error("set up the HTTP client for {url}")]
    Client {
        /// The address.
        url: String,
        /// What the client said.
        source: reqwest::Error,
    },
    /// No connection, or it broke.
    #[error("reach Prometheus at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("get an answer from Prometheus at {url} within {after:?}")]
    Timeout {
        /// Where.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// 401 or 403.
    #[error("be let in by Prometheus at {url}: it answered {status}")]
    Denied {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Any other HTTP status that is no answer of Prometheus.
    #[error("query Prometheus at {url}: it answered {status} ({excerpt})")]
    Status {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the body, or where a redirect points to.
        excerpt: String,
    },
    /// More bytes than an answer to our questions can have.
    #[error("read the answer of Prometheus at {url}: it is longer than {limit} bytes")]
    TooLarge {
        /// Where.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is an error, or no answer to the question.
    #[error("use the answer of Prometheus at {url}")]
    Answer {
        /// Where.
        url: String,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl PrometheusError {
    /// A stable name, for a metric label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::File { .. } => "file",
            Self::Client { .. } => "client",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Denied { .. } => "denied",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "too_large",
            Self::Answer { source: DecodeError::Query { .. }, .. } => "query",
            Self::Answer { .. } => "bad_answer",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => "write it as http://host:port, with the path prefix if any",
            Self::File { .. } => "check that the secret is mounted and readable",
            Self::Client { .. } => "check that the CA file holds PEM certificates",
            Self::Unreachable { .. } => {
                "check the address, the CA file and that a network policy lets this pod through"
            }
            Self::Timeout { .. } => "raise the timeout, or look at the load of Prometheus",
            Self::Denied { .. } => "check the bearer token (or token file) and what it may read",
            Self::Status { status: 300..400, .. } => {
                "give the address that it redirects to: redirects are not followed"
            }
            Self::Status { status: 404, .. } => {
                "check the path prefix: /api/v1/query is asked below the address"
            }
            Self::Status { .. } => "look at the log of Prometheus, or of the proxy before it",
            Self::TooLarge { .. } => "check that the address is that of Prometheus",
            Self::Answer { source: DecodeError::Query { .. }, .. } => {
                "run the query by hand; Prometheus 2.29 or newer is needed"
            }
            Self::Answer { .. } => {
                "check that the address is that of a Prometheus API, not of a page before it"
            }
        }
    }

    /// The text with what caused it, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(err) = cause {
            text.push_str(": ");
            text.push_str(&err.to_string());
            cause = err.source();
        }
        text
    }
}
