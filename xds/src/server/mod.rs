//! The tonic layer: one [`Server`] serves sets of resources to any number of clients.
//! In: changes and streams; out: responses, and what who has applied.

mod admit;
mod builder;
mod conversation;
mod drain;
mod entry;
mod line;
mod outgoing;
mod requests;
mod service;
mod snapshot;
mod status;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tonic::Status;
use tonic::service::Routes;

pub use admit::{Admit, AdmitAll, Group, Peer};
pub use builder::{ServerBuilder, transport};
pub use service::{
    Aggregated, Clusters, Discovery, DiscoveryService, Endpoints, ExtensionConfigs, Listeners,
    RouteConfigurations, Runtime, ScopedRouteConfigurations, Secrets, VirtualHosts,
};
pub use snapshot::Snapshot;
pub use status::{Event, StreamStatus};

pub use crate::core::{Limits, RejectedStatus, TypeStatus, Variant};

use crate::core::{Change, Exceeded, TypeUrl, Version};
use line::Line;

/// Serves resources. Clones share everything.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    groups: Mutex<HashMap<Group, Snapshot>>,
    /// Of all streams, also of those that are not admitted yet.
    lines: Mutex<HashMap<u64, Arc<Line>>>,
    line_closed: Notify,
    opened: AtomicU64,
    draining: AtomicBool,
    events: broadcast::Sender<Event>,
    admit: Arc<dyn Admit>,
    limits: Limits,
    identifier: String,
    /// How long a stream may be silent before its first request.
    first_request: Duration,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl Server {
    /// Admits everyone to the default group; nothing to serve yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a server with other than default options.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The resources of a group, which begins to exist with this call. A group in which nothing was ever applied does
    /// not answer its clients; the default group does.
    pub fn snapshot(&self, group: &Group) -> Snapshot {
        let made = || {
            let shared = &self.shared;
            let (limits, identifier) = (shared.limits.clone(), shared.identifier.clone());
            Snapshot::new(group.clone(), limits, identifier, shared.events.clone())
        };
        let mut groups = lock(&self.shared.groups);
        if !groups.contains_key(group) {
            // A client can make up groups if the admission lets it: what nobody uses goes.
            groups.retain(|_, snapshot| !snapshot.is_unused());
        }
        groups.entry(group.clone()).or_insert_with(made).clone()
    }

    /// Forgets a group. Its streams end, and come back to be admitted anew.
    pub fn remove(&self, group: &Group) {
        let Some(snapshot) = lock(&self.shared.groups).remove(group) else { return };
        snapshot.end_all(&Status::unavailable("the group of this node is no longer served: reconnect"));
    }

    /// As [`Snapshot::apply`], for the default group.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        self.snapshot(&Group::default()).apply(changes);
    }

    /// As [`Snapshot::acked`], for the default group.
    pub fn acked(&self, type_url: &TypeUrl, name: &str) -> Vec<(String, Option<Version>)> {
        self.snapshot(&Group::default()).acked(type_url, name)
    }

    /// As [`Snapshot::until_acked`], for the default group.
    pub async fn until_acked(&self, node: &str, type_url: &TypeUrl, name: &str) {
        self.snapshot(&Group::default()).until_acked(node, type_url, name).await;
    }

    /// Events from now on, of all groups. A receiver that lags more than 1,024 events behind is told how many it lost.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// All admitted streams of all groups, for a status page.
    pub fn streams(&self) -> Vec<StreamStatus> {
        let groups: Vec<Snapshot> = lock(&self.shared.groups).values().cloned().collect();
        groups.iter().flat_map(Snapshot::streams).collect()
    }

    /// The aggregated gRPC service.
    pub fn service(&self) -> DiscoveryService<Aggregated> {
        self.service_of()
    }

    /// A single-type gRPC service, or one of your own.
    pub fn service_of<D: Discovery>(&self) -> DiscoveryService<D> {
        DiscoveryService::new(self.clone())
    }

    /// All services of Envoy's types, for `tonic::transport::Server::add_routes`.
    pub fn routes(&self) -> Routes {
        Routes::new(self.service())
            .add_service(self.service_of::<Clusters>())
            .add_service(self.service_of::<Endpoints>())
            .add_service(self.service_of::<Listeners>())
            .add_service(self.service_of::<RouteConfigurations>())
            .add_service(self.service_of::<ScopedRouteConfigurations>())
            .add_service(self.service_of::<VirtualHosts>())
            .add_service(self.service_of::<Secrets>())
            .add_service(self.service_of::<Runtime>())
            .add_service(self.service_of::<ExtensionConfigs>())
    }
}

impl Shared {
    /// A stream begins.
    fn begin(&self) -> Result<Arc<Line>, Status> {
        if self.draining.load(Ordering::Acquire) {
            return Err(drain::status());
        }
        let mut lines = lock(&self.lines);
        if lines.len() >= self.limits.streams {
            return Err(Status::resource_exhausted(Exceeded::Streams(self.limits.streams).to_string()));
        }
        let line = Arc::new(Line::new(self.opened.fetch_add(1, Ordering::Relaxed)));
        lines.insert(line.id, line.clone());
        Ok(line)
    }

    /// A stream has ended.
    fn over(&self, line: &Line) {
        lock(&self.lines).remove(&line.id);
        self.line_closed.notify_waiters();
    }
}

/// State is consistent between statements; a panic elsewhere must not take all clients down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
