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
mod room;
mod service;
mod snapshot;
mod status;
mod sync;
#[cfg(test)]
mod threads;
mod waits;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tonic::Status;
use tonic::service::Routes;

pub use admit::{Admit, AdmitAll, Group, Peer};
pub use builder::{ServerBuilder, incoming, transport};
pub use service::{
    Aggregated, Clusters, Discovery, DiscoveryService, Endpoints, ExtensionConfigs, Listeners,
    RouteConfigurations, Runtime, ScopedRouteConfigurations, Secrets, VirtualHosts,
};
pub use snapshot::Snapshot;
pub use status::{Event, StreamStatus};
pub use waits::Outcome;

pub use crate::core::{Limits, RejectedStatus, TypeStatus, Variant};

use crate::core::{ChangeSet, TypeUrl, Version};
use line::{Line, Lines};
use room::Rooms;
use sync::{Mutex, Notify, lock};

/// Serves resources. Clones share everything.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    groups: Mutex<HashMap<Group, Snapshot>>,
    lines: Mutex<Lines>,
    line_closed: Notify,
    rooms: Arc<Rooms>,
    events: broadcast::Sender<Event>,
    admit: Arc<dyn Admit>,
    limits: Limits,
    identifier: String,
    /// How long a stream may be silent before its first request.
    first_request: Duration,
    /// How long an admission may take.
    admission: Duration,
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
    /// not answer its clients; the default group does. The handle may be kept; after [`Self::remove`] it is of no use.
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
        snapshot.end();
    }

    /// As [`Snapshot::apply`], for the default group.
    pub fn apply(&self, changes: impl Into<ChangeSet>) {
        self.snapshot(&Group::default()).apply(changes);
    }

    /// As [`Snapshot::replace_all`], for the default group.
    pub fn replace_all(&self, changes: impl Into<ChangeSet>) {
        self.snapshot(&Group::default()).replace_all(changes);
    }

    /// As [`Snapshot::offer_again`], for all groups.
    pub fn offer_again(&self, type_url: impl Into<TypeUrl>, name: &str) {
        let type_url = type_url.into();
        let groups: Vec<Snapshot> = lock(&self.shared.groups).values().cloned().collect();
        groups.iter().for_each(|snapshot| snapshot.offer_again(&type_url, name));
    }

    /// As [`Snapshot::acked`], for the default group.
    pub fn acked(&self, type_url: impl Into<TypeUrl>, name: &str) -> Vec<(String, Option<Version>)> {
        self.snapshot(&Group::default()).acked(type_url, name)
    }

    /// As [`Snapshot::until_acked`], for the default group.
    pub async fn until_acked(&self, node: &str, type_url: impl Into<TypeUrl>, name: &str) -> Outcome {
        self.snapshot(&Group::default()).until_acked(node, type_url, name).await
    }

    /// As [`Snapshot::until_acked_by_all`], for the default group.
    pub async fn until_acked_by_all(&self, type_url: impl Into<TypeUrl>, name: &str) -> Outcome {
        self.snapshot(&Group::default()).until_acked_by_all(type_url, name).await
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
    fn begin(&self, address: Option<IpAddr>) -> Result<Arc<Line>, Status> {
        lock(&self.lines).begin(address, &self.limits)
    }

    /// A stream has ended.
    fn over(&self, line: &Line) {
        lock(&self.lines).over(line);
        self.line_closed.notify_waiters();
    }
}
