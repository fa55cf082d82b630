//! The wire: the JSON of `/api/v1/query` as samples. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

/// One row of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When the source evaluated it: seconds since the epoch, by the clock of the source.
    pub at: f64,
    /// The value; NaN and the infinities are values.
    pub value: f64,
}

/// An answer that was no error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The rows, in the order of the source. A scalar is one row without labels.
    pub samples: Vec<Sample>,
    /// What the source warns of: a part of its data did not answer, or could not be used.
    pub warnings: Vec<String>,
    /// What it remarks without harm to the answer.
    pub infos: Vec<String>,
}

/// One row of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds since the epoch, and the value then; NaN and the infinities are values.
    pub points: Vec<(f64, f64)>,
}

/// Why an answer could not be read.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It is not the JSON of a Prometheus answer.
    #[error("read the answer as a Prometheus answer (it begins with {excerpt:?})")]
    Json {
        /// The beginning of it.
        excerpt: String,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// The source refused or failed to evaluate.
    #[error("evaluate the query: the source says {kind}: {message}")]
    Query {
        /// Its `errorType` ("bad_data", "execution", "timeout").
        kind: String,
        /// Its `error`.
        message: String,
    },
    /// It is an answer, but to another question.
    #[error("read the answer: expected a vector or a scalar, found {found}")]
    Shape {
        /// What it is instead.
        found: String,
    },
    /// A sample is no number.
    #[error("read the answer: expected a number as a sample, found {found:?}")]
    Number {
        /// What is written there.
        found: String,
    },
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    infos: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Deserialize)]
struct RangeRow {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// The data of an answer, with what the source says beside it.
fn open(body: &[u8]) -> Result<(Data, Vec<String>, Vec<String>), DecodeError> {
    let not_json = |source| DecodeError::Json { excerpt: excerpt(body), source };
    let envelope: Envelope = serde_json::from_slice(body).map_err(not_json)?;
    if envelope.status != "success" {
        return Err(DecodeError::Query {
            kind: envelope.error_type.unwrap_or(envelope.status),
            message: envelope.error.unwrap_or_else(|| "no message".to_owned()),
        });
    }
    let Some(data) = envelope.data else {
        return Err(DecodeError::Shape { found: "no data".to_owned() });
    };
    Ok((data, envelope.warnings.unwrap_or_default(), envelope.infos.unwrap_or_default()))
}

/// Reads the body of an answer to a range query.
pub fn decode_matrix(body: &[u8]) -> Result<Vec<Series>, DecodeError> {
    let (Data { result_type, result }, ..) = open(body)?;
    if result_type != "matrix" {
        return Err(DecodeError::Shape { found: format!("a {result_type}") });
    }
    let not_json = |source| DecodeError::Json { excerpt: excerpt(body), source };
    let rows: Vec<RangeRow> = serde_json::from_value(result).map_err(not_json)?;
    rows.into_iter()
        .map(|RangeRow { metric, values }| {
            let points = values.iter().map(|value| {
                sample(BTreeMap::new(), value).map(|Sample { at, value, .. }| (at, value))
            });
            Ok(Series { labels: metric, points: points.collect::<Result<_, _>>()? })
        })
        .collect()
}

/// Reads the body of an answer to an instant query.
pub fn decode_answer(body: &[u8]) -> Result<Answer, DecodeError> {
    let not_json = |source| DecodeError::Json { excerpt: excerpt(body), source };
    let (Data { result_type, result }, warnings, infos) = open(body)?;
    let samples = match result_type.as_str() {
        "vector" => {
            let rows: Vec<Row> = serde_json::from_value(result).map_err(not_json)?;
            rows.into_iter().map(|r| sample(r.metric, &r.value)).collect::<Result<_, _>>()?
        }
        "scalar" => {
            let value: (f64, String) = serde_json::from_value(result).map_err(not_json)?;
            vec![sample(BTreeMap::new(), &value)?]
        }
        other => return Err(DecodeError::Shape { found: format!("a {other}") }),
    };
    Ok(Answer { samples, warnings, infos })
}

fn sample(
    labels: BTreeMap<String, String>,
    (at, value): &(f64, String),
) -> Result<Sample, DecodeError> {
    match value.parse() {
        Ok(number) => Ok(Sample { labels, at: *at, value: number }),
        Err(_) => Err(DecodeError::Number { found: excerpt(value.as_bytes()) }),
    }
}

/// The beginning of a body, for an error message.
pub(super) fn excerpt(body: &[u8]) -> String {
    const CHARS: usize = 120;
    let text = String::from_utf8_lossy(body.get(..CHARS * 4).unwrap_or(body));
    let mut out: String = text.chars().take(CHARS).collect();
    if text.chars().count() > CHARS || body.len() > CHARS * 4 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(rows: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#)
    }

    #[test]
    fn a_vector_keeps_labels_and_odd_values() {
        let body = vector(
            r#"{"metric":{"part":"a"},"value":[1700000000.5,"1.5e2"]},
               {"metric":{},"value":[1700000000,"NaN"]},
               {"metric":{},"value":[1700000000,"+Inf"]},
               {"metric":{},"value":[1700000000,"-Inf"]}"#,
        );
        let answer = decode_answer(body.as_bytes()).unwrap();
        assert_eq!(answer.samples[0].labels["part"], "a");
        assert_eq!(answer.samples[0].at, 1_700_000_000.5);
        assert_eq!(answer.samples[0].value, 150.0);
        assert!(answer.samples[1].value.is_nan());
        assert_eq!(answer.samples[2].value, f64::INFINITY);
        assert_eq!(answer.samples[3].value, f64::NEG_INFINITY);
    }

    #[test]
    fn a_scalar_is_one_row() {
        let body =
            br#"{"status":"success","data":{"resultType":"scalar","result":[1700000000,"3"]}}"#;
        assert_eq!(decode_answer(body).unwrap().samples[0].value, 3.0);
    }

    #[test]
    fn warnings_and_infos_are_kept() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[]},
            "warnings":["a store did not answer"],"infos":["metric might not be a counter"]}"#;
        let answer = decode_answer(body).unwrap();
        assert!(answer.samples.is_empty());
        assert_eq!(answer.warnings, ["a store did not answer"]);
        assert_eq!(answer.infos, ["metric might not be a counter"]);
    }

    #[test]
    fn an_error_status_is_the_source_s_own_words() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"parse error: x"}"#;
        let err = decode_answer(body).unwrap_err();
        assert_eq!(err.to_string(), "evaluate the query: the source says bad_data: parse error: x");
    }

    #[test]
    fn what_is_no_answer_is_told_with_its_beginning() {
        for (body, expected) in [
            ("", "it begins with \"\""),
            ("<html>login</html>", "<html>login"),
            (r#"{"status":"success","data":{"resultType":"vector","resu"#, "success"),
            (r#"{"status":"success"}"#, "found no data"),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
                "found a matrix",
            ),
            (&vector(r#"{"metric":{},"value":[1,"many"]}"#), "found \"many\""),
            (&vector(r#"{"metric":{},"value":[1]}"#), "it begins with"),
            (&vector(r#"{"metric":{}}"#), "it begins with"),
        ] {
            let text = decode_answer(body.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_whole_characters() {
        assert_eq!(excerpt("é".repeat(500).as_bytes()).chars().count(), 121);
        assert_eq!(excerpt(b"short"), "short");
    }

    #[test]
    fn a_hundred_thousand_rows_are_read() {
        let row = r#"{"metric":{"part":"a","pod":"p"},"value":[1700000000,"1"]}"#;
        let body = vector(&vec![row; 100_000].join(","));
        assert_eq!(decode_answer(body.as_bytes()).unwrap().samples.len(), 100_000);
    }
}
