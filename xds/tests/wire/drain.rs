//! A server that drains lets its clients go, admitted or not, and takes no new ones.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tonic::Code;
use zenvoy_xds::server::Server;

use crate::peer::{DELTA, Delta, listen, soon};

/// So many clients that are served.
async fn clients(address: SocketAddr, count: usize) -> Vec<Delta> {
    let mut clients = Vec::new();
    for n in 0..count {
        let mut client = Delta::open(address, &format!("node-{n}")).await;
        client.next().await.expect("a response");
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn streams_end_one_after_the_other_over_the_time_given() {
    let server = Server::new();
    let address = listen(&server).await;
    let clients = clients(address, 5).await;
    // From here on time passes when nobody has anything to do.
    tokio::time::pause();
    let start = Instant::now();
    let draining = tokio::spawn(async move { server.drain(Duration::from_secs(10)).await });
    let ends = clients.into_iter().map(|mut client| async move {
        client.end().await.expect_err("ended");
        start.elapsed().as_secs()
    });
    let mut ends = join_all(ends).await;
    ends.sort_unstable();
    for (at, end) in (0..).zip(ends) {
        assert!(end >= 2 * at, "stream {at} after {end} s");
    }
    draining.await.expect("no panic");
}

#[tokio::test]
async fn every_stream_ends_with_a_status_that_sends_its_client_elsewhere() {
    let server = Server::new();
    let address = listen(&server).await;
    let mut clients = clients(address, 5).await;
    let mut silent = Delta::silent(address).await;
    soon(server.drain(Duration::from_millis(20))).await;
    assert!(server.streams().is_empty());
    for client in clients.iter_mut().chain([&mut silent]) {
        assert_eq!(client.end().await.expect_err("ended").code(), Code::Unavailable);
    }
    assert_eq!(Delta::connect(address, DELTA, None).await.err().expect("refused").code(), Code::Unavailable);
}
