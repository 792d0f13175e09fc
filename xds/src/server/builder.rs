//! How a server is made, and a transport that suits it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tonic::Status;

use super::admit::GroupBy;
use super::room::Rooms;
use super::{Admit, AdmitAll, Group, Limits, Peer, Server, Shared};

/// How many events a slow subscriber may lag behind before it loses the oldest.
const EVENTS: usize = 1024;

/// How a [`Server`] is made.
pub struct ServerBuilder {
    admit: Arc<dyn Admit>,
    limits: Limits,
    identifier: String,
    first_request: Duration,
    admission: Duration,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self {
            admit: Arc::new(AdmitAll),
            limits: Limits::default(),
            identifier: String::new(),
            first_request: Duration::from_secs(30),
            admission: Duration::from_secs(60),
        }
    }
}

impl ServerBuilder {
    /// Who is asked about each stream; everyone is admitted by default.
    #[must_use]
    pub fn admit(mut self, admit: Arc<dyn Admit>) -> Self {
        self.admit = admit;
        self
    }

    /// As [`Self::admit`], with a function that says at once which group a peer is served, or why it is not.
    ///
    /// ```
    /// use zenvoy_xds::server::{Group, Server};
    ///
    /// let server = Server::builder().group_by(|peer| Ok(Group::new(peer.node.cluster.as_str()))).build();
    /// server.snapshot(&Group::new("east")).apply([]);
    /// ```
    #[must_use]
    pub fn group_by(self, group: impl Fn(&Peer) -> Result<Group, Status> + Send + Sync + 'static) -> Self {
        self.admit(Arc::new(GroupBy(group)))
    }

    /// What clients may take.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Names this replica to its clients, in each response (`control_plane.identifier`); empty by default: not at all.
    #[must_use]
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = identifier.into();
        self
    }

    /// How long a stream may be silent before its first request; 30 s by default.
    #[must_use]
    pub fn first_request_within(mut self, limit: Duration) -> Self {
        self.first_request = limit;
        self
    }

    /// How long [`Admit::admit`] may take before its stream is ended with `DEADLINE_EXCEEDED`; 60 s by default.
    #[must_use]
    pub fn admission_within(mut self, limit: Duration) -> Self {
        self.admission = limit;
        self
    }

    /// The server, with nothing to serve yet.
    pub fn build(self) -> Server {
        let (events, _) = broadcast::channel(EVENTS);
        let shared = Shared {
            groups: Default::default(),
            lines: Default::default(),
            line_closed: Default::default(),
            rooms: Rooms::new(self.limits.requests_size),
            events,
            admit: self.admit,
            limits: self.limits,
            identifier: self.identifier,
            first_request: self.first_request,
            admission: self.admission,
        };
        Server { shared: Arc::new(shared) }
    }
}

/// A transport for long-lived streams: a connection is dead when a ping every 30 s is not answered within 10 s. Small
/// messages are not delayed on listeners that it opens; on one of the caller's own, serve what [`incoming`] makes of it.
pub fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

/// The connections of a listener, for `serve_with_incoming`: without the up to 40 ms that small messages wait otherwise (the
/// transport's own option does not reach a listener that is given to it).
pub fn incoming(listener: tokio::net::TcpListener) -> tonic::transport::server::TcpIncoming {
    tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true))
}
