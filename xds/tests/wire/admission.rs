//! Nothing is answered before a stream is admitted.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Code, Status};
use zenvoy_xds::server::{Admit, Event, Group, Peer, Server, Variant};

use crate::peer::{CDS, Delta, EDS, TOKEN, delta, listen, node, set, soon};

/// Says who asks, then waits for a permit; says when it was dropped.
struct Gate {
    asked: mpsc::UnboundedSender<Peer>,
    dropped: mpsc::UnboundedSender<()>,
    open: Semaphore,
}

struct Notice(mpsc::UnboundedSender<()>);

impl Drop for Notice {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tonic::async_trait]
impl Admit for Gate {
    async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
        let _notice = Notice(self.dropped.clone());
        self.asked.send(peer.clone()).expect("the test listens");
        let permit = self.open.acquire().await.expect("open");
        permit.forget();
        match peer.node.id.as_str() {
            "stranger" => Err(Status::permission_denied("strangers are not served")),
            _ => Ok(Group::new("known")),
        }
    }
}

struct Gated {
    server: Server,
    gate: Arc<Gate>,
    asked: mpsc::UnboundedReceiver<Peer>,
    dropped: mpsc::UnboundedReceiver<()>,
}

fn gated() -> Gated {
    let (asked, was_asked) = mpsc::unbounded_channel();
    let (dropped, was_dropped) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { asked, dropped, open: Semaphore::new(0) });
    let server = Server::builder().admit(gate.clone()).build();
    Gated { server, gate, asked: was_asked, dropped: was_dropped }
}

#[tokio::test]
async fn a_stream_is_answered_only_after_its_admission_and_from_its_groups_resources() {
    let mut gated = gated();
    gated.server.snapshot(&Group::new("known")).apply([set("a", "1")]);
    let address = listen(&gated.server).await;
    let mut client = Delta::open(address, "node").await;
    let peer = soon(gated.asked.recv()).await.expect("asked");
    assert_eq!((peer.node.id.as_str(), peer.variant), ("node", Variant::Delta));
    assert_eq!((peer.first_type.0.as_ref(), peer.service), (CDS, None));
    assert!(peer.remote_addr.expect("TCP").ip().is_loopback() && peer.certificates.is_none());
    assert!(gated.server.streams().is_empty(), "nothing is kept of a stream that waits");
    gated.gate.open.add_permits(1);
    assert_eq!(client.next().await.expect("admitted").resources[0].name, "a");
    assert_eq!(gated.server.streams()[0].group, Group::new("known"));
}

#[tokio::test]
async fn a_refused_stream_ends_with_the_status_of_the_refusal() {
    let gated = gated();
    let address = listen(&gated.server).await;
    let mut client = Delta::open(address, "stranger").await;
    gated.gate.open.add_permits(1);
    let status = client.next().await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "strangers are not served"));
}

#[tokio::test]
async fn an_admission_is_dropped_when_its_client_goes_away() {
    let mut gated = gated();
    let mut events = gated.server.subscribe();
    let address = listen(&gated.server).await;
    let client = Delta::open(address, "node").await;
    soon(gated.asked.recv()).await.expect("asked");
    drop(client);
    soon(gated.dropped.recv()).await.expect("dropped");
    assert!(events.try_recv().is_err(), "who was never admitted was never connected");
}

#[tokio::test]
async fn an_admission_that_takes_too_long_ends_its_stream() {
    let (asked, _was_asked) = mpsc::unbounded_channel();
    let (dropped, mut was_dropped) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { asked, dropped, open: Semaphore::new(0) });
    let server = Server::builder().admit(gate).admission_within(Duration::from_millis(10)).build();
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    assert_eq!(client.end().await.expect_err("too late").code(), Code::DeadlineExceeded);
    soon(was_dropped.recv()).await.expect("dropped");
}

#[tokio::test]
async fn connecting_and_leaving_are_events() {
    let server = Server::new();
    let mut events = server.subscribe();
    let address = listen(&server).await;
    let client = Delta::open(address, "node").await;
    let Ok(Event::Connected { node, stream, .. }) = soon(events.recv()).await else { panic!("connected") };
    assert_eq!(&*node, "node");
    drop(client);
    let gone = soon(events.recv()).await.expect("an event");
    assert_eq!(gone, Event::Disconnected { group: Group::default(), node, stream });
    assert!(server.streams().is_empty());
}

#[tokio::test]
async fn a_node_is_who_its_streams_first_request_says_whatever_later_ones_say() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    let first = client.next().await.expect("a response");
    for (later, type_url) in [(None, EDS), (Some("somebody else"), "type.example/acme.v1.Greeting")] {
        client.send(DeltaDiscoveryRequest { node: later.and_then(node), ..delta(type_url, &["a"]) }).await;
        client.next().await.expect("a response");
        assert_eq!(&*server.streams()[0].node, "node");
    }
    client.answer(&first, None).await;
    assert!(soon(server.until_acked("node", CDS, "a")).await.is_applied());
}

#[tokio::test]
async fn a_function_says_who_is_served_what_by_the_node_and_the_metadata_of_its_stream() {
    let server = Server::builder().group_by(|peer| {
        let token = peer.metadata.get(TOKEN).and_then(|token| token.to_str().ok());
        match (token, peer.node.id.as_str()) {
            (Some("secret"), "stranger") | (None, _) => Err(Status::permission_denied("not served")),
            (_, node) => Ok(Group::new(node)),
        }
    });
    let server = server.build();
    server.snapshot(&Group::new("node")).apply([set("a", "1")]);
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    assert_eq!(client.next().await.expect("admitted").resources[0].name, "a");
    let mut stranger = Delta::open(address, "stranger").await;
    assert_eq!(stranger.next().await.expect_err("refused").code(), Code::PermissionDenied);
}
