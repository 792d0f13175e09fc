use std::pin::pin;

use futures::future::poll_immediate;
use shuttle::thread;

use super::peer::Peer;
use super::{CDS, block_on, in_all_orders, set};
use crate::server::{Outcome, Server};

#[test]
fn who_waits_for_an_acknowledgement_hears_of_it_whenever_it_comes() {
    in_all_orders(|| {
        let server = Server::new();
        server.apply([set("a", "1")]);
        let mut peer = Peer::open(&server, "node").expect("room");
        let waiting = [true, false].map(|by_all| {
            let server = server.clone();
            thread::spawn(move || match by_all {
                true => block_on(server.until_acked_by_all(CDS, "a")),
                false => block_on(server.until_acked("node", CDS, "a")),
            })
        });
        let applying = {
            let server = server.clone();
            thread::spawn(move || server.apply([set("a", "2")]))
        };
        peer.until("a", "2").expect("it stands");
        waiting.into_iter().for_each(|thread| assert!(thread.join().expect("it was told").is_applied()));
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
                block_on(async {
                    poll_immediate(pin!(server.until_acked("node", CDS, "a"))).await;
                });
            })
        };
        let waits = {
            let server = server.clone();
            thread::spawn(move || block_on(server.until_acked("node", CDS, "a")))
        };
        peer.until("a", "1").expect("it stands");
        gives_up.join().expect("it gives up");
        assert!(waits.join().expect("it was told").is_applied());
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
            thread::spawn(move || block_on(server.until_acked_by_all(CDS, "a")))
        };
        drop(peer);
        assert!(waits.join().expect("nobody is left to wait for").is_applied());
    });
}

#[test]
fn who_waits_hears_of_content_that_returned_before_anyone_was_told_of_its_change() {
    in_all_orders(|| {
        let server = Server::new();
        server.apply([set("a", "1")]);
        let mut peer = Peer::open(&server, "node").expect("room");
        peer.until("a", "1").expect("it stands");
        server.apply([set("a", "2")]);
        let waits = {
            let server = server.clone();
            thread::spawn(move || block_on(server.until_acked("node", CDS, "a")))
        };
        server.apply([set("a", "1")]);
        peer.next_now().expect("it stands");
        assert!(waits.join().expect("it was told").is_applied());
    });
}

#[test]
fn who_waits_hears_of_content_that_returns_to_what_was_refused() {
    in_all_orders(|| {
        let server = Server::new();
        server.apply([set("a", "bad")]);
        let mut peer = Peer::open(&server, "node").expect("room");
        peer.next().expect("a response, which it refuses");
        peer.next_now().expect("it stands");
        server.apply([set("a", "good")]);
        let waiting = [true, false].map(|by_all| {
            let server = server.clone();
            thread::spawn(move || match by_all {
                true => block_on(server.until_acked_by_all(CDS, "a")),
                false => block_on(server.until_acked("node", CDS, "a")),
            })
        });
        // The stream has no turn meanwhile: nothing is sent.
        server.apply([set("a", "bad")]);
        let refused = Outcome::Refused { node: "node".into(), message: "bad".into() };
        waiting.into_iter().for_each(|thread| assert_eq!(thread.join().expect("it was told"), refused));
        drop(peer);
    });
}
