use std::pin::pin;

use futures::future::poll_immediate;
use shuttle::thread;

use super::peer::Peer;
use super::{CDS, block_on, in_all_orders, set};
use crate::server::Server;

#[test]
fn who_waits_for_an_acknowledgement_hears_of_it_whenever_it_comes() {
    in_all_orders(|| {
        let server = Server::new();
        server.apply([set("a", "1")]);
        let mut peer = Peer::open(&server, "node").expect("room");
        let waiting = [true, false].map(|by_all| {
            let server = server.clone();
            thread::spawn(move || {
                let type_url = CDS.into();
                match by_all {
                    true => block_on(server.until_acked_by_all(&type_url, "a")),
                    false => block_on(server.until_acked("node", &type_url, "a")),
                }
            })
        });
        let applying = {
            let server = server.clone();
            thread::spawn(move || server.apply([set("a", "2")]))
        };
        peer.until("a", "2").expect("it stands");
        waiting.into_iter().for_each(|thread| thread.join().expect("it was told"));
        applying.join().expect("it applies");
    });
}

#[test]
fn who_waits_is_not_forgotten_when_another_one_gives_up_waiting_for_the_same_node() {
    in_all_orders(|| {
        let server = Server::new();
        server.apply([set("a", "1")]);
        let mut peer = Peer::open(&server, "node").expect("room");
        let gives_up = {
            let server = server.clone();
            thread::spawn(move || {
                let type_url = CDS.into();
                block_on(async {
                    poll_immediate(pin!(server.until_acked("node", &type_url, "a"))).await;
                });
            })
        };
        let waits = {
            let server = server.clone();
            thread::spawn(move || block_on(server.until_acked("node", &CDS.into(), "a")))
        };
        peer.until("a", "1").expect("it stands");
        gives_up.join().expect("it gives up");
        waits.join().expect("it was told");
    });
}

#[test]
fn who_waits_for_all_is_not_kept_by_a_stream_that_goes() {
    in_all_orders(|| {
        let server = Server::new();
        server.apply([set("a", "1")]);
        let mut peer = Peer::open(&server, "node").expect("room");
        peer.next().expect("a response, which it has no time to acknowledge");
        let waits = {
            let server = server.clone();
            thread::spawn(move || block_on(server.until_acked_by_all(&CDS.into(), "a")))
        };
        drop(peer);
        waits.join().expect("nobody is left to wait for");
    });
}
