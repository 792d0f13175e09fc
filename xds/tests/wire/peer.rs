//! A server on loopback, and a client that speaks delta ADS by hand.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Status, Streaming};
use zenvoy_xds::core::Change;
use zenvoy_xds::server::Server;

pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

pub(crate) fn set(name: &str, content: &str) -> Change {
    Change { type_url: CDS.into(), name: name.into(), content: Some(content.to_owned().into_bytes().into()) }
}

/// Waits for a future.
///
/// # Panics
/// After 30 seconds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

pub(crate) async fn listen(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let router = tonic::transport::Server::builder().add_service(server.service());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

pub(crate) struct Delta {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    /// Opens a stream as `node` that asks for all clusters.
    pub(crate) async fn open(server: SocketAddr, node: &str) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let first = DeltaDiscoveryRequest {
            node: Some(Node { id: node.into(), ..Node::default() }),
            type_url: CDS.into(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(first).await.expect("room");
        let mut client =
            AggregatedDiscoveryServiceClient::connect(format!("http://{server}")).await.expect("connect");
        let stream = client.delta_aggregated_resources(ReceiverStream::new(receiver));
        Self { requests, responses: soon(stream).await.expect("a stream").into_inner() }
    }

    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        Ok(soon(self.responses.message()).await?.expect("a response"))
    }

    /// Answers a response: an ACK, or a NACK with words.
    pub(crate) async fn answer(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        use envoy_types::pb::google::rpc;
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(|message| rpc::Status { message: message.into(), ..Default::default() }),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.expect("the stream stands");
    }
}
