//! One connection to one controller replica. A channel of gRPC connects again by itself, perhaps to another replica;
//! the streams on this one must share one fate (rule N1), so its connector has one connection to give and no other.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;
use zenvoy_shared::tls::Live;

use super::secured::{Alert, Refused, secure};

/// For a connection and for TLS on it, each.
const CONNECT: Duration = Duration::from_secs(3);

/// A replica that answers no ping for the sum of both is dead.
const PING_EVERY: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(3);

/// One stream that is not read must not stop the others: their sum is far below the connection's window.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// There is no connection to a controller.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address says too little.
    #[error("{0} is not the address of a controller like http://zenvoy-controller:18000")]
    Address(Uri),
    /// Its name has no address now.
    #[error("look up {name}: {source}")]
    Lookup {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// None of its addresses answered.
    #[error("connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It speaks TLS, and this node has nothing to prove itself with.
    #[error("the controller speaks TLS, and this node has no certificate; give --tls-dir")]
    NoCertificate,
    /// TLS could not be agreed on.
    #[error("TLS with {address}: {source}; {remedy}")]
    Handshake {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody answers who is trusted, but is no controller of this installation.
    #[error("{address} is no controller: {why}")]
    NotController {
        /// The address.
        address: SocketAddr,
        /// Who it is.
        why: String,
    },
    /// HTTP/2 could not be agreed on.
    #[error("speak gRPC with {address}: {source}")]
    Speak {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// A connection.
pub(super) struct Link {
    pub(super) channel: Channel,
    pub(super) address: SocketAddr,
    alert: Alert,
}

impl Link {
    /// Whether the controller has refused this node's certificate: what broke then broke because of that.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.alert.get()
    }
}

/// One address of a controller: with several behind its name, each is another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As the options have it: TLS asks for its name.
    pub controller: Uri,
    /// The replica's.
    pub address: SocketAddr,
}

/// Connects to one of the addresses of `controller`, in random order, so that nodes spread over replicas. TLS uses what the
/// files say now.
pub(super) async fn connect(controller: &Uri, tls: Option<&Live>) -> Result<Link, LinkError> {
    let mut last = nowhere(controller);
    for address in addresses(controller).await? {
        match dial(address).await {
            Ok(stream) => return speak(controller, address, stream, tls).await,
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to this address and no other.
pub(super) async fn connect_to(place: &Place, tls: Option<&Live>) -> Result<Link, LinkError> {
    speak(&place.controller, place.address, dial(place.address).await?, tls).await
}

async fn speak(
    controller: &Uri,
    address: SocketAddr,
    stream: TcpStream,
    tls: Option<&Live>,
) -> Result<Link, LinkError> {
    let (stream, alert): (Box<dyn Duplex>, Alert) = if controller.scheme_str() == Some("https") {
        let material = tls.map(Live::material).ok_or(LinkError::NoCertificate)?;
        let secured = secure(stream, address, host(controller), &material);
        let secured = timeout(CONNECT, secured).await.unwrap_or_else(|_| {
            let source = io::ErrorKind::TimedOut.into();
            Err(LinkError::Handshake { address, source, remedy: "the controller may be overloaded" })
        });
        let (secured, alert) = secured?;
        (Box::new(secured), alert)
    } else {
        (Box::new(stream), Alert::default())
    };
    let endpoint = Endpoint::from(plain(controller))
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let failed = |source| LinkError::Speak { address, source };
    let channel = endpoint.connect_with_connector(Once(Some(stream))).await.map_err(failed)?;
    Ok(Link { channel, address, alert })
}

/// The same authority for gRPC, which is not to begin TLS by itself.
fn plain(controller: &Uri) -> Uri {
    let mut parts = controller.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    Uri::from_parts(parts).unwrap_or_else(|_| controller.clone())
}

/// A host's name or IP address, without the brackets of IPv6.
fn host(controller: &Uri) -> &str {
    controller.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// All places of all controllers that have an address now.
pub(super) async fn places(controllers: &[Uri]) -> Vec<Place> {
    let mut places = Vec::new();
    for controller in controllers {
        // A name without an address is told when a session is opened there.
        for address in addresses(controller).await.unwrap_or_default() {
            places.push(Place { controller: controller.clone(), address });
        }
    }
    places
}

/// In random order.
async fn addresses(controller: &Uri) -> Result<Vec<SocketAddr>, LinkError> {
    let invalid = || LinkError::Address(controller.clone());
    let port = controller.port_u16().or_else(|| (controller.scheme_str() == Some("https")).then_some(443));
    let (name, port) = (host(controller), port.ok_or_else(invalid)?);
    if name.is_empty() {
        return Err(invalid());
    }
    let looked_up = timeout(CONNECT, tokio::net::lookup_host((name, port)));
    let found = looked_up.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let failed = |source| LinkError::Lookup { name: name.into(), source };
    let mut addresses: Vec<SocketAddr> = found.map_err(failed)?.collect();
    addresses.shuffle(&mut rand::rng());
    Ok(addresses)
}

fn nowhere(controller: &Uri) -> LinkError {
    LinkError::Lookup { name: host(controller).into(), source: io::ErrorKind::NotFound.into() }
}

async fn dial(address: SocketAddr) -> Result<TcpStream, LinkError> {
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = connected.map_err(|source| LinkError::Connect { address, source })?;
    // Demand is a small message that must not wait for more.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Bytes both ways.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connector that gives its one connection once.
struct Once(Option<Box<dyn Duplex>>);

impl Service<Uri> for Once {
    type Response = TokioIo<Box<dyn Duplex>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take();
        Box::pin(async move {
            stream
                .map(TokioIo::new)
                .ok_or_else(|| io::Error::other("the connection broke; a new session opens another"))
        })
    }
}
