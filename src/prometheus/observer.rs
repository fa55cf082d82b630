//! One observation of the traffic: ask, decode, remember what stood still.

use crate::observe::{Missing, Traffic};
use crate::units::Timestamp;

use super::{
    Client, Preflight, Progress, PrometheusError, Question, Rules, Selector, decode_traffic,
    union_query,
};

/// What one tick saw.
#[derive(Debug)]
pub struct Sighting {
    /// The traffic; all missing where the source is down.
    pub traffic: Traffic,
    /// What the source remarked, for the log.
    pub warnings: Vec<String>,
    /// Why the source did not answer, where it did not.
    pub error: Option<PrometheusError>,
}

/// Observes the traffic of one deployment.
#[derive(Debug)]
pub struct Observer {
    client: Client,
    selector: Selector,
    question: Question,
    rules: Rules,
    query: String,
    progress: Option<Progress>,
}

impl Observer {
    /// An observer of `selector`, by way of `client`.
    #[must_use]
    pub fn new(client: Client, selector: Selector, question: Question, rules: Rules) -> Self {
        let query = union_query(&selector, &question);
        Self { client, selector, question, rules, query, progress: None }
    }

    /// The one query of a tick.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Whether the source answers and has the series that will be asked for.
    pub async fn preflight(&self) -> Result<Preflight, PrometheusError> {
        Preflight::run(&self.client, &self.selector, &self.question).await
    }

    /// Asks for the traffic of the window that ends now. One request, bounded by the timeout of the
    /// endpoint; never fails, because a source that is down is an observation too.
    pub async fn observe(&mut self, now: Timestamp) -> Sighting {
        match self.client.query(&self.query).await {
            Ok(answer) => {
                let (traffic, progress) = decode_traffic(
                    now,
                    &answer,
                    &self.question,
                    &self.rules,
                    self.progress.as_ref(),
                );
                self.progress = progress;
                Sighting { traffic, warnings: answer.warnings, error: None }
            }
            Err(error) => {
                let why = Missing::SourceDown { detail: error.chain() };
                let Question { window, percentile } = self.question;
                Sighting {
                    traffic: Traffic::all_missing(window, percentile, &why),
                    warnings: Vec::new(),
                    error: Some(error),
                }
            }
        }
    }
}
