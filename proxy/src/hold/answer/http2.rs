//! The same answer in HTTP/2: to each request of the connection, in gRPC's words to gRPC; then the connection ends in order,
//! so that the client's next request comes on another.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::net::TcpStream;
use zenvoy_shared::id::UpstreamId;

use super::super::machine::Failure;
use super::{Body, retry_after_seconds};

/// Requests at once on one connection.
const REQUESTS: u32 = 1_024;

/// `UNAVAILABLE`. Source: gRPC's status codes.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// Answers all requests; ends when the client has them.
pub(super) async fn say(
    stream: TcpStream,
    upstream: &UpstreamId,
    failure: &Failure,
) -> Result<(), h2::Error> {
    let mut connection =
        server::Builder::new().max_concurrent_streams(REQUESTS).handshake::<_, Bytes>(stream).await?;
    // What is on its way is still answered; the client learns where that ends.
    connection.graceful_shutdown();
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        answer(&request, respond, upstream, failure)?;
    }
    Ok(())
}

fn answer(
    request: &Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    upstream: &UpstreamId,
    failure: &Failure,
) -> Result<(), h2::Error> {
    if is_grpc(request) {
        respond.send_response(grpc(failure), true)?;
        return Ok(());
    }
    let body = Body::of(upstream, failure).json();
    let head_only = request.method() == Method::HEAD;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    headers.insert(header::RETRY_AFTER, retry_after_seconds(failure).into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::SERVER, HeaderValue::from_static("zenvoy"));
    let mut sending = respond.send_response(response, head_only)?;
    if head_only { Ok(()) } else { sending.send_data(body.into(), true) }
}

fn is_grpc(request: &Request<RecvStream>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Trailers without anything before them. Source: gRPC over HTTP/2, "Responses".
fn grpc(failure: &Failure) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", UNAVAILABLE);
    let message = percent_encoded(&format!("{}: {}", failure.reason, failure.message));
    if let Ok(message) = message.parse() {
        headers.insert("grpc-message", message);
    }
    response
}

/// Source: gRPC over HTTP/2, "Status-Message".
fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'%' => "%25".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_grpc_is_printable_ascii() {
        assert_eq!(percent_encoded("50% of\nit ü"), "50%25 of%0Ait %C3%BC");
    }
}
