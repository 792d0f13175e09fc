use shuttle::thread;

use super::peer::Peer;
use super::{in_all_orders, set};
use crate::server::Server;

#[test]
fn a_stream_is_told_the_newest_of_what_several_threads_apply() {
    in_all_orders(|| {
        let server = Server::new();
        let threads = [["1", "2"], ["1", "2"]].into_iter().zip(["a", "b"]).map(|(contents, name)| {
            let server = server.clone();
            thread::spawn(move || contents.iter().for_each(|content| server.apply([set(name, content)])))
        });
        let threads: Vec<_> = threads.collect();
        let mut peer = Peer::open(&server, "node").expect("room");
        peer.until("a", "2").expect("it stands");
        peer.until("b", "2").expect("it stands");
        threads.into_iter().for_each(|thread| thread.join().expect("it applies"));
    });
}

#[test]
fn a_stream_that_is_dropped_while_it_is_woken_leaves_the_others_and_nothing_of_itself() {
    in_all_orders(|| {
        let server = Server::new();
        let mut stays = Peer::open(&server, "stays").expect("room");
        let mut goes = Peer::open(&server, "goes").expect("room");
        let going = thread::spawn(move || {
            goes.next().expect("a first response");
            drop(goes);
        });
        let applying = {
            let server = server.clone();
            thread::spawn(move || ["1", "2"].iter().for_each(|content| server.apply([set("a", content)])))
        };
        stays.until("a", "2").expect("it stands");
        going.join().expect("it goes");
        applying.join().expect("it applies");
        let streams = server.streams();
        assert_eq!((streams.len(), &*streams[0].node), (1, "stays"));
    });
}
