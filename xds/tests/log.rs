//! What a server's log says of a refusal. A process of its own: other tests' threads would decide what is logged.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::google::rpc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Event, Server, incoming, transport};

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// Where the log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A client that refuses what it is sent, in these words.
async fn refuse(server: &Server, words: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(transport().add_routes(server.routes()).serve_with_incoming(incoming(listener)));
    let (requests, receiver) = mpsc::channel(2);
    let node = Some(Node { id: "node-7".into(), ..Node::default() });
    let first = DeltaDiscoveryRequest { node, type_url: CDS.into(), ..DeltaDiscoveryRequest::default() };
    requests.send(first).await.expect("room");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = AggregatedDiscoveryServiceClient::new(endpoint.connect().await.expect("connect"));
    let opened = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await;
    let mut responses = opened.expect("a stream").into_inner();
    let response = responses.message().await.expect("no failure").expect("a response");
    let mut events = server.subscribe();
    let nack = DeltaDiscoveryRequest {
        type_url: CDS.into(),
        response_nonce: response.nonce,
        error_detail: Some(rpc::Status { message: words.into(), ..rpc::Status::default() }),
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(nack).await.expect("it stands");
    while !matches!(events.recv().await, Ok(Event::Nacked { .. })) {}
}

#[tokio::test]
async fn a_refusal_is_one_line_with_the_node_the_type_the_resources_and_the_clients_words() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let server = Server::new();
    server.apply((0..12).map(|n| Change::set(CDS, format!("r{n:02}").as_str(), "bad")));
    let refused = tokio::time::timeout(Duration::from_secs(30), refuse(&server, "no such\nthing"));
    refused.await.expect("within 30 s");
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("NACK")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    for word in ["WARN", "node-7", CDS, "r00, r01, ", "r09, and 2 more", "no such\\nthing"] {
        assert!(lines[0].contains(word), "{word} in {text}");
    }
}
