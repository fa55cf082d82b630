//! Asks the API server what we may do, before the first write fails.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::client::{Call, CallError, within};

/// Whether RBAC lets us make `call`.
///
/// # Errors
///
/// Where the API server does not answer the question.
pub async fn allowed(client: &Client, call: &Call, deadline: Duration) -> Result<bool, CallError> {
    let Call { verb, group, resource, namespace, name } = call;
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (*resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some((*verb).to_owned()),
                group: Some((*group).to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                namespace: namespace.clone(),
                name: name.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let question = Call {
        verb: "create",
        group: "authorization.k8s.io",
        resource: "selfsubjectaccessreviews",
        namespace: None,
        name: None,
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer =
        within(deadline, question, reviews.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}
