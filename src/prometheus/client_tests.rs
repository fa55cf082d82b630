#![expect(clippy::disallowed_methods, reason = "token and CA files are made here to be read")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::*;

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

/// What the server was asked: address, authorization, body.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server that gives `response` to every request, and the list of what it was asked.
async fn serve(response: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (String, Asked) {
    let asked = Asked::default();
    let handler =
        async move |State(asked): State<Asked>, uri: Uri, headers: HeaderMap, body: Bytes| {
            let authorization = headers
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default();
            let body = String::from_utf8(body.to_vec()).unwrap();
            asked.lock().unwrap().push((uri.to_string(), authorization, body));
            response()
        };
    let app = Router::new().fallback(handler).with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

async fn client(endpoint: Endpoint) -> Client {
    // A second installation is refused, and the first one serves all tests.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::new(endpoint).await.unwrap()
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint { url: url.to_owned(), timeout: Duration::from_secs(20), ..Endpoint::default() }
}

async fn error_for(
    response: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> PrometheusError {
    let (url, _) = serve(response).await;
    client(endpoint(&url)).await.query("up").await.unwrap_err()
}

#[tokio::test]
async fn a_question_is_a_form_below_the_address_with_its_token_and_parameters() {
    let (url, asked) = serve(|| EMPTY.into_response()).await;
    let client = client(Endpoint {
        bearer_token: Some("secret".to_owned()),
        extra_query_params: vec![("tenant".to_owned(), "a&b".to_owned())],
        ..endpoint(&format!("{url}/select/0/prometheus/"))
    })
    .await;
    assert!(client.query("up{a=\"b\"} + 1").await.unwrap().samples.is_empty());
    let asked = asked.lock().unwrap().clone();
    let (address, authorization, body) = &asked[0];
    assert_eq!(address, "/select/0/prometheus/api/v1/query?tenant=a%26b");
    assert_eq!(authorization, "Bearer secret");
    assert_eq!(body, "query=up%7Ba%3D%22b%22%7D+%2B+1");
}

#[tokio::test]
async fn a_token_file_is_read_for_every_request() {
    let (url, asked) = serve(|| EMPTY.into_response()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let client = client(Endpoint { token_file: Some(file.clone()), ..endpoint(&url) }).await;
    client.query("up").await.unwrap();
    std::fs::write(&file, "second\n").unwrap();
    client.query("up").await.unwrap();
    let tokens: Vec<String> = asked.lock().unwrap().iter().map(|(_, t, _)| t.clone()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);

    std::fs::remove_file(&file).unwrap();
    let error = client.query("up").await.unwrap_err();
    assert_eq!(error.label(), "file");
    assert!(error.chain().contains("token file"), "{}", error.chain());
}

#[tokio::test]
async fn a_refusal_is_told_from_a_failure() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let error = error_for(move || status.into_response()).await;
        assert_eq!(error.label(), "denied");
        assert!(error.to_string().contains(status.as_str()), "{error}");
    }
    let error = error_for(|| (StatusCode::NOT_FOUND, "<html>no such page").into_response()).await;
    assert_eq!(error.label(), "status");
    assert!(error.to_string().ends_with("it answered 404 (<html>no such page)"), "{error}");
    assert!(error.hint().contains("path prefix"));
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let to = [("location", "https://login.example/")];
    let error = error_for(move || (StatusCode::FOUND, to).into_response()).await;
    assert!(error.to_string().ends_with("302 (to https://login.example/)"), "{error}");
    assert!(error.hint().contains("redirects"));
}

#[tokio::test]
async fn an_error_of_the_query_is_the_source_s_own_words() {
    let body = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
    let error = error_for(move || (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()).await;
    assert_eq!(error.label(), "query");
    assert!(error.chain().ends_with("execution: too many samples"), "{}", error.chain());
}

#[tokio::test]
async fn what_is_no_answer_is_not_used() {
    let error = error_for(|| "<html>welcome</html>".into_response()).await;
    assert_eq!(error.label(), "bad_answer");
    let error = error_for(|| EMPTY[..30].into_response()).await;
    assert_eq!(error.label(), "bad_answer");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let error = error_for(|| vec![b' '; ANSWER_LIMIT + 1].into_response()).await;
    assert_eq!(error.label(), "too_large");
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    // A socket that is connected to and never read.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(50);
    let client = client(Endpoint { timeout, ..endpoint(&url) }).await;
    let error = client.query("up").await.unwrap_err();
    assert_eq!(error.label(), "timeout");
    assert_eq!(error.to_string(), format!("get an answer from Prometheus at {url} within 50ms"));
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_the_password_is_not_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(endpoint(&format!("http://me:hush@{address}/?key=hush"))).await;
    let error = client.query("up").await.unwrap_err();
    assert_eq!(error.label(), "unreachable");
    assert!(error.chain().contains(&address.to_string()), "{}", error.chain());
    assert!(!error.chain().contains("hush"), "{}", error.chain());
    assert!(!format!("{client:?}").contains("hush"));
}

#[tokio::test]
async fn a_bad_address_or_ca_file_is_told_before_the_first_question() {
    for url in ["prometheus:9090", "not an address", "ftp://host"] {
        let error = Client::new(endpoint(url)).await.unwrap_err();
        assert_eq!(error.label(), "address", "{url}");
    }
    let missing = Endpoint { ca_file: Some("/nonexistent/ca.crt".into()), ..endpoint("https://h") };
    let error = Client::new(missing).await.unwrap_err();
    assert_eq!(error.to_string(), "read the CA file /nonexistent/ca.crt");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    std::fs::write(&file, "not a certificate").unwrap();
    let empty = Endpoint { ca_file: Some(file), ..endpoint("https://h") };
    let error = Client::new(empty).await.unwrap_err();
    assert!(error.chain().ends_with("no PEM certificate in it"), "{}", error.chain());
}
