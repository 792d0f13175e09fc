//! The HTTP server: one small set of paths, the same over HTTP/1.1 and HTTP/2; and a WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = BoxBody<Bytes, hyper::Error>;

struct Server {
    name: String,
    started: u64,
    answered: AtomicU64,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, name: String) {
    let server = Arc::new(Server { name, started: unix_millis(), answered: AtomicU64::new(0) });
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let server = server.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            // A client that goes away is its own affair.
            let builder = Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), answer).await;
        });
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let count = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        let query = request.uri().query().unwrap_or_default();
        let pause = Duration::from_millis(number(query, "ms").unwrap_or(0));
        match request.uri().path() {
            "/ws" => websocket(request),
            "/stream" => lines(self.name.clone(), pause, number(query, "count").unwrap_or(0)),
            "/echo" => match request.into_body().collect().await {
                Ok(body) => text(body.to_bytes()),
                Err(_) => status(StatusCode::BAD_REQUEST),
            },
            path => {
                if path == "/slow" {
                    tokio::time::sleep(pause).await;
                }
                let said = serde_json::json!({
                    "pod": self.name,
                    "path": path,
                    "count": count,
                    "version": format!("{:?}", request.version()),
                    "started_unix_ms": self.started,
                    "answered_unix_ms": unix_millis(),
                });
                text(Bytes::from(said.to_string()))
            }
        }
    }
}

/// Takes the connection over, and sends every message back.
fn websocket(mut request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return status(StatusCode::BAD_REQUEST);
    };
    tokio::spawn(async move {
        let upgraded = TokioIo::new(hyper::upgrade::on(&mut request).await.ok()?);
        let (to, from) = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await.split();
        from.try_filter(|message| std::future::ready(message.is_text())).forward(to).await.ok()
    });
    let mut answer = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// `count` lines, one every `pause`; the stream is open until then, or until the client goes.
fn lines(name: String, pause: Duration, count: u64) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for line in 1_u64.. {
            if sender.send_data(Bytes::from(format!("{name} {line}\n"))).await.is_err() || line == count {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    Response::new(body.boxed())
}

fn text(bytes: Bytes) -> Response<Body> {
    Response::new(Full::new(bytes).map_err(|never| match never {}).boxed())
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = text(Bytes::new());
    *answer.status_mut() = status;
    answer
}

fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn number(query: &str, key: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}
