//! A client that does not read holds back only itself, and comes to read the newest.

use std::time::Duration;

use tonic::Code;
use zenvoy_xds::server::Server;

use crate::peer::{CDS, DELTA, Delta, listen, set, soon};

/// Far more than the windows and buffers between server and client hold.
fn large(letter: char) -> String {
    letter.to_string().repeat(8 << 20)
}

/// A server, and a client that has begun to be sent what it does not read.
async fn with_slow_client() -> (Server, std::net::SocketAddr, Delta) {
    let server = Server::new();
    server.apply([set("a", &large('0'))]);
    let address = listen(&server).await;
    let mut events = server.subscribe();
    let slow = Delta::open(address, "slow").await;
    soon(events.recv()).await.expect("connected");
    // Its first response is made, and its stream has told nothing yet.
    let sent = || server.streams().first().is_some_and(|stream| !stream.types.is_empty());
    soon(async {
        while !sent() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (server, address, slow)
}

#[tokio::test]
async fn others_go_on_while_one_client_does_not_read_and_it_is_then_sent_only_the_newest() {
    let (server, address, mut slow) = with_slow_client().await;
    let mut quick = Delta::open(address, "quick").await;
    let first = quick.next().await.expect("sent");
    quick.answer(&first, None).await;
    for letter in ['1', '2', '3', '4'] {
        server.apply([set("a", &large(letter))]);
        let response = quick.next().await.expect("sent");
        quick.answer(&response, None).await;
        assert!(soon(server.until_acked("quick", CDS, "a")).await.is_applied());
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&b'4') {
        let response = slow.next().await.expect("sent");
        seen.push(response.resources[0].resource.as_ref().expect("content").value[0]);
        slow.answer(&response, None).await;
    }
    assert_eq!(seen.len(), 2, "what was on its way, and the newest: {seen:?}");
    assert!(soon(server.until_acked_by_all(CDS, "a")).await.is_applied());
}

#[tokio::test]
async fn a_drain_lets_the_response_on_its_way_go_out_whole() {
    let (server, _, mut slow) = with_slow_client().await;
    let draining = tokio::spawn({
        let server = server.clone();
        async move { server.drain(Duration::from_secs(20)).await }
    });
    // Its line is ended at once, being the only one; the response is read after that.
    soon(async { while Delta::connect(slow.server, DELTA, None).await.is_ok() {} }).await;
    let response = slow.next().await.expect("whole");
    assert_eq!(response.resources[0].resource.as_ref().expect("content").value.len(), 8 << 20);
    assert_eq!(slow.end().await.expect_err("ended").code(), Code::Unavailable);
    draining.abort();
}
