//! Any bytes as the body of a stream's HTTP request, in frames of any size: gRPC's framing, the requests in it, and the
//! responses' way back. Nothing may panic or go on for ever, and a stream that has ended is forgotten.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use prost::Message;
use tower_service::Service;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Limits, Server};
use zenvoy_xds::tonic::Status;

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// A good first request, so that not all lives end at once.
fn first() -> Vec<u8> {
    let node = Some(Node { id: "node".into(), ..Node::default() });
    let request = DeltaDiscoveryRequest { node, type_url: CDS.into(), ..DeltaDiscoveryRequest::default() };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, &message].concat()
}

/// One life.
///
/// # Panics
/// When something is wrong with the server.
pub(crate) fn drive(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let limits = Limits { request_size: 200, names: 20, types: 3, name_length: 64, ..Limits::default() };
    let server = Server::builder().limits(limits).build();
    server.apply([Change::set(CDS, "a", vec![b'1'; 100_000]), Change::set(CDS, "b", "2")]);

    let mut body = if how & 1 == 0 { first() } else { Vec::new() };
    body.extend_from_slice(rest);
    let size = usize::from(how >> 2) + 1;
    let frames: Vec<_> = body
        .chunks(size)
        .map(|chunk| Ok::<_, Status>(Frame::data(bytes::Bytes::copy_from_slice(chunk))))
        .collect();
    let variant = if how & 2 == 0 { "DeltaAggregatedResources" } else { "StreamAggregatedResources" };
    let request = http::Request::builder()
        .uri(format!("{SERVICE}/{variant}"))
        .body(StreamBody::new(tokio_stream::iter(frames)))
        .expect("a request");

    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(server.service().call(request)).poll(&mut cx) else {
        panic!("the service answers at once");
    };
    let mut answers = response.into_body();
    let mut over = false;
    // The body's end is the end of the stream, after what there was to say.
    for _ in 0..10_000 {
        match Pin::new(&mut answers).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None) => {
                over = true;
                break;
            }
            // Its turn is over: it has asked to be called again.
            Poll::Pending => {}
            Poll::Ready(Some(Err(error))) => panic!("{error}"),
        }
    }
    assert!(over, "a stream whose client has finished does not end");
    assert!(server.streams().is_empty(), "a stream that is over is still there");
}
