//! Clients that come and go at any moment leave nothing behind, and the one that stays is served.

use futures::future::{join_all, poll_immediate};
use zenvoy_xds::server::{Limits, Server};

use crate::peer::{CDS, Delta, listen, set, soon};

const CLIENTS: usize = 40;
const ROUNDS: usize = 10;

/// Connects again and again, and breaks off: before an answer, after one, or after an ACK.
async fn comes_and_goes(server: Server, address: std::net::SocketAddr, client: usize) {
    for round in 0..ROUNDS {
        let mut stream = Delta::open(address, &format!("node-{}", client % 7)).await;
        match (client + round) % 3 {
            0 => drop(poll_immediate(stream.next()).await),
            1 => drop(stream.next().await.expect("sent")),
            _ => {
                let response = stream.next().await.expect("sent");
                stream.answer(&response, None).await;
            }
        }
        server.apply([set("a", &format!("{client} {round}"))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_reconnects_leaves_only_who_stays() {
    // Few more than can be open at once: who has gone must be seen to have gone.
    let limits = Limits { streams: 4 * CLIENTS, ..Limits::default() };
    let server = Server::builder().limits(limits).build();
    server.apply([set("a", "first")]);
    let address = listen(&server).await;
    let mut stays = Delta::open(address, "stays").await;
    let reader = tokio::spawn(async move {
        loop {
            let response = stays.next().await.expect("it stands");
            stays.answer(&response, None).await;
            if response.resources.iter().any(|resource| resource.name == "last") {
                return stays;
            }
        }
    });
    let storm = (0..CLIENTS).map(|client| tokio::spawn(comes_and_goes(server.clone(), address, client)));
    for ended in soon(join_all(storm)).await {
        ended.expect("it came and went");
    }
    server.apply([set("last", "1")]);
    let _stays = soon(reader).await.expect("it stands");
    assert!(soon(server.until_acked_by_all(CDS, "last")).await.is_applied());
    let mut events = server.subscribe();
    while server.streams().len() > 1 {
        soon(events.recv()).await.expect("another one has gone");
    }
    assert_eq!(&*server.streams()[0].node, "stays");
}
