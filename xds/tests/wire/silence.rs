//! A peer that is gone without a word is noticed, on a clock that the test moves.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use zenvoy_xds::server::{Event, Server, transport};

use crate::peer::{CDS, delta, set};

/// A connection through a wire that can be made to carry nothing.
async fn connected(server: &Server) -> (Channel, JoinHandle<(DuplexStream, DuplexStream)>) {
    let (near, mut client) = duplex(1 << 16);
    let (mut far, incoming) = duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(incoming));
    tokio::spawn(transport().add_routes(server.routes()).serve_with_incoming(incoming));
    let wire = tokio::spawn(async move {
        // Ends only when it is cut.
        let _ = tokio::time::timeout(Duration::from_secs(5), copy_bidirectional(&mut client, &mut far)).await;
        (client, far)
    });
    let mut near = Some(near);
    let connector = service_fn(move |_| {
        let near = near.take().ok_or_else(|| std::io::Error::other("one connection only"));
        async move { near.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://server");
    (endpoint.connect_with_connector(connector).await.expect("connect"), wire)
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_answers_no_ping_is_over_within_a_minute() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let mut events = server.subscribe();
    let (channel, wire) = connected(&server).await;
    let first = tokio_stream::StreamExt::chain(tokio_stream::once(delta(CDS, &[])), tokio_stream::pending());
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let mut responses = client.delta_aggregated_resources(first).await.expect("a stream").into_inner();
    responses.message().await.expect("no failure").expect("a response");
    assert!(matches!(events.recv().await, Ok(Event::Connected { .. })));
    // Both ends stay open, and nothing goes through any more.
    let _cut = wire.await.expect("no panic");
    let gone = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
    assert!(matches!(gone.expect("within a minute"), Ok(Event::Disconnected { .. })));
    assert!(server.streams().is_empty());
}
