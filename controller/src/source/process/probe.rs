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

/// So much of an answer is read.
const LONGEST: u64 = 64 << 10;

/// The connection of an answer of which only the beginning was read, and whether that was good.
type Answer = (Option<TcpStream>, io::Result<()>);

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
    /// Returns when all ports accept connections and, if asked for, the path is answered well: with the rest of that answer, which
    /// is to be [`read_out`].
    pub(super) async fn ready(
        &self,
        ports: &BTreeMap<String, u16>,
        readiness: &Readiness,
    ) -> Option<TcpStream> {
        let begun = Instant::now();
        for (variable, port) in ports {
            self.until_answered(begun, Question::Connect(variable, *port)).await;
        }
        let Readiness::Http { path } = readiness else { return None };
        let port = ports.get("PORT").or_else(|| ports.values().next())?;
        self.until_answered(begun, Question::Http(path, *port)).await
    }

    /// What keeps it from being ready, as far as was asked.
    pub(super) fn lacks(&self) -> String {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn until_answered(&self, begun: Instant, question: Question<'_>) -> Option<TcpStream> {
        loop {
            let (rest, good) = match tokio::time::timeout(ANSWER, question.ask()).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => (None, Err(error)),
                Err(_) => (None, Err(io::Error::other(format!("no answer within {} s", ANSWER.as_secs())))),
            };
            let Err(error) = good else { return rest };
            *self.lacks.lock().unwrap_or_else(PoisonError::into_inner) = question.lacks(&error);
            let pause = (begun.elapsed() / 50).clamp(PAUSES.0, PAUSES.1);
            let _ = tokio::join!(tokio::time::sleep(pause), tokio::time::timeout(pause, read_out(rest)));
        }
    }
}

impl Question<'_> {
    async fn ask(self) -> io::Result<Answer> {
        match self {
            Self::Connect(_, port) => connect(port).await.map(|_| (None, Ok(()))),
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
async fn http(port: u16, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    let good = match (&start[..7], &start[9..10]) {
        (b"HTTP/1.", b"2" | b"3") => Ok(()),
        (b"HTTP/1.", _) => {
            Err(io::Error::other(format!("answered with status {}", String::from_utf8_lossy(&start[9..]))))
        }
        _ => Err(io::Error::other("answered with something else than HTTP/1")),
    };
    Ok((Some(stream), good))
}

/// Reads what is left of an answer: a server that still writes it would find its connection reset, and complain.
pub(super) async fn read_out(rest: Option<TcpStream>) {
    if let Some(rest) = rest {
        let mut nowhere = tokio::io::sink();
        let _ = tokio::time::timeout(ANSWER, tokio::io::copy(&mut rest.take(LONGEST), &mut nowhere)).await;
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
        http(port, "/").await.expect_err("no answer");
        http(port, "/").await.expect("an answer").1.expect_err("a bad one");
        let ports = BTreeMap::from([("PORT".to_owned(), port)]);
        let probe = Probe::default();
        probe.ready(&ports, &Readiness::Http { path: "/healthz".into() }).await;
    }

    #[tokio::test]
    async fn a_server_that_still_writes_its_answer_is_not_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (known, judged) = tokio::sync::oneshot::channel();
        let server = async {
            listener.accept().await.expect("whether it accepts");
            let (mut stream, _) = listener.accept().await.expect("the question");
            let _ = stream.read(&mut [0; 1024]).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.expect("written");
            judged.await.expect("judged");
            stream.write_all(b"content-length: 2\r\n\r\nok").await.expect("written");
            stream.shutdown().await.expect("ended");
            stream.read(&mut [0]).await.expect("no reset")
        };
        let client = async {
            let ports = BTreeMap::from([("PORT".to_owned(), port)]);
            let rest = Probe::default().ready(&ports, &Readiness::Http { path: "/".into() }).await;
            known.send(()).expect("it waits");
            read_out(rest).await;
        };
        assert_eq!(tokio::join!(server, client).0, 0, "the client closed it");
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
            _ = probe.ready(&ports, &readiness) => panic!("never ready"),
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
