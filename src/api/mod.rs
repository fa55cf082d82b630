//! The Kubernetes objects that we speak, and every name that leaves the process.
//!
//! Three kinds of the group `nvidia.com/v1alpha1`, in the shape of the releases around Dynamo 0.9:
//! [`DynamoGraphDeployment`] (a serving graph and its services),
//! [`DynamoGraphDeploymentScalingAdapter`] (the scale handle of one service) and
//! [`DynamoGraphDeploymentRequest`] (profile a model and deploy it).
//!
//! Later releases serve the first two as `v1beta1` too, or only. What is read in that version is
//! brought to these types, and [`Versioned`] keeps in which version it was read; [`Served`] says which
//! version of a kind is spoken where.
//!
//! The structs hold only what we read. A field that we do not read stays in the cluster: the schemas
//! keep unknown fields, and no typed object is ever written back ([`crate::controllers`] patches).
//! An object that does not fit is read through [`kube::core::DeserializeGuard`], so that one of them
//! cannot hide the others.
//!
//! Reading order: [`names`], `dgd`, `dgdsa`, `dgdr`, `condition`, `version`, `versioned`, `v1beta1`,
//! `crds`, `schema`.

mod condition;
mod crds;
mod dgd;
mod dgdr;
mod dgdsa;
pub mod names;
mod schema;
mod v1beta1;
mod version;
mod versioned;

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
pub use v1beta1::Misfit;
pub use version::{Served, Version};
pub use versioned::{Adapter, Graph, Spoken, Versioned};
