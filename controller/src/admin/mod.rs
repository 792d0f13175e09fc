//! Health, readiness, status and metrics over HTTP, for probes and people. In: what the parts know of themselves; out: text and JSON.

mod answers;
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

use crate::leader::Standing;
use crate::model::Replica;
use crate::port::Port;
use crate::replica::Blocking;
use crate::session::SessionService;

pub use answers::Answers;

/// What keeps a replica from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacks {
    /// The source has not said everything yet.
    pub facts: bool,
    /// The store has not been read yet.
    pub records: bool,
    /// The replica's own record does not lie in the store.
    pub registration: bool,
    /// What follows from facts and records is not served yet.
    pub resources: bool,
}

impl Lacks {
    /// What a replica lacks that has just started.
    pub const EVERYTHING: Self = Self { facts: true, records: true, registration: true, resources: true };

    fn is_nothing(self) -> bool {
        let Self { facts, records, registration, resources } = self;
        !(facts || records || registration || resources)
    }

    /// A line for each part, with what it waits for.
    fn lines(self, on: &Parts) -> Vec<String> {
        let Self { facts, records, registration, resources } = self;
        let Parts { source, store } = on;
        let waits = [
            (facts, format!("facts: {source} has not been read yet")),
            (records, format!("decisions: {store} has not been read yet")),
            (registration && !records, format!("registration: this replica has no lease in {store}")),
            (resources && !facts && !records, "resources: they are being made".into()),
        ];
        waits.into_iter().filter_map(|(waits, line)| waits.then_some(line)).collect()
    }
}

/// What a replica stands on, as a person knows it.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where facts come from.
    pub source: String,
    /// Where decisions are kept.
    pub store: String,
}

/// What the replica says of itself, as it changes.
#[derive(Clone)]
pub struct Seen {
    /// What keeps it from serving.
    pub lacks: watch::Receiver<Lacks>,
    /// The nodes that keep workloads up though nobody hears them.
    pub blocking: watch::Receiver<Vec<Blocking>>,
    /// How it stands in the election.
    pub standing: watch::Receiver<Standing>,
}

/// What is shown.
#[derive(Clone)]
pub struct State {
    me: Replica,
    on: Parts,
    seen: Seen,
    xds: Server,
    sessions: SessionService,
    port: Port,
    answers: Answers,
}

impl State {
    /// Of a replica that stands on `on`.
    pub fn new(
        me: Replica,
        on: Parts,
        seen: Seen,
        xds: Server,
        sessions: SessionService,
        port: Port,
        answers: Answers,
    ) -> Self {
        Self { me, on, seen, xds, sessions, port, answers }
    }

    fn waits_for(&self) -> Vec<String> {
        self.seen.lacks.borrow().lines(&self.on)
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

async fn ready(Extract(state): Extract<State>) -> (StatusCode, String) {
    if state.seen.lacks.borrow().is_nothing() {
        return (StatusCode::OK, "ready\n".into());
    }
    let lines: String = state.waits_for().iter().map(|line| format!("not ready: {line}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn status(Extract(state): Extract<State>) -> Json<Value> {
    let blocking: Vec<Value> = state
        .seen
        .blocking
        .borrow()
        .iter()
        .map(
            |node| json!({ "node": node.node.0, "since_unix_ms": node.since_unix_ms, "remedy": node.remedy }),
        )
        .collect();
    let streams: Vec<Value> = state.xds.streams().iter().map(stream).collect();
    Json(json!({
        "controller": state.me.id.0,
        "version": state.me.version,
        "ready": state.seen.lacks.borrow().is_nothing(),
        "waits_for": state.waits_for(),
        "election": election(&state.seen.standing.borrow()),
        "sessions": state.sessions.count(),
        "unreachable_nodes": blocking,
        "port": state.port.status(),
        "streams": streams,
    }))
}

fn election(standing: &Standing) -> Value {
    match standing {
        Standing::Leads(term) => json!({ "leads": true, "term": term.0.0 }),
        Standing::Follows => json!({ "leads": false }),
        Standing::Refuses(why) => json!({ "leads": false, "refuses": why }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_ready_says_for_what_it_waits_and_where() {
        let on = Parts {
            source: "the Kubernetes API at https://k8s:6443/".into(),
            store: "etcd at http://etcd:2379".into(),
        };
        let all = [
            "facts: the Kubernetes API at https://k8s:6443/ has not been read yet",
            "decisions: etcd at http://etcd:2379 has not been read yet",
        ];
        assert_eq!(Lacks::EVERYTHING.lines(&on), all);
        let lost = Lacks { facts: false, records: false, registration: true, resources: false };
        assert_eq!(lost.lines(&on), ["registration: this replica has no lease in etcd at http://etcd:2379"]);
        let nothing = Lacks { registration: false, ..lost };
        assert!(nothing.is_nothing() && nothing.lines(&on).is_empty());
    }
}
