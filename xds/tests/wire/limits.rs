//! Whoever takes too much is told what was too much.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::{Code, Status};
use zenvoy_xds::server::{Admit, Group, Limits, Peer, Server};

use crate::peer::{CDS, DELTA, Delta, EDS, delta, listen, node, soon};

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
    let status = Delta::connect(address, DELTA, None).await.err().expect("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1 streams"), "{status}");
}

#[tokio::test]
async fn too_many_streams_from_one_address_are_refused_before_they_say_who_they_are() {
    let limits = Limits { streams_of_address: 1, ..Limits::default() };
    let server = Server::builder().limits(limits).build();
    let address = listen(&server).await;
    let _first = Delta::silent(address).await;
    let status = Delta::connect(address, DELTA, None).await.err().expect("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("the limit of 1 streams from 127.0.0.1"), "{status}");
}

#[tokio::test]
async fn too_many_streams_of_one_node_are_refused() {
    let limits = Limits { streams_of_node: 1, ..Limits::default() };
    let server = Server::builder().limits(limits).build();
    let address = listen(&server).await;
    let mut first = Delta::open(address, "node").await;
    first.next().await.expect("a response");
    let status = Delta::open(address, "node").await.end().await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1 streams for node \"node\""), "{status}");
}

#[tokio::test]
async fn too_long_a_name_and_too_many_types_end_the_stream() {
    let limits = Limits { name_length: 100, types: 1, ..Limits::default() };
    let long = "n".repeat(101);
    let status = refused(limits.clone(), vec![delta(CDS, &[&long])]).await;
    assert_eq!(status.message(), "a resource name of 101 bytes: at most 100 are taken");
    let status = refused(limits, vec![delta(CDS, &[]), delta(EDS, &[])]).await;
    assert_eq!(status.message(), "more than 1 types on one stream");
}

#[tokio::test]
async fn large_requests_of_all_streams_share_a_limit_and_small_ones_are_free_of_it() {
    struct Never;

    #[tonic::async_trait]
    impl Admit for Never {
        async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
            if peer.node.id == "large" {
                std::future::pending::<()>().await;
            }
            Ok(Group::default())
        }
    }

    let limits = Limits { requests_size: 300_000, ..Limits::default() };
    let server = Server::builder().admit(Arc::new(Never)).limits(limits).build();
    let address = listen(&server).await;
    let names: Vec<String> = (0..100).map(|n| format!("{n}{}", "n".repeat(2500))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let large = || DeltaDiscoveryRequest { node: node("large"), ..delta(CDS, &names) };
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = Delta::silent(address).await;
        client.send(large()).await;
        clients.push(client);
    }
    let ends = clients.iter_mut().map(|client| Box::pin(client.end()));
    let (ended, ..) = soon(futures::future::select_all(ends)).await;
    let status = ended.expect_err("one of them is too much");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("300000 bytes"), "{status}");
    Delta::open(address, "small").await.next().await.expect("a small one is served");
}

#[tokio::test]
async fn a_stream_that_never_says_anything_ends() {
    let server = Server::builder().first_request_within(Duration::from_millis(10)).build();
    let address = listen(&server).await;
    let mut client = Delta::silent(address).await;
    assert_eq!(client.end().await.expect_err("too late").code(), Code::DeadlineExceeded);
}
