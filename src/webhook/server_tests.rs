//! The server over real TLS, and certificates that change under it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::certs::{Folder, Made, make};
use super::*;
use crate::units::Timestamp;

const PATH: &str = "/validate-nvidia-com-v1alpha1-dynamographdeployment";
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// The longest body where a test fills the room for bodies.
const SMALL: usize = 64 << 10;

/// Longer than any test takes, however busy the machine is.
const NEVER: Duration = Duration::from_secs(600);

/// What has to happen happens within this, however busy the machine is.
const SOON: Duration = Duration::from_secs(60);

/// Nothing ends by its time.
const PATIENT: Limits =
    Limits { body: BODY_LIMIT, body_time: NEVER, first: NEVER, connections: 1024 };

struct Running {
    address: std::net::SocketAddr,
    serving: Serving,
    heard: Arc<Mutex<Vec<Reviewed>>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

fn made() -> Made {
    make(&["127.0.0.1".to_owned(), "localhost".to_owned()], VALIDITY, clock::now()).unwrap()
}

fn pair(made: &Made) -> Pair {
    Pair::from_pem(made.cert.as_bytes(), made.key.as_bytes()).unwrap()
}

impl Running {
    async fn start(certificate: &Made) -> Self {
        Self::start_with(certificate, PATIENT).await
    }

    async fn start_with(certificate: &Made, limits: Limits) -> Self {
        let serving = Serving::default();
        assert!(!serving.is_set());
        serving.set(pair(certificate));
        let options =
            ServerOptions { serving: serving.clone(), limits, ..ServerOptions::default() };
        let server = Server::bind(([127, 0, 0, 1], 0).into(), options).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = {
            let heard = Arc::clone(&heard);
            move |reviewed: &Reviewed| heard.lock().unwrap().push(reviewed.clone())
        };
        let task = tokio::spawn(server.serve(async { drop(stopped.await) }, told));
        Self { address, serving, heard, stop: Some(stop), task }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// What a client that trusts `ca` gets for a body.
    async fn post(&self, ca: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = client(&[ca]).post(self.url(PATH)).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The bytes of an answer to bytes.
    async fn raw(&self, ca: &str, parts: &[&[u8]]) -> String {
        let mut stream = self.connect(ca).await;
        for part in parts {
            // The server may have closed the connection after its answer: that is looked at next.
            if stream.write_all(part).await.is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn connect(&self, ca: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.connect_from(Ipv4Addr::LOCALHOST, ca).await
    }

    /// A connection from one of the addresses of the loopback.
    async fn connect_from(
        &self,
        from: Ipv4Addr,
        ca: &str,
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// What a client with this address gets for a review.
    async fn ask_from(&self, from: Ipv4Addr, ca: &str) -> reqwest::Response {
        let client = builder(&[ca]).local_address(IpAddr::from(from)).build().unwrap();
        let request = client.post(self.url(PATH)).header("content-type", "application/json");
        let answer = tokio::time::timeout(SOON, request.body(review(1)).send());
        answer.await.expect("an answer").unwrap()
    }

    fn last(&self) -> Reviewed {
        self.heard.lock().unwrap().last().unwrap().clone()
    }
}

fn client(authorities: &[&str]) -> reqwest::Client {
    builder(authorities).build().unwrap()
}

fn builder(authorities: &[&str]) -> reqwest::ClientBuilder {
    drop(rustls::crypto::ring::default_provider().install_default());
    let authorities =
        authorities.iter().map(|ca| reqwest::Certificate::from_pem(ca.as_bytes()).unwrap());
    reqwest::Client::builder().tls_certs_only(authorities)
}

/// The head of a review with a body of this length.
fn head(length: usize) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn review(replicas: i64) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-7", "operation": "CREATE", "name": "g", "namespace": "n",
            "kind": {"group": "nvidia.com", "version": "v1alpha1", "kind": "DynamoGraphDeployment"},
            "userInfo": {"username": "ada"},
            "object": {"spec": {"services": {"decode": {"replicas": replicas}}}}
        }
    })
    .to_string()
}

#[tokio::test]
async fn a_review_is_answered_and_told() {
    let made = made();
    let server = Running::start(&made).await;
    let (status, text) = server.post(&made.ca, review(1)).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["response"]), (200, &json!({"uid": "u-7", "allowed": true})));
    let told = server.last();
    assert_eq!(
        (told.path, told.operation, told.result, told.reason),
        (PATH, "CREATE", "allowed", "")
    );
    assert!(told.took > Duration::ZERO && told.took < SOON);

    let (status, text) = server.post(&made.ca, review(-1)).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let message = "spec.services[decode].replicas must be non-negative; found -1: 0 is the fewest";
    assert_eq!((status, answer["response"]["status"]["message"].as_str()), (200, Some(message)));
    assert_eq!((server.last().result, server.last().reason), ("denied", "field"));
}

#[tokio::test]
async fn what_is_no_review_gets_a_proper_error_and_the_server_lives() {
    let made = made();
    let server = Running::start(&made).await;
    let deep = format!(
        "{{\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{{\"object\":{}{}}}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let many = review(1).replace("{\"replicas\":1}", &format!("[{}0]", "0,".repeat(1 << 20)));
    let no_uid = review(1).replace("u-7", "");
    let no_version = review(1).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    for (body, says) in [
        ("", "expected an AdmissionReview of admission.k8s.io/v1 as JSON: EOF"),
        ("{\"kind\":", "EOF while parsing"),
        ("[]", "expected an AdmissionReview"),
        (deep.as_str(), "recursion limit exceeded"),
        (many.as_str(), "the object has more than 100000 values"),
        (no_uid.as_str(), "request.uid: expected the identifier"),
        (no_version.as_str(), "found `admission.k8s.io/v1beta1`"),
    ] {
        let (status, text) = server.post(&made.ca, body.to_owned()).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(says), "{text}");
        assert_eq!((server.last().result, server.last().reason), ("error", "malformed"));
    }
    let (status, _) = server.post(&made.ca, vec![0xff_u8; 100]).await;
    assert_eq!(status, 400);
    let client = client(&[&made.ca]);
    let get = client.get(server.url(PATH)).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    let nowhere = client.post(server.url("/validate")).body(review(1)).send().await.unwrap();
    assert_eq!((nowhere.status().as_u16(), server.last().path), (404, "other"));
    let form = client.post(server.url(PATH)).header("content-type", "text/plain");
    assert_eq!(form.body(review(1)).send().await.unwrap().status().as_u16(), 415);
    let probe = client.get(server.url("/healthz")).send().await.unwrap();
    assert_eq!(probe.status().as_u16(), 200);
    let raw = server.raw(&made.ca, &[b"\x00\x01\x02 nonsense\r\n\r\n"]).await;
    assert!(raw.is_empty() || raw.starts_with("HTTP/1.1 400"), "{raw}");
    assert_eq!(server.post(&made.ca, review(1)).await.0, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_by_its_length_and_by_what_comes() {
    let made = made();
    let server = Running::start_with(&made, Limits { body: SMALL, ..PATIENT }).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    let stated = format!("{head}Content-Length: {}\r\n\r\n{{", SMALL + 1);
    let answer = server.raw(&made.ca, &[stated.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.ends_with("the body is longer than 64 KiB\n"), "{answer}");
    assert_eq!(server.last().reason, "too_large");

    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let mut parts = vec![chunked.as_bytes()];
    parts.extend(std::iter::repeat_n(chunk.as_bytes(), SMALL / 0x4000));
    parts.push(b"1\r\n \r\n");
    let answer = server.raw(&made.ca, &parts).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    // Just below it is read, and is only malformed.
    let (status, _) = server.post(&made.ca, " ".repeat(SMALL)).await;
    assert_eq!(status, 400);
    // Of more at once than there is room for, some are told to come back.
    let all = futures::future::join_all((0..12).map(|_| server.post(&made.ca, " ".repeat(SMALL))));
    let statuses: Vec<u16> = all.await.into_iter().map(|(status, _)| status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 400 | 503)), "{statuses:?}");
    assert_eq!(server.post(&made.ca, review(1)).await.0, 200);
}

#[tokio::test]
async fn stalled_bodies_keep_nobody_out() {
    let made = made();
    let body_time = Duration::from_secs(5);
    let server = Running::start_with(&made, Limits { body_time, ..PATIENT }).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut stream = server.connect(&made.ca).await;
        stream.write_all(format!("{}{{", head(BODY_LIMIT)).as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(server.ask_from(Ipv4Addr::LOCALHOST, &made.ca).await.status().as_u16(), 200);
    for mut stream in stalled {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut answer));
        drop(ended.await.expect("an end"));
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.ends_with("the body did not arrive within 5 s\n"), "{answer}");
    }
}

#[tokio::test]
async fn one_peer_cannot_take_all_the_room_and_is_told_to_come_back() {
    let made = made();
    let server = Running::start_with(&made, Limits { body: SMALL, ..PATIENT }).await;
    let most = " ".repeat(SMALL - 1);
    let stall = async || {
        let mut stream = server.connect(&made.ca).await;
        stream.write_all(head(SMALL).as_bytes()).await.unwrap();
        stream.write_all(most.as_bytes()).await.unwrap();
        stream
    };
    let mut stalled = Vec::new();
    let busy = loop {
        let answer = server.ask_from(Ipv4Addr::LOCALHOST, &made.ca).await;
        if answer.status().as_u16() == 503 {
            break answer;
        }
        assert!(stalled.len() < 200, "there is room for all of them");
        stalled.push(stall().await);
    };
    assert_eq!(busy.headers()["retry-after"], "1");
    assert_eq!(busy.text().await.unwrap(), "too many bodies at once: come back in a second\n");
    assert_eq!((server.last().result, server.last().reason), ("error", "busy"));
    let other = Ipv4Addr::new(127, 0, 0, 2);
    assert_eq!(server.ask_from(other, &made.ca).await.status().as_u16(), 200);
    // As long as they are there.
    drop(stalled);
    let begin = clock::instant();
    while server.ask_from(Ipv4Addr::LOCALHOST, &made.ca).await.status().as_u16() != 200 {
        assert!(begin.elapsed() < SOON, "the room is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_never_asks_takes_not_all_connections_and_goes_within_seconds() {
    let made = made();
    let first = Limits::default().first;
    let server = Running::start_with(&made, Limits { first, ..PATIENT }).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // One that drips a head is no better.
    let mut dripping = server.connect_from(Ipv4Addr::new(127, 0, 0, 3), &made.ca).await;
    dripping.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let mut asking = server.connect_from(other, &made.ca).await;
    let mut spare = server.connect_from(other, &made.ca).await;
    let body = review(1);
    let request = format!("{}{body}", head(body.len()));
    let ask = async |stream: &mut tokio_rustls::client::TlsStream<TcpStream>| {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    };
    ask(&mut asking).await;
    let all_are_closed = async {
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        }
        assert_eq!(dripping.read(&mut [0]).await.unwrap_or(0), 0);
    };
    tokio::time::timeout(SOON, all_are_closed).await.expect("closed");
    // Who has asked may keep connections in reserve.
    ask(&mut spare).await;
}

#[tokio::test]
async fn where_all_connections_are_taken_who_holds_most_makes_room() {
    let made = made();
    let server = Running::start_with(&made, Limits { connections: 16, ..PATIENT }).await;
    let mut full = Vec::new();
    for i in 0..16 {
        // Four of each; the handshake ends once the seat is taken.
        full.push(server.connect_from(Ipv4Addr::new(127, 0, 0, 2 + i / 4), &made.ca).await);
    }
    let other = Ipv4Addr::new(127, 0, 0, 9);
    assert_eq!(server.ask_from(other, &made.ca).await.status().as_u16(), 200);
    let closed = tokio::time::timeout(SOON, full[0].read(&mut [0])).await;
    assert_eq!(closed.expect("the stalest of them is closed").unwrap_or(0), 0);
    for stream in &mut full[1..] {
        let read = tokio::time::timeout(Duration::from_millis(5), stream.read(&mut [0])).await;
        assert!(read.is_err(), "the others stay");
    }
}

#[tokio::test]
async fn silent_connections_do_not_hold_up_the_others() {
    let made = made();
    let server = Running::start(&made).await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut greeted = server.connect(&made.ca).await;
    greeted.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
    let answer = tokio::time::timeout(SOON, server.post(&made.ca, review(1)));
    assert_eq!(answer.await.unwrap().0, 200);
}

#[tokio::test]
async fn the_stop_lets_a_request_on_its_way_end_and_takes_no_other() {
    let made = made();
    let mut server = Running::start(&made).await;
    let body = review(1);
    let (first, rest) = body.split_at(20);
    let head = head(body.len()).replace("Host: x\r\n", "Host: x\r\nExpect: 100-continue\r\n");
    let mut stream = server.connect(&made.ca).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is told to go on once the head was read and the body is waited for.
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    tokio::time::timeout(SOON, stream.read_exact(&mut go_on)).await.expect("soon").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    let begin = clock::instant();
    // Until nobody listens any more.
    while TcpStream::connect(server.address).await.is_ok() {
        assert!(begin.elapsed() < SOON, "it still listens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!server.task.is_finished());
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"allowed\":true"));
    tokio::time::timeout(SOON, server.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_while_requests_run_and_none_is_refused() {
    let pairs: Vec<Made> = (0..8).map(|_| made()).collect();
    let server = Arc::new(Running::start(&pairs[0]).await);
    let done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let mut loads = Vec::new();
    for is_kept_alive in [true, true, false, false] {
        // As the API server in a change of authorities: both are trusted.
        let all: Vec<String> = pairs.iter().map(|made| made.ca.clone()).collect();
        let (server, done, count) = (Arc::clone(&server), Arc::clone(&done), Arc::clone(&count));
        loads.push(tokio::spawn(async move {
            let trusted =
                all.iter().map(|ca| reqwest::Certificate::from_pem(ca.as_bytes()).unwrap());
            drop(rustls::crypto::ring::default_provider().install_default());
            let client = reqwest::Client::builder()
                .tls_certs_only(trusted)
                .pool_max_idle_per_host(usize::from(is_kept_alive))
                .build()
                .unwrap();
            while !done.load(Ordering::Relaxed) {
                let request =
                    client.post(server.url(PATH)).header("content-type", "application/json");
                let response = request.body(review(1)).send().await.unwrap();
                assert_eq!(response.status().as_u16(), 200);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut kept = server.connect(&pairs[0].ca).await;
    for made in &pairs[1..] {
        let before = count.load(Ordering::Relaxed);
        server.serving.set(pair(made));
        while count.load(Ordering::Relaxed) < before + 20 {
            assert!(!loads.iter().any(tokio::task::JoinHandle::is_finished), "a request failed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    // A connection from before the first change goes on.
    let body = review(1);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    kept.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // New ones meet the last certificate, and none of the others.
    assert_eq!(server.post(&pairs[7].ca, review(1)).await.0, 200);
    let former = client(&[&pairs[6].ca]).get(server.url("/healthz")).send().await;
    assert!(former.is_err(), "the former certificate is still served");
}

#[tokio::test]
async fn without_a_certificate_no_handshake_succeeds() {
    let made = made();
    let server = Running::start(&made).await;
    let options = ServerOptions::default();
    let bare = Server::bind(([127, 0, 0, 1], 0).into(), options).await.unwrap();
    let url = format!("https://{}/healthz", bare.local_addr().unwrap());
    let task = tokio::spawn(bare.serve(std::future::pending(), |_| {}));
    assert!(client(&[&made.ca]).get(url).send().await.is_err());
    task.abort();
    // And one for other names is not taken.
    let other = make(&["other.svc".to_owned()], VALIDITY, clock::now()).unwrap();
    server.serving.set(pair(&other));
    assert!(client(&[&other.ca]).get(server.url("/healthz")).send().await.is_err());
}

#[test]
fn a_certificate_fits_its_key_its_names_and_its_time() {
    let (a, b) = (made(), made());
    assert_ne!(a.ca, b.ca);
    assert!(Pair::from_pem(a.cert.as_bytes(), a.key.as_bytes()).is_ok());
    for (chain, key, says) in [
        (a.cert.as_str(), b.key.as_str(), "use the private key with the certificate"),
        ("", a.key.as_str(), "no CERTIFICATE block"),
        (a.cert.as_str(), "", "read the private key"),
        (a.key.as_str(), a.key.as_str(), "no CERTIFICATE block"),
    ] {
        let error = Pair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let shown = format!("{a:?} {:?}", pair(&a));
    assert!(!shown.contains("PRIVATE KEY"), "a key is never printed");
    let error = make(&["ü".to_owned()], VALIDITY, clock::now()).unwrap_err().to_string();
    assert!(error.starts_with("make a certificate for ü: "), "{error}");
    let far = Timestamp::from_millis(i64::MAX);
    assert!(make(&["a".to_owned()], VALIDITY, far).is_ok(), "no time makes it panic");
}

#[tokio::test]
async fn a_folder_is_read_anew_when_it_changes_and_half_a_change_does_no_harm() {
    let (a, b) = (made(), made());
    let folder = tempfile::TempDir::new().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let serving = Serving::default();
    let mut looker = Folder::new(folder.path().to_owned(), serving.clone());
    let error = looker.look().await.unwrap_err().to_string();
    assert!(error.starts_with("read ") && error.ends_with("tls.crt"), "{error}");
    put("tls.crt", &a.cert);
    put("tls.key", &a.key);
    assert!(looker.look().await.unwrap());
    assert!(!looker.look().await.unwrap(), "nothing new");
    let server = Running::start(&a).await;
    put("tls.crt", &b.cert);
    let error = looker.look().await.unwrap_err().to_string();
    assert!(error.starts_with("use tls.crt and tls.key of "), "{error}");
    assert!(serving.is_set());
    put("tls.key", &b.key);
    let told = Arc::new(Mutex::new(Vec::new()));
    let ends = Arc::clone(&told);
    let follower = tokio::spawn(
        Folder::new(folder.path().to_owned(), server.serving.clone())
            .every(Duration::from_millis(10))
            .follow(move |end| ends.lock().unwrap().push(end)),
    );
    let try_b = async || client(&[&b.ca]).get(server.url("/healthz")).send().await.is_ok();
    let begin = clock::instant();
    while !try_b().await {
        assert!(begin.elapsed() < SOON, "the new pair is not served");
    }
    follower.abort();
    // Certificates end with a whole second.
    let whole = Timestamp::from_millis(b.not_after.as_millis() / 1000 * 1000);
    assert_eq!(told.lock().unwrap().first(), Some(&Some(whole)));
}
