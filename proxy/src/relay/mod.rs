//! Two connections become one: bytes go by splice(2), half-closes and resets are passed on.
//! In: two streams; out: how many bytes went each way.

mod splice;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpStream;

/// Is told of bytes as they are relayed.
pub trait Meter: Sync {
    /// So many went from the client to the server.
    fn to_server(&self, bytes: u64);
    /// So many went from the server to the client.
    fn to_client(&self, bytes: u64);
}

/// Bytes relayed so far; read while relays run. Any number of them may count into one.
#[derive(Debug, Default)]
pub struct Relayed {
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Relayed {
    /// Bytes that went from clients to servers.
    pub fn to_server(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed)
    }

    /// Bytes that went from servers to clients.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}

impl Meter for Relayed {
    fn to_server(&self, bytes: u64) {
        self.to_server.fetch_add(bytes, Ordering::Relaxed);
    }

    fn to_client(&self, bytes: u64) {
        self.to_client.fetch_add(bytes, Ordering::Relaxed);
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
pub async fn relay(client: &TcpStream, server: &TcpStream, meter: &impl Meter) -> Result<(), RelayError> {
    let relayed = tokio::try_join!(
        async {
            let moved = splice::all(client, server, |bytes| meter.to_server(bytes)).await;
            moved.map_err(|broken| broken.of(RelayError::Client, RelayError::Server))
        },
        async {
            let moved = splice::all(server, client, |bytes| meter.to_client(bytes)).await;
            moved.map_err(|broken| broken.of(RelayError::Server, RelayError::Client))
        },
    );
    if relayed.is_err() {
        [client, server].into_iter().for_each(cut);
    }
    relayed.map(|_| ())
}

/// Makes closing `stream` send RST: its peer must not take a cut for an end.
pub fn cut(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

#[cfg(test)]
mod tests;
