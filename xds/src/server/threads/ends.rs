use shuttle::thread;
use tonic::Code;

use super::peer::Peer;
use super::{block_on, in_all_orders};
use crate::server::sync::lock;
use crate::server::{Server, drain};

#[test]
fn a_stream_that_comes_while_the_server_begins_to_drain_is_refused_or_ended() {
    in_all_orders(|| {
        let server = Server::new();
        let clients = ["one", "two"].map(|node| {
            let server = server.clone();
            thread::spawn(move || match Peer::open(&server, node) {
                Err(status) => assert_eq!(status.code(), Code::Unavailable),
                Ok(mut peer) => {
                    let end = loop {
                        if let Err(code) = peer.next() {
                            break code;
                        }
                    };
                    assert_eq!(end, Code::Unavailable);
                }
            })
        });
        // As `Server::drain` does it, without its pauses.
        let lines = lock(&server.shared.lines).close();
        lines.iter().for_each(|line| line.end(drain::status()));
        block_on(server.until_no_lines());
        clients.into_iter().for_each(|client| client.join().expect("it has ended"));
        assert!(server.streams().is_empty());
    });
}
