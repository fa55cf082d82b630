//! What we answer, and its form on the wire.

use k8s_openapi::ByteString;
use serde::Serialize;
use serde_json::{Value, json};

use super::request::{REVIEW_KIND, REVIEW_VERSION};

/// The judgement of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why it is refused; `None` lets it pass.
    pub denial: Option<Denial>,
    /// What to tell the user besides.
    pub warnings: Vec<String>,
    /// How the object is completed: a JSON patch.
    pub patch: Vec<PatchStep>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// HTTP status that the user's client sees: 403 for a broken rule (as Dynamo's operator), 400
    /// for what cannot be judged.
    pub code: u16,
    /// The reasons, one a line.
    pub message: String,
    /// Which kind of rule was broken first, for metrics.
    pub label: &'static str,
}

/// One step of a JSON patch (RFC 6902); only additions are ever needed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PatchStep {
    /// Always `add`.
    pub op: &'static str,
    /// JSON pointer.
    pub path: String,
    /// What is put there.
    pub value: Value,
}

impl PatchStep {
    /// Puts `value` at the place that `parts` name.
    #[must_use]
    pub fn add(parts: &[&str], value: Value) -> Self {
        let path = parts.iter().fold(String::new(), |mut path, part| {
            path.push('/');
            path.push_str(&part.replace('~', "~0").replace('/', "~1"));
            path
        });
        Self { op: "add", path, value }
    }
}

impl Answer {
    /// Lets the request pass without a word.
    #[must_use]
    pub fn pass() -> Self {
        Self::default()
    }

    /// Refuses what cannot be judged.
    #[must_use]
    pub fn unreadable(message: String) -> Self {
        let denial = Denial { code: 400, message, label: "unreadable" };
        Self { denial: Some(denial), ..Self::default() }
    }

    /// `allowed` or `denied`, for metrics.
    #[must_use]
    pub const fn result(&self) -> &'static str {
        if self.denial.is_none() { "allowed" } else { "denied" }
    }

    /// The review that goes back.
    #[must_use]
    pub fn to_review(&self, uid: &str) -> Vec<u8> {
        let Self { denial, warnings, patch } = self;
        let mut response = json!({"uid": uid, "allowed": denial.is_none()});
        if let Some(Denial { code, message, label: _ }) = denial {
            let reason = if *code == 403 { "Forbidden" } else { "BadRequest" };
            response["status"] = json!({"code": code, "reason": reason, "message": message});
        } else if !patch.is_empty() {
            let text = serde_json::to_vec(patch).expect("a patch of JSON is JSON");
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(ByteString(text));
        }
        if !warnings.is_empty() {
            response["warnings"] = json!(warnings);
        }
        let review =
            json!({"apiVersion": REVIEW_VERSION, "kind": REVIEW_KIND, "response": response});
        serde_json::to_vec(&review).expect("JSON can be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.to_review("u-1")).unwrap()
    }

    #[test]
    fn a_pass_a_denial_and_a_patch_on_the_wire() {
        let pass = review(&Answer::pass());
        assert_eq!(
            pass,
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                   "response": {"uid": "u-1", "allowed": true}})
        );
        let denial = Denial { code: 403, message: "no".to_owned(), label: "rule" };
        let denied = Answer {
            denial: Some(denial),
            warnings: vec!["w".to_owned()],
            patch: vec![PatchStep::add(&["a"], json!(1))],
        };
        assert_eq!(
            review(&denied)["response"],
            json!({"uid": "u-1", "allowed": false, "warnings": ["w"],
                   "status": {"code": 403, "reason": "Forbidden", "message": "no"}})
        );
        let patched = Answer { patch: vec![PatchStep::add(&["a"], json!(1))], ..Answer::pass() };
        let patched = review(&patched);
        assert_eq!(patched["response"]["patchType"], "JSONPatch");
        let patch: ByteString =
            serde_json::from_value(patched["response"]["patch"].clone()).unwrap();
        assert_eq!(patch.0, br#"[{"op":"add","path":"/a","value":1}]"#);
    }

    #[test]
    fn a_key_with_a_slash_or_a_tilde_is_escaped() {
        let step = PatchStep::add(&["metadata", "annotations", "nvidia.com/a~b"], json!("v"));
        assert_eq!(step.path, "/metadata/annotations/nvidia.com~1a~0b");
    }
}
