//! Two connections become one: bytes go by splice(2), half-closes and resets are passed on.
//! In: two streams; out: how many bytes went each way.

mod splice;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;

/// Bytes relayed so far; read while the relay runs.
#[derive(Debug, Default)]
pub struct Relayed {
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Relayed {
    /// Bytes that went from the client to the server.
    pub fn to_server(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed)
    }

    /// Bytes that went from the server to the client.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}

/// How a relay failed. Both connections were reset.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No pipe could be made: the process is out of file descriptors.
    #[error("make a pipe to relay through: {0}; raise the limit of open files")]
    Pipe(#[source] io::Error),
    /// The client's side broke.
    #[error("the client's connection broke: {0}")]
    Client(#[source] io::Error),
    /// The server's side broke.
    #[error("the server's connection broke: {0}")]
    Server(#[source] io::Error),
}

/// Relays until both sides have closed. A side that closes its writing half closes that of the other; a reset of one
/// resets the other.
///
/// Runs as long as the connections do: callers turn on TCP keep-alive, so that a peer that vanished ends it.
pub async fn relay(client: &TcpStream, server: &TcpStream, counts: &Arc<Relayed>) -> Result<(), RelayError> {
    let relayed = tokio::try_join!(
        async {
            let moved = splice::all(client, server, &counts.to_server).await;
            moved.map_err(|broken| broken.of(RelayError::Client, RelayError::Server))
        },
        async {
            let moved = splice::all(server, client, &counts.to_client).await;
            moved.map_err(|broken| broken.of(RelayError::Server, RelayError::Client))
        },
    );
    if relayed.is_err() {
        for stream in [client, server] {
            // Closing then sends RST: the peers must not take a cut for an end.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
    relayed.map(|_| ())
}

#[cfg(test)]
mod tests;
