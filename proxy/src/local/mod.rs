//! What the Envoy of this node reaches the proxy by: its ADS streams are carried to the node's controller (rule N1), and
//! its statistics are taken in. In: Envoy's connections; out: streams on the uplink, flushes, which Envoys live.

mod address;
mod ads;
mod connection;
mod identity;
mod metrics;

pub use address::{InvalidLocalAddress, LocalAddress};

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::MetricsServiceServer;
use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::{debug, warn};

use self::address::Listener;
use self::ads::AdsRelay;
use self::connection::Followed;
use self::metrics::MetricsSink;
use crate::node::{EnvoyId, Node};
use crate::session::Uplink;

/// A flush of all clusters' statistics comes as one message; 4 KB a cluster without a stats matcher.
const LARGEST_FLUSH: usize = 256 << 20;

/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The local address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen for Envoy on {address}: {source}; {}", cure(source.kind()))]
pub struct LocalError {
    /// Which.
    pub address: LocalAddress,
    /// Why.
    pub source: io::Error,
}

fn cure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "make its folder, or give another --envoy-listen",
        io::ErrorKind::PermissionDenied => "give the process that right, or another --envoy-listen",
        _ => "end the process that uses it, or give another --envoy-listen",
    }
}

/// The bound local address.
#[derive(Debug)]
pub struct Local {
    listener: Listener,
    address: LocalAddress,
}

impl Local {
    /// Binds; Envoys may connect and wait from now on.
    pub async fn bind(address: &LocalAddress) -> Result<Self, LocalError> {
        let failed = |source| LocalError { address: address.clone(), source };
        let listener = Listener::bind(address).await.map_err(failed)?;
        let address = listener.address().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address with the port that the kernel chose.
    pub fn address(&self) -> &LocalAddress {
        &self.address
    }

    /// Serves Envoys until `stop`; their streams end then.
    pub async fn serve(
        self,
        node: Arc<Node>,
        uplink: watch::Receiver<Option<Uplink>>,
        stop: CancellationToken,
    ) {
        let sink = MetricsServiceServer::new(MetricsSink::new(node.clone(), stop.clone()))
            .max_decoding_message_size(LARGEST_FLUSH);
        let served = Server::builder()
            .initial_stream_window_size(Some(4 << 20))
            .initial_connection_window_size(Some(16 << 20))
            .add_service(AdsRelay::new(node.clone(), uplink, stop.clone()))
            .add_service(sink)
            .serve_with_incoming_shutdown(connections(self.listener, node), stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            warn!(%error, "Envoy is not served any more");
        }
    }
}

/// Each connection with an id of its own.
fn connections(listener: Listener, node: Arc<Node>) -> impl Stream<Item = io::Result<Followed>> {
    let ids = AtomicU64::new(0);
    futures::stream::unfold((listener, node, ids), |(listener, node, ids)| async {
        loop {
            match listener.accept().await {
                Ok(connection) => {
                    let envoy = EnvoyId(ids.fetch_add(1, Ordering::Relaxed));
                    debug!(connection = envoy.0, "a connection of Envoy");
                    let followed = Followed::new(connection, envoy, node.clone());
                    return Some((Ok(followed), (listener, node, ids)));
                }
                Err(error) => {
                    warn!(%error, "Envoy cannot connect; raise the limit of open files");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}
