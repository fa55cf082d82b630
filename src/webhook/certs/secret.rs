//! The certificate as a Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::state::Stored;
use crate::api::names;
use crate::units::Timestamp;

/// What a Secret holds; empty where it has no such key.
pub(super) fn stored_of(secret: &Secret) -> Stored {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    let annotations = secret.metadata.annotations.as_ref();
    let note = |name: &str| annotations.and_then(|all| all.get(name));
    let time = |name: &str| {
        let at: jiff::Timestamp = note(name)?.parse().ok()?;
        Some(Timestamp::from_millis(at.as_millisecond()))
    };
    let next = time(names::ANNOTATION_NEXT_NOT_AFTER);
    Stored {
        cert: text("tls.crt"),
        key: text("tls.key"),
        ca: text("ca.crt"),
        not_after: time(names::ANNOTATION_NOT_AFTER),
        names: note(names::ANNOTATION_NAMES).cloned().unwrap_or_default(),
        next: next.map(|end| (text("next.crt"), text("next.key"), end)),
    }
}

/// A Secret to create.
pub(super) fn new_secret(name: &str, stored: &Stored) -> Secret {
    let (data, notes) = content(stored);
    let there = |fields: BTreeMap<&'static str, Value>| {
        fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<BTreeMap<_, _>>()
    };
    let secret = json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": names::FIELD_MANAGER},
            "annotations": there(notes),
        },
        "type": "kubernetes.io/tls",
        "data": there(data),
    });
    serde_json::from_value(secret).expect("a Secret of constant shape")
}

/// The change of a Secret, as a merge patch that is refused where somebody else changed it since.
pub(super) fn change(found: &Secret, stored: &Stored) -> Value {
    let (data, notes) = content(stored);
    json!({
        "metadata": {"resourceVersion": found.metadata.resource_version, "annotations": notes},
        "data": data,
    })
}

type Fields = BTreeMap<&'static str, Value>;

/// Data and annotations; null stands for what is to go.
fn content(stored: &Stored) -> (Fields, Fields) {
    let bytes = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let Stored { cert, key, ca, not_after, names, next } = stored;
    let (next_cert, next_key, next_end) = match next {
        Some((cert, key, end)) => (bytes(cert), bytes(key), json!(time_text(*end))),
        None => (Value::Null, Value::Null, Value::Null),
    };
    let data = [
        ("tls.crt", bytes(cert)),
        ("tls.key", bytes(key)),
        ("ca.crt", bytes(ca)),
        ("next.crt", next_cert),
        ("next.key", next_key),
    ];
    let notes = [
        (names::ANNOTATION_NOT_AFTER, not_after.map_or(Value::Null, |end| json!(time_text(end)))),
        (names::ANNOTATION_NAMES, json!(names)),
        (names::ANNOTATION_NEXT_NOT_AFTER, next_end),
    ];
    (data.into(), notes.into())
}

/// Whole seconds, as certificates have them.
fn time_text(at: Timestamp) -> String {
    let seconds = at.as_millis().div_euclid(1000);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            cert: "c".to_owned(),
            key: "k".to_owned(),
            ca: "a".to_owned(),
            not_after: Some(Timestamp::from_millis(1_800_000_000_000)),
            names: "x,y".to_owned(),
            next: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let end = Timestamp::from_millis(1_900_000_000_000);
        let both = Stored { next: Some(("n".to_owned(), "m".to_owned(), end)), ..stored() };
        for stored in [stored(), both] {
            assert_eq!(stored_of(&new_secret("s", &stored)), stored);
        }
        assert_eq!(stored_of(&Secret::default()), Stored::default());
    }

    #[test]
    fn a_change_takes_the_next_pair_away_and_names_the_version_it_was_read_at() {
        let mut found = new_secret("s", &stored());
        found.metadata.resource_version = Some("41".to_owned());
        let change = change(&found, &stored());
        assert_eq!(change["metadata"]["resourceVersion"], "41");
        assert_eq!(change["data"]["next.key"], Value::Null);
        assert_eq!(change["data"]["tls.key"], "aw==");
        let notes = &change["metadata"]["annotations"];
        assert_eq!(notes["sla-planner/certificate-not-after"], "2027-01-15T08:00:00Z");
        assert_eq!(notes["sla-planner/next-certificate-not-after"], Value::Null);
    }
}
