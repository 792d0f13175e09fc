//! Health, readiness, status and metrics over HTTP, for probes and people. In: what the parts know of themselves; out: text and JSON.

mod metrics;
pub mod nodes;

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zenvoy_xds::server::{Server, StreamStatus};

use crate::model::Replica;
use crate::port::Port;
use crate::session::SessionService;

/// What is shown.
#[derive(Clone)]
pub struct State {
    me: Replica,
    ready: watch::Receiver<bool>,
    xds: Server,
    sessions: SessionService,
    port: Port,
}

impl State {
    /// Of these parts; `ready` says whether facts and records are loaded and the replica is registered.
    pub fn new(
        me: Replica,
        ready: watch::Receiver<bool>,
        xds: Server,
        sessions: SessionService,
        port: Port,
    ) -> Self {
        Self { me, ready, xds, sessions, port }
    }
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, state: State, stop: CancellationToken) {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics::page))
        .with_state(state);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "health and status are no longer served");
    }
}

async fn ready(Extract(state): Extract<State>) -> (StatusCode, &'static str) {
    if *state.ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: facts or records are not loaded yet, or there is no lease\n",
        )
    }
}

async fn status(Extract(state): Extract<State>) -> Json<Value> {
    let streams: Vec<Value> = state.xds.streams().iter().map(stream).collect();
    Json(json!({
        "controller": state.me.id.0,
        "version": state.me.version,
        "ready": *state.ready.borrow(),
        "sessions": state.sessions.count(),
        "port": state.port.status(),
        "streams": streams,
    }))
}

fn stream(stream: &StreamStatus) -> Value {
    let types = stream.types.iter().map(|of_type| {
        let rejected = of_type
            .rejected
            .iter()
            .map(|rejected| json!({ "name": &*rejected.name, "message": &*rejected.message }));
        json!({
            "type": &*of_type.type_url.0,
            "names": of_type.names,
            "unsettled": of_type.unsettled,
            "rejected": rejected.collect::<Vec<_>>(),
        })
    });
    json!({ "node": &*stream.node, "types": types.collect::<Vec<_>>() })
}
