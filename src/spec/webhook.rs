//! The admission webhooks: as their user writes them, and settled.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::DurationText;

/// The admission webhooks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookFile {
    /// Serves them beside the planner (`run`); `sla-planner webhook` serves them alone, whatever
    /// stands here. Default: false.
    pub enabled: Option<bool>,
    /// Port of the HTTPS server. Default: 9443.
    pub port: Option<u16>,
    /// Users that may change the replicas which an adapter holds, besides this process: whole names
    /// such as `system:serviceaccount:NAMESPACE:NAME`. Where NVIDIA's operator keeps the adapters, its
    /// account belongs here. Default: none.
    #[serde(default)]
    pub allowed_users: BTreeSet<String>,
    /// Whom Dynamo's operator would let pass besides, by a part of the name and in any namespace;
    /// only for a cluster that relies on it. Default: `none`.
    pub stock_identities: Option<StockIdentities>,
    /// How a refused change of replicas is told. Default: `guide`.
    pub message: Option<Wording>,
    /// Whether requests may have GPUs of nodes discovered: false where an operator that is kept to a
    /// namespace works on them and is judged all the same (`leave_restricted`), and then hardware must
    /// be given. Default: true.
    pub gpu_discovery: Option<bool>,
    /// Whether what is done in the namespace of an operator of NVIDIA that is restricted to it passes
    /// without being judged: that operator has webhooks of its own. Whoever may make Leases in a namespace
    /// can so have it left alone; with `false` every namespace is judged, and no Lease is looked for.
    /// It takes the right to list `leases` (`coordination.k8s.io`) in the whole cluster. Default: true.
    pub leave_restricted: Option<bool>,
    /// Release of Dynamo that is stamped on new graphs, and whose profiler image is filled into
    /// requests. Default: none, which does neither.
    pub dynamo_version: Option<String>,
    /// The certificate.
    #[serde(default)]
    pub certificate: CertificateFile,
}

/// The certificate of the webhooks: made here and kept in a Secret, or read from a folder.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFile {
    /// Folder with `tls.crt` and `tls.key`, as cert-manager or a mounted Secret fills it; read anew
    /// when they change. The other keys then do not apply. Default: none.
    pub folder: Option<String>,
    /// Namespace of the Secret and of the Service. Default: the environment variable
    /// `POD_NAMESPACE`, else `default`.
    pub namespace: Option<String>,
    /// Name of the Secret that all replicas share. Default: `sla-planner-webhook-cert`.
    pub secret: Option<String>,
    /// Name of the Service that the API server calls. Default: `sla-planner-webhook`.
    pub service: Option<String>,
    /// DNS domain of the cluster. Default: `cluster.local`.
    pub cluster_domain: Option<String>,
    /// More names or addresses for the certificate, where the registration has a `url`. Default: none.
    #[serde(default)]
    pub extra_names: Vec<String>,
    /// Name of the ValidatingWebhookConfiguration and MutatingWebhookConfiguration that get the
    /// `caBundle`. Default: `sla-planner`.
    pub registration: Option<String>,
    /// How long a certificate is good; it is renewed after two thirds of that. Default: 90d.
    pub validity: Option<DurationText>,
}

/// How a refused change of replicas is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wording {
    /// As Dynamo's guide prints it, with the command to use instead.
    #[default]
    Guide,
    /// As Dynamo's code has it.
    Code,
}

/// Whom Dynamo's operator lets past the replica guard by a part of the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockIdentities {
    /// Nobody.
    #[default]
    None,
    /// As of 1.0: the service account `planner-serviceaccount` of any namespace.
    Name,
    /// As of 0.9: service accounts of any namespace whose name ends in `planner-serviceaccount` or
    /// `-dynamo-operator-controller-manager`.
    Suffix,
}

/// The admission webhooks, settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Whether `run` serves them.
    pub enabled: bool,
    /// Port of the HTTPS server.
    pub port: u16,
    /// Users that may change what an adapter holds, besides this process.
    pub allowed_users: BTreeSet<String>,
    /// Whom Dynamo's operator would let pass.
    pub stock_identities: StockIdentities,
    /// How a refusal is told.
    pub message: Wording,
    /// Whether requests may have GPUs discovered.
    pub gpu_discovery: bool,
    /// Whether the namespaces of operators that are restricted to theirs are left alone.
    pub leave_restricted: bool,
    /// Release of Dynamo to stamp and to fill in.
    pub dynamo_version: Option<String>,
    /// Where the certificate comes from.
    pub certificate: Certificate,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// A folder that somebody else fills.
    Folder(String),
    /// Made here and kept in a Secret.
    Own {
        /// Namespace of the Secret.
        namespace: String,
        /// Name of the Secret.
        secret: String,
        /// Name of the registrations.
        registration: String,
        /// DNS names and addresses that it is for.
        names: Vec<String>,
        /// How long it is good.
        validity: Duration,
    },
}

impl Webhook {
    /// Port of Dynamo's operator (kubernetes.md 4.1).
    pub const PORT: u16 = 9443;
    /// Long enough that a renewal is rare, short enough that one which fails is noticed by the
    /// warnings of a month and not forgotten for years.
    pub const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);
    /// The shortest validity: a renewal takes a minute in which the API servers learn of it, and
    /// clocks may differ.
    pub const SHORTEST_VALIDITY: Duration = Duration::from_secs(3600);
}

pub(super) fn settle(file: WebhookFile, pod_namespace: Option<&str>) -> Webhook {
    let WebhookFile {
        enabled,
        port,
        allowed_users,
        stock_identities,
        message,
        gpu_discovery,
        leave_restricted,
        dynamo_version,
        certificate,
    } = file;
    Webhook {
        enabled: enabled.unwrap_or(false),
        port: port.unwrap_or(Webhook::PORT),
        allowed_users,
        stock_identities: stock_identities.unwrap_or_default(),
        message: message.unwrap_or_default(),
        gpu_discovery: gpu_discovery.unwrap_or(true),
        leave_restricted: leave_restricted.unwrap_or(true),
        dynamo_version,
        certificate: settle_certificate(certificate, pod_namespace),
    }
}

fn settle_certificate(file: CertificateFile, pod_namespace: Option<&str>) -> Certificate {
    let CertificateFile {
        folder,
        namespace,
        secret,
        service,
        cluster_domain,
        extra_names,
        registration,
        validity,
    } = file;
    if let Some(folder) = folder {
        return Certificate::Folder(folder);
    }
    let or = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
    let namespace = or(namespace, pod_namespace.unwrap_or("default"));
    let service = or(service, "sla-planner-webhook");
    let domain = or(cluster_domain, "cluster.local");
    // What Dynamo's certificates are for (kubernetes.md 4.2); API servers use the third.
    let mut names = vec![
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{domain}"),
    ];
    names.extend(extra_names);
    Certificate::Own {
        namespace,
        secret: or(secret, "sla-planner-webhook-cert"),
        registration: or(registration, "sla-planner"),
        names,
        validity: validity.map_or(Webhook::VALIDITY, |d| d.0),
    }
}

/// Complaints, each with the keys below `webhook` that it is about.
pub(super) fn complaints(file: &WebhookFile) -> Vec<(Vec<&'static str>, String)> {
    let WebhookFile {
        enabled: _,
        port,
        allowed_users,
        stock_identities: _,
        message: _,
        gpu_discovery: _,
        leave_restricted: _,
        dynamo_version,
        certificate,
    } = file;
    let mut found = Vec::new();
    let mut add = |path: &[&'static str], text: String| found.push((path.to_vec(), text));
    if *port == Some(0) {
        add(&["port"], "expected a port from 1 to 65535, found 0".to_owned());
    }
    for user in allowed_users.iter().filter(|user| user.is_empty() || user.contains(['*', ' '])) {
        add(
            &["allowed_users"],
            format!("expected whole user names without spaces or wildcards, found `{user}`"),
        );
    }
    let is_tag = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Some(version) = dynamo_version
        && (version.is_empty() || version.len() > 128 || !version.chars().all(is_tag))
    {
        let text = format!("expected a release such as 0.9.0, found `{version}`");
        add(&["dynamo_version"], text);
    }
    let CertificateFile {
        folder,
        namespace,
        secret,
        service,
        cluster_domain,
        extra_names,
        registration,
        validity,
    } = certificate;
    let names = [
        ("namespace", namespace),
        ("secret", secret),
        ("service", service),
        ("cluster_domain", cluster_domain),
        ("registration", registration),
    ];
    for (key, name) in names {
        let Some(name) = name else { continue };
        if folder.is_some() {
            add(
                &["certificate", key],
                "a certificate from `folder` has no use for it: remove one of the two".to_owned(),
            );
        }
        let is_name =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if name.is_empty() || !name.chars().all(is_name) {
            let text = format!(
                "expected a name of lower-case letters, digits, `-` and `.`, found `{name}`"
            );
            add(&["certificate", key], text);
        }
    }
    if folder.as_ref().is_some_and(|folder| folder.trim().is_empty()) {
        let text = "expected the name of a folder, found an empty text: leave the key out for none";
        add(&["certificate", "folder"], text.to_owned());
    }
    if extra_names.iter().any(|name| name.is_empty() || !name.is_ascii() || name.contains(' ')) {
        add(
            &["certificate", "extra_names"],
            "expected DNS names or IP addresses, found one that is neither".to_owned(),
        );
    }
    if let Some(DurationText(validity)) = validity
        && (*validity < Webhook::SHORTEST_VALIDITY
            || *validity > Duration::from_secs(10 * 366 * 24 * 3600))
    {
        let text = format!("expected 1h to ten years, found {}", super::format_duration(*validity));
        add(&["certificate", "validity"], text);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Defaults, load};
    use super::*;

    fn webhook(text: &str) -> Webhook {
        let defaults = Defaults { pod_namespace: Some("ops".to_owned()), ..Defaults::default() };
        load(text, "planner.yaml", &defaults).unwrap().webhook
    }

    #[test]
    fn the_defaults_are_those_of_a_careful_operator() {
        let webhook = webhook("");
        assert!(!webhook.enabled && webhook.gpu_discovery && webhook.leave_restricted);
        assert!(webhook.allowed_users.is_empty());
        assert_eq!(webhook.port, 9443);
        assert_eq!(webhook.stock_identities, StockIdentities::None);
        assert_eq!(webhook.message, Wording::Guide);
        let Certificate::Own { namespace, secret, registration, names, validity } =
            webhook.certificate
        else {
            panic!("an own certificate")
        };
        assert_eq!((namespace.as_str(), secret.as_str()), ("ops", "sla-planner-webhook-cert"));
        assert_eq!(registration, "sla-planner");
        assert_eq!(
            names,
            [
                "sla-planner-webhook",
                "sla-planner-webhook.ops",
                "sla-planner-webhook.ops.svc",
                "sla-planner-webhook.ops.svc.cluster.local"
            ]
        );
        assert_eq!(validity, Duration::from_secs(90 * 24 * 3600));
    }

    #[test]
    fn everything_can_be_said() {
        let webhook = webhook(
            "webhook:\n  enabled: true\n  port: 8443\n  allowed_users: [ada]\n  stock_identities: suffix\n  \
             message: code\n  gpu_discovery: false\n  leave_restricted: false\n  dynamo_version: 0.9.0\n  certificate: {folder: /certs}\n",
        );
        assert!(webhook.enabled && !webhook.gpu_discovery && !webhook.leave_restricted);
        assert_eq!(webhook.port, 8443);
        assert_eq!(webhook.stock_identities, StockIdentities::Suffix);
        assert_eq!(webhook.message, Wording::Code);
        assert_eq!(webhook.certificate, Certificate::Folder("/certs".to_owned()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        for (text, says) in [
            ("port: 0", "`webhook.port`: expected a port from 1"),
            ("allowed_users: ['system:serviceaccount:*:x']", "without spaces or wildcards"),
            ("dynamo_version: 'a b'", "expected a release such as 0.9.0"),
            ("certificate: {folder: /c, secret: s}", "remove one of the two"),
            ("certificate: {secret: A_b}", "lower-case letters"),
            ("certificate: {folder: ' '}", "expected the name of a folder"),
            ("certificate: {extra_names: ['']}", "expected DNS names or IP addresses"),
            ("certificate: {validity: 10m}", "expected 1h to ten years, found 10m"),
            ("stock_identities: anyone", "anyone"),
            ("mesage: code", "did you mean `message`?"),
        ] {
            let error = load(&format!("webhook: {{{text}}}"), "f", &Defaults::default());
            let error = error.unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
