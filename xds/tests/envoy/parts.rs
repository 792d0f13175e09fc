//! What surrounds the Envoy: replicas of a management server, backends, and clients that never stop asking.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use zenvoy_xds::server::{Server, incoming, transport};

use crate::process::get;
use crate::until;

/// A replica: a server and its listener. Its end ends the connections too, as that of a process would.
pub(crate) struct Replica {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Replica {
    pub(crate) async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), Server::new()).await
    }

    /// Ends, and comes back at the same address with what `server` serves.
    pub(crate) async fn restarted(self, server: Server) -> Self {
        let address = self.address;
        drop(self);
        until::some("the address", async || TcpListener::bind(address).await.ok()).await;
        Self::at(address, server).await
    }

    /// At an address that one which was stopped has left.
    pub(crate) async fn at(address: SocketAddr, server: Server) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let listener = listener.into_std().expect("a socket");
        let router = transport().add_routes(server.routes());
        // A thread of this one's is in the same network namespace.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            router.serve_with_incoming(incoming(listener)).await.expect("serve");
        });
        Self { server, address, runtime: Some(runtime) }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A backend that answers every HTTP request with `word`.
pub(crate) async fn backend(word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// Clients that ask one request after the other, and count.
pub(crate) struct Load {
    good: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let (good, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (good, failed) = (good.clone(), failed.clone());
            clients.spawn(async move {
                loop {
                    let count = if get(to, "/").await.is_some() { &good } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { good, failed, clients }
    }

    pub(crate) fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// How many failed.
    pub(crate) async fn stop(mut self) -> u64 {
        self.clients.shutdown().await;
        self.failed.load(Ordering::Relaxed)
    }
}
