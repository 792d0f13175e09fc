//! Clients that do not read cost the server no more memory the more there would be to send. A process of its own: its
//! memory is what is measured.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::net::TcpListener;
use tokio_stream::{StreamExt, once, pending};
use tonic::transport::Endpoint;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Server, incoming, transport};

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const MIB: usize = 1 << 20;
const STREAMS: usize = 10;
/// Each of a mebibyte: far more than may stay.
const CHANGES: usize = 300;
const MOST: usize = 64 * MIB;

/// Of this process, in bytes.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

fn set(round: usize) -> Change {
    let letter = b'a' + u8::try_from(round % 26).expect("a letter");
    let mut content = vec![letter; MIB];
    content[..8].copy_from_slice(&round.to_be_bytes());
    Change::set(CDS, "a", content)
}

/// A stream whose responses nobody reads.
async fn unread(address: SocketAddr, node: usize) -> impl Sized {
    // So little goes out that the response stands before the transport.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = AggregatedDiscoveryServiceClient::new(endpoint.connect().await.expect("connect"));
    let first = DeltaDiscoveryRequest {
        node: Some(Node { id: format!("node-{node}"), ..Node::default() }),
        type_url: CDS.into(),
        ..DeltaDiscoveryRequest::default()
    };
    client.delta_aggregated_resources(once(first).chain(pending())).await.expect("a stream")
}

async fn run() {
    let server = Server::new();
    server.apply([set(0)]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let router = transport().add_routes(server.routes());
    tokio::spawn(router.serve_with_incoming(incoming(listener)));
    let mut streams = Vec::new();
    for node in 0..STREAMS {
        streams.push(unread(address, node).await);
    }
    let begun = || server.streams().iter().filter(|stream| !stream.types.is_empty()).count();
    while begun() < STREAMS {
        tokio::task::yield_now().await;
    }
    let before = memory();
    for round in 1..CHANGES {
        server.apply([set(round)]);
        // Streams are polled, and would be sent this one if they could.
        tokio::task::yield_now().await;
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < MOST, "{} MiB more after {CHANGES} changes", grown / MIB);
    assert_eq!(server.streams().len(), STREAMS, "all of them are still there");
}

#[tokio::test]
async fn streams_that_are_not_read_hold_one_response_each_whatever_changes() {
    tokio::time::timeout(Duration::from_secs(120), run()).await.expect("in time");
}
