//! The admin interface: health, readiness, status and metrics, over HTTP. In: the parts of the proxy; out: answers.

mod metrics;
mod status;

pub use status::{ActivityStatus, ConnectionCounts, DemandStatus, Status, UpstreamStatus, View};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The admin address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "listen for admin requests on {address}: {source}; end the process that uses it, or give another --admin"
)]
pub struct AdminError {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Binds the admin address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError { address, source })
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, view: Arc<View>, stop: CancellationToken) {
    let served = axum::serve(listener, router(view)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        warn!(%error, "admin requests are not answered any more");
    }
}

fn router(view: Arc<View>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(|State(view): State<Arc<View>>| async move { Json(view.status()) }))
        .route("/metrics", get(metrics))
        .with_state(view)
}

async fn ready(State(view): State<Arc<View>>) -> Response {
    if view.is_ready() {
        return "ok\n".into_response();
    }
    let why = "no controller has sent the table yet; /status says how the session goes\n";
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics(State(view): State<Arc<View>>) -> Response {
    match metrics::text(&view) {
        Ok(text) => ([(header::CONTENT_TYPE, zenvoy_shared::metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
