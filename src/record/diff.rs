//! Where two JSON values differ.

use std::fmt;

use serde_json::Value;

/// One place where what was recorded and what comes out now are not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The place, such as `report.sizing.pools[1].replicas`.
    pub place: String,
    /// What the record has there, as JSON; `None` where it has nothing.
    pub recorded: Option<String>,
    /// What comes out now.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_nothing = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".into());
        let Self { place, recorded, now } = self;
        write!(f, "{place}: recorded {}, now {}", or_nothing(recorded), or_nothing(now))
    }
}

/// Every difference below `place`, in the order of the record.
pub(super) fn differences(place: &str, recorded: &Value, now: &Value, out: &mut Vec<Difference>) {
    match (recorded, now) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                either(&format!("{place}.{key}"), Some(value), b.get(key), out);
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                either(&format!("{place}.{key}"), None, Some(value), out);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                either(&format!("{place}[{i}]"), a.get(i), b.get(i), out);
            }
        }
        // As text: 0.0 and -0.0 are equal, and not the same.
        (a, b) => {
            let (recorded, now) = (a.to_string(), b.to_string());
            if recorded != now {
                let (recorded, now) = (Some(recorded), Some(now));
                out.push(Difference { place: place.to_owned(), recorded, now });
            }
        }
    }
}

fn either(place: &str, a: Option<&Value>, b: Option<&Value>, out: &mut Vec<Difference>) {
    match (a, b) {
        (Some(a), Some(b)) => differences(place, a, b, out),
        (a, b) => out.push(Difference {
            place: place.to_owned(),
            recorded: a.map(Value::to_string),
            now: b.map(Value::to_string),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_is_named_by_its_place() {
        let mut out = Vec::new();
        differences(
            "report",
            &json!({"a": [1, {"b": 2.5}], "gone": true, "same": "x"}),
            &json!({"a": [1, {"b": 2.5000001}, 3], "same": "x", "new": null}),
            &mut out,
        );
        let text: Vec<String> = out.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "report.a[1].b: recorded 2.5, now 2.5000001",
                "report.a[2]: recorded nothing, now 3",
                "report.gone: recorded true, now nothing",
                "report.new: recorded nothing, now null",
            ]
        );
        out.clear();
        differences("x", &json!([1.0, -0.0, 2.0]), &json!([1, 0.0, 2.0]), &mut out);
        assert_eq!(out.len(), 2, "other bytes of the same number are a difference: {out:?}");
    }
}
