//! An object in the version in which it was read.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{DynamicResourceScope, NamespaceResourceScope};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::v1beta1::{self, Misfit};
use super::{DynamoGraphDeployment, DynamoGraphDeploymentScalingAdapter, Served, Version, names};

/// A serving graph, in whichever version it was read.
pub type Graph = Versioned<DynamoGraphDeployment>;

/// A scaling adapter, in whichever version it was read.
pub type Adapter = Versioned<DynamoGraphDeploymentScalingAdapter>;

/// An object as its type has it, and the version in which it was read: in this version it is written
/// again and referred to.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<K> {
    object: K,
    version: Version,
    /// The names in the list of components, in its order; none where a map has them.
    order: Vec<String>,
}

/// A kind that is spoken of in two versions.
pub trait Spoken:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug
{
    /// Its resource, as in an RBAC rule.
    const PLURAL: &'static str;

    /// The version in which it is spoken of.
    fn version_in(served: Served) -> Version;

    /// Brings an object that was read in `version` to the form of `v1alpha1`, which is that of the
    /// type. Answers the names in the list of its components, in the order of the list.
    ///
    /// # Errors
    ///
    /// Where the object is not what the version says.
    fn rewrite(version: Version, object: &mut Value) -> Result<Vec<String>, Misfit>;
}

impl Spoken for DynamoGraphDeployment {
    const PLURAL: &'static str = names::DGD_PLURAL;

    fn version_in(served: Served) -> Version {
        served.dgd
    }

    fn rewrite(version: Version, object: &mut Value) -> Result<Vec<String>, Misfit> {
        match version {
            Version::V1alpha1 => v1beta1::refuse_components(object).map(|()| Vec::new()),
            Version::V1beta1 => v1beta1::rewrite_graph(object),
        }
    }
}

impl Spoken for DynamoGraphDeploymentScalingAdapter {
    const PLURAL: &'static str = names::DGDSA_PLURAL;

    fn version_in(served: Served) -> Version {
        served.dgdsa
    }

    fn rewrite(version: Version, object: &mut Value) -> Result<Vec<String>, Misfit> {
        if version == Version::V1beta1 {
            v1beta1::rewrite_adapter(object)?;
        }
        Ok(Vec::new())
    }
}

impl<K> Versioned<K> {
    /// The version in which it was read.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }
}

impl Graph {
    /// Where a component stands in the list; `None` where the version has a map.
    #[must_use]
    pub fn place(&self, component: &str) -> Option<usize> {
        self.order.iter().position(|name| name == component)
    }
}

impl<K> From<K> for Versioned<K> {
    /// An object that was read in `v1alpha1`.
    fn from(object: K) -> Self {
        Self { object, version: Version::V1alpha1, order: Vec::new() }
    }
}

impl<K> Deref for Versioned<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.object
    }
}

impl<'de, K: Spoken> Deserialize<'de> for Versioned<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        let version = Version::of(object.get("apiVersion").and_then(Value::as_str));
        let order = K::rewrite(version, &mut object).map_err(D::Error::custom)?;
        let object = serde_json::from_value(object).map_err(D::Error::custom)?;
        Ok(Self { object, version, order })
    }
}

impl<K: Spoken> Resource for Versioned<K> {
    type DynamicType = Version;
    type Scope = DynamicResourceScope;

    fn kind(_: &Version) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group(_: &Version) -> Cow<'_, str> {
        K::group(&())
    }

    fn version(version: &Version) -> Cow<'_, str> {
        version.as_str().into()
    }

    fn plural(_: &Version) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.object.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.meta_mut()
    }
}
