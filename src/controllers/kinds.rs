//! In which versions the API server serves our kinds, and objects read in them.
//!
//! Whoever upgrades the CRDs while we run changes the answer: it is asked for again after
//! [`ASK_AGAIN`], and at once where an object or a kind is not found.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::core::DynamicResourceScope;
use kube::{Api, Client, Resource};
use tokio::time::Instant;

use super::client::{Call, CallError, within};
use crate::api::{Served, Spoken, Version, Versioned, names};

/// Time after which it is asked for again. An upgrade that takes a version away is noticed at once by
/// what is not found; one that only adds a version can wait, since both are served then.
pub const ASK_AGAIN: Duration = Duration::from_secs(300);

/// The API server, and in which versions it serves our kinds. Clones share what is known.
#[derive(Clone)]
pub struct Kinds {
    client: Client,
    deadline: Duration,
    known: Arc<Mutex<Option<Known>>>,
}

/// What the API server said, and when.
#[derive(Clone, Copy, Debug)]
struct Known {
    served: Served,
    at: Instant,
}

/// What the API server says of the kinds that it serves in one version.
enum Answer {
    /// These resources.
    Serves(BTreeSet<String>),
    /// RBAC does not let us ask.
    Forbidden,
    /// Nothing: it could not be reached, or was at a loss.
    Silent(String),
}

impl Kinds {
    /// Nothing known yet; each call gets `deadline`.
    #[must_use]
    pub fn new(client: Client, deadline: Duration) -> Self {
        Self { client, deadline, known: Arc::default() }
    }

    /// The client.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Which version of each kind to speak, asked for where it is not known. Where it cannot be found
    /// out, it is what was known last, or `v1alpha1`.
    pub async fn served(&self) -> Served {
        let known = self.known();
        match known.filter(|known| known.at.elapsed() < ASK_AGAIN) {
            Some(known) => known.served,
            None => match self.ask().await {
                Some(served) => served,
                None => known.map_or_else(Served::default, |known| known.served),
            },
        }
    }

    /// Asks which version of each kind to speak; `None` where the API server does not say.
    pub async fn ask(&self) -> Option<Served> {
        let (old, new) =
            tokio::join!(self.resources(Version::V1alpha1), self.resources(Version::V1beta1));
        let before = self.known().map(|known| known.served);
        let served = match (old, new) {
            (Answer::Serves(old), Answer::Serves(new)) => Served::by_resources(&old, &new),
            (Answer::Silent(why), _) | (_, Answer::Silent(why)) => {
                tracing::debug!(why, "which versions are served is not known");
                return None;
            }
            (Answer::Forbidden, _) | (_, Answer::Forbidden) => {
                if before.is_none() {
                    tracing::warn!(
                        "not allowed to ask which versions of {} are served (the ClusterRole \
                         system:discovery allows it): {} is taken",
                        names::GROUP,
                        names::VERSION
                    );
                }
                Served::default()
            }
        };
        if before != Some(served) {
            let (dgd, dgdsa) = (served.dgd.as_str(), served.dgdsa.as_str());
            tracing::info!(dgd, dgdsa, "versions");
        }
        let known = Known { served, at: Instant::now() };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Some(served)
    }

    fn known(&self) -> Option<Known> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resources(&self, version: Version) -> Answer {
        let asked = self.client.list_api_group_resources(version.api_version());
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(Ok(list)) => Answer::Serves(list.resources.into_iter().map(|r| r.name).collect()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                Answer::Serves(BTreeSet::new())
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Answer::Forbidden,
            Ok(Err(error)) => Answer::Silent(error.to_string()),
            Err(_) => Answer::Silent("no answer in time".to_owned()),
        }
    }

    /// The objects of a namespace, in a version.
    pub(super) fn api<K: Spoken>(&self, version: Version, namespace: &str) -> Api<Versioned<K>> {
        api_of(&self.client, Some(namespace), version)
    }

    /// Reads an object, in the version that is served.
    ///
    /// # Errors
    ///
    /// Where the call fails.
    pub async fn get<K: Spoken>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Versioned<K>, CallError> {
        let asked = K::version_in(self.served().await);
        let found = self.get_in(asked, namespace, name).await;
        if !found.as_ref().is_err_and(CallError::is_not_found) {
            return found;
        }
        // No such object, or no such version any more.
        match self.ask().await.map(K::version_in) {
            Some(version) if version != asked => self.get_in(version, namespace, name).await,
            Some(_) | None => found,
        }
    }

    /// Reads an object in a version.
    ///
    /// # Errors
    ///
    /// Where the call fails.
    pub(super) async fn get_in<K: Spoken>(
        &self,
        version: Version,
        namespace: &str,
        name: &str,
    ) -> Result<Versioned<K>, CallError> {
        let call = Call::object("get", names::GROUP, K::PLURAL, namespace, name);
        within(self.deadline, call, self.api(version, namespace).get(name)).await
    }
}

/// The objects of a namespace, or of all, in a version.
pub(super) fn api_of<K>(client: &Client, namespace: Option<&str>, version: Version) -> Api<K>
where
    K: Resource<DynamicType = Version, Scope = DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &version),
        None => Api::all_with(client.clone(), &version),
    }
}
