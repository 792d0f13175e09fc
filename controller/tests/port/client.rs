//! A client that does what a proxy would not: it comes with any certificate or none, and names any node.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use zenvoy_controller::translate::type_url;
use zenvoy_e2e::pki::{Authority, Issued};
use zenvoy_e2e::until::done;
use zenvoy_shared::proto::controller_message::Message as FromController;
use zenvoy_shared::proto::node_message::Message as FromNode;
use zenvoy_shared::proto::sessions_client::SessionsClient;
use zenvoy_shared::proto::{ControllerMessage, Demand, Held, Hello, NodeMessage, RefusedDemand};
use zenvoy_shared::tls::Leaf;

use crate::world::World;

/// The alert that the other side sent.
type Alert = Arc<Mutex<Option<String>>>;

pub(crate) struct Client {
    channel: Channel,
    serial: Option<String>,
    alert: Alert,
}

impl Client {
    /// Shakes hands as `own`, with a controller that `trusted` vouches for.
    pub(crate) async fn connect(world: &World, own: Option<&Issued>, trusted: &Authority) -> Self {
        let stream = TcpStream::connect(world.address).await.expect("connect");
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config(own, trusted)));
        let stream = connector.connect(name, stream).await.expect("the own side of a handshake");
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let serial = certificate.map(|der| Leaf::read(&der).expect("a certificate").serial);
        let alert = Alert::default();
        Self { channel: channel(Noted { stream, alert: alert.clone() }).await, serial, alert }
    }

    /// Without TLS.
    pub(crate) async fn plain(world: &World) -> Self {
        let stream = TcpStream::connect(world.address).await.expect("connect");
        Self { channel: channel(stream).await, serial: None, alert: Alert::default() }
    }

    /// The serial number of the controller's certificate.
    pub(crate) fn serial(&self) -> &str {
        self.serial.as_deref().expect("a certificate")
    }

    /// The alert that the controller has ended the connection with.
    pub(crate) fn alert(&self) -> Option<String> {
        self.alert.lock().expect("no panic").clone()
    }

    /// Opens a session as `node`.
    pub(crate) async fn session(&self, node: &str) -> Result<Session, Status> {
        self.session_beside(node, "").await
    }

    /// The same, when a session with this controller stands, which could not register the node.
    pub(crate) async fn session_beside(&self, node: &str, controller: &str) -> Result<Session, Status> {
        let (to, messages) = mpsc::channel(16);
        let (node, epoch, unregistered_at) = (node.into(), "epoch-1".into(), controller.into());
        let hello = Hello { node, epoch, unregistered_at, protocol_level: 1, ..Hello::default() };
        to.send(NodeMessage { message: Some(FromNode::Hello(hello)) }).await.expect("room");
        let mut client = SessionsClient::new(self.channel.clone());
        let opened = done("a session", client.session(ReceiverStream::new(messages))).await?;
        Ok(Session { to, from: opened.into_inner() })
    }

    /// Subscribes as `node`, and waits for the first answer.
    pub(crate) async fn subscribe(&self, node: &str) -> Result<(), Status> {
        self.stream(node, type_url::CLUSTER).await?.next().await.map(drop)
    }

    /// Subscribes as `node` to all of a type.
    pub(crate) async fn stream(&self, node: &str, type_url: &str) -> Result<Stream, Status> {
        let (to, requests) = mpsc::channel(4);
        let node = Some(Node { id: node.into(), ..Node::default() });
        let request = DeltaDiscoveryRequest {
            node,
            type_url: type_url.into(),
            resource_names_subscribe: vec!["*".into()],
            ..DeltaDiscoveryRequest::default()
        };
        to.send(request).await.expect("room");
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone());
        let answers =
            done("a stream", client.delta_aggregated_resources(ReceiverStream::new(requests))).await?;
        Ok(Stream { to, from: answers.into_inner() })
    }
}

/// An xDS stream that answers as it is told.
pub(crate) struct Stream {
    to: mpsc::Sender<DeltaDiscoveryRequest>,
    from: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let response = done("an answer", self.from.message()).await?;
        response.ok_or_else(|| Status::aborted("the stream ended"))
    }

    /// Says of a response that it is applied, or why it is not.
    pub(crate) async fn answer(&self, response: &DeltaDiscoveryResponse, refusal: Option<&str>) {
        let words = |message: &str| rpc::Status { message: message.into(), ..rpc::Status::default() };
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: refusal.map(words),
            ..DeltaDiscoveryRequest::default()
        };
        self.to.send(request).await.expect("it stands");
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    to: mpsc::Sender<NodeMessage>,
    from: Streaming<ControllerMessage>,
}

impl Session {
    async fn next<T>(&mut self, what: &str, pick: impl Fn(FromController) -> Option<T>) -> T {
        let picked = async {
            loop {
                let message = self.from.message().await.expect("the session stands").expect("it goes on");
                if let Some(picked) = message.message.and_then(&pick) {
                    return picked;
                }
            }
        };
        done(what, picked).await
    }

    /// Returns which controller it is.
    pub(crate) async fn until_welcome(&mut self) -> String {
        let welcome = |message| match message {
            FromController::Welcome(welcome) => Some(welcome.controller),
            _ => None,
        };
        self.next("a welcome", welcome).await
    }

    pub(crate) async fn until_refused(&mut self) -> Vec<RefusedDemand> {
        let refused = |message| match message {
            FromController::DemandRefused(refused) => Some(refused.refused),
            _ => None,
        };
        self.next("a refusal", refused).await
    }

    /// Demands so many upstreams.
    pub(crate) async fn demand(&self, count: u32) {
        let each = (0..count).map(|n| Held { upstream: format!("shop/cart-{n}:80"), ..Held::default() });
        let demand = Demand { held: each.collect() };
        self.to.send(NodeMessage { message: Some(FromNode::Demand(demand)) }).await.expect("it stands");
    }
}

fn config(own: Option<&Issued>, trusted: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).expect("PEM")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn channel(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Channel {
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = once.take().ok_or_else(|| io::Error::other("there is one connection only"));
        async move { stream }
    });
    Endpoint::from_static("http://controller").connect_with_connector(connector).await.expect("a channel")
}

/// Notes the alert that ends the stream; the layers above do not tell it.
struct Noted {
    stream: TlsStream<TcpStream>,
    alert: Alert,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &polled
            && let Some(rustls::Error::AlertReceived(alert)) =
                error.get_ref().and_then(|error| error.downcast_ref())
        {
            *self.alert.lock().expect("no panic") = Some(format!("{alert:?}"));
        }
        polled
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
