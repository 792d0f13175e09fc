//! The port on which nodes reach this replica: who may connect, and whom a connection speaks for. In: TCP connections; out:
//! those of proven peers, to gRPC services.

mod access;
mod count;
mod handshake;

pub use access::Access;
pub use count::PortStatus;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use zenvoy_shared::tls::{Identity, Live};

use self::count::Counts;
use self::handshake::accept;

/// A node whose peer vanished without a word is noticed after this and as long again.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Connections that are through their handshake and wait to be served.
const WAITING: usize = 16;

/// How nodes are told apart. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Port {
    tls: Option<Live>,
    counts: Arc<Counts>,
}

impl Port {
    /// By mutual TLS with this material, made for a controller; or, where there is none, by nothing: whoever reaches the port
    /// may speak for any node.
    pub fn new(tls: Option<Live>) -> Self {
        Self { tls, counts: Arc::default() }
    }

    /// Decides whom a connection speaks for.
    pub fn access(&self) -> Access {
        let domain = |material: Arc<zenvoy_shared::tls::Material>| {
            material.identity().map(|Identity { domain, .. }| domain.clone())
        };
        match &self.tls {
            None => Access::unproven(self.counts.clone()),
            Some(live) => Access::of(domain(live.material()), self.counts.clone()),
        }
    }

    /// How it goes, for status and metrics.
    pub fn status(&self) -> PortStatus {
        self.counts.status(self.tls.as_ref().map(Live::status))
    }

    /// Serves until `stop`. Streams have no end of their own: then they are cut, and clients go to another replica.
    ///
    /// # Errors
    /// When nothing can be served any more.
    pub async fn serve(
        self,
        listener: TcpListener,
        services: Routes,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let router = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_routes(services);
        let Some(live) = self.tls else {
            // The builder's own option is not for listeners given to it.
            let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
            return tokio::select! {
                served = router.serve_with_incoming(connections) => served,
                () = stop.cancelled() => Ok(()),
            };
        };
        let (proven, connections) = mpsc::channel(WAITING);
        tokio::select! {
            served = router.serve_with_incoming(ReceiverStream::new(connections)) => served,
            () = accept(listener, live, self.counts, proven) => Ok(()),
            () = stop.cancelled() => Ok(()),
        }
    }
}
