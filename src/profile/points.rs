//! Points that come in a message, one object each.

use serde_json::{Map, Value};

use super::engine::EngineProfile;
use super::error::ProfileError;
use super::kind;
use crate::units::Tokens;

/// The fields of a point of each role, in the order of [`EngineProfile::from_points`].
const PREFILL: [&str; 2] = ["isl", "ttft_ms"];
const DECODE: [&str; 3] = ["batch", "context", "itl_ms"];

impl EngineProfile {
    /// From the JSON form of [`EngineProfile::from_points`]:
    /// `{"prefill": [{"isl": 100, "ttft_ms": 4.9}], "decode": [{"batch": 1, "context": 500,
    /// "itl_ms": 4.1}]}`. Other fields are ignored. `place` is what errors call it.
    ///
    /// # Errors
    ///
    /// Where a list or a field of a point is missing or of the wrong type, and as
    /// [`EngineProfile::from_points`].
    pub fn from_json_points(
        place: &str,
        points: &Value,
        max_kv_tokens: Tokens,
    ) -> Result<Self, ProfileError> {
        let Value::Object(map) = points else {
            return Err(wrong(place, "prefill", "an object with prefill and decode", points));
        };
        let prefill = rows(place, map, "prefill", PREFILL, "a list of points of isl and ttft_ms")?;
        let decode =
            rows(place, map, "decode", DECODE, "a list of points of batch, context and itl_ms")?;
        let prefill: Vec<(f64, f64)> = prefill.into_iter().map(|[isl, ttft]| (isl, ttft)).collect();
        let decode: Vec<(f64, f64, f64)> =
            decode.into_iter().map(|[batch, context, itl]| (batch, context, itl)).collect();
        Self::from_points(&prefill, &decode, max_kv_tokens)
    }
}

fn wrong(place: &str, field: &str, expected: &'static str, found: &Value) -> ProfileError {
    ProfileError::Type {
        file: place.to_owned(),
        field: field.to_owned(),
        expected,
        found: kind(found).to_owned(),
    }
}

fn rows<const N: usize>(
    place: &str,
    map: &Map<String, Value>,
    role: &'static str,
    names: [&str; N],
    needed: &'static str,
) -> Result<Vec<[f64; N]>, ProfileError> {
    let missing =
        |field: String| ProfileError::NoField { file: place.to_owned(), field, role, needed };
    let list = match map.get(role) {
        None => return Err(missing(role.to_owned())),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong(place, role, needed, other)),
    };
    let mut rows = Vec::with_capacity(list.len());
    for (i, point) in list.iter().enumerate() {
        let mut row = [0.0; N];
        for (value, name) in row.iter_mut().zip(names) {
            let field = || format!("{role}[{i}].{name}");
            let found = point.get(name).ok_or_else(|| missing(field()))?;
            *value = found.as_f64().ok_or_else(|| wrong(place, &field(), "a number", found))?;
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(points: &Value) -> Result<EngineProfile, String> {
        let kv = Tokens::clamped(100_000.0);
        EngineProfile::from_json_points("the profile", points, kv).map_err(|e| e.to_string())
    }

    #[test]
    fn points_of_a_message_are_those_of_a_table() {
        let points = json!({
            "prefill": [{"isl": 100, "ttft_ms": 20.0}, {"isl": 2000, "ttft_ms": 130.0, "note": 1}],
            "decode": [{"batch": 1, "context": 500, "itl_ms": 15.0},
                       {"batch": 33, "context": 500, "itl_ms": 18.0}],
        });
        let plain = EngineProfile::from_points(
            &[(100.0, 20.0), (2000.0, 130.0)],
            &[(1.0, 500.0, 15.0), (33.0, 500.0, 18.0)],
            Tokens::clamped(100_000.0),
        );
        assert_eq!(read(&points), Ok(plain.unwrap()));
    }

    #[test]
    fn what_is_wrong_with_a_point_is_said_with_its_place() {
        let decode = json!([{"batch": 1, "context": 500, "itl_ms": 15.0}]);
        for (points, says) in [
            (json!([]), "expected an object with prefill and decode, found a list"),
            (json!({"decode": decode}), "the profile has no field prefill;"),
            (json!({"prefill": 3, "decode": decode}), "field prefill: expected a list of points"),
            (json!({"prefill": [], "decode": decode}), "prefill_isl"),
            (json!({"prefill": [7], "decode": decode}), "no field prefill[0].isl;"),
            (
                json!({"prefill": [{"isl": 100, "ttft_ms": "x"}], "decode": decode}),
                "field prefill[0].ttft_ms: expected a number, found text",
            ),
            (
                json!({"prefill": [{"isl": 100, "ttft_ms": -1.0}], "decode": decode}),
                "prefill_ttft[0]: found -1, expected above 0",
            ),
        ] {
            let error = read(&points).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
