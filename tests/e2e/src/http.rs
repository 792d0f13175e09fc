//! A small HTTP/1.1 client for admin interfaces and single requests.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as text.
    pub body: String,
}

/// There was no answer, or not a whole one: what the client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// With what was being done.
    pub(crate) fn new(doing: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = format!("{doing}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

/// One GET on a connection of its own.
///
/// # Errors
/// When no whole answer came.
pub async fn get(to: SocketAddr, host: &str, path: &str) -> Result<Answer, Failure> {
    send(to, "GET", host, path).await
}

/// One request without a body on a connection of its own.
///
/// # Errors
/// When no whole answer came.
pub async fn send(to: SocketAddr, method: &str, host: &str, path: &str) -> Result<Answer, Failure> {
    let stream = TcpStream::connect(to).await.map_err(|error| Failure::new("connect", &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::new("connect", &error))?;
    let request = request(method, host, path);
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| Failure::new("request", &error))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Failure::new("body", &error))?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    };
    tokio::pin!(exchange);
    tokio::select! {
        result = &mut exchange => result,
        // The connection may end with the answer still on its way to us.
        _ = connection => exchange.await,
    }
}

/// One call of gRPC, with an empty message, over HTTP/2 without TLS. What is not served is told in the headers.
///
/// # Errors
/// When no answer came.
///
/// # Panics
/// When the host is no valid one.
pub async fn call(to: SocketAddr, host: &str) -> Result<Answer, Failure> {
    let stream = TcpStream::connect(to).await.map_err(|error| Failure::new("connect", &error))?;
    let failed = |error: hyper::Error| Failure::new("call", &error);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(failed)?;
    let running = tokio::spawn(connection);
    let message = Full::new(Bytes::from_static(&[0; 5]));
    let request = Request::post(format!("http://{host}/shop.Cart/Get"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let response =
        sender.send_request(request.body(message).expect("a valid request")).await.map_err(failed)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Failure::new("body", &error))?.to_bytes();
    running.abort();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// A request without a body.
///
/// # Panics
/// When a part of it is no valid HTTP.
pub(crate) fn request(method: &str, host: &str, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", host);
    request.body(Full::new(Bytes::new())).expect("a valid request")
}
