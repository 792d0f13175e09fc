//! A server on loopback, and clients that speak either variant by hand.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Server, incoming, transport};

pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// The aggregated service's methods.
pub(crate) const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
pub(crate) const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// In the metadata of each stream: `secret`.
pub(crate) const TOKEN: &str = "x-token";

/// Longer than any response, in bytes.
const LARGEST: usize = 64 << 20;

pub(crate) fn set(name: &str, content: &str) -> Change {
    Change::set(CDS, name, content.to_owned())
}

/// Waits for a future.
///
/// # Panics
/// After 30 seconds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

/// Serves all services.
pub(crate) async fn listen(server: &Server) -> SocketAddr {
    listen_to(server.routes()).await
}

pub(crate) async fn listen_to(routes: Routes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let router = transport().add_routes(routes);
    tokio::spawn(router.serve_with_incoming(incoming(listener)));
    address
}

/// A stream of requests and responses to `path`.
pub(crate) struct Peer<Q, R> {
    pub(crate) server: SocketAddr,
    requests: Option<mpsc::Sender<Q>>,
    responses: Streaming<R>,
}

impl<Q, R> Peer<Q, R>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    pub(crate) async fn connect(server: SocketAddr, path: &str, first: Option<Q>) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("an address");
        Self::over(endpoint.connect().await.expect("connect"), server, path, first).await
    }

    async fn over(
        channel: Channel,
        server: SocketAddr,
        path: &str,
        first: Option<Q>,
    ) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(64);
        if let Some(first) = first {
            requests.send(first).await.expect("room");
        }
        let mut client = Grpc::new(channel).max_decoding_message_size(LARGEST);
        client.ready().await.expect("ready");
        let path = path.parse::<PathAndQuery>().expect("a path");
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert(TOKEN, "secret".parse().expect("a value"));
        let opened = soon(client.streaming(request, path, ProstCodec::<Q, R>::default())).await?;
        Ok(Self { server, requests: Some(requests), responses: opened.into_inner() })
    }

    pub(crate) async fn send(&self, request: Q) {
        // A stream that has ended says why in its status.
        let _ = self.requests.as_ref().expect("not finished").send(request).await;
    }

    /// Says nothing more.
    pub(crate) fn finish(&mut self) {
        self.requests = None;
    }

    pub(crate) async fn next(&mut self) -> Result<R, Status> {
        Ok(soon(self.responses.message()).await?.expect("a response"))
    }

    /// The end of the stream: with OK, or not.
    pub(crate) async fn end(&mut self) -> Result<(), Status> {
        while soon(self.responses.message()).await?.is_some() {}
        Ok(())
    }
}

pub(crate) type Delta = Peer<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
pub(crate) type Sotw = Peer<DiscoveryRequest, DiscoveryResponse>;

pub(crate) fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.into(), ..Node::default() })
}

pub(crate) fn delta(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("node"),
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

impl Delta {
    /// Opens an aggregated stream as `node` that asks for all clusters.
    pub(crate) async fn open(server: SocketAddr, id: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("an address");
        let channel = endpoint.connect().await.expect("connect");
        Self::open_over(channel, server, id).await.expect("a stream")
    }

    /// As [`Self::open`], over a connection.
    pub(crate) async fn open_over(channel: Channel, server: SocketAddr, id: &str) -> Result<Self, Status> {
        let first = DeltaDiscoveryRequest { node: node(id), ..delta(CDS, &[]) };
        Self::over(channel, server, DELTA, Some(first)).await
    }

    /// Opens an aggregated stream that says nothing yet.
    pub(crate) async fn silent(server: SocketAddr) -> Self {
        Self::connect(server, DELTA, None).await.expect("a stream")
    }

    /// Answers a response: an ACK, or a NACK with words.
    pub(crate) async fn answer(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(refusal),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }
}

fn refusal(message: &str) -> rpc::Status {
    rpc::Status { message: message.into(), ..rpc::Status::default() }
}

impl Sotw {
    /// As [`Delta::open`].
    pub(crate) async fn open(server: SocketAddr, id: &str) -> Self {
        let first = DiscoveryRequest { node: node(id), type_url: CDS.into(), ..DiscoveryRequest::default() };
        Self::connect(server, SOTW, Some(first)).await.expect("a stream")
    }

    /// Answers a response, and asks for `names`: an ACK, or a NACK with words.
    pub(crate) async fn answer(&self, response: &DiscoveryResponse, names: &[&str], error: Option<&str>) {
        self.send(DiscoveryRequest {
            type_url: response.type_url.clone(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            version_info: error.map_or_else(|| response.version_info.clone(), |_| String::new()),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(refusal),
            ..DiscoveryRequest::default()
        })
        .await;
    }
}
