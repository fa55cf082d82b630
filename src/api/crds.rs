//! The three CRDs as the binary prints them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::schema;
use super::{
    DynamoGraphDeployment, DynamoGraphDeploymentRequest, DynamoGraphDeploymentScalingAdapter,
};

/// The three CRDs, in the form in which they are applied.
///
/// # Panics
///
/// Never: the schemas are constants of this program, and a unit test makes them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        DynamoGraphDeployment::crd(),
        DynamoGraphDeploymentScalingAdapter::crd(),
        DynamoGraphDeploymentRequest::crd(),
    ]
    .into_iter()
    .map(|crd| {
        serde_json::to_value(crd)
            .and_then(|mut crd| {
                schema::forbid_null(&mut crd);
                schema::allow_null_services(&mut crd);
                serde_json::from_value(crd)
            })
            .expect("a CRD of the derive is JSON, and stays one without its nulls")
    })
    .collect()
}

/// File name and text of the three CRDs, as kept in `crds/`.
///
/// # Panics
///
/// Never, as with [`crds`].
#[must_use]
pub fn crd_yaml() -> Vec<(String, String)> {
    crds()
        .into_iter()
        .map(|crd| {
            let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            let mut document = serde_json::to_value(&crd).expect("a CRD is JSON");
            schema::write_whole_numbers(&mut document);
            let yaml = serde_saphyr::to_string(&document).expect("JSON can be written as YAML");
            (name, format!("{}\n", yaml.trim_end()))
        })
        .collect()
}
