//! Whether an instance may take traffic: asked often at first, since a held client waits, and seldom later.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::config::Readiness;

/// One question may take so long.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause between two questions is a fiftieth of the time waited so far, within these: so the probe is late by at
/// most 2 %, and a slow start is not hammered.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Returns when all ports accept connections and, if asked for, the path is answered well.
pub(super) async fn ready(ports: &BTreeMap<String, u16>, readiness: &Readiness) {
    let begun = Instant::now();
    for port in ports.values() {
        until_answered(begun, *port, None).await;
    }
    if let Readiness::Http { path } = readiness
        && let Some(port) = ports.get("PORT").or_else(|| ports.values().next())
    {
        until_answered(begun, *port, Some(path)).await;
    }
}

async fn until_answered(begun: Instant, port: u16, path: Option<&str>) {
    let question = async || match path {
        None => connect(port).await.map(drop),
        Some(path) => http(port, path).await,
    };
    loop {
        if let Ok(Ok(())) = tokio::time::timeout(ANSWER, question()).await {
            return;
        }
        tokio::time::sleep((begun.elapsed() / 50).clamp(PAUSES.0, PAUSES.1)).await;
    }
}

/// Connects from another loopback address than the instance's: from the same one, the kernel could pick the very port
/// that is asked for as the source, and a socket that connects to itself looks like a server.
async fn connect(port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 127), 0)))?;
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// By now somebody listens, so the address that a server may expect of a local client does no harm.
async fn http(port: u16, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    match (&start[..7], &start[9..10]) {
        (b"HTTP/1.", b"2" | b"3") => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers the n-th connection with the n-th text, the last one for ever.
    async fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            for answer in answers.iter().chain(std::iter::repeat(&answers[answers.len() - 1])) {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn http_readiness_waits_for_a_good_answer() {
        let answers = &["", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"];
        let port = server(answers).await;
        let bad = http(port, "/").await.and(http(port, "/").await);
        assert!(bad.is_err());
        let ports = BTreeMap::from([("PORT".to_owned(), port)]);
        ready(&ports, &Readiness::Http { path: "/healthz".into() }).await;
    }

    #[tokio::test]
    async fn a_port_on_which_nobody_listens_is_not_ready() {
        let closed =
            TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port").port();
        assert!(connect(closed).await.is_err());
    }
}
