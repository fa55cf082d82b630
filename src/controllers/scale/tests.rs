//! Writes that something else overtakes, which a real API server cannot be made to show at will.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use serde_json::Value;

use super::*;
use crate::controllers::client::client_of;

/// The API server of a graph `chat` whose service `Decode` has an adapter.
#[derive(Default)]
struct Answers {
    /// The replicas of the adapter, at each reading; the last stays.
    replicas: Vec<u32>,
    /// How many of the next writes come too late.
    conflicts: usize,
    /// What was written, or would have been.
    writes: Vec<Value>,
}

impl Answers {
    fn answer(&mut self, method: &Method, path: &str, body: &str) -> (u16, Value) {
        let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                             "reason": "NotFound", "message": "none"});
        let conflict = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409,
                              "reason": "Conflict", "message": "the object has been modified"});
        let resource = |name: &str, kind: &str| {
            json!({"name": name, "kind": kind, "namespaced": true,
                                                       "singularName": "", "verbs": ["get"]})
        };
        let scale = |replicas: u32| {
            json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": {"name": "chat-decode", "namespace": "llm", "resourceVersion": "7"},
                "spec": {"replicas": replicas}
            })
        };
        let base = "/apis/nvidia.com/v1alpha1";
        let Some(rest) = path.strip_prefix(base) else { return (404, missing) };
        match (method.as_str(), rest) {
            ("GET", "") => {
                let resources = [
                    resource(names::DGD_PLURAL, names::DGD_KIND),
                    resource(names::DGDSA_PLURAL, names::DGDSA_KIND),
                ];
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1",
                                  "groupVersion": "nvidia.com/v1alpha1", "resources": resources});
                (200, list)
            }
            ("GET", "/namespaces/llm/dynamographdeployments/chat") => {
                let decode = json!({"replicas": 2, "scalingAdapter": {"enabled": true}});
                let graph = json!({
                    "apiVersion": names::API_VERSION, "kind": names::DGD_KIND,
                    "metadata": {"name": "chat", "namespace": "llm", "resourceVersion": "5"},
                    "spec": {"services": {"Decode": decode}}
                });
                (200, graph)
            }
            ("GET", rest) if rest.ends_with("/chat-decode/scale") => {
                let [replicas] = self.replicas[..] else {
                    return (200, scale(self.replicas.remove(0)));
                };
                (200, scale(replicas))
            }
            ("PATCH", rest) if rest.ends_with("/chat-decode/scale") => {
                self.writes.push(serde_json::from_str(body).unwrap());
                if self.writes.len() <= self.conflicts {
                    return (409, conflict);
                }
                (200, scale(4))
            }
            _ => (404, missing),
        }
    }
}

/// What becomes of a write from 2 replicas to 4, and what was sent.
async fn write(replicas: &[u32], conflicts: usize) -> (ScaleOutcome, Vec<Value>) {
    let answers = Answers { replicas: replicas.to_vec(), conflicts, ..Answers::default() };
    let answers = Arc::new(Mutex::new(answers));
    let served = Arc::clone(&answers);
    let answer = async move |method: Method, uri: Uri, body: String| {
        let (code, body) = served.lock().unwrap().answer(&method, uri.path(), &body);
        let json = [(CONTENT_TYPE, "application/json")];
        (StatusCode::from_u16(code).unwrap(), json, body.to_string())
    };
    let app = Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    let client = client_of(kube::Config::new(url)).unwrap();
    let deadline = Duration::from_secs(10);
    let writer = ScaleWriter::new(Kinds::new(client, deadline), deadline);
    let [namespace, dgd, service] = ["llm", "chat", "Decode"].map(str::to_owned);
    let target = ScaleTarget { namespace, dgd, service };
    let outcome = writer.write(&target, Replicas::new(2), Replicas::new(4)).await.unwrap();
    let writes = answers.lock().unwrap().writes.clone();
    (outcome, writes)
}

#[tokio::test]
async fn a_write_that_is_overtaken_is_made_again() {
    let (from, to) = (Replicas::new(2), Replicas::new(4));
    let wrote = ScaleOutcome::Wrote { path: ScalePath::Scale, from, to };
    let patch = json!({"spec": {"replicas": 4}, "metadata": {"resourceVersion": "7"}});
    for conflicts in 0..ATTEMPTS {
        let (outcome, writes) = write(&[2], conflicts).await;
        assert_eq!((outcome, writes), (wrote.clone(), vec![patch.clone(); conflicts + 1]));
    }
}

#[tokio::test]
async fn who_writes_without_a_pause_is_left_for_the_next_decision() {
    let (outcome, writes) = write(&[2], ATTEMPTS).await;
    assert_eq!(outcome, ScaleOutcome::Refused { why: Refusal::Overtaken });
    assert_eq!(writes.len(), ATTEMPTS);
}

#[tokio::test]
async fn who_changed_the_count_meanwhile_is_not_overruled() {
    let (outcome, writes) = write(&[2, 9], 1).await;
    let why = Refusal::Moved { from: Replicas::new(2), now: Replicas::new(9) };
    assert_eq!((outcome, writes.len()), (ScaleOutcome::Refused { why }, 1));
    // Somebody wrote what was wanted.
    let (outcome, writes) = write(&[2, 4], 1).await;
    let replicas = Replicas::new(4);
    assert_eq!((outcome, writes.len()), (ScaleOutcome::Unchanged { replicas }, 1));
}
