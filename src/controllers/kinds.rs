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

/// Pause before an API server that did not say is asked again.
const SILENT_PAUSE: Duration = Duration::from_secs(15);

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
                None => self.keep_last(),
            },
        }
    }

    /// What was known last, asked for again a moment later: each question to an API server that says
    /// nothing costs its whole deadline.
    fn keep_last(&self) -> Served {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now().checked_sub(ASK_AGAIN.saturating_sub(SILENT_PAUSE));
        if let (Some(known), Some(at)) = (known.as_mut(), at) {
            known.at = at;
        }
        known.map_or_else(Served::default, |known| known.served)
    }

    /// What was known last, without asking; `v1alpha1` where nothing was.
    pub(super) fn last(&self) -> Served {
        self.known().map_or_else(Served::default, |known| known.served)
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
            // An API server that has just come up allows nothing yet.
            (Answer::Forbidden, _) | (_, Answer::Forbidden) => before.unwrap_or_else(|| {
                tracing::warn!(
                    "not allowed to ask which versions of {} are served (the ClusterRole \
                     system:discovery allows it): {} is taken",
                    names::GROUP,
                    names::VERSION
                );
                Served::default()
            }),
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

/// Whether the API server serves one of these groups; `None` where it does not say.
pub async fn serves_any(client: &Client, groups: &[&str], deadline: Duration) -> Option<bool> {
    let asked = tokio::time::timeout(deadline, client.list_api_groups()).await;
    match asked {
        Ok(Ok(list)) => Some(list.groups.iter().any(|group| groups.contains(&group.name.as_str()))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "which groups are served is not known");
            None
        }
        Err(_) => None,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::api::Graph;
    use crate::controllers::client::client_of;

    /// What an API server answers, by path; what has no answer is not found.
    type Answers = Arc<Mutex<BTreeMap<String, (u16, Value)>>>;

    const OLD: &str = "/apis/nvidia.com/v1alpha1";
    const NEW: &str = "/apis/nvidia.com/v1beta1";

    /// An API server that answers so, and what it was asked.
    async fn server(answers: &Answers) -> (Kinds, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (Arc::clone(answers), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers), Arc::clone(&log)));
            }
        });
        let client = client_of(kube::Config::new(url.parse().unwrap())).unwrap();
        (Kinds::new(client, Duration::from_secs(5)), asked)
    }

    async fn serve(mut stream: TcpStream, answers: Answers, log: Arc<Mutex<Vec<String>>>) {
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..n]);
            // No request here has a body.
            let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
            let path = head.split([' ', '?']).nth(1).unwrap().to_owned();
            log.lock().unwrap().push(path.clone());
            let none = (404, json!({"code": 404, "reason": "NotFound", "message": "none"}));
            let (code, body) = answers.lock().unwrap().get(&path).cloned().unwrap_or(none);
            let body = body.to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn kinds_of(version: &str, plurals: &[&str]) -> (u16, Value) {
        let resources: Vec<Value> = plurals
            .iter()
            .map(|name| {
                json!({"name": name, "kind": "K", "namespaced": true, "singularName": "", "verbs": []})
            })
            .collect();
        (200, json!({"groupVersion": version, "resources": resources}))
    }

    fn failure(code: u16, reason: &str) -> (u16, Value) {
        (code, json!({"kind": "Status", "code": code, "reason": reason, "message": "no"}))
    }

    fn set(answers: &Answers, path: &str, answer: (u16, Value)) {
        answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    #[tokio::test]
    async fn who_may_not_ask_speaks_the_first_version() {
        let answers = Answers::default();
        set(&answers, OLD, failure(403, "Forbidden"));
        set(&answers, NEW, failure(403, "Forbidden"));
        let (kinds, asked) = server(&answers).await;
        assert_eq!(kinds.served().await, Served::default());
        assert_eq!(kinds.served().await, Served::default());
        assert_eq!(asked.lock().unwrap().len(), 2, "one question for each version, and no more");
    }

    #[tokio::test]
    async fn an_api_server_at_a_loss_is_asked_again_and_what_was_known_stays_known() {
        let answers = Answers::default();
        set(&answers, NEW, failure(500, "InternalError"));
        let (kinds, _asked) = server(&answers).await;
        assert_eq!(kinds.ask().await, None);
        assert_eq!(kinds.served().await, Served::default());
        set(&answers, NEW, kinds_of("nvidia.com/v1beta1", &[names::DGD_PLURAL]));
        let known = Served { dgd: Version::V1beta1, dgdsa: Version::V1alpha1 };
        assert_eq!(kinds.served().await, known);
        set(&answers, NEW, failure(503, "ServiceUnavailable"));
        assert_eq!(kinds.ask().await, None);
        assert_eq!(kinds.served().await, known);
    }

    #[tokio::test]
    async fn an_object_that_is_not_found_is_looked_for_in_the_version_that_is_served_by_then() {
        let answers = Answers::default();
        set(&answers, OLD, kinds_of("nvidia.com/v1alpha1", &[names::DGD_PLURAL]));
        let (kinds, asked) = server(&answers).await;
        assert_eq!(kinds.served().await, Served::default());
        let later = "/apis/nvidia.com/v1beta1/namespaces/n/dynamographdeployments/g";
        let graph = json!({
            "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "g"}, "spec": {"components": [{"name": "c"}]}
        });
        set(&answers, later, (200, graph));
        let missing: Result<Graph, _> = kinds.get("n", "g").await;
        assert!(missing.unwrap_err().is_not_found(), "it is served as v1alpha1, and not there");
        set(&answers, NEW, kinds_of("nvidia.com/v1beta1", &[names::DGD_PLURAL]));
        let found: Graph = kinds.get("n", "g").await.unwrap();
        assert_eq!((found.version(), found.place("c")), (Version::V1beta1, Some(0)));
        asked.lock().unwrap().clear();
        let _again: Graph = kinds.get("n", "g").await.unwrap();
        assert_eq!(*asked.lock().unwrap(), [later], "what is known is not asked for");
    }
}
