//! Who has applied what is known, can be awaited, and is told.

use std::pin::pin;
use std::time::Duration;

use futures::future::poll_immediate;
use zenvoy_xds::core::Version;
use zenvoy_xds::server::{Event, Server};

use crate::peer::{CDS, Delta, listen, set, soon};

#[tokio::test]
async fn a_resource_is_acknowledged_once_every_stream_of_the_node_that_wants_it_has_applied_it() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let address = listen(&server).await;
    let type_url = CDS.into();
    let mut acked = pin!(server.until_acked("node", &type_url, "a"));
    assert!(poll_immediate(&mut acked).await.is_none(), "a node without a stream has applied nothing");
    let mut one = Delta::open(address, "node").await;
    let mut two = Delta::open(address, "node").await;
    let (first, second) = (one.next().await.expect("sent"), two.next().await.expect("sent"));
    let mut events = server.subscribe();
    one.answer(&first, None).await;
    let Ok(Event::Acked { node, resources, after, .. }) = soon(events.recv()).await else { panic!("an ACK") };
    assert!(after > Duration::ZERO && after < Duration::from_secs(30), "{after:?}");
    assert_eq!((&*node, resources), ("node", vec![("a".into(), Some(Version::of(b"1")))]));
    assert!(poll_immediate(&mut acked).await.is_none(), "one of two streams is not enough");
    two.answer(&second, None).await;
    soon(acked).await;
}

#[tokio::test]
async fn a_refused_resource_is_listed_with_the_clients_words() {
    let server = Server::new();
    server.apply([set("a", "bad")]);
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    let response = client.next().await.expect("sent");
    let mut events = server.subscribe();
    client.answer(&response, Some("no such thing")).await;
    let Ok(Event::Nacked { message, .. }) = soon(events.recv()).await else { panic!("a NACK") };
    assert_eq!(message, "no such thing");
    let types = &server.streams()[0].types;
    assert_eq!((types.len(), types[0].wildcard, types[0].unsettled), (1, true, 0));
    let rejected = &types[0].rejected[0];
    assert_eq!((&*rejected.name, &*rejected.message), ("a", "no such thing"));
    assert_eq!(rejected.version, Some(Version::of(b"bad")));
    assert!(poll_immediate(pin!(server.until_acked("node", &CDS.into(), "a"))).await.is_none());
}

#[tokio::test]
async fn the_system_version_of_a_response_follows_what_the_client_then_has() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    let first = client.next().await.expect("sent");
    client.answer(&first, None).await;
    server.apply([set("b", "1")]);
    let second = client.next().await.expect("sent");
    assert!(!first.system_version_info.is_empty());
    assert_ne!(first.system_version_info, second.system_version_info);
}
