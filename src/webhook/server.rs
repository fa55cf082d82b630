//! HTTPS in front of [`answer`]: one path a webhook, and a limit on everything that a stranger can
//! send.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::clock;
use super::request::Request;
use super::rules::{DOORS, Door, Rules, answer};
use super::tls::Serving;

/// The longest body. etcd takes objects of up to 1.5 MiB and a review holds two of them; more can
/// only be refused later.
pub const BODY_LIMIT: usize = 4 << 20;

/// Bodies that may be on their way at once, together: larger admits more at once, smaller makes bursts
/// wait. What they become once read is bounded by itself, and by the threads that read them.
const BODIES_AT_ONCE: usize = 4 * BODY_LIMIT;

/// Connections at once. An API server holds some tens; beyond this the newest is closed, so that
/// open connections cannot take all file descriptors.
const CONNECTIONS: usize = 512;

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Silence after which a connection is closed. The API server closes an idle one after 90 seconds by
/// itself: if we came first, a request could meet the closing and fail.
const IDLE: Duration = Duration::from_secs(120);

/// Time for a body to arrive. The API server gives up on the whole call after 10 seconds.
const BODY_TIME: Duration = Duration::from_secs(10);

/// After the stop, requests on their way may end within this time.
const DRAIN: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted (too many open files), so that the loop does not
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server needs besides its address.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The rules.
    pub rules: Rules,
    /// The certificate.
    pub serving: Serving,
}

/// One answered call, for metrics and logs.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The path; `other` where there is none such.
    pub path: &'static str,
    /// `CREATE` or another one; `none` where the body was no review.
    pub operation: &'static str,
    /// `allowed`, `denied`, or `error` for what could not be answered with a review.
    pub result: &'static str,
    /// Why: the kind of rule that was broken, or the HTTP status in words; empty where allowed.
    pub reason: &'static str,
    /// From the end of the head to the answer.
    pub took: Duration,
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
}

impl Server {
    /// Takes the address, so that a port in use is told before anything else starts.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had.
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, options })
    }

    /// The address, with the port that the system chose where 0 was asked for.
    ///
    /// # Errors
    ///
    /// Where the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The same server with other rules.
    #[must_use]
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.options.rules = rules;
        self
    }

    /// Serves until `shutdown` completes; then takes no new connection and lets the requests on
    /// their way end. `told` hears of every call.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()>,
        told: impl Fn(&Reviewed) + Send + Sync + 'static,
    ) {
        let Self { listener, options: ServerOptions { rules, serving } } = self;
        let acceptor = TlsAcceptor::from(serving.config());
        let desk = Arc::new(Desk {
            rules,
            bodies: Semaphore::new(permits(BODIES_AT_ONCE)),
            told: Box::new(told),
        });
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                tracing::warn!(most = CONNECTIONS, "too many connections, closing the newest");
                continue;
            };
            let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                serve_one(stream, acceptor, desk, |connection| watcher.watch(connection), permit)
                    .await;
            });
        }
        drop(listener);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("reviews on their way were cut off by the shutdown");
        }
    }
}

/// Serves one connection until it ends. Whatever goes wrong is the client's business: it is logged
/// for who looks into it.
async fn serve_one<W>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    desk: Arc<Desk>,
    watch: impl FnOnce(Connection) -> W,
    _permit: OwnedSemaphorePermit,
) where
    W: Future<Output = hyper::Result<()>>,
{
    // Answers are small and awaited: nothing is gained by holding them back.
    drop(stream.set_nodelay(true));
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("no TLS handshake in time"),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), Counter(desk));
    if let Err(error) = watch(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

type Reply = Response<Full<Bytes>>;
type Connection = http1::Connection<TokioIo<tokio_rustls::server::TlsStream<TcpStream>>, Counter>;

/// Where one connection hands its requests in.
struct Counter(Arc<Desk>);

impl Service<hyper::Request<Incoming>> for Counter {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let desk = Arc::clone(&self.0);
        Box::pin(async move { Ok(desk.call(request).await) })
    }
}

/// What all connections share.
struct Desk {
    rules: Rules,
    /// One permit a KiB of body.
    bodies: Semaphore,
    told: Box<dyn Fn(&Reviewed) + Send + Sync>,
}

/// A call that gets no review back.
struct Failure {
    status: StatusCode,
    reason: &'static str,
    text: String,
}

impl Failure {
    const fn new(status: StatusCode, reason: &'static str, text: String) -> Self {
        Self { status, reason, text }
    }
}

impl Desk {
    async fn call(&self, request: hyper::Request<Incoming>) -> Reply {
        let began = clock::instant();
        if request.method() == Method::GET && request.uri().path() == "/healthz" {
            return reply(StatusCode::OK, "text/plain", "ok\n".into());
        }
        let door = DOORS.iter().find(|(path, _)| *path == request.uri().path());
        let path = door.map_or("other", |(path, _)| *path);
        let outcome = match door {
            Some((_, door)) => self.review(*door, request).await,
            None => {
                let text = format!("no webhook at {}\n", request.uri().path());
                Err(Failure::new(StatusCode::NOT_FOUND, "not_found", text))
            }
        };
        let (operation, result, reason, reply) = match outcome {
            Ok((request, answer)) => {
                let reason = answer.denial.as_ref().map_or("", |denial| denial.label);
                let review = answer.to_review(&request.uid);
                let reply = reply(StatusCode::OK, "application/json", review.into());
                if let Some(denial) = &answer.denial {
                    tracing::info!(
                        kind = request.kind,
                        namespace = request.namespace,
                        name = request.name,
                        user = request.user,
                        operation = request.operation.as_str(),
                        message = denial.message,
                        "denied"
                    );
                }
                (request.operation.as_str(), answer.result(), reason, reply)
            }
            Err(Failure { status, reason, text }) => {
                tracing::warn!(path, %status, why = text.trim_end(), "no review");
                let mut reply = reply(status, "text/plain; charset=utf-8", text.into());
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    reply
                        .headers_mut()
                        .insert(ALLOW, hyper::header::HeaderValue::from_static("POST"));
                }
                ("none", "error", reason, reply)
            }
        };
        let took = clock::instant().saturating_duration_since(began);
        (self.told)(&Reviewed { path, operation, result, reason, took });
        reply
    }

    async fn review(
        &self,
        door: Door,
        request: hyper::Request<Incoming>,
    ) -> Result<(Request, super::Answer), Failure> {
        if request.method() != Method::POST {
            let text = format!("expected POST, found {}\n", request.method());
            return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method", text));
        }
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.trim_start().starts_with("application/json")) {
            let text = format!(
                "Content-Type: expected application/json, found `{}`\n",
                kind.unwrap_or_default()
            );
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", text));
        }
        let body = tokio::time::timeout(BODY_TIME, self.body(request.into_body()));
        let (body, _room) = body.await.unwrap_or_else(|_| {
            let text = format!("the body did not arrive within {} s\n", BODY_TIME.as_secs());
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "slow", text))
        })?;
        let request = Request::decode(&body).map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, "malformed", format!("{error}\n"))
        })?;
        let answer = answer(door, &request, &self.rules);
        Ok((request, answer))
    }

    /// The whole body, with the room that it takes until it is answered.
    async fn body(
        &self,
        body: Incoming,
    ) -> Result<(Bytes, tokio::sync::SemaphorePermit<'_>), Failure> {
        let too_long = || {
            let text = format!("the body is longer than {} MiB\n", BODY_LIMIT >> 20);
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
        };
        // A body without a stated length may be as long as the limit.
        let length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let length = length.unwrap_or(BODY_LIMIT);
        if length > BODY_LIMIT {
            return Err(too_long());
        }
        let permits = u32::try_from(permits(length)).unwrap_or(u32::MAX);
        let room = self.bodies.acquire_many(permits).await;
        let room = room.expect("the semaphore is never closed");
        match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => Ok((body.to_bytes(), room)),
            Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
            Err(error) => {
                let text = format!("the body ended early: {error}\n");
                Err(Failure::new(StatusCode::BAD_REQUEST, "cut_off", text))
            }
        }
    }
}

/// Permits of a body: one a KiB, and one at least.
const fn permits(bytes: usize) -> usize {
    1 + bytes / 1024
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    reply
}
