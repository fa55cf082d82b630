//! The connection, the deadline of every call, and what a refusal says.
//!
//! kube retries 429, 503 and 504 on its own for any verb, up to 15 times and as long as the server's
//! `Retry-After` says: a scale written for one moment could land minutes later. That is switched off
//! here, and every call has a deadline ([`within`]).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use kube::api::PatchParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use crate::api::names;

/// How to reach the API server.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Context of the kubeconfig; none means the service account of the pod, else the kubeconfig's
    /// current context.
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Neither a pod's service account nor a kubeconfig can be used.
    ///
    /// The text holds the causes already, so that there is no source to tell them once more.
    #[error("find out how to reach the API server (neither in a pod nor by a kubeconfig): {0}")]
    NoConfig(Box<kube::config::InferConfigError>),
    /// The kubeconfig cannot be used.
    #[error("use {what}")]
    Kubeconfig {
        /// Which file and which context.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// The configuration was read but no client can be made of it.
    #[error("make a client for the API server")]
    Client(#[source] Box<kube::Error>),
}

/// Time to open a connection. A reachable API server answers within a round trip; a lost SYN packet
/// is repeated after 1 and 3 seconds, so 5 covers two losses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence on a connection before it is given up. It must be longer than the silence that a
/// healthy watch may show, which is its own timeout ([`WATCH_SECONDS`]): calls have their own and
/// shorter deadline.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Time after which a watch is renewed, in seconds. The shorter, the sooner a connection that died
/// without a word is noticed; each renewal costs one request.
pub const WATCH_SECONDS: u32 = 60;

/// A client by the pod's service account, the kubeconfig, or one context of it.
///
/// # Errors
///
/// Where no configuration can be read or used.
pub async fn connect(options: &ClientOptions) -> Result<Client, ConnectError> {
    let ClientOptions { context } = options;
    let config = match context {
        None => Config::infer().await.map_err(|source| ConnectError::NoConfig(Box::new(source)))?,
        Some(context) => {
            let what = || format!("the context {context} of the kubeconfig");
            let wanted = in_context(Some(context.as_str()));
            Config::from_kubeconfig(&wanted).await.map_err(|e| unusable(what(), e))?
        }
    };
    client_of(config)
}

/// A client by a kubeconfig file, in its current context or in another one of it.
///
/// # Errors
///
/// Where the file cannot be read or used.
pub async fn connect_by(file: &Path, context: Option<&str>) -> Result<Client, ConnectError> {
    let what = || match context {
        Some(context) => format!("the context {context} of {}", file.display()),
        None => file.display().to_string(),
    };
    let found = Kubeconfig::read_from(file).map_err(|e| unusable(what(), e))?;
    let wanted = in_context(context);
    let config = Config::from_custom_kubeconfig(found, &wanted).await;
    client_of(config.map_err(|e| unusable(what(), e))?)
}

fn in_context(context: Option<&str>) -> KubeConfigOptions {
    KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() }
}

fn unusable(what: String, source: KubeconfigError) -> ConnectError {
    ConnectError::Kubeconfig { what, source: Box::new(source) }
}

/// A client of a configuration that was made elsewhere, with our timeouts and without retries.
///
/// # Errors
///
/// Where the configuration is contradictory (certificates, proxy).
pub fn client_of(mut config: Config) -> Result<Client, ConnectError> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(CONNECT_TIMEOUT);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|source| ConnectError::Client(Box::new(source)))
}

/// One call, as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `patch` or `delete`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with its subresource after a slash.
    pub resource: &'static str,
    /// Namespace; none means all.
    pub namespace: Option<String>,
    /// Name of the object; none for a list.
    pub name: Option<String>,
}

impl Call {
    /// A call for one object.
    #[must_use]
    pub fn object(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Self {
        Self {
            verb,
            group,
            resource,
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
        }
    }

    /// A call for all objects of a namespace, or of all namespaces.
    #[must_use]
    pub fn all(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        namespace: Option<&str>,
    ) -> Self {
        Self { verb, group, resource, namespace: namespace.map(str::to_owned), name: None }
    }

    /// The RBAC rule that allows it, in the form of a Role.
    #[must_use]
    pub fn rbac_rule(&self) -> String {
        format!(
            "{{apiGroups: [\"{}\"], resources: [\"{}\"], verbs: [\"{}\"]}}",
            self.group, self.resource, self.verb
        )
    }

    fn role(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("the Role of namespace {namespace}"),
            None => "the ClusterRole".to_owned(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group: _, resource, namespace, name } = self;
        write!(f, "{verb} {resource}")?;
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        match namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => write!(f, " in all namespaces"),
        }
    }
}

/// A call that failed.
#[derive(Debug, Error)]
#[error("{call}: {failure}")]
pub struct CallError {
    /// The call.
    pub call: Box<Call>,
    /// How it failed.
    pub failure: CallFailure,
}

/// How a call failed.
#[derive(Debug, Error)]
pub enum CallFailure {
    /// No answer in time; a write may have been done or not.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Deadline(Duration),
    /// RBAC says no.
    #[error("not allowed; add to {role} the rule {rule}")]
    Forbidden {
        /// Which role lacks it.
        role: String,
        /// The rule to add.
        rule: String,
    },
    /// An admission webhook or policy says no.
    #[error("{0}")]
    Denied(String),
    /// There is no such object (or no such kind).
    #[error("not found")]
    NotFound,
    /// The object is there already.
    #[error("there already")]
    AlreadyExists,
    /// Somebody changed the object in between.
    #[error("changed by somebody else in between")]
    Conflict,
    /// The API server says no for another reason.
    #[error("refused with code {code}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// What the server says.
        message: String,
    },
    /// What came is no object of the kind that was asked for; a write was done all the same.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The API server could not be reached or understood.
    #[error("the API server could not be reached or understood")]
    Transport(#[source] Box<kube::Error>),
}

impl CallFailure {
    /// The right to a call is missing.
    fn missing(call: &Call) -> Self {
        Self::Forbidden { role: call.role(), rule: call.rbac_rule() }
    }
}

impl CallError {
    /// Wraps what kube says about a call.
    #[must_use]
    pub fn new(call: Call, error: kube::Error) -> Self {
        let failure = failure_of(&call, error);
        Self { call: Box::new(call), failure }
    }

    /// Name of the kind of failure, for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self.failure {
            CallFailure::Deadline(_) => "deadline",
            CallFailure::Forbidden { .. } => "forbidden",
            CallFailure::Denied(_) => "denied",
            CallFailure::NotFound => "not_found",
            CallFailure::AlreadyExists => "already_exists",
            CallFailure::Conflict => "conflict",
            CallFailure::Refused { .. } => "refused",
            CallFailure::Unreadable(_) => "unreadable",
            CallFailure::Transport(_) => "transport",
        }
    }

    /// Whether there is no such object.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.failure, CallFailure::NotFound)
    }

    /// Whether what was asked for may have been done all the same: the answer was lost, or the server
    /// failed on the way.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        match self.failure {
            CallFailure::Deadline(_) | CallFailure::Unreadable(_) | CallFailure::Transport(_) => {
                true
            }
            CallFailure::Refused { code, message: _ } => code >= 500,
            CallFailure::Forbidden { .. }
            | CallFailure::Denied(_)
            | CallFailure::NotFound
            | CallFailure::AlreadyExists
            | CallFailure::Conflict => false,
        }
    }

    /// RBAC will say no to a call.
    #[must_use]
    pub fn forbidden(call: &Call) -> Self {
        Self { failure: CallFailure::missing(call), call: Box::new(call.clone()) }
    }

    /// Whether RBAC says no.
    #[must_use]
    pub const fn is_forbidden(&self) -> bool {
        matches!(self.failure, CallFailure::Forbidden { .. })
    }

    /// Whether somebody changed the object in between, so that a new look may succeed at once.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self.failure, CallFailure::Conflict | CallFailure::AlreadyExists)
    }
}

/// Changes are written under our name.
pub(super) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

fn failure_of(call: &Call, error: kube::Error) -> CallFailure {
    if let kube::Error::SerdeError(error) = &error {
        return CallFailure::Unreadable(error.to_string());
    }
    let kube::Error::Api(status) = error else {
        return CallFailure::Transport(Box::new(error));
    };
    if is_denial(&status.message) {
        return CallFailure::Denied(status.message.clone());
    }
    match (status.code, status.reason.as_str()) {
        // The plugin that guards `blockOwnerDeletion` asks for a right on the owner instead.
        (403, _) if status.message.contains("blockOwnerDeletion") => {
            let owner = Call { verb: "update", resource: OWNER_FINALIZERS, ..call.clone() };
            CallFailure::Forbidden { role: call.role(), rule: owner.rbac_rule() }
        }
        (403, _) => CallFailure::missing(call),
        (404, _) => CallFailure::NotFound,
        (409, "AlreadyExists") => CallFailure::AlreadyExists,
        (409, _) => CallFailure::Conflict,
        (code, _) => CallFailure::Refused { code, message: status.message.clone() },
    }
}

/// The right that lets a graph own with `blockOwnerDeletion`.
const OWNER_FINALIZERS: &str = "dynamographdeployments/finalizers";

/// Admission also answers with 403; its messages begin in one of these ways.
fn is_denial(message: &str) -> bool {
    message.starts_with("admission webhook \"")
        || message.contains("ValidatingAdmissionPolicy '")
        || message.contains("exceeded quota:")
}

/// Ends a call at its deadline, and says what was called.
///
/// # Errors
///
/// Where the call fails or does not end in time.
pub async fn within<T>(
    deadline: Duration,
    call: Call,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(CallError::new(call, error)),
        Err(_) => Err(CallError { call: Box::new(call), failure: CallFailure::Deadline(deadline) }),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn call() -> Call {
        Call::object(
            "patch",
            "nvidia.com",
            "dynamographdeploymentscalingadapters/scale",
            "serving",
            "graph-decode",
        )
    }

    fn refused(code: u16, reason: &str, message: &str) -> CallError {
        let status = Status::failure(message, reason).with_code(code);
        CallError::new(call(), kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_missing_right_names_the_rule_that_gives_it() {
        let error = refused(403, "Forbidden", "x is forbidden: User \"u\" cannot patch resource");
        assert!(error.is_forbidden());
        assert_eq!(
            error.to_string(),
            "patch dynamographdeploymentscalingadapters/scale graph-decode in namespace serving: \
             not allowed; add to the Role of namespace serving the rule \
             {apiGroups: [\"nvidia.com\"], resources: \
             [\"dynamographdeploymentscalingadapters/scale\"], verbs: [\"patch\"]}"
        );
    }

    #[test]
    fn a_denial_by_admission_is_no_missing_right() {
        let text = "admission webhook \"v.kb.io\" denied the request: spec.services[decode]";
        let error = refused(403, "Forbidden", text);
        assert_eq!(error.label(), "denied");
        assert!(error.to_string().ends_with(text));
    }

    #[test]
    fn the_two_conflicts_are_told_apart() {
        assert_eq!(refused(409, "AlreadyExists", "").label(), "already_exists");
        assert_eq!(refused(409, "Conflict", "").label(), "conflict");
        assert_eq!(refused(404, "NotFound", "").label(), "not_found");
        assert_eq!(refused(422, "Invalid", "replicas").label(), "refused");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_named_with_its_context() {
        let error = connect_by(Path::new("/does/not/exist"), Some("prod")).await.err().unwrap();
        assert_eq!(error.to_string(), "use the context prod of /does/not/exist");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_at_its_deadline() {
        let never = std::future::pending::<kube::Result<()>>();
        let error = within(Duration::from_secs(3), call(), never).await.unwrap_err();
        assert_eq!(error.label(), "deadline");
        assert!(error.to_string().ends_with("no answer within 3 s"), "{error}");
    }
}
