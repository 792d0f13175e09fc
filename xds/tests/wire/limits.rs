//! Whoever takes too much is told what was too much.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::{Code, Status};
use zenvoy_xds::server::{Limits, Server};

use crate::peer::{CDS, Delta, delta, listen};

async fn refused(limits: Limits, requests: Vec<DeltaDiscoveryRequest>) -> Status {
    let server = Server::builder().limits(limits).build();
    let address = listen(&server).await;
    let mut client = Delta::silent(address).await;
    for request in requests {
        client.send(request).await;
    }
    let status = client.end().await.expect_err("too much");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(server.streams().is_empty());
    status
}

#[tokio::test]
async fn too_many_names_end_the_stream() {
    let limits = Limits { names: 2, ..Limits::default() };
    let status = refused(limits, vec![delta(CDS, &["a", "b"]), delta(CDS, &["c"])]).await;
    assert_eq!(status.message(), "more than 2 names subscribed to, or stated, on one stream");
}

#[tokio::test]
async fn too_many_requests_end_the_stream() {
    let limits = Limits { requests_per_second: 1, request_burst: 5, ..Limits::default() };
    let status = refused(limits, vec![delta(CDS, &[]); 20]).await;
    assert_eq!(status.message(), "more than 1 requests per second on one stream, for longer than a burst");
}

#[tokio::test]
async fn too_large_a_request_ends_the_stream() {
    let limits = Limits { request_size: 1000, ..Limits::default() };
    let name = "n".repeat(2000);
    let status = refused(limits, vec![delta(CDS, &[&name])]).await;
    assert!(status.message().starts_with("a request is too large"), "{status}");
}

#[tokio::test]
async fn too_many_streams_are_refused() {
    let server = Server::builder().limits(Limits { streams: 1, ..Limits::default() }).build();
    let address = listen(&server).await;
    let mut first = Delta::open(address, "node").await;
    first.next().await.expect("a response");
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let status = Delta::connect(address, path, None).await.err().expect("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1 streams"), "{status}");
}

#[tokio::test]
async fn a_stream_that_never_says_anything_ends() {
    let server = Server::builder().first_request_within(Duration::from_millis(10)).build();
    let address = listen(&server).await;
    let mut client = Delta::silent(address).await;
    assert_eq!(client.end().await.expect_err("too late").code(), Code::DeadlineExceeded);
}
