//! One client's stream: its requests in, its responses out, until either side ends.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{Notify, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::{Client, Server};
use crate::core::{DeltaStream, Event};

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

pub(super) fn serve(
    server: Server,
    requests: Streaming<DeltaDiscoveryRequest>,
) -> ReceiverStream<Result<DeltaDiscoveryResponse, Status>> {
    // One: what a slow client has not taken stays in its state, where newer content replaces it.
    let (responses, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(status) = run(&server, requests, &responses).await {
            let _ = responses.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

/// The client's entry in the shared state; gone when this is dropped.
struct Entry<'a> {
    server: &'a Server,
    id: u64,
    wake: Arc<Notify>,
    node: String,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.server.lock().streams.remove(&self.id);
    }
}

async fn run(
    server: &Server,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: &Responses,
) -> Result<(), Status> {
    let Some(first) = requests.next().await.transpose()? else { return Ok(()) };
    let entry = open(server, first.node.as_ref().map(|node| node.id.clone()).unwrap_or_default());
    entry.request(first)?;
    loop {
        while let Some(response) = entry.poll() {
            if responses.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            request = requests.next() => match request.transpose()? {
                Some(request) => entry.request(request)?,
                None => return Ok(()),
            },
            () = entry.wake.notified() => {}
            () = responses.closed() => return Ok(()),
        }
    }
}

fn open(server: &Server, node: String) -> Entry<'_> {
    let wake = Arc::new(Notify::new());
    let mut state = server.lock();
    state.opened += 1;
    let id = state.opened;
    let client = Client { node: node.clone(), stream: DeltaStream::default(), wake: wake.clone() };
    state.streams.insert(id, client);
    Entry { server, id, wake, node }
}

impl Entry<'_> {
    fn request(&self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if request.type_url.is_empty() {
            return Err(Status::invalid_argument(
                "type_url is empty: name the type on every request of an ADS stream",
            ));
        }
        let mut state = self.server.lock();
        let state = &mut *state;
        let Some(client) = state.streams.get_mut(&self.id) else { return Ok(()) };
        match client.stream.on_request(request, &state.catalog) {
            Some(Event::Acked { type_url, resources }) => {
                info!(node = self.node, %type_url, count = resources.len(), "ACK");
                self.server.shared.acks.send_modify(|count| *count = count.wrapping_add(1));
            }
            Some(Event::Nacked { type_url, resources, message }) => {
                warn!(node = self.node, %type_url, ?resources, message, "NACK: not sent again until it changes");
            }
            None => {}
        }
        Ok(())
    }

    fn poll(&self) -> Option<DeltaDiscoveryResponse> {
        let mut state = self.server.lock();
        let state = &mut *state;
        state.streams.get_mut(&self.id)?.stream.poll(&state.catalog)
    }
}
