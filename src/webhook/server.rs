//! HTTPS in front of [`answer`](super::answer()): one path a webhook, and a limit on everything that
//! a stranger can send.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::desk::{Counter, Desk};
use super::peers::{IDLE, Peers, Seat, Seated};
use super::rules::Rules;
use super::seldom::Seldom;
use super::tls::Serving;

/// The longest body. etcd takes objects of up to 1.5 MiB and a review holds two of them; more can
/// only be refused later.
pub const BODY_LIMIT: usize = 4 << 20;

/// What a connection may send ahead of being read: heads of requests are some kilobytes long.
const BUFFER: usize = 32 << 10;

/// After the stop, requests on their way may end within this time.
const DRAIN: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted (too many open files), so that the loop does not
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Log lines of calls that were no reviews, in ten seconds: several causes at once can be told apart.
const FAILURES_TOLD: u32 = 10;

/// Time for a body to arrive. The API server sends it at once, with the head; what stalls lets go of
/// its room after this.
const BODY_TIME: Duration = Duration::from_secs(2);

/// Connections at once. Each takes some tens of kilobytes and a file descriptor.
const CONNECTIONS: usize = 1024;

/// Until the first review of a peer, handshake and all. An API server asks in the moment that it
/// connects, and waits no longer than this for the answer.
const FIRST: Duration = Duration::from_secs(5);

/// What the server needs besides its address.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The rules.
    pub rules: Rules,
    /// The certificate.
    pub serving: Serving,
    /// How much a stranger may take.
    pub limits: Limits,
}

/// How much a stranger may take. The defaults are what an API server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body, in bytes. All together hold eight of them, one address half of that.
    pub body: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How long a connection may last before the first review of its peer.
    pub first: Duration,
    /// Connections at once, of all together; one address has a quarter of that.
    pub connections: usize,
}

impl Limits {
    /// Connections of one address. An API server opens one for each review that it waits for at the
    /// same time: at most as many as it works on requests at once, which is 600 by default and of all
    /// kinds together, where changes of Dynamo's objects are a few. Four addresses can take all
    /// connections; whoever comes then is let in at the cost of the one that holds most and has an
    /// idle one, and where none is idle, of a stranger that holds all of these.
    pub(super) const fn of_one(&self) -> usize {
        self.connections / 4
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: BODY_LIMIT, body_time: BODY_TIME, first: FIRST, connections: CONNECTIONS }
    }
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

    /// Serves until `shutdown` completes; then takes no new connection and lets the requests on
    /// their way end. `told` hears of every call.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()>,
        told: impl Fn(&Reviewed) + Send + Sync + 'static,
    ) {
        let Self { listener, options: ServerOptions { rules, serving, limits } } = self;
        let acceptor = TlsAcceptor::from(serving.config());
        let failures = Seldom::new(FAILURES_TOLD);
        let desk = Arc::new(Desk { rules, limits, told: Box::new(told), failures });
        let peers = Peers::new(limits);
        // Each line has its own, so that neither keeps the other one from being told.
        let (replaced, refused) = (Seldom::new(1), Seldom::new(1));
        let graceful = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let seat = match peers.seat(peer) {
                Ok(Seated { seat, instead_of }) => {
                    if let Some(other) = instead_of
                        && let Some(untold) = replaced.tell()
                    {
                        let what = "too many connections, closing one of the other";
                        tracing::warn!(%peer, %other, untold, "{what}");
                    }
                    Arc::new(seat)
                }
                Err(full) => {
                    if let Some(untold) = refused.tell() {
                        let what = "too many connections, closing the newest";
                        tracing::warn!(%peer, ?full, untold, "{what}");
                    }
                    continue;
                }
            };
            let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let served = serve_one(stream, acceptor, desk, Arc::clone(&seat), |connection| {
                    watcher.watch(connection)
                });
                tokio::select! {
                    () = served => {}
                    why = seat.leave() => tracing::debug!(%peer, ?why, "connection closed"),
                }
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
    seat: Arc<Seat>,
    watch: impl FnOnce(Connection) -> W,
) where
    W: Future<Output = hyper::Result<()>>,
{
    // Answers are small and awaited: nothing is gained by holding them back.
    drop(stream.set_nodelay(true));
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "TLS handshake failed"),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), Counter { desk, seat });
    if let Err(error) = watch(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

type Connection = http1::Connection<TokioIo<tokio_rustls::server::TlsStream<TcpStream>>, Counter>;
