//! Identities with exactly the rights that a test gives them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::api::{Api, ObjectMeta, PostParams};
use serde::Deserialize;
use serde_json::json;

use super::control_plane::{Bench, client_from};
use super::namespace::Namespace;
use super::wait::eventually;

/// The API server learns of new rights by a watch.
const RIGHTS_WITHIN: Duration = Duration::from_secs(15);

/// A user as the API server knows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) token: String,
}

/// Somebody who can log in to the cluster.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// The name that admission sees.
    pub(crate) name: String,
    /// The bearer token.
    pub(crate) token: String,
    kubeconfig: PathBuf,
}

impl User {
    /// A client that logs in as this user; its default namespace is the user's.
    /// It belongs to the runtime that made it.
    pub(crate) async fn client(&self) -> kube::Client {
        client_from(&self.kubeconfig).await
    }

    /// The file that kubectl and the planner log in with.
    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }
}

/// A rule of a role: these verbs on these resources of this API group (`""` is core).
pub(crate) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(strings(resources)),
        verbs: strings(verbs),
        ..PolicyRule::default()
    }
}

impl Bench {
    /// The kubeconfig of a user.
    pub(crate) fn kubeconfig_for<'a>(&self, user: &'a User) -> &'a std::path::Path {
        user.kubeconfig()
    }

    fn write_kubeconfig(&self, identity: Identity, namespace: &str) -> User {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {
                "server": self.ready().server,
                "certificate-authority": self.ready().ca,
            }}],
            "users": [{"name": "user", "user": {"token": identity.token}}],
            "contexts": [{"name": "bench", "context": {
                "cluster": "bench", "user": "user", "namespace": namespace,
            }}],
        });
        let file = format!("{namespace}-{}.kubeconfig", identity.name.replace(':', "-"));
        let kubeconfig = self.dir().join(file);
        fs::write(&kubeconfig, config.to_string()).expect("the bench's folder can be written");
        User { name: identity.name, token: identity.token, kubeconfig }
    }
}

impl Namespace {
    /// A new user who has these rights in this namespace and no others.
    pub(crate) async fn token(&self, rules: Vec<PolicyRule>) -> User {
        self.token_with_cluster_rules(rules, vec![]).await
    }

    /// A new user who has `rules` in this namespace and `cluster_rules` everywhere.
    pub(crate) async fn token_with_cluster_rules(
        &self,
        rules: Vec<PolicyRule>,
        cluster_rules: Vec<PolicyRule>,
    ) -> User {
        let identity = self.bench().next_identity();
        let subject = Subject {
            kind: "User".to_owned(),
            name: identity.name.clone(),
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            namespace: None,
        };
        self.grant(identity, subject, rules, cluster_rules).await
    }

    /// A new service account of this name with these rights, and a token for it from
    /// the TokenRequest API: `system:serviceaccount:NAMESPACE:NAME` to admission.
    pub(crate) async fn service_account(
        &self,
        name: &str,
        rules: Vec<PolicyRule>,
        cluster_rules: Vec<PolicyRule>,
    ) -> User {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, self.name());
        let account = ServiceAccount { metadata: named(name), ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await.expect("a new service account");
        let identity = self.identity_of(name).await;
        let subject = Subject {
            kind: "ServiceAccount".to_owned(),
            name: name.to_owned(),
            api_group: None,
            namespace: Some(self.name().to_owned()),
        };
        self.grant(identity, subject, rules, cluster_rules).await
    }

    /// Who a service account is that a manifest brought, with the rights that a manifest gave it, of
    /// which one is waited for: `of` is a rule that it has in `namespace`.
    pub(crate) async fn account(&self, name: &str, of: &PolicyRule, namespace: &str) -> User {
        let identity = self.identity_of(name).await;
        let user = self.bench().write_kubeconfig(identity, self.name());
        self.until_effective(&user, of, Some(namespace)).await;
        user
    }

    /// A service account, with a token from the TokenRequest API.
    async fn identity_of(&self, account: &str) -> Identity {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, self.name());
        let request = TokenRequest {
            spec: TokenRequestSpec { audiences: vec![], ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .expect("a token for the service account");
        Identity {
            name: format!("system:serviceaccount:{}:{account}", self.name()),
            token: answer.status.expect("an answered request has a status").token,
        }
    }

    async fn grant(
        &self,
        identity: Identity,
        subject: Subject,
        rules: Vec<PolicyRule>,
        cluster_rules: Vec<PolicyRule>,
    ) -> User {
        let first_rules = [rules.first().cloned(), cluster_rules.first().cloned()];
        let user = self.bench().write_kubeconfig(identity, self.name());
        if !rules.is_empty() {
            self.bind_role(&subject, rules).await;
        }
        if !cluster_rules.is_empty() {
            self.bind_cluster_role(&subject, cluster_rules).await;
        }
        // One rule of each role: the API server learns of a role as a whole.
        let [in_namespace, everywhere] = first_rules;
        if let Some(rule) = in_namespace {
            self.until_effective(&user, &rule, Some(self.name())).await;
        }
        if let Some(rule) = everywhere {
            self.until_effective(&user, &rule, None).await;
        }
        user
    }

    async fn bind_role(&self, subject: &Subject, rules: Vec<PolicyRule>) {
        let client = self.admin().await;
        let metadata = named(&subject.name);
        let role = Role { metadata: metadata.clone(), rules: Some(rules) };
        let role_ref = role_ref("Role", &subject.name);
        let binding = RoleBinding { metadata, role_ref, subjects: Some(vec![subject.clone()]) };
        let roles: Api<Role> = Api::namespaced(client.clone(), self.name());
        roles.create(&PostParams::default(), &role).await.expect("a new role");
        let bindings: Api<RoleBinding> = Api::namespaced(client, self.name());
        bindings.create(&PostParams::default(), &binding).await.expect("a new role binding");
    }

    async fn bind_cluster_role(&self, subject: &Subject, rules: Vec<PolicyRule>) {
        let client = self.admin().await;
        let name = format!("{}-{}", self.name(), subject.name);
        let role =
            ClusterRole { metadata: named(&name), rules: Some(rules), ..ClusterRole::default() };
        let binding = ClusterRoleBinding {
            metadata: named(&name),
            role_ref: role_ref("ClusterRole", &name),
            subjects: Some(vec![subject.clone()]),
        };
        let roles: Api<ClusterRole> = Api::all(client.clone());
        roles.create(&PostParams::default(), &role).await.expect("a new cluster role");
        let bindings: Api<ClusterRoleBinding> = Api::all(client);
        bindings.create(&PostParams::default(), &binding).await.expect("a new cluster binding");
    }

    async fn until_effective(&self, user: &User, rule: &PolicyRule, namespace: Option<&str>) {
        let review = review_of(rule, namespace);
        let reviews: Api<SelfSubjectAccessReview> = Api::all(user.client().await);
        let what = format!("{} to have the right {:?}", user.name, review.spec);
        eventually(&what, RIGHTS_WITHIN, async || {
            let answer = reviews.create(&PostParams::default(), &review).await;
            let status = answer.map_err(|error| error.to_string())?.status.unwrap_or_default();
            if status.allowed { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }
}

/// The question whether the first thing that a rule allows is allowed.
fn review_of(rule: &PolicyRule, namespace: Option<&str>) -> SelfSubjectAccessReview {
    let first = |list: &Option<Vec<String>>| list.as_ref().and_then(|all| all.first().cloned());
    let verb = rule.verbs.first().cloned();
    let spec = if let Some(path) = first(&rule.non_resource_urls) {
        let attributes = NonResourceAttributes { path: Some(path), verb };
        SelfSubjectAccessReviewSpec {
            non_resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        }
    } else {
        let full = first(&rule.resources).unwrap_or_default();
        let (resource, subresource) = full.split_once('/').unwrap_or((&full, ""));
        let attributes = ResourceAttributes {
            group: first(&rule.api_groups),
            name: first(&rule.resource_names),
            namespace: namespace.map(str::to_owned),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            verb,
            ..ResourceAttributes::default()
        };
        SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        }
    };
    SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}
