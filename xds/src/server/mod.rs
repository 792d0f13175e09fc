//! The tonic layer: one [`Server`] serves sets of resources to any number of clients.
//! In: changes and streams; out: responses, and what who has applied.

mod admit;
mod snapshot;
mod status;
mod stream;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::broadcast;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub use admit::{Admit, AdmitAll, Group, Peer, Variant};
pub use snapshot::Snapshot;
pub use status::{Event, RejectedStatus, StreamStatus, TypeStatus};

use crate::core::{Change, TypeUrl, Version};

/// How many events a slow subscriber may lag behind before it loses the oldest.
const EVENTS: usize = 1024;

/// Serves resources. Clones share everything.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    groups: Mutex<HashMap<Group, Snapshot>>,
    events: broadcast::Sender<Event>,
    admit: Arc<dyn Admit>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// How a [`Server`] is made.
pub struct ServerBuilder {
    admit: Arc<dyn Admit>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// Who is asked about each stream; everyone is admitted by default.
    #[must_use]
    pub fn admit(mut self, admit: Arc<dyn Admit>) -> Self {
        self.admit = admit;
        self
    }

    /// The server, with nothing to serve yet.
    pub fn build(self) -> Server {
        let (events, _) = broadcast::channel(EVENTS);
        Server { shared: Arc::new(Shared { groups: Mutex::default(), events, admit: self.admit }) }
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
        ServerBuilder { admit: Arc::new(AdmitAll) }
    }

    /// The resources of a group.
    pub fn snapshot(&self, group: &Group) -> Snapshot {
        let mut groups = lock(&self.shared.groups);
        let made = || Snapshot::new(group.clone(), self.shared.events.clone());
        groups.entry(group.clone()).or_insert_with(made).clone()
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

    /// All streams of all groups, for a status page.
    pub fn streams(&self) -> Vec<StreamStatus> {
        let groups: Vec<Snapshot> = lock(&self.shared.groups).values().cloned().collect();
        groups.iter().flat_map(Snapshot::streams).collect()
    }

    /// The aggregated gRPC service.
    pub fn service(&self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self.clone())
    }
}

/// State is consistent between statements; a panic elsewhere must not take all clients down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state-of-the-world xDS is not served; set api_type: DELTA_GRPC"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(stream::serve(self.clone(), request)))
    }
}
