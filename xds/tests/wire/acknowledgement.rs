//! Who has applied what is known, can be awaited, and is told.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use futures::future::poll_immediate;
use tokio::sync::broadcast::Receiver;
use zenvoy_xds::core::{Change, Version};
use zenvoy_xds::server::{Event, Group, Outcome, Server};

use crate::peer::{CDS, Delta, EDS, Sotw, delta, listen, set, soon};

#[tokio::test]
async fn a_resource_is_acknowledged_once_every_stream_of_the_node_that_wants_it_has_applied_it() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let address = listen(&server).await;
    let mut acked = pin!(server.until_acked("node", CDS, "a"));
    assert!(poll_immediate(&mut acked).await.is_none(), "a node without a stream has applied nothing");
    let mut one = Delta::open(address, "node").await;
    let mut two = Delta::open(address, "node").await;
    let (first, second) = (one.next().await.expect("sent"), two.next().await.expect("sent"));
    let mut events = server.subscribe();
    one.answer(&first, None).await;
    let Ok(Event::Acked { node, stream, resources, after, .. }) = soon(events.recv()).await else {
        panic!("an ACK")
    };
    assert!(after > Duration::ZERO && after < Duration::from_secs(30), "{after:?}");
    let streams: Vec<u64> = server.streams().iter().map(|status| status.stream).collect();
    assert!(streams.contains(&stream), "{stream} is none of {streams:?}");
    assert_eq!((&*node, resources), ("node", vec![("a".into(), Some(Version::of(b"1")))]));
    assert!(poll_immediate(&mut acked).await.is_none(), "one of two streams is not enough");
    two.answer(&second, None).await;
    let Ok(Event::Acked { stream: other, .. }) = soon(events.recv()).await else { panic!("an ACK") };
    assert!(streams.contains(&other) && other != stream);
    assert_eq!(soon(acked).await, Outcome::Applied);
}

#[tokio::test]
async fn a_refused_resource_is_listed_with_the_clients_words() {
    let server = Server::new();
    server.apply([set("a", "bad")]);
    let (_client, refused) = refusing(&server, "no such thing").await;
    assert_eq!(soon(server.until_acked("node", CDS, "a")).await, refused);
    let types = &server.streams()[0].types;
    assert_eq!((types.len(), types[0].wildcard, types[0].unsettled), (1, true, 0));
    let rejected = &types[0].rejected[0];
    assert_eq!((&*rejected.name, &*rejected.message), ("a", "no such thing"));
    assert_eq!(rejected.version, Some(Version::of(b"bad")));
}

/// A client that has refused the only cluster, and what who waits for that is told.
async fn refusing(server: &Server, words: &str) -> (Delta, Outcome) {
    let address = listen(server).await;
    let mut client = Delta::open(address, "node").await;
    let response = client.next().await.expect("sent");
    client.answer(&response, Some(words)).await;
    (client, Outcome::Refused { node: "node".into(), message: words.into() })
}

/// What the next event of a refusal says: who, why, and of what.
async fn refusal(
    server: &Server,
    events: &mut Receiver<Event>,
) -> (String, String, Vec<(Arc<str>, Option<Version>)>) {
    loop {
        if let Event::Nacked { group, node, stream, type_url, resources, message, after } =
            soon(events.recv()).await.expect("an event")
        {
            assert_eq!((group, type_url.as_str()), (Group::default(), CDS));
            assert!(server.streams().iter().any(|status| (status.stream, &status.node) == (stream, &node)));
            assert!(after > Duration::ZERO && after < Duration::from_secs(30), "{after:?}");
            return (node.to_string(), message, resources);
        }
    }
}

#[tokio::test]
async fn each_refusal_is_one_event_with_who_refused_what_and_how_long_it_took() {
    let server = Server::new();
    server.apply([set("a", "1"), set("b", "1")]);
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    let first = client.next().await.expect("sent");
    client.answer(&first, None).await;
    assert!(soon(server.until_acked("node", CDS, "a")).await.is_applied());
    let mut events = server.subscribe();
    server.apply([set("a", "2"), Change::remove(CDS, "b")]);
    let second = client.next().await.expect("sent");
    // Of a response that was applied: that is no refusal.
    client.answer(&first, Some("on second thoughts")).await;
    client.answer(&second, Some("no")).await;
    let both = [("a".into(), Some(Version::of(b"2"))), ("b".into(), None)];
    assert_eq!(refusal(&server, &mut events).await, ("node".into(), "no".into(), both.to_vec()));
    for both in both.iter().rev() {
        let part = client.next().await.expect("a part");
        client.answer(&part, Some("no")).await;
        assert_eq!(refusal(&server, &mut events).await, ("node".into(), "no".into(), vec![both.clone()]));
    }
    drop(client);
    while !matches!(soon(events.recv()).await.expect("an event"), Event::Disconnected { .. }) {}
    assert!(events.is_empty(), "there was one of each");
}

#[tokio::test]
async fn a_refused_full_state_is_one_event_with_all_that_it_told() {
    let server = Server::new();
    server.apply([set("a", "1"), set("b", "1")]);
    let address = listen(&server).await;
    let mut client = Sotw::open(address, "node").await;
    let first = client.next().await.expect("sent");
    let mut events = server.subscribe();
    client.answer(&first, &[], Some("no")).await;
    let one = Some(Version::of(b"1"));
    let both = vec![("a".into(), one.clone()), ("b".into(), one)];
    assert_eq!(refusal(&server, &mut events).await, ("node".into(), "no".into(), both));
    let status = &server.streams()[0].types[0];
    let refused: Vec<&str> = status.rejected.iter().map(|rejected| &*rejected.name).collect();
    assert_eq!((refused, status.unsettled), (vec!["a", "b"], 0));
}

#[tokio::test]
async fn who_waits_is_told_of_a_refusal_and_waits_again_for_what_is_mended() {
    let server = Server::new();
    server.apply([set("a", "bad"), set("b", "1")]);
    let address = listen(&server).await;
    let refused = Outcome::Refused { node: "node".into(), message: "no such thing".into() };
    let mut client = Delta::open(address, "node").await;
    let (mut by_node, mut by_all) =
        (pin!(server.until_acked("node", CDS, "a")), pin!(server.until_acked_by_all(CDS, "a")));
    assert!(poll_immediate(&mut by_node).await.is_none() && poll_immediate(&mut by_all).await.is_none());
    let both = client.next().await.expect("sent");
    client.answer(&both, Some("no such thing")).await;
    for _ in ["a", "b"] {
        let part = client.next().await.expect("a part");
        let bad = part.resources[0].name == "a";
        client.answer(&part, bad.then_some("no such thing")).await;
    }
    assert_eq!((soon(by_node).await, soon(by_all).await), (refused.clone(), refused.clone()));
    assert_eq!(soon(server.until_acked_by_all(CDS, "a")).await, refused, "it is parked");
    assert_eq!(soon(server.until_acked("node", CDS, "b")).await, Outcome::Applied);
    server.apply([set("a", "good")]);
    let mut again = pin!(server.until_acked("node", CDS, "a"));
    assert!(poll_immediate(&mut again).await.is_none(), "that is yet to be taken");
    let mended = client.next().await.expect("sent");
    client.answer(&mended, None).await;
    assert_eq!(soon(again).await, Outcome::Applied);
}

/// Whoever waits for `a` while it is good is told `refused` when it is bad again, before the stream had its turn: nothing is sent,
/// and there will be no answer.
async fn hears_of_a_return_at_once(server: &Server, refused: &Outcome) {
    server.apply([set("a", "good")]);
    let (mut by_node, mut by_all) =
        (pin!(server.until_acked("node", CDS, "a")), pin!(server.until_acked_by_all(CDS, "a")));
    assert!(poll_immediate(&mut by_node).await.is_none() && poll_immediate(&mut by_all).await.is_none());
    server.apply([set("a", "bad")]);
    assert_eq!(poll_immediate(by_node).await.as_ref(), Some(refused), "at once");
    assert_eq!(poll_immediate(by_all).await.as_ref(), Some(refused), "at once");
}

#[tokio::test]
async fn who_waits_hears_of_content_that_returned_to_what_the_client_has_refused() {
    let server = Server::new();
    server.apply([set("a", "bad")]);
    let (_client, refused) = refusing(&server, "no such thing").await;
    assert_eq!(soon(server.until_acked("node", CDS, "a")).await, refused);
    hears_of_a_return_at_once(&server, &refused).await;
}

#[tokio::test]
async fn who_waits_hears_of_a_full_state_that_returned_to_what_the_client_has_refused() {
    let server = Server::new();
    server.apply([set("b", "good")]);
    let address = listen(&server).await;
    let mut client = Sotw::open(address, "node").await;
    let first = client.next().await.expect("sent");
    client.answer(&first, &[], None).await;
    assert_eq!(soon(server.until_acked("node", CDS, "b")).await, Outcome::Applied);
    server.apply([set("a", "bad")]);
    let both = client.next().await.expect("sent");
    client.answer(&both, &[], Some("no such thing")).await;
    let refused = Outcome::Refused { node: "node".into(), message: "no such thing".into() };
    assert_eq!(soon(server.until_acked("node", CDS, "a")).await, refused);
    hears_of_a_return_at_once(&server, &refused).await;
}

/// Counts how often a future is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_waits_is_woken_by_what_could_be_the_answer_and_by_nothing_else() {
    let server = Server::new();
    server.apply([set("a", "1"), set("b", "1"), Change::set(EDS, "a", "1")]);
    let address = listen(&server).await;
    let mut slow = Delta::open(address, "slow").await;
    let first = slow.next().await.expect("sent");
    let (by_node, by_all) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let (mut slows, mut alls) =
        (pin!(server.until_acked("slow", CDS, "a")), pin!(server.until_acked_by_all(CDS, "a")));
    let wakers = [by_node.clone().into(), by_all.clone().into()];
    assert!(slows.as_mut().poll(&mut Context::from_waker(&wakers[0])).is_pending());
    assert!(alls.as_mut().poll(&mut Context::from_waker(&wakers[1])).is_pending());
    let woken = || (by_node.0.load(Ordering::SeqCst), by_all.0.load(Ordering::SeqCst));

    let mut busy = Delta::open(address, "busy").await;
    let mut events = server.subscribe();
    let both = busy.next().await.expect("sent");
    assert_eq!(woken().0, 0, "of another node");
    busy.send(DeltaDiscoveryRequest { node: None, ..delta(EDS, &["a"]) }).await;
    let mut endpoints = busy.next().await.expect("sent");
    // It looks again, and is ready to be woken again.
    assert!(alls.as_mut().poll(&mut Context::from_waker(&wakers[1])).is_pending());
    let before = woken();
    for _ in 0..10 {
        busy.answer(&endpoints, None).await;
        busy.send(DeltaDiscoveryRequest { node: None, ..delta(EDS, &["a"]) }).await;
        endpoints = busy.next().await.expect("sent");
    }
    assert_eq!(woken(), before, "of another type");
    busy.answer(&both, None).await;
    while !matches!(soon(events.recv()).await, Ok(Event::Acked { type_url, .. }) if type_url.as_str() == CDS)
    {
    }
    assert_eq!(woken().0, 0, "of another node");
    assert_eq!(woken().1, before.1 + 1, "one of all");
    slow.answer(&first, None).await;
    assert_eq!((soon(slows).await, soon(alls).await), (Outcome::Applied, Outcome::Applied));
}

#[tokio::test]
async fn who_waits_hears_of_content_that_returned_to_what_the_client_has() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    let first = client.next().await.expect("sent");
    client.answer(&first, None).await;
    assert_eq!(soon(server.until_acked("node", CDS, "a")).await, Outcome::Applied);
    server.apply([set("a", "2")]);
    let (mut by_node, mut by_all) =
        (pin!(server.until_acked("node", CDS, "a")), pin!(server.until_acked_by_all(CDS, "a")));
    assert!(poll_immediate(&mut by_node).await.is_none() && poll_immediate(&mut by_all).await.is_none());
    // Before the stream had its turn: nothing is sent, and there will be no answer.
    server.apply([set("a", "1")]);
    assert_eq!((soon(by_node).await, soon(by_all).await), (Outcome::Applied, Outcome::Applied));
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
