//! A look before the first tick: does the source answer, and does it have what will be asked for?

use std::fmt;

use super::query::{PART_LABEL, Part, Question, Selector, part_query};
use super::{Answer, Client, PrometheusError};

/// How many other deployments are named in a hint. Enough to see a misspelling; a cluster has many.
const NEIGHBOURS: usize = 10;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Preflight {
    /// The families, in the order of need.
    pub series: Vec<SeriesCheck>,
    /// Samples in the window of the best series; `None` where there is none.
    pub samples: Option<f64>,
    /// `dynamo_namespace` and `model` of frontends that the source knows, at most ten: what could
    /// have been meant where nothing was found.
    pub neighbours: Vec<(String, String)>,
    /// What the source warns of.
    pub warnings: Vec<String>,
}

/// One family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesCheck {
    /// What it is good for.
    pub part: Part,
    /// The series has a sample now.
    pub found: bool,
}

/// What a planner lives from, in the order of need.
const NEEDED: [Part; 7] = [
    Part::Arrivals,
    Part::IslCount,
    Part::OslCount,
    Part::TtftCount,
    Part::ItlCount,
    Part::Inflight,
    Part::KvUsage,
];

/// What a part needs to mean anything: arrivals are read from a request counter.
const fn counted_by(part: Part) -> Part {
    if matches!(part, Part::Arrivals) { Part::Samples } else { part }
}

impl Preflight {
    /// Asks twice: for the deployment's own series, and for the names of all deployments.
    pub async fn run(
        client: &Client,
        selector: &Selector,
        question: &Question,
    ) -> Result<Self, PrometheusError> {
        let own = client.query(&super::union_query(selector, question)).await?;
        let all = client.query(&neighbours_query()).await?;
        Ok(Self::read(&own, &all))
    }

    fn read(own: &Answer, all: &Answer) -> Self {
        let row = |part: Part| {
            own.samples
                .iter()
                .find(|s| s.labels.get(PART_LABEL).is_some_and(|name| name == part.as_str()))
        };
        let label = |labels: &std::collections::BTreeMap<String, String>, name: &str| {
            labels.get(name).cloned().unwrap_or_default()
        };
        let mut neighbours: Vec<_> = all
            .samples
            .iter()
            .map(|s| (label(&s.labels, "dynamo_namespace"), label(&s.labels, "model")))
            .collect();
        neighbours.sort();
        neighbours.truncate(NEIGHBOURS);
        let mut warnings = own.warnings.clone();
        warnings.extend(all.warnings.iter().cloned());
        Self {
            series: NEEDED
                .map(|part| SeriesCheck { part, found: row(counted_by(part)).is_some() })
                .to_vec(),
            samples: row(Part::Samples).map(|s| s.value),
            neighbours,
            warnings,
        }
    }

    /// Whether a planner can work with what there is: arrivals, and lengths or latencies of them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.series.iter().all(|check| check.found)
    }
}

impl fmt::Display for Preflight {
    /// One line a finding, what to do included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { series, samples, neighbours, warnings } = self;
        for SeriesCheck { part, found } in series {
            writeln!(f, "{:<9} {}", if *found { "found" } else { "missing" }, part.as_str())?;
        }
        match samples {
            Some(n) if *n < 4.0 => writeln!(
                f,
                "the window holds {n} samples: make it four scrape intervals or longer"
            )?,
            Some(n) => writeln!(f, "the window holds {n} samples")?,
            None => writeln!(f, "no request has been counted yet, or the labels do not match")?,
        }
        if !self.is_complete() {
            if neighbours.is_empty() {
                writeln!(
                    f,
                    "no frontend at all is scraped with the label dynamo_namespace: \
                     install Dynamo's PodMonitors"
                )?;
            }
            for (namespace, model) in neighbours {
                writeln!(f, "known     dynamo_namespace={namespace:?} model={model:?}")?;
            }
        }
        for warning in warnings {
            writeln!(f, "warning   {warning}")?;
        }
        Ok(())
    }
}

fn neighbours_query() -> String {
    format!(
        "topk({NEIGHBOURS}, count by (dynamo_namespace, model) \
         (dynamo_frontend_inflight_requests{{dynamo_namespace!=\"\"}}))"
    )
}

/// The questions of a preflight and of every tick, for people who want to ask them by hand.
#[must_use]
pub fn explain_queries(selector: &Selector, question: &Question) -> Vec<(Part, String)> {
    Part::ALL.into_iter().map(|part| (part, part_query(part, selector, question))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::decode_answer;

    fn answer(rows: &str) -> Answer {
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#);
        decode_answer(body.as_bytes()).unwrap()
    }

    #[test]
    fn a_misspelt_namespace_is_answered_with_those_there_are() {
        let all = answer(
            r#"{"metric":{"dynamo_namespace":"prod-b","model":"m"},"value":[1,"1"]},
               {"metric":{"dynamo_namespace":"prod-a","model":"m"},"value":[1,"1"]}"#,
        );
        let found = Preflight::read(&Answer::default(), &all);
        assert!(!found.is_complete());
        insta::assert_snapshot!(found);
    }

    #[test]
    fn a_window_of_two_samples_is_too_short() {
        let own = answer(
            r#"{"metric":{"part":"samples"},"value":[1,"2"]},
               {"metric":{"part":"arrivals"},"value":[1,"0.5"]}"#,
        );
        insta::assert_snapshot!(Preflight::read(&own, &Answer::default()));
    }
}
