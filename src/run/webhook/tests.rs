//! Who we are, and what the webhooks do while that is not known.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use serde_json::json;

use super::*;
use crate::controllers::client::client_of;
use crate::controllers::clock;
use crate::spec::{Defaults, load};
use crate::webhook::certs::make;

/// An API server that answers so many times with these codes, and then with this name.
async fn api_server(codes: &[u16], name: &'static str) -> (Client, Arc<Mutex<VecDeque<u16>>>) {
    let left = Arc::new(Mutex::new(codes.iter().copied().collect::<VecDeque<_>>()));
    let codes = Arc::clone(&left);
    let answer = async move || {
        let code = codes.lock().unwrap().pop_front();
        let (code, body) = match code {
            Some(code) => (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                       "message": "not now", "reason": "Forbidden"}),
            ),
            None => (
                201,
                json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
                       "status": {"userInfo": {"username": name}}}),
            ),
        };
        (
            StatusCode::from_u16(code).unwrap(),
            [(CONTENT_TYPE, "application/json")],
            body.to_string(),
        )
    };
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let app = Router::new().route(path, post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    (client_of(kube::Config::new(url)).unwrap(), left)
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_refusal_is_no_answer_to_who_we_are_and_is_told_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (kube, left) = api_server(&[403, 401, 409, 429, 500], "ada").await;
    let own = whoami(&kube, Duration::from_millis(10)).await;
    assert_eq!((own.as_deref(), left.lock().unwrap().len()), (Some("ada"), 0));
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(said.matches("who we are is not known yet").count(), 1, "{said}");
    assert!(said.contains("selfsubjectreviews"), "{said}");
}

#[tokio::test]
async fn an_api_server_without_the_question_is_asked_once() {
    for code in [404, 405] {
        let (kube, left) = api_server(&[code, 500], "ada").await;
        assert_eq!(whoami(&kube, Duration::from_millis(10)).await, None);
        assert_eq!(left.lock().unwrap().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn an_empty_name_is_none() {
    let (kube, _) = api_server(&[], "").await;
    assert_eq!(whoami(&kube, Duration::from_millis(10)).await, None);
}

/// Until the condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn while_our_name_is_refused_the_webhooks_are_served_and_the_guard_lets_nobody_pass() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let hour = Duration::from_secs(3600);
    let made = make(&["127.0.0.1".to_owned()], hour, clock::now()).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("tls.crt"), &made.cert).unwrap();
    std::fs::write(folder.path().join("tls.key"), &made.key).unwrap();
    let (kube, refusals) = api_server(&[403; 10_000], "ada").await;
    let health = Health::default();
    let (stop, stopped) = watch::channel(false);
    let patience = Duration::from_millis(300);
    let first_look = FirstLook { again: Duration::from_millis(10), patience };
    let metrics = Metrics::new("0");
    // A port that was free a moment ago may be somebody else's.
    let mut failures = Vec::new();
    let (port, begin, task) = loop {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = json!({"webhook": {"port": port, "certificate": {"folder": folder.path()}}});
        let webhook = load(&config.to_string(), "f", &Defaults::default()).unwrap().webhook;
        let ready = Ready::after(health.clone(), [Part::Webhooks]);
        let (kube, state, begin) = (kube.clone(), (ready, stopped.clone()), Instant::now());
        match start_with(&webhook, kube, &metrics, None, state, first_look).await {
            Ok(task) => break (port, begin, task),
            Err(error) => failures.push(error),
        }
        assert!(failures.len() < 5, "{failures:?}");
    };
    until("not ready", async || health.not_ready().is_none()).await;
    assert!(begin.elapsed() >= patience, "the name is waited for");

    let authority = reqwest::Certificate::from_pem(made.ca.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let url =
        format!("https://127.0.0.1:{port}/validate-nvidia-com-v1alpha1-dynamographdeployment");
    let graph = |replicas: u32| {
        let decode = json!({"replicas": replicas, "scalingAdapter": {"enabled": true}});
        json!({"spec": {"services": {"decode": decode}}})
    };
    let edit = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "UPDATE", "name": "g", "namespace": "n",
            "kind": {"group": "nvidia.com", "version": "v1alpha1", "kind": "DynamoGraphDeployment"},
            "userInfo": {"username": "ada"}, "oldObject": graph(1), "object": graph(3)
        }
    })
    .to_string();
    let is_allowed = async || {
        let request = client.post(&url).header(CONTENT_TYPE, "application/json");
        let answer = request.body(edit.clone()).send().await.unwrap().text().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["response"]["allowed"].as_bool().unwrap()
    };
    assert!(!is_allowed().await, "nobody is us yet");
    refusals.lock().unwrap().clear();
    until("our own writes are refused", async || is_allowed().await).await;
    stop.send_replace(true);
    task.await.unwrap();
}

#[test]
fn a_guard_that_nobody_passes_is_noticed() {
    let webhook = |text: &str| {
        load(&format!("webhook: {{{text}}}"), "f", &Defaults::default()).unwrap().webhook
    };
    assert!(nobody_passes(&webhook("enabled: true"), false));
    assert!(!nobody_passes(&webhook("enabled: true"), true));
    assert!(!nobody_passes(&webhook("allowed_users: [ada]"), false));
    assert!(!nobody_passes(&webhook("stock_identities: suffix"), false));
}
