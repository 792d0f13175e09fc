//! What of a replica is reached from outside: xDS, sessions, and what people and probes ask. In: connections; out: events for the
//! core.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zenvoy_shared::tls::Live;
use zenvoy_xds::server::Server;

use super::effects::Hands;
use super::gate::Gate;
use super::tasks::{Tasks, done};
use super::{Event, ReplicaError, answers};
use crate::admin;
use crate::execute::Executor;
use crate::model::Replica;
use crate::port::Port;
use crate::report::Reporter;
use crate::session::{Moment, SessionService};

/// The services of one replica.
pub(super) struct Front {
    port: Port,
    gate: Arc<Gate>,
    xds: Server,
    sessions: SessionService,
}

impl Front {
    /// Nothing is served yet. What nodes say goes to `events`, each word with its moment by `clock`.
    pub(super) fn new(
        me: &Replica,
        tls: Option<Live>,
        events: mpsc::Sender<Event>,
        clock: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        let port = Port::new(tls);
        let gate = Arc::new(Gate::new(port.access()));
        let xds = Server::builder().admit(gate.clone()).build();
        let sessions = SessionService::new(me.id.to_string(), port.access(), events, clock);
        Self { port, gate, xds, sessions }
    }

    /// Shows health, status and metrics on `listener`.
    pub(super) fn show(
        &self,
        tasks: &mut Tasks,
        listener: TcpListener,
        me: Replica,
        on: admin::Parts,
        seen: admin::Seen,
        stop: &CancellationToken,
    ) {
        let answers = admin::Answers::default();
        let counting = answers.clone().follow(self.xds.subscribe(), stop.clone());
        tasks.spawn("the count of answers", done(counting));
        let (xds, sessions, port) = (self.xds.clone(), self.sessions.clone(), self.port.clone());
        let state = admin::State::new(me, on, seen, xds, sessions, port, answers);
        tasks.spawn("the admin server", done(admin::serve(listener, state, stop.clone())));
    }

    /// Serves nodes on `listener`, and tells `events` what they refuse.
    pub(super) fn serve(
        &self,
        tasks: &mut Tasks,
        listener: TcpListener,
        events: mpsc::Sender<Event>,
        stop: &CancellationToken,
    ) {
        let reading = answers::follow(self.xds.clone(), self.xds.subscribe(), events, stop.clone());
        tasks.spawn("the reader of answers", done(reading));
        let services = Routes::new(self.xds.service()).add_service(self.sessions.service());
        let (port, stop) = (self.port.clone(), stop.clone());
        let serving = async move { port.serve(listener, services, stop).await.map_err(ReplicaError::from) };
        tasks.spawn("the xDS server", serving);
    }

    /// What carries out the core's effects on it.
    pub(super) fn hands(
        self,
        reporter: Arc<dyn Reporter>,
        executor: Executor,
        events: mpsc::Sender<Event>,
    ) -> Hands {
        Hands::new(self.xds, self.sessions, self.gate, reporter, executor, events)
    }
}
