//! One client's stream: its admission, then its requests in and its responses out, until either side ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{Notify, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use tracing::{info, warn};

use super::snapshot::{Client, Snapshot};
use super::{Event, Group, Peer, Server, Variant};
use crate::core::{self, DeltaStream};

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;
type Requests = Streaming<DeltaDiscoveryRequest>;

static OPENED: AtomicU64 = AtomicU64::new(0);

pub(super) fn serve(
    server: Server,
    request: Request<Requests>,
) -> ReceiverStream<Result<DeltaDiscoveryResponse, Status>> {
    // One: what a slow client has not taken stays in its state, where newer content replaces it.
    let (responses, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(status) = run(&server, request, &responses).await {
            let _ = responses.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

async fn run(server: &Server, request: Request<Requests>, responses: &Responses) -> Result<(), Status> {
    let (remote_addr, certificates) = (request.remote_addr(), request.peer_certs());
    let mut requests = request.into_inner();
    let Some(first) = requests.next().await.transpose()? else { return Ok(()) };
    let peer = Peer {
        node: first.node.clone().unwrap_or_default(),
        variant: Variant::Delta,
        service: None,
        first_type: first.type_url.as_str().into(),
        remote_addr,
        certificates,
    };
    let Some((group, second)) = admitted(server, &peer, &mut requests, responses).await? else {
        return Ok(());
    };
    let entry = Entry::open(server.snapshot(&group), peer.node.id.into());
    entry.request(first)?;
    if let Some(second) = second {
        entry.request(second)?;
    }
    converse(&entry, &mut requests, responses).await
}

/// Waits for the admission, and notices when the client goes away meanwhile (`None`). One more request may be read
/// while it waits; it is handed on.
async fn admitted(
    server: &Server,
    peer: &Peer,
    requests: &mut Requests,
    responses: &Responses,
) -> Result<Option<(Group, Option<DeltaDiscoveryRequest>)>, Status> {
    let mut admission = server.shared.admit.admit(peer);
    let mut second = None;
    loop {
        tokio::select! {
            group = &mut admission => return Ok(Some((group?, second))),
            request = requests.next(), if second.is_none() => match request.transpose()? {
                Some(request) => second = Some(request),
                None => return Ok(None),
            },
            () = responses.closed() => return Ok(None),
        }
    }
}

async fn converse(entry: &Entry, requests: &mut Requests, responses: &Responses) -> Result<(), Status> {
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

/// The client's entry in the shared state; gone when this is dropped.
struct Entry {
    snapshot: Snapshot,
    id: u64,
    wake: Arc<Notify>,
    node: Arc<str>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.snapshot.lock().streams.remove(&self.id);
        let (group, node) = (self.snapshot.group().clone(), self.node.clone());
        self.snapshot.step(Event::Disconnected { group, node, stream: self.id });
    }
}

impl Entry {
    fn open(snapshot: Snapshot, node: Arc<str>) -> Self {
        let wake = Arc::new(Notify::new());
        let id = OPENED.fetch_add(1, Ordering::Relaxed);
        let client = Client { node: node.clone(), stream: DeltaStream::default(), wake: wake.clone() };
        snapshot.lock().streams.insert(id, client);
        snapshot.step(Event::Connected { group: snapshot.group().clone(), node: node.clone(), stream: id });
        Self { snapshot, id, wake, node }
    }

    fn request(&self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if request.type_url.is_empty() {
            return Err(Status::invalid_argument(
                "type_url is empty: name the type on every request of an ADS stream",
            ));
        }
        let event = {
            let mut state = self.snapshot.lock();
            let state = &mut *state;
            let Some(client) = state.streams.get_mut(&self.id) else { return Ok(()) };
            client.stream.on_request(request, &state.catalog)
        };
        let (group, node) = (self.snapshot.group().clone(), self.node.clone());
        match event {
            Some(core::Event::Acked { type_url, resources }) => {
                info!(node = &*node, %type_url, count = resources.len(), "ACK");
                self.snapshot.step(Event::Acked { group, node, type_url, resources });
            }
            Some(core::Event::Nacked { type_url, resources, message }) => {
                warn!(node = &*node, %type_url, ?resources, message, "NACK: not sent again until it changes");
                self.snapshot.step(Event::Nacked { group, node, type_url, resources, message });
            }
            None => {}
        }
        Ok(())
    }

    fn poll(&self) -> Option<DeltaDiscoveryResponse> {
        let mut state = self.snapshot.lock();
        let state = &mut *state;
        state.streams.get_mut(&self.id)?.stream.poll(&state.catalog)
    }
}
