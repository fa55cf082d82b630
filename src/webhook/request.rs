//! The `AdmissionReview` of `admission.k8s.io/v1` that the API server sends, as far as we read it.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::field::shown;
use super::tree::Tree;

/// `apiVersion` of the review that we speak.
pub(super) const REVIEW_VERSION: &str = "admission.k8s.io/v1";
/// `kind` of the review.
pub(super) const REVIEW_KIND: &str = "AdmissionReview";

/// The longest of the texts around the object, in bytes. The API server makes the `uid` (36), names of
/// objects, namespaces and kinds have at most 253, and that of a service account about 340.
const LONGEST_TEXT: usize = 512;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Names this request in the answer.
    pub uid: String,
    /// API group of the object.
    pub group: String,
    /// Version in which the object is shown.
    pub version: String,
    /// Kind of the object.
    pub kind: String,
    /// `status` or `scale` where the request goes to one; empty for the object itself.
    pub sub_resource: String,
    /// Name of the object; empty where the API server is still to make one.
    pub name: String,
    /// Namespace of the object.
    pub namespace: String,
    /// What is done to it.
    pub operation: Operation,
    /// Who asks, after impersonation; `None` where the review does not say.
    pub user: Option<String>,
    /// The object as it will be; `None` on a deletion.
    pub object: Option<Value>,
    /// The object as it is; `None` on a creation.
    pub old: Option<Value>,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// One connects to it.
    Connect,
}

impl Operation {
    /// As in a review.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Why a body is no review that can be answered.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// It is no JSON, or a field has the wrong type.
    #[error("expected an AdmissionReview of {REVIEW_VERSION} as JSON: {0}")]
    NotAReview(String),
    /// It is another kind of object.
    #[error(
        "expected apiVersion {REVIEW_VERSION} and kind {REVIEW_KIND}, found `{version}` and `{kind}`: \
         set `admissionReviewVersions: [v1]` where the webhook is registered"
    )]
    WrongReview {
        /// Its `apiVersion`.
        version: String,
        /// Its `kind`.
        kind: String,
    },
    /// A field is missing without which there is nothing to answer.
    #[error("{field}: expected {expected}, found nothing")]
    Missing {
        /// Which.
        field: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A text around the object is longer than any that the API server lets through.
    #[error("{field}: expected at most {LONGEST_TEXT} bytes, found {found}")]
    TooLong {
        /// Which.
        field: &'static str,
        /// Its length.
        found: usize,
    },
    /// The operation is none that we know.
    #[error("request.operation: expected CREATE, UPDATE, DELETE or CONNECT, found `{0}`")]
    Operation(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<WireRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRequest {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    kind: WireKind,
    sub_resource: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    operation: String,
    user_info: Option<WireUser>,
    object: Option<Tree>,
    old_object: Option<Tree>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireKind {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
struct WireUser {
    username: Option<String>,
}

impl Request {
    /// Reads the body of a call.
    ///
    /// # Errors
    ///
    /// Where it is no review, or one that cannot be answered since it has no `uid`.
    pub fn decode(body: &[u8]) -> Result<Self, RequestError> {
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|e| RequestError::NotAReview(shown(&e.to_string()).into_owned()))?;
        let Wire { api_version, kind, request } = wire;
        if api_version != REVIEW_VERSION || kind != REVIEW_KIND {
            let [version, kind] = [api_version, kind].map(|text| shown(&text).into_owned());
            return Err(RequestError::WrongReview { version, kind });
        }
        let WireRequest {
            uid,
            kind,
            sub_resource,
            name,
            namespace,
            operation,
            user_info,
            object,
            old_object,
        } = request.ok_or(RequestError::Missing { field: "request", expected: "a request" })?;
        if uid.is_empty() {
            let expected = "the identifier that the answer repeats";
            return Err(RequestError::Missing { field: "request.uid", expected });
        }
        let WireKind { group, version, kind } = kind;
        let operation = match operation.as_str() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            "CONNECT" => Operation::Connect,
            _ => return Err(RequestError::Operation(shown(&operation).into_owned())),
        };
        let sub_resource = sub_resource.unwrap_or_default();
        let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
        let user = user_info.and_then(|user| user.username).filter(|name| !name.is_empty());
        for (field, text) in [
            ("request.uid", &uid),
            ("request.kind.group", &group),
            ("request.kind.version", &version),
            ("request.kind.kind", &kind),
            ("request.subResource", &sub_resource),
            ("request.name", &name),
            ("request.namespace", &namespace),
        ] {
            bounded(field, text)?;
        }
        if let Some(user) = &user {
            bounded("request.userInfo.username", user)?;
        }
        Ok(Self {
            uid,
            group,
            version,
            kind,
            sub_resource,
            name,
            namespace,
            operation,
            user,
            object: object.map(|tree| tree.0),
            old: old_object.map(|tree| tree.0),
        })
    }
}

/// An error where a text is too long to be repeated in an answer or a log.
const fn bounded(field: &'static str, text: &str) -> Result<(), RequestError> {
    if text.len() > LONGEST_TEXT {
        return Err(RequestError::TooLong { field, found: text.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(review: &Value) -> String {
        Request::decode(review.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_review_of_the_api_server_is_read() {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "1234", "operation": "UPDATE", "name": "g", "namespace": "n", "dryRun": true,
                "kind": {"group": "nvidia.com", "version": "v1alpha1", "kind": "X"},
                "resource": {"group": "nvidia.com", "version": "v1alpha1", "resource": "xs"},
                "userInfo": {"username": "ada", "groups": ["system:authenticated"]},
                "object": {"a": 1}, "oldObject": null, "options": {"kind": "PatchOptions"}
            }
        });
        let read = Request::decode(review.to_string().as_bytes()).unwrap();
        assert_eq!((read.uid.as_str(), read.operation), ("1234", Operation::Update));
        assert_eq!(read.user.as_deref(), Some("ada"));
        assert_eq!((read.object, read.old), (Some(json!({"a": 1})), None));
    }

    #[test]
    fn what_is_no_review_is_refused_with_the_field_at_fault() {
        let review = |request: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        assert_eq!(
            refused(&json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"})),
            "expected apiVersion admission.k8s.io/v1 and kind AdmissionReview, found \
             `admission.k8s.io/v1beta1` and `AdmissionReview`: set `admissionReviewVersions: [v1]` \
             where the webhook is registered"
        );
        assert_eq!(refused(&review(json!(null))), "request: expected a request, found nothing");
        assert_eq!(
            refused(&review(json!({"operation": "CREATE"}))),
            "request.uid: expected the identifier that the answer repeats, found nothing"
        );
        assert_eq!(
            refused(&review(json!({"uid": "1", "operation": "MELT"}))),
            "request.operation: expected CREATE, UPDATE, DELETE or CONNECT, found `MELT`"
        );
        let long = "x".repeat(513);
        for (mut request, field) in [
            (json!({"uid": long}), "uid"),
            (json!({"uid": "1", "kind": {"kind": long}}), "kind.kind"),
            (json!({"uid": "1", "name": long}), "name"),
            (json!({"uid": "1", "namespace": long}), "namespace"),
            (json!({"uid": "1", "userInfo": {"username": long}}), "userInfo.username"),
        ] {
            request["operation"] = json!("CREATE");
            assert_eq!(
                refused(&review(request)),
                format!("request.{field}: expected at most 512 bytes, found 513")
            );
        }
        for (review, says) in [
            (review(json!({"uid": "1", "operation": "x".repeat(1 << 20)})), "request.operation: "),
            (review(json!("x".repeat(1 << 20))), "expected an AdmissionReview of "),
            (json!({"kind": "x".repeat(1 << 20)}), "expected apiVersion "),
        ] {
            let text = refused(&review);
            assert!(text.len() < 1024 && text.starts_with(says), "{text}");
        }
        for body in [&b""[..], b"{", b"[]", b"\xff\xfe", b"null", b"7"] {
            let text = Request::decode(body).unwrap_err().to_string();
            assert!(
                text.starts_with("expected an AdmissionReview of admission.k8s.io/v1 as JSON: ")
            );
        }
        let deep = "[".repeat(100_000);
        assert!(Request::decode(deep.as_bytes()).is_err(), "nesting has an end");
    }
}
