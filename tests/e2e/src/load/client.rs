//! One client: a connection, and what it says on it.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::http::{Failure, request};
use crate::until;

/// What is asked, of whom.
#[derive(Debug, Clone)]
pub enum Request {
    /// HTTP/1.1.
    Http {
        /// Envoy's listener.
        to: SocketAddr,
        /// The service.
        host: String,
        /// Path and query.
        path: String,
    },
    /// HTTP/2 without TLS.
    Http2 {
        /// Envoy's listener.
        to: SocketAddr,
        /// The service.
        host: String,
        /// Path and query.
        path: String,
    },
    /// Bytes that must come back.
    Echo {
        /// The service's listener.
        to: SocketAddr,
    },
    /// A line that must come although nothing is sent.
    Greeting {
        /// The service's listener.
        to: SocketAddr,
    },
}

/// What an echo must return: more than one segment.
const SAID: [u8; 5000] = [b'z'; 5000];

/// A connection.
#[derive(Debug)]
pub(super) enum Client {
    Http1 { sender: http1::SendRequest<Full<Bytes>>, _running: Running },
    Http2 { sender: http2::SendRequest<Full<Bytes>>, _running: Running },
    Tcp(TcpStream),
}

/// The task that moves a connection's bytes; it ends with the client.
#[derive(Debug)]
pub(super) struct Running(AbortHandle);

impl Running {
    fn start(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> Self {
        // Its error is seen by the request, which is told the same.
        Self(tokio::spawn(async { drop(connection.await) }).abort_handle())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    pub(super) async fn connect(request: &Request) -> Result<Self, Failure> {
        let (Request::Http { to, .. }
        | Request::Http2 { to, .. }
        | Request::Echo { to }
        | Request::Greeting { to }) = request;
        let stream = TcpStream::connect(to).await.map_err(|error| Failure::new("connect", &error))?;
        let failed = |error: hyper::Error| Failure::new("handshake", &error);
        Ok(match request {
            Request::Http { .. } => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
                Self::Http1 { sender, _running: Running::start(connection) }
            }
            Request::Http2 { .. } => {
                let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
                let (sender, connection) = made.map_err(failed)?;
                Self::Http2 { sender, _running: Running::start(connection) }
            }
            Request::Echo { .. } | Request::Greeting { .. } => Self::Tcp(stream),
        })
    }

    /// Whether a further request may go over it. A TCP connection is one exchange.
    pub(super) fn is_reusable(&self) -> bool {
        match self {
            Self::Http1 { sender, .. } => !sender.is_closed(),
            Self::Http2 { sender, .. } => !sender.is_closed(),
            Self::Tcp(_) => false,
        }
    }

    pub(super) async fn exchange(
        &mut self,
        asked: &Request,
        first_byte: &mut Option<Instant>,
    ) -> Result<String, Failure> {
        let failed = |error: hyper::Error| Failure::new("request", &error);
        let answer = match (self, asked) {
            (Self::Http1 { sender, .. }, Request::Http { host, path, .. }) => {
                sender.ready().await.map_err(failed)?;
                sender.send_request(request("GET", host, path)).await.map_err(failed)?
            }
            (Self::Http2 { sender, .. }, Request::Http2 { host, path, .. }) => {
                sender.ready().await.map_err(failed)?;
                let uri = format!("http://{host}{path}");
                let request = http::Request::get(uri).body(Full::new(Bytes::new())).expect("a valid request");
                sender.send_request(request).await.map_err(failed)?
            }
            (Self::Tcp(stream), Request::Echo { .. }) => return echo(stream, first_byte).await,
            (Self::Tcp(stream), Request::Greeting { .. }) => return greeting(stream, first_byte).await,
            (client, asked) => unreachable!("{client:?} was connected for {asked:?}"),
        };
        *first_byte = Some(Instant::now());
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| Failure::new("body", &error))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status == 200 { Ok(body) } else { Err(Failure(format!("{status}: {body}"))) }
    }
}

async fn echo(stream: &mut TcpStream, first_byte: &mut Option<Instant>) -> Result<String, Failure> {
    stream.write_all(&SAID).await.map_err(|error| Failure::new("send", &error))?;
    stream.shutdown().await.map_err(|error| Failure::new("half-close", &error))?;
    let back = read_all(stream, first_byte).await?;
    if back == SAID {
        Ok(format!("{} bytes", back.len()))
    } else {
        Err(Failure(format!("{} bytes came back", back.len())))
    }
}

async fn greeting(stream: &mut TcpStream, first_byte: &mut Option<Instant>) -> Result<String, Failure> {
    let mut line = [0; 256];
    let read = stream.read(&mut line).await.map_err(|error| Failure::new("read", &error))?;
    *first_byte = Some(Instant::now());
    let line = String::from_utf8_lossy(&line[..read]).into_owned();
    if line.starts_with("hello from ") { Ok(line) } else { Err(Failure(format!("{line:?} is no greeting"))) }
}

async fn read_all(stream: &mut TcpStream, first_byte: &mut Option<Instant>) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    loop {
        let read = stream.read_buf(&mut all).await.map_err(|error| Failure::new("read", &error))?;
        if read == 0 {
            return Ok(all);
        }
        first_byte.get_or_insert_with(Instant::now);
    }
}

/// A TCP connection to an echo, kept open by the test.
#[derive(Debug)]
pub struct Open(TcpStream);

impl Open {
    /// Opens it.
    ///
    /// # Panics
    /// When nobody accepts.
    pub async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("connect"))
    }

    /// Sends a word and waits until it has come back.
    ///
    /// # Errors
    /// When it does not.
    pub async fn say(&mut self, word: &str) -> Result<(), Failure> {
        self.0.write_all(word.as_bytes()).await.map_err(|error| Failure::new("send", &error))?;
        let mut back = vec![0; word.len()];
        self.0.read_exact(&mut back).await.map_err(|error| Failure::new("read", &error))?;
        if back == word.as_bytes() { Ok(()) } else { Err(Failure("something else came back".into())) }
    }
}

/// The answer to an HTTP/1.1 request, kept open by the test.
#[derive(Debug)]
pub struct OpenStream {
    body: Incoming,
    _running: Running,
}

impl OpenStream {
    /// Sends a request, and reads the answer up to its first piece.
    ///
    /// # Errors
    /// When there is no answer.
    ///
    /// # Panics
    /// When the request is not one of HTTP/1.1.
    pub async fn of(asked: &Request) -> Result<Self, Failure> {
        let (Client::Http1 { mut sender, _running }, Request::Http { host, path, .. }) =
            (Client::connect(asked).await?, asked)
        else {
            panic!("{asked:?} is no HTTP/1.1 request");
        };
        let answer = sender.send_request(request("GET", host, path)).await;
        let answer = answer.map_err(|error| Failure::new("request", &error))?;
        if answer.status() != 200 {
            return Err(Failure(answer.status().to_string()));
        }
        let mut stream = Self { body: answer.into_body(), _running };
        stream.next().await?;
        Ok(stream)
    }

    /// Waits for a piece that comes from now on: those that lie here already prove nothing.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn next(&mut self) -> Result<(), Failure> {
        while let Some(piece) = self.body.frame().now_or_never() {
            Self::check(piece)?;
        }
        Self::check(until::done("a piece of the stream", self.body.frame()).await)
    }

    fn check(piece: Option<Result<Frame<Bytes>, hyper::Error>>) -> Result<(), Failure> {
        match piece {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(Failure::new("stream", &error)),
            None => Err(Failure("the stream has ended".into())),
        }
    }
}
