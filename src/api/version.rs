//! The two versions of a serving graph and its scaling adapters, and which of them is spoken.

use std::collections::BTreeSet;

use super::names;

/// A version of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Services in a map; an adapter names its service by `serviceName`. The one that `crds/` serves.
    #[default]
    V1alpha1,
    /// Components in a list; an adapter names its component by `componentName`.
    V1beta1,
}

impl Version {
    /// Its name, as in a path.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1alpha1 => names::VERSION,
            Self::V1beta1 => names::VERSION_V1BETA1,
        }
    }

    /// Its name with the group, as in a manifest.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::V1alpha1 => names::API_VERSION,
            Self::V1beta1 => names::API_VERSION_V1BETA1,
        }
    }

    /// What it calls a part of a graph.
    #[must_use]
    pub const fn part(self) -> &'static str {
        match self {
            Self::V1alpha1 => "service",
            Self::V1beta1 => "component",
        }
    }

    /// The version that an object says it has.
    pub(super) fn of(api_version: Option<&str>) -> Self {
        match api_version {
            Some(names::API_VERSION_V1BETA1) => Self::V1beta1,
            Some(_) | None => Self::V1alpha1,
        }
    }
}

/// In which version each kind is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Of a serving graph: `v1beta1` where it is served, since that is how it is stored then.
    pub dgd: Version,
    /// Of a scaling adapter: `v1alpha1` where it is served, since that is how it is stored.
    pub dgdsa: Version,
}

impl Served {
    /// What to speak with an API server that serves these resources in each version. A kind that it
    /// does not serve at all is spoken of in `v1alpha1`.
    #[must_use]
    pub fn by_resources(v1alpha1: &BTreeSet<String>, v1beta1: &BTreeSet<String>) -> Self {
        let dgd =
            if v1beta1.contains(names::DGD_PLURAL) { Version::V1beta1 } else { Version::V1alpha1 };
        let only_later =
            !v1alpha1.contains(names::DGDSA_PLURAL) && v1beta1.contains(names::DGDSA_PLURAL);
        Self { dgd, dgdsa: if only_later { Version::V1beta1 } else { Version::V1alpha1 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_spoken_of_in_its_newest_version_and_an_adapter_in_its_oldest() {
        let [graph, adapter, request] =
            [names::DGD_PLURAL, names::DGDSA_PLURAL, names::DGDR_PLURAL];
        let served = |v1alpha1: &[&str], v1beta1: &[&str]| {
            let [old, new] =
                [v1alpha1, v1beta1].map(|all| all.iter().map(ToString::to_string).collect());
            let Served { dgd, dgdsa } = Served::by_resources(&old, &new);
            (dgd, dgdsa)
        };
        let (old, new) = (Version::V1alpha1, Version::V1beta1);
        assert_eq!(served(&[graph, adapter, request], &[]), (old, old));
        assert_eq!(served(&[graph, adapter], &[request]), (old, old), "v1beta1 of another kind");
        assert_eq!(served(&[graph, adapter], &[graph, adapter]), (new, old));
        assert_eq!(served(&[adapter], &[graph]), (new, old));
        assert_eq!(served(&[], &[graph, adapter]), (new, new));
        assert_eq!(served(&[], &[]), (old, old));
    }

    #[test]
    fn an_object_that_does_not_say_its_version_has_the_first() {
        assert_eq!(Version::of(Some("nvidia.com/v1beta1")), Version::V1beta1);
        assert_eq!(Version::of(Some("nvidia.com/v1alpha1")), Version::V1alpha1);
        assert_eq!(Version::of(None), Version::V1alpha1);
    }
}
