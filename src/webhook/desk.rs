//! Where requests are handed in: the body is read, judged and answered.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::Service;
use hyper::{Method, Response, StatusCode};

use super::answer::Answer;
use super::clock;
use super::field::{cut, shown};
use super::peers::{Room, Seat};
use super::request::Request;
use super::rules::{DOORS, Door, Rules, answer};
use super::seldom::Seldom;
use super::server::{Limits, Reviewed};

/// When to come back where there was no room, in whole seconds. The API server does, by itself, as
/// long as the `timeoutSeconds` of the registration last.
const COME_BACK: HeaderValue = HeaderValue::from_static("1");

/// What a log line repeats of a denial, in bytes. Whoever asked has all of it.
const LONGEST_LOGGED: usize = 1024;

type Reply = Response<Full<Bytes>>;

/// What all connections share.
pub(super) struct Desk {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) told: Box<dyn Fn(&Reviewed) + Send + Sync>,
    /// The log of calls that were no reviews, by addresses that never had one answered: anybody can
    /// make them. Those of the others are all told. The metrics count all.
    pub(super) failures: Seldom,
}

/// Where one connection hands its requests in.
pub(super) struct Counter {
    pub(super) desk: Arc<Desk>,
    pub(super) seat: Arc<Seat>,
}

impl Service<hyper::Request<Incoming>> for Counter {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let (desk, seat) = (Arc::clone(&self.desk), Arc::clone(&self.seat));
        Box::pin(async move { Ok(desk.call(&seat, request).await) })
    }
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

    fn too_long(most: usize) -> Self {
        let text = format!("the body is longer than {} KiB\n", most >> 10);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
    }

    fn into_reply(self) -> Reply {
        let Self { status, reason: _, text } = self;
        let mut reply = reply(status, "text/plain; charset=utf-8", text.into());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(RETRY_AFTER, COME_BACK);
        }
        reply
    }
}

impl Desk {
    async fn call(&self, seat: &Seat, request: hyper::Request<Incoming>) -> Reply {
        let began = clock::instant();
        let _busy = seat.asks();
        if request.method() == Method::GET && request.uri().path() == "/healthz" {
            return reply(StatusCode::OK, "text/plain", "ok\n".into());
        }
        let door = DOORS.iter().find(|(path, _)| *path == request.uri().path());
        let path = door.map_or("other", |(path, _)| *path);
        let outcome = match door {
            Some((_, door)) => self.review(*door, seat, request).await,
            None => {
                let text = format!("no webhook at {}\n", shown(request.uri().path()));
                Err(Failure::new(StatusCode::NOT_FOUND, "not_found", text))
            }
        };
        let (operation, result, reason, reply) = match outcome {
            Ok((request, answer)) => {
                seat.answered();
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
                        message = %cut(&denial.message, LONGEST_LOGGED),
                        "denied"
                    );
                }
                (request.operation.as_str(), answer.result(), reason, reply)
            }
            Err(failure) => {
                let Failure { status, reason, text } = &failure;
                let (why, peer) = (text.trim_end(), seat.address());
                let told = if seat.is_known() { Some(0) } else { self.failures.tell() };
                match told {
                    Some(untold) => {
                        tracing::warn!(path, %status, why, %peer, untold, "no review");
                    }
                    None => tracing::debug!(path, %status, why, %peer, "no review"),
                }
                ("none", "error", *reason, failure.into_reply())
            }
        };
        let took = clock::instant().saturating_duration_since(began);
        (self.told)(&Reviewed { path, operation, result, reason, took });
        reply
    }

    async fn review(
        &self,
        door: Door,
        seat: &Seat,
        request: hyper::Request<Incoming>,
    ) -> Result<(Request, Answer), Failure> {
        if request.method() != Method::POST {
            let method = shown(request.method().as_str());
            let text = format!("expected POST, found {method}\n");
            return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method", text));
        }
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.trim_start().starts_with("application/json")) {
            let text = format!(
                "Content-Type: expected application/json, found `{}`\n",
                shown(kind.unwrap_or_default())
            );
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", text));
        }
        let Limits { body: most, body_time, first: _, connections: _ } = self.limits;
        let body = tokio::time::timeout(body_time, whole(seat, request.into_body(), most));
        let (body, _room) = body.await.unwrap_or_else(|_| {
            let text = format!("the body did not arrive within {} s\n", body_time.as_secs_f64());
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "slow", text))
        })?;
        let request = Request::decode(&body).map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, "malformed", format!("{error}\n"))
        })?;
        let answer = answer(door, &request, &self.rules);
        Ok((request, answer))
    }
}

/// The whole body, with the room that it takes until it is answered. Room is claimed for what has
/// come and not for what was announced. Where there is none, the rest is let go by, so that whoever
/// sends it reads the answer.
async fn whole(
    seat: &Seat,
    mut body: Incoming,
    most: usize,
) -> Result<(Vec<u8>, Room<'_>), Failure> {
    if body.size_hint().lower() > most as u64 {
        return Err(Failure::too_long(most));
    }
    let mut length = 0_usize;
    let mut held = Some((Vec::new(), seat.room()));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let text = format!("the body ended early: {error}\n");
            Failure::new(StatusCode::BAD_REQUEST, "cut_off", text)
        })?;
        // What comes after the data is of no interest.
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > most {
            return Err(Failure::too_long(most));
        }
        held = held.and_then(|(mut bytes, mut room)| {
            room.grow(data.len()).ok()?;
            bytes.extend_from_slice(&data);
            Some((bytes, room))
        });
    }
    held.ok_or_else(|| {
        let text = "too many bodies at once: come back in a second\n".to_owned();
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    })
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
