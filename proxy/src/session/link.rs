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
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tower_service::Service;
use zenvoy_shared::tls::{TlsError, TlsFiles};

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
    /// TLS files could not be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS or HTTP/2 could not be agreed on.
    #[error("speak gRPC with {address}: {source}")]
    Speak {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// Connects to one of the addresses of `controller`, in random order, so that nodes spread over replicas.
pub(super) async fn connect(controller: &Uri, tls: &TlsFiles) -> Result<(Channel, SocketAddr), LinkError> {
    let (stream, address) = dial(controller).await?;
    let mut endpoint = Endpoint::from(controller.clone())
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let speak = |source| LinkError::Speak { address, source };
    if controller.scheme_str() == Some("https") {
        // Read for each connection: certificates are renewed under a running process.
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = tls.read_ca()? {
            config = config.ca_certificate(ca);
        }
        if let Some(identity) = tls.read_identity()? {
            config = config.identity(identity);
        }
        endpoint = endpoint.tls_config(config).map_err(speak)?;
    }
    let channel = endpoint.connect_with_connector(Once(Some(stream))).await.map_err(speak)?;
    Ok((channel, address))
}

async fn dial(controller: &Uri) -> Result<(TcpStream, SocketAddr), LinkError> {
    let invalid = || LinkError::Address(controller.clone());
    let port = controller.port_u16().or_else(|| (controller.scheme_str() == Some("https")).then_some(443));
    let (host, port) = (controller.host().ok_or_else(invalid)?, port.ok_or_else(invalid)?);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let looked_up = timeout(CONNECT, tokio::net::lookup_host((name, port)));
    let found = looked_up.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let failed = |source| LinkError::Lookup { name: name.into(), source };
    let mut addresses: Vec<SocketAddr> = found.map_err(failed)?.collect();
    addresses.shuffle(&mut rand::rng());
    let mut last = LinkError::Lookup { name: name.into(), source: io::ErrorKind::NotFound.into() };
    for address in addresses {
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // Demand is a small message that must not wait for more.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Err(source) => last = LinkError::Connect { address, source },
        }
    }
    Err(last)
}

/// A connector that gives its one connection once.
struct Once(Option<TcpStream>);

impl Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
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
