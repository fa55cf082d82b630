//! The HTTP server of metrics and probes.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Health, Metrics};

/// Content type of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
}

impl Server {
    /// Takes the address, so that a port in use is told before anything else starts.
    pub async fn bind(address: SocketAddr, metrics: Metrics, health: Health) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, metrics, health })
    }

    /// The address, with the port that the system chose where 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` completes, and then ends the requests on their way.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let Self { listener, metrics, health } = self;
        axum::serve(listener, router(metrics, health)).with_graceful_shutdown(shutdown).await
    }
}

fn router(metrics: Metrics, health: Health) -> Router {
    let probes = Router::new()
        .route("/healthz", get(async |State(health): State<Health>| probe(health.stuck())))
        .route("/readyz", get(async |State(health): State<Health>| probe(health.not_ready())))
        .with_state(health);
    Router::new().route("/metrics", get(page)).with_state(metrics).merge(probes)
}

async fn page(State(metrics): State<Metrics>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.page()).into_response()
}

fn probe(problem: Option<String>) -> Response {
    match problem {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (status, kind, response.text().await.unwrap())
    }

    #[tokio::test]
    async fn the_three_pages_and_the_end() {
        let health = Health::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, Metrics::new("1.2.3"), health.clone()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async move { drop(stopped.await) }));

        let (status, kind, page) = get(address, "/metrics").await;
        assert_eq!((status, kind.as_str()), (200, CONTENT_TYPE));
        assert!(page.contains("sla_planner_build_info{version=\"1.2.3\"} 1.0"), "{page}");
        assert!(page.ends_with("# EOF\n"));

        assert_eq!(get(address, "/healthz").await.0, 200);
        let (status, _, why) = get(address, "/readyz").await;
        assert_eq!((status, why.as_str()), (503, "starting\n"));
        health.set_ready();
        assert_eq!(get(address, "/readyz").await.0, 200);
        health.alive_for(std::time::Duration::ZERO);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_eq!(get(address, "/healthz").await.0, 503);

        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_at_once() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = Server::bind(address, Metrics::new("x"), Health::default()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
