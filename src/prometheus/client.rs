//! The query client.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{StatusCode, Url, header, redirect};

use super::decode::{Series, decode_matrix, excerpt};
use super::{Answer, DecodeError, PrometheusError, decode_answer};
use crate::units::Timestamp;

/// The longest answer that is read. One of ours has 22 short rows (3 kB); a megabyte leaves room for
/// the long label values and warnings of others and bounds what a wrong address can make us hold.
const ANSWER_LIMIT: usize = 1 << 20;

/// Where Prometheus is and how it is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Base address, with the path prefix if any (`http://prometheus:9090`). User and password in
    /// it are sent as basic authentication.
    pub url: String,
    /// Sent as it is. Ignored where there is a token file.
    pub bearer_token: Option<String>,
    /// Read anew for every request, because mounted tokens rotate.
    pub token_file: Option<PathBuf>,
    /// PEM certificates to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Added to the address of every request (`tenant`, `dedup`).
    pub extra_query_params: Vec<(String, String)>,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: "http://prometheus-kube-prometheus-prometheus.monitoring.svc.cluster.local:9090"
                .to_owned(),
            bearer_token: None,
            token_file: None,
            ca_file: None,
            extra_query_params: Vec::new(),
            // Well under a tick, and longer than any healthy Prometheus takes.
            timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Endpoint {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, bearer_token, token_file, ca_file, extra_query_params, timeout } = self;
        let names: Vec<&str> = extra_query_params.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Endpoint")
            .field("url", &Url::parse(url).map_or_else(|_| "?".to_owned(), shown))
            .field("bearer_token", &bearer_token.as_ref().map(|_| "…"))
            .field("token_file", token_file)
            .field("ca_file", ca_file)
            .field("extra_query_params", &names)
            .field("timeout", timeout)
            .finish()
    }
}

/// Asks one Prometheus.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    /// Of `/api/v1/query`, with the extra parameters.
    query_url: Url,
    /// Of `/api/v1/query_range`, the same.
    range_url: Url,
    /// The base address without secrets, for messages.
    shown: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for `endpoint`. Reads the CA file; does not connect yet.
    ///
    /// A rustls provider must be installed before.
    pub async fn new(endpoint: Endpoint) -> Result<Self, PrometheusError> {
        let base = base_url(&endpoint.url)?;
        let shown = shown(base.clone());
        let client_error =
            |source: reqwest::Error| PrometheusError::Client { url: shown.clone(), source };

        let mut builder = reqwest::Client::builder()
            .timeout(endpoint.timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("sla-planner/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &endpoint.ca_file {
            let pem = read_file("CA", path, endpoint.timeout).await?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(client_error)?;
            if certificates.is_empty() {
                let source = io::Error::new(io::ErrorKind::InvalidData, "no PEM certificate in it");
                return Err(PrometheusError::File { what: "CA", path: path.clone(), source });
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(client_error)?;

        let of = |name: &str| {
            let mut url = base.clone();
            let path = format!("{}/api/v1/{name}", url.path().trim_end_matches('/'));
            url.set_path(&path);
            if !endpoint.extra_query_params.is_empty() {
                url.query_pairs_mut().extend_pairs(&endpoint.extra_query_params);
            }
            url
        };
        let (query_url, range_url) = (of("query"), of("query_range"));
        Ok(Self { http, endpoint, query_url, range_url, shown })
    }

    /// The address, without secrets.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// Evaluates `query` at the present time of Prometheus.
    pub async fn query(&self, query: &str) -> Result<Answer, PrometheusError> {
        self.ask(&self.query_url, &[("query", query)], decode_answer).await
    }

    /// Evaluates `query` from one time to another (both included), `step` apart. Prometheus answers
    /// at most 11,000 points.
    pub async fn query_range(
        &self,
        query: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Vec<Series>, PrometheusError> {
        let seconds = |t: Timestamp| (t.as_millis() as f64 / 1e3).to_string();
        let (from, to, step) = (seconds(from), seconds(to), step.as_secs_f64().to_string());
        let form = [("query", query), ("start", &from), ("end", &to), ("step", &step)];
        self.ask(&self.range_url, &form, decode_matrix).await
    }

    async fn ask<T>(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        decode: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, PrometheusError> {
        let mut request = self.http.post(url.clone()).form(form);
        if let Some(token) = self.token().await? {
            request = request.bearer_auth(token);
        }
        let mut response = request.send().await.map_err(|err| self.transport(err))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(PrometheusError::Denied {
                url: self.shown.clone(),
                status: status.as_u16(),
            });
        }
        let location = response.headers().get(header::LOCATION).cloned();
        let body = self.body(&mut response).await?;
        match decode(&body) {
            Ok(answer) if status.is_success() => Ok(answer),
            // Errors of the query itself come with 400, 422 or 503 and say so in their body.
            Err(source @ DecodeError::Query { .. }) => {
                Err(PrometheusError::Answer { url: self.shown.clone(), source })
            }
            Err(source) if status.is_success() => {
                Err(PrometheusError::Answer { url: self.shown.clone(), source })
            }
            Ok(_) | Err(_) => Err(PrometheusError::Status {
                url: self.shown.clone(),
                status: status.as_u16(),
                excerpt: location
                    .map_or_else(|| excerpt(&body), |to| format!("to {}", excerpt(to.as_bytes()))),
            }),
        }
    }

    async fn token(&self) -> Result<Option<String>, PrometheusError> {
        let Some(path) = &self.endpoint.token_file else {
            return Ok(self.endpoint.bearer_token.clone());
        };
        let bytes = read_file("token", path, self.endpoint.timeout).await?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    async fn body(&self, response: &mut reqwest::Response) -> Result<Vec<u8>, PrometheusError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|err| self.transport(err))? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(PrometheusError::TooLarge {
                    url: self.shown.clone(),
                    limit: ANSWER_LIMIT,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, err: reqwest::Error) -> PrometheusError {
        let url = self.shown.clone();
        if err.is_timeout() {
            PrometheusError::Timeout { url, after: self.endpoint.timeout }
        } else {
            // The message would name the address again, with its secrets.
            PrometheusError::Unreachable { url, source: err.without_url() }
        }
    }
}

/// Reads a file whose mount may hang.
async fn read_file(
    what: &'static str,
    path: &Path,
    within: Duration,
) -> Result<Vec<u8>, PrometheusError> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "reading it takes too long");
    tokio::time::timeout(within, tokio::fs::read(path))
        .await
        .map_err(late)
        .flatten()
        .map_err(|source| PrometheusError::File { what, path: path.to_owned(), source })
}

fn base_url(url: &str) -> Result<Url, PrometheusError> {
    // What is before an @ may be a password.
    let told = url.rsplit('@').next().unwrap_or(url);
    let address = |source| PrometheusError::Address { url: told.to_owned(), source };
    let base = Url::parse(url).map_err(|err| address(err.into()))?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(address("expected http:// or https://".into()));
    }
    Ok(base)
}

/// The address without user, password and parameters.
fn shown(mut url: Url) -> String {
    url.set_query(None);
    let cleaned = url.set_username("").and_then(|()| url.set_password(None));
    if cleaned.is_err() {
        // Only addresses without a host refuse this, and those have no user to hide.
        return url.scheme().to_owned();
    }
    url.to_string().trim_end_matches('/').to_owned()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
