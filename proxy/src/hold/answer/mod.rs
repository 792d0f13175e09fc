//! How a client is told that its connection is not served: an answer in HTTP/1.1 or HTTP/2, a reset in everything else.

mod http2;

use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;
use zenvoy_shared::id::{Protocol, UpstreamId};

use super::machine::Failure;
use crate::relay::cut;

/// The longest telling may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The rest of a request is read up to here, so that the answer is not destroyed by a reset.
const MOST_DISCARDED: usize = 1 << 20;

/// Enough to tell a request line from something else.
const START: usize = 16;

/// What opens HTTP/2. Source: RFC 9113, 3.4.
const PREFACE: &Start = b"PRI * HTTP/2.0\r\n";

#[derive(Debug, Serialize)]
struct Body<'a> {
    reason: &'a str,
    message: &'a str,
    upstream: &'a UpstreamId,
    retry_after_seconds: u64,
}

impl<'a> Body<'a> {
    fn of(upstream: &'a UpstreamId, failure: &'a Failure) -> Self {
        Self {
            reason: &failure.reason,
            message: &failure.message,
            upstream,
            retry_after_seconds: retry_after_seconds(failure),
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// The next whole second, at least one.
fn retry_after_seconds(failure: &Failure) -> u64 {
    u64::try_from(failure.retry_after.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX)
}

/// The start of what the client sent, to choose the answer by.
pub(super) type Start = [u8; START];

/// Tells the client, and ends the connection.
pub(super) async fn tell(
    stream: TcpStream,
    protocol: Protocol,
    start: &Start,
    upstream: &UpstreamId,
    failure: &Failure,
) {
    if protocol.is_http() && start == PREFACE {
        let told = timeout(LIMIT, http2::say(stream, upstream, failure)).await;
        debug!(?told, "answered in HTTP/2");
    } else if protocol == Protocol::Http && speaks_http1(start) {
        let part = if start.starts_with(b"HEAD ") { Part::Head } else { Part::Whole };
        let _ = timeout(LIMIT, say(stream, &http1(upstream, failure, part))).await;
    } else {
        cut(&stream);
    }
}

async fn say(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut scrap = vec![0; 16 * 1024];
    let mut discarded = 0;
    while discarded < MOST_DISCARDED {
        match stream.read(&mut scrap).await? {
            0 => break,
            read => discarded += read,
        }
    }
    Ok(())
}

/// A request line begins with a method in capitals. `PRI` is HTTP/2's.
fn speaks_http1(start: &Start) -> bool {
    let method = start.split(|byte| *byte == b' ').next().unwrap_or_default();
    !method.is_empty()
        && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
        && method != b"PRI"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Head,
}

/// Source: RFC 9110, 15.6.4 and 10.2.3; an answer to HEAD has the same head and no body.
fn http1(upstream: &UpstreamId, failure: &Failure, part: Part) -> Vec<u8> {
    let (body, retry_after_seconds) = (Body::of(upstream, failure).json(), retry_after_seconds(failure));
    let mut answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: {retry_after_seconds}\r\ncache-control: no-store\r\nserver: zenvoy\r\nconnection: close\r\n\r\n",
        body.len()
    );
    if part == Part::Whole {
        answer.push_str(&body);
    }
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn failure() -> Failure {
        Failure {
            reason: "ImagePull".into(),
            message: "the image \"x\" cannot be pulled".into(),
            retry_after: Duration::from_millis(1500),
        }
    }

    fn start(text: &[u8]) -> Start {
        let mut start = [0; START];
        start[..text.len()].copy_from_slice(text);
        start
    }

    async fn told(protocol: Protocol, sent: &'static [u8]) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let (accepted, _) = listener.accept().await?;
        client.write_all(sent).await?;
        let upstream = UpstreamId::new("shop", "cart", 80);
        let telling =
            tokio::spawn(async move { tell(accepted, protocol, &start(sent), &upstream, &failure()).await });
        let mut answer = String::new();
        let read =
            timeout(Duration::from_secs(30), client.read_to_string(&mut answer)).await.expect("an end");
        drop(client);
        telling.await.unwrap();
        read.map(|_| answer)
    }

    #[tokio::test]
    async fn an_http_request_is_answered_with_the_reason_and_when_to_come_again() {
        let answer = told(Protocol::Http, b"GET / HTTP/1.1\r\n").await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains("\r\nretry-after: 2\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["reason"], "ImagePull");
        assert_eq!(body["message"], "the image \"x\" cannot be pulled");
        assert_eq!(body["upstream"], "shop/cart:80");
    }

    #[tokio::test]
    async fn an_answer_to_head_has_no_body() {
        let answer = told(Protocol::Http, b"HEAD / HTTP/1.1\r").await.unwrap();
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    /// Requests over HTTP/2, each with its content type; what each is answered with: status, headers, body.
    async fn told_http2(kinds: &[&str]) -> Vec<(http::response::Parts, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut requests, connection) = h2::client::handshake(client.unwrap()).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut answers = Vec::new();
        for kind in kinds {
            let request = http::Request::post("http://cart/").header("content-type", *kind).body(()).unwrap();
            let (answer, mut body) = requests.send_request(request, false).unwrap();
            // It has not ended when it is answered.
            body.send_data("half a message".into(), false).unwrap();
            answers.push((answer, body));
        }
        let telling = tokio::spawn(async move {
            let upstream = UpstreamId::new("shop", "cart", 80);
            tell(accepted.unwrap().0, Protocol::Http2, PREFACE, &upstream, &failure()).await;
        });
        let mut told = Vec::new();
        for (answer, _body) in answers {
            let (head, mut body) = answer.await.unwrap().into_parts();
            let mut text = Vec::new();
            while let Some(data) = body.data().await {
                text.extend_from_slice(&data.unwrap());
            }
            told.push((head, String::from_utf8(text).unwrap()));
        }
        drop(requests);
        timeout(Duration::from_secs(30), telling).await.expect("an end").unwrap();
        timeout(Duration::from_secs(30), connection).await.expect("an end").unwrap().unwrap();
        told
    }

    #[tokio::test]
    async fn a_grpc_call_is_answered_in_grpcs_words() {
        let told = told_http2(&["application/grpc+proto"]).await;
        let (head, body) = &told[0];
        assert_eq!((head.status.as_u16(), body.as_str()), (200, ""));
        assert_eq!(head.headers["grpc-status"], "14");
        assert_eq!(head.headers["grpc-message"], "ImagePull: the image \"x\" cannot be pulled");
    }

    #[tokio::test]
    async fn every_request_of_an_http2_connection_is_answered_with_the_reason() {
        let told = told_http2(&["text/plain", "text/plain", "application/grpc"]).await;
        for (head, body) in &told[..2] {
            assert_eq!(head.status, 503);
            assert_eq!(head.headers["retry-after"], "2");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&body["reason"], &body["upstream"]), (&"ImagePull".into(), &"shop/cart:80".into()));
        }
        assert_eq!(told[2].0.headers["grpc-status"], "14");
    }

    #[tokio::test]
    async fn everything_else_is_reset() {
        for (protocol, sent) in [
            (Protocol::Tcp, &b"GET / HTTP/1.1\r\n"[..]),
            (Protocol::Tls, &b"\x16\x03\x01"[..]),
            (Protocol::Tcp, &b"PRI * HTTP/2.0\r\n"[..]),
            (Protocol::Http2, &b"GET / HTTP/1.1\r\n"[..]),
            (Protocol::Http, &b"\x16\x03\x01"[..]),
        ] {
            let error = told(protocol, sent).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{protocol:?}");
        }
    }
}
