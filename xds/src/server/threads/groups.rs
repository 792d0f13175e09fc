use std::sync::Arc;

use shuttle::thread;
use tonic::{Code, Status};

use super::peer::Peer;
use super::{in_all_orders, set};
use crate::server::{Admit, Group, Server};

struct ByNode;

#[tonic::async_trait]
impl Admit for ByNode {
    async fn admit(&self, peer: &crate::server::Peer) -> Result<Group, Status> {
        Ok(Group::new(peer.node.id.as_str()))
    }
}

fn server() -> Server {
    Server::builder().admit(Arc::new(ByNode)).build()
}

#[test]
fn a_stream_that_comes_while_its_group_is_replaced_is_ended_or_served_the_new_one() {
    in_all_orders(|| {
        let (server, group) = (server(), Group::new("group"));
        server.snapshot(&group).apply([set("a", "old")]);
        let mut peer = Peer::open(&server, "group").expect("room");
        let replacing = {
            let server = server.clone();
            thread::spawn(move || {
                server.remove(&group);
                server.snapshot(&group).apply([set("a", "new")]);
            })
        };
        if let Err(code) = peer.until("a", "new") {
            assert_eq!(code, Code::Unavailable);
        }
        replacing.join().expect("it replaces");
    });
}

#[test]
fn a_group_that_is_still_to_be_filled_is_not_lost_when_another_one_is_made() {
    in_all_orders(|| {
        let server = server();
        let mut peer = Peer::open(&server, "group").expect("room");
        let other = {
            let server = server.clone();
            thread::spawn(move || drop(server.snapshot(&Group::new("other"))))
        };
        let filling = {
            let server = server.clone();
            thread::spawn(move || server.snapshot(&Group::new("group")).apply([set("a", "1")]))
        };
        peer.until("a", "1").expect("it is served");
        other.join().expect("made");
        filling.join().expect("filled");
    });
}
