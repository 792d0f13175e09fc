//! The tonic layer: one [`Server`] serves one set of resources to any number of clients.
//! In: changes and streams; out: responses, and what who has applied.

mod stream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::core::{Catalog, Change, DeltaStream, TypeUrl, Version};

/// Serves one set of resources. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts ACKs, so that those who wait for one look again.
    acks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    catalog: Catalog,
    streams: HashMap<u64, Client>,
    opened: u64,
}

#[derive(Debug)]
struct Client {
    node: String,
    stream: DeltaStream,
    wake: Arc<Notify>,
}

impl Server {
    /// Nothing to serve yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in changes, all at once; clients are told before this returns to the runtime. From any thread.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let mut state = self.lock();
        let State { catalog, streams, .. } = &mut *state;
        for change in changes {
            let (type_url, name) = (change.type_url.clone(), change.name.clone());
            if catalog.apply(change) {
                streams.values_mut().for_each(|client| client.stream.on_change(&type_url, &name));
            }
        }
        streams.values().for_each(|client| client.wake.notify_one());
    }

    /// The connected nodes, each with the version of the resource it has applied; `None`: nothing yet, or its removal.
    pub fn acked(&self, type_url: &TypeUrl, name: &str) -> Vec<(String, Option<Version>)> {
        let state = self.lock();
        let version = |client: &Client| client.stream.acked(type_url, name).cloned().flatten();
        state.streams.values().map(|client| (client.node.clone(), version(client))).collect()
    }

    /// Waits until the node has applied what is served of the resource now, or later. Cancel it by dropping; give it a
    /// deadline.
    pub async fn until_acked(&self, node: &str, type_url: &TypeUrl, name: &str) {
        let mut acks = self.shared.acks.subscribe();
        loop {
            acks.mark_unchanged();
            {
                let state = self.lock();
                let served = state.catalog.get(type_url, name).map(|resource| resource.version.clone());
                let mut clients = state.streams.values().filter(|client| client.node == node);
                if clients.any(|client| client.stream.acked(type_url, name) == Some(&served)) {
                    return;
                }
            }
            if acks.changed().await.is_err() {
                return;
            }
        }
    }

    /// The gRPC service.
    pub fn service(&self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements; a panic elsewhere must not take all clients down.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        Ok(Response::new(stream::serve(self.clone(), request.into_inner())))
    }
}
