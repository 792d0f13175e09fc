//! Pods: an HTTP server that can keep an answer open, and a TCP server that echoes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// An HTTP server. `/` is answered with "pod"; the answer to `/stream` ends when the test says so.
pub(crate) struct HttpPod {
    pub(crate) address: SocketAddr,
    ends: Arc<Semaphore>,
}

impl HttpPod {
    pub(crate) async fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let (address, ends) = (listener.local_addr().expect("bound"), Arc::new(Semaphore::new(0)));
        let shared = ends.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http(stream, shared.clone()));
            }
        });
        Self { address, ends }
    }

    /// Ends one answer to `/stream`.
    pub(crate) fn end_stream(&self) {
        self.ends.add_permits(1);
    }
}

async fn http(mut stream: TcpStream, ends: Arc<Semaphore>) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..read]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        if request.starts_with(b"GET /stream ") {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n";
            stream.write_all(head.as_bytes()).await?;
            if let Ok(end) = ends.acquire().await {
                end.forget();
            }
            stream.write_all(b"3\r\nend\r\n0\r\n\r\n").await?;
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\npod").await?;
        }
        if String::from_utf8_lossy(&request).contains("connection: close") {
            return Ok(());
        }
        request.clear();
    }
}

/// A TCP server that greets first and then echoes.
pub(crate) async fn tcp_pod(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.expect("bind");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"hello\n").await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    at
}
