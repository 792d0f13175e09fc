//! Whether an instance may take traffic: asked often at first, since a held client waits, and seldom later.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::config::Readiness;
use super::placeholder::named;

/// One question may take so long.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause between two questions is a fiftieth of the time waited so far, within these: so the probe is late by at
/// most 2 %, and a slow start is not hammered.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Asks until the answer is good, and knows meanwhile what is missing.
#[derive(Debug, Default)]
pub(super) struct Probe {
    lacks: Mutex<String>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Question<'a> {
    /// Whether the port of this variable accepts connections.
    Connect(&'a str, u16),
    /// Whether a GET of this path is answered well.
    Http(&'a str, u16),
}

impl Probe {
    /// Returns when all ports accept connections and, if asked for, the path is answered well.
    pub(super) async fn ready(&self, ports: &BTreeMap<String, u16>, readiness: &Readiness) {
        let begun = Instant::now();
        for (variable, port) in ports {
            self.until_answered(begun, Question::Connect(variable, *port)).await;
        }
        if let Readiness::Http { path } = readiness
            && let Some(port) = ports.get("PORT").or_else(|| ports.values().next())
        {
            self.until_answered(begun, Question::Http(path, *port)).await;
        }
    }

    /// What keeps it from being ready, as far as was asked.
    pub(super) fn lacks(&self) -> String {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn until_answered(&self, begun: Instant, question: Question<'_>) {
        loop {
            let error = match tokio::time::timeout(ANSWER, question.ask()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => io::Error::other(format!("no answer within {} s", ANSWER.as_secs())),
            };
            *self.lacks.lock().unwrap_or_else(PoisonError::into_inner) = question.lacks(&error);
            tokio::time::sleep((begun.elapsed() / 50).clamp(PAUSES.0, PAUSES.1)).await;
        }
    }
}

impl Question<'_> {
    async fn ask(self) -> io::Result<()> {
        match self {
            Self::Connect(_, port) => connect(port).await.map(drop),
            Self::Http(path, port) => http(port, path).await,
        }
    }

    fn lacks(self, error: &io::Error) -> String {
        match self {
            Self::Connect(variable, port) => format!(
                "nobody accepts connections on 127.0.0.1:{port}: {error}; it must listen there, on {{{}}} in its command or \
                 ${variable}",
                named(variable)
            ),
            Self::Http(path, port) => format!(
                "readiness.http: GET {path} on 127.0.0.1:{port}: {error}; wanted is a status from 200 to 399"
            ),
        }
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
        (b"HTTP/1.", _) => {
            Err(io::Error::other(format!("answered with status {}", String::from_utf8_lossy(&start[9..]))))
        }
        _ => Err(io::Error::other("answered with something else than HTTP/1")),
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
        let probe = Probe::default();
        probe.ready(&ports, &Readiness::Http { path: "/healthz".into() }).await;
    }

    /// Asks in vain until what is missing is known.
    async fn lacks(ports: BTreeMap<String, u16>, readiness: Readiness) -> String {
        let probe = Probe::default();
        let known = async {
            while probe.lacks().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = probe.ready(&ports, &readiness) => panic!("never ready"),
            () = known => probe.lacks(),
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_told_by_what_was_asked() {
        let bad = server(&["", "HTTP/1.1 404 Not Found\r\n\r\n"]).await;
        let ports = BTreeMap::from([("PORT".to_owned(), bad)]);
        let said = lacks(ports, Readiness::Http { path: "/ready".into() }).await;
        assert!(said.contains(&format!("GET /ready on 127.0.0.1:{bad}: answered with status 404")), "{said}");
        let closed =
            TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port").port();
        let said = lacks(BTreeMap::from([("ADMIN_PORT".to_owned(), closed)]), Readiness::Connect).await;
        assert!(said.starts_with(&format!("nobody accepts connections on 127.0.0.1:{closed}: ")), "{said}");
        assert!(said.ends_with("on {admin_port} in its command or $ADMIN_PORT"), "{said}");
    }

    #[tokio::test]
    async fn a_port_on_which_nobody_listens_is_not_ready() {
        let closed =
            TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port").port();
        assert!(connect(closed).await.is_err());
    }
}
