//! The rules: which path asks for what, and the judgement of one request.

mod component;
mod dgd;
mod dgdr;
mod fill;
mod graph;
mod guard;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::answer::{Answer, Denial};
use super::field::{Field, Verdict};
use super::learnt::Learnt;
use super::request::{Operation, Request};
use crate::api::names;
use crate::spec::Wording;

pub use guard::Identities;

/// What the rules depend on besides the request.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Who may change the replicas that an adapter holds.
    pub identities: Identities,
    /// How a refused change of replicas is told.
    pub wording: Wording,
    /// Whether the operator of requests may look at the GPUs of nodes: one that is kept to a
    /// namespace may not.
    pub gpu_discovery: bool,
    /// Whether the API server serves InferencePools, which an endpoint picker is for.
    pub inference_pools: Learnt<bool>,
    /// The namespaces of operators that are restricted to theirs: what is done there passes without a
    /// look, as Dynamo's operator of the cluster lets it (kubernetes.md 4.3).
    pub left_alone: Learnt<BTreeSet<String>>,
    /// The release of Dynamo that is stamped on new graphs and whose profiler image is filled in;
    /// `None` does neither.
    pub dynamo_version: Option<String>,
}

/// The kind of object that a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `DynamoGraphDeployment`.
    Graph,
    /// `DynamoComponentDeployment`.
    Component,
    /// `DynamoGraphDeploymentRequest`.
    Request,
}

impl Subject {
    const fn kind(self) -> &'static str {
        match self {
            Self::Graph => names::DGD_KIND,
            Self::Component => "DynamoComponentDeployment",
            Self::Request => names::DGDR_KIND,
        }
    }
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Whether the object is allowed.
    Validate(Subject),
    /// What is to be filled in.
    Fill(Subject),
}

/// Every path that is served: those of Dynamo's operator until 1.0 and since (kubernetes.md 4.1),
/// so that a registration of either goes on working. What a path's name says about a version does
/// not matter: the object says which one it is in.
pub const DOORS: &[(&str, Door)] = &[
    ("/validate-nvidia-com-v1alpha1-dynamographdeployment", Door::Validate(Subject::Graph)),
    ("/validate/nvidia.com/v1beta1/dynamographdeployments", Door::Validate(Subject::Graph)),
    ("/validate-nvidia-com-v1alpha1-dynamocomponentdeployment", Door::Validate(Subject::Component)),
    ("/validate/nvidia.com/v1beta1/dynamocomponentdeployments", Door::Validate(Subject::Component)),
    (
        "/validate-nvidia-com-v1alpha1-dynamographdeploymentrequest",
        Door::Validate(Subject::Request),
    ),
    ("/validate-nvidia-com-v1beta1-dynamographdeploymentrequest", Door::Validate(Subject::Request)),
    ("/mutate-nvidia-com-v1alpha1-dynamographdeployment", Door::Fill(Subject::Graph)),
    ("/mutate/nvidia.com/v1beta1/dynamographdeployments", Door::Fill(Subject::Graph)),
    ("/mutate-nvidia-com-v1beta1-dynamographdeploymentrequest", Door::Fill(Subject::Request)),
];

/// The two shapes in which Dynamo's objects come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// `v1alpha1`.
    Alpha,
    /// `v1beta1`.
    Beta,
}

/// Judges one request.
#[must_use]
pub fn answer(door: Door, request: &Request, rules: &Rules) -> Answer {
    // A deletion is always allowed, and a subresource cannot change what the rules look at.
    let changes = matches!(request.operation, Operation::Create | Operation::Update);
    if !changes || !request.sub_resource.is_empty() {
        return Answer::pass();
    }
    if rules.left_alone.is(|all| all.contains(&request.namespace)) {
        return Answer::pass();
    }
    if request.operation == Operation::Update && is_going_unchanged(request) {
        return Answer::pass();
    }
    let (Door::Validate(subject) | Door::Fill(subject)) = door;
    let version = match version_of(subject, request) {
        Ok(version) => version,
        Err(message) => return Answer::unreadable(message),
    };
    let Some(object) = request.object.as_ref().filter(|object| object.is_object()) else {
        return missing(request, "object");
    };
    let old = request.old.as_ref().filter(|object| object.is_object());
    if request.operation == Operation::Update && old.is_none() {
        return missing(request, "oldObject");
    }
    let case = Case {
        request,
        rules,
        version,
        object: Field::new("", Some(object)),
        old: old
            .filter(|_| request.operation == Operation::Update)
            .map(|o| Field::new("", Some(o))),
    };
    match door {
        Door::Validate(subject) => {
            let mut verdict = Verdict::default();
            match subject {
                Subject::Graph => dgd::check(&case, &mut verdict),
                Subject::Component => component::check_alone(&case, &mut verdict),
                Subject::Request => dgdr::check(&case, &mut verdict),
            }
            judged(verdict)
        }
        Door::Fill(Subject::Graph) => Answer { patch: fill::graph(&case), ..Answer::default() },
        Door::Fill(Subject::Request) => Answer { patch: fill::request(&case), ..Answer::default() },
        Door::Fill(Subject::Component) => Answer::pass(),
    }
}

/// One object to judge, with all that the rules may look at.
struct Case<'a> {
    request: &'a Request,
    rules: &'a Rules,
    version: Version,
    /// The object as it will be.
    object: Field<'a>,
    /// The object as it is; there in every update.
    old: Option<Field<'a>>,
}

impl Case<'_> {
    /// Name of the object, for messages; a made-up name is known to nobody yet.
    fn name(&self) -> &str {
        if self.request.name.is_empty() { "NAME" } else { &self.request.name }
    }
}

fn version_of(subject: Subject, request: &Request) -> Result<Version, String> {
    let Request { group, version, kind, .. } = request;
    let expected = subject.kind();
    if group != names::GROUP || kind != expected {
        return Err(format!(
            "request.kind: expected {expected} of {}, found `{kind}` of `{group}`: put the rule for \
             it under another webhook of the registration",
            names::GROUP
        ));
    }
    match version.as_str() {
        "v1alpha1" => Ok(Version::Alpha),
        "v1beta1" => Ok(Version::Beta),
        _ => Err(format!(
            "request.kind.version: expected v1alpha1 or v1beta1, found `{version}`: register these \
             two with `matchPolicy: Equivalent`, and the API server converts"
        )),
    }
}

/// Whether an object that is being deleted keeps its spec: a finalizer comes off, whatever is wrong
/// with what was let in when there were other rules, or none. The old object says whether it is
/// going; the new one is still what its writer claims.
fn is_going_unchanged(request: &Request) -> bool {
    let Request { object: Some(new), old: Some(old), .. } = request else { return false };
    let going = old.get("metadata").and_then(|metadata| metadata.get("deletionTimestamp"));
    going.is_some_and(|at| !at.is_null()) && old.get("spec") == new.get("spec")
}

fn missing(request: &Request, field: &str) -> Answer {
    let operation = request.operation.as_str();
    Answer::unreadable(format!("request.{field}: expected an object in a {operation}, found none"))
}

fn judged(verdict: Verdict) -> Answer {
    let (denial, warnings) = verdict.told();
    let denial = denial.map(|(label, message)| Denial { code: 403, message, label });
    Answer { denial, warnings, patch: Vec::new() }
}
