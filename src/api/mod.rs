//! The Kubernetes objects that we speak, and every name that leaves the process.
//!
//! Three kinds of the group `nvidia.com/v1alpha1`, in the shape of the releases around Dynamo 0.9:
//! [`DynamoGraphDeployment`] (a serving graph and its services),
//! [`DynamoGraphDeploymentScalingAdapter`] (the scale handle of one service) and
//! [`DynamoGraphDeploymentRequest`] (profile a model and deploy it).
//!
//! The structs hold only what we read. A field that we do not read stays in the cluster: the schemas
//! keep unknown fields, and no typed object is ever written back ([`crate::controllers`] patches).
//! An object that does not fit is read through [`kube::core::DeserializeGuard`], so that one of them
//! cannot hide the others.
//!
//! Reading order: [`names`], `dgd`, `dgdsa`, `dgdr`, `condition`, `crds`, `schema`.

mod condition;
mod crds;
mod dgd;
mod dgdr;
mod dgdsa;
pub mod names;
mod schema;

pub use condition::Condition;
pub use crds::{crd_yaml, crds};
pub use dgd::{
    ContainerArgs, DgdSpec, DgdStatus, DynamoGraphDeployment, ExtraPodSpec, Multinode,
    PersistentVolumeClaim, ResourceItem, Resources, Restart, RestartStrategy, ScalingAdapter,
    Service, ServiceStatus,
};
pub use dgdr::{
    ConfigMapRef, DeploymentOverrides, DeploymentStatus, DgdrSpec, DgdrStatus,
    DynamoGraphDeploymentRequest, ProfilingConfig,
};
pub use dgdsa::{DgdRef, DgdsaSpec, DgdsaStatus, DynamoGraphDeploymentScalingAdapter};
