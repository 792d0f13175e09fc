//! A server that drains lets its clients go, admitted or not, and takes no new ones.

use std::time::Duration;

use tonic::Code;
use zenvoy_xds::server::Server;

use crate::peer::{Delta, listen, soon};

#[tokio::test]
async fn every_stream_ends_with_a_status_that_sends_its_client_elsewhere() {
    let server = Server::new();
    let address = listen(&server).await;
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut client = Delta::open(address, &format!("node-{n}")).await;
        client.next().await.expect("a response");
        clients.push(client);
    }
    let mut silent = Delta::silent(address).await;
    soon(server.drain(Duration::from_millis(20))).await;
    assert!(server.streams().is_empty());
    for client in clients.iter_mut().chain([&mut silent]) {
        assert_eq!(client.end().await.expect_err("ended").code(), Code::Unavailable);
    }
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    assert_eq!(Delta::connect(address, path, None).await.err().expect("refused").code(), Code::Unavailable);
}
