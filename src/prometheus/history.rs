//! What a Prometheus remembers of the load, step by step.

use std::time::Duration;

use super::query::{PART_LABEL, Part, Question, Selector, union_of};
use super::{Client, PrometheusError, Series};
use crate::observe::TrafficStep;
use crate::units::{PerSecond, Percentile, Timestamp, Tokens};

/// Points of one answer: Prometheus refuses more than 11,000.
const PAGE: u32 = 10_000;

/// The figures that make a load.
const PARTS: [Part; 3] = [Part::Arrivals, Part::IslMean, Part::OslMean];

/// Asks for the load from `from` to `to` in steps of `step`, oldest first. A step that nobody counted
/// has no rate; one in which nobody came has a rate of 0.
///
/// # Errors
///
/// As [`Client::query_range`].
pub async fn history(
    client: &Client,
    selector: &Selector,
    from: Timestamp,
    to: Timestamp,
    step: Duration,
) -> Result<Vec<TrafficStep>, PrometheusError> {
    let query = query(selector, step);
    let mut steps = Vec::new();
    // A rate is of the window before its moment.
    let mut end = from.plus(step);
    while end <= to {
        let last = end.plus(step * (PAGE - 1)).min(to);
        let answer = client.query_range(&query, end, last, step).await?;
        let count =
            u32::try_from(last.since(end).as_millis() / step.as_millis().max(1)).unwrap_or(PAGE);
        steps.extend(decode_history(&answer, end, count + 1, step));
        end = end.plus(step * (count + 1));
    }
    Ok(steps)
}

/// One query for all figures, told apart by a label.
fn query(selector: &Selector, step: Duration) -> String {
    let question = Question { window: step, percentile: Percentile::default() };
    union_of(&PARTS, selector, &question)
}

/// The steps that an answer tells, `count` of them, of which the first ends at `end`.
#[must_use]
pub fn decode_history(
    answer: &[Series],
    end: Timestamp,
    count: u32,
    step: Duration,
) -> Vec<TrafficStep> {
    let value = |part: Part, at: Timestamp| {
        let series = answer
            .iter()
            .find(|s| s.labels.get(PART_LABEL).is_some_and(|name| name == part.as_str()))?;
        let seconds = at.as_millis() as f64 / 1e3;
        let place = series.points.partition_point(|(t, _)| *t < seconds - 1e-3);
        let (found, value) = *series.points.get(place)?;
        ((found - seconds).abs() < 1e-3).then_some(value)
    };
    (0..count)
        .map(|i| {
            let at = end.plus(step * i);
            TrafficStep {
                start: at.minus(step),
                length: step,
                arrivals: value(Part::Arrivals, at).and_then(PerSecond::new),
                isl: value(Part::IslMean, at).and_then(Tokens::new),
                osl: value(Part::OslMean, at).and_then(Tokens::new),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::decode_matrix;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn gaps_are_unknown_and_idle_steps_are_not() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"part":"arrivals"},"values":[[60,"5"],[120,"0"],[240,"NaN"],[300,"7.5"]]},
            {"metric":{"part":"isl_mean"},"values":[[60,"3000"],[120,"NaN"],[300,"100"]]},
            {"metric":{"part":"osl_mean"},"values":[[60,"150"],[300,"20"]]}]}}"#;
        let answer = decode_matrix(body).unwrap();
        let steps = decode_history(&answer, Timestamp::from_millis(60_000), 5, MINUTE);
        let rates: Vec<Option<f64>> =
            steps.iter().map(|s| s.arrivals.map(PerSecond::get)).collect();
        assert_eq!(rates, [Some(5.0), Some(0.0), None, None, Some(7.5)]);
        assert_eq!(steps[0].isl.map(Tokens::get), Some(3000.0));
        assert_eq!((steps[1].isl, steps[4].osl.map(Tokens::get)), (None, Some(20.0)));
        assert_eq!((steps[0].start.as_millis(), steps[4].start.as_millis()), (0, 240_000));
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let vector = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert!(decode_matrix(vector).unwrap_err().to_string().contains("found a vector"));
        let error =
            br#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution"}"#;
        assert!(decode_matrix(error).unwrap_err().to_string().contains("maximum resolution"));
    }

    #[test]
    fn one_query_asks_for_all_figures_over_the_step() {
        let selector = Selector { dynamo_namespace: "llm-chat".to_owned(), model: None };
        let text = query(&selector, Duration::from_secs(90));
        for part in PARTS {
            assert!(text.contains(&format!("\"{}\"", part.as_str())), "{text}");
        }
        assert!(
            text.contains("[90s]") || text.contains("[1m30s]") || text.contains("[90000ms]"),
            "{text}"
        );
    }
}
