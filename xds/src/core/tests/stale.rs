//! Requests with the nonce of a response that is not the newest, or has been answered, or never was.

use super::*;

#[test]
fn a_change_of_subscription_counts_even_with_a_stale_nonce() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["b"]);
    client.acked();
    client.request(EDS, |request| {
        request.response_nonce = "77".into();
        request.resource_names_subscribe = vec!["a".into()];
    });
    assert_eq!(names(&client.acked()), ["a"]);
}

#[test]
fn a_stale_nonce_acknowledges_and_refuses_nothing() {
    for refusal in [None, refusal("on second thoughts")] {
        let mut client = Delta::new();
        client.set(CDS, "a", "1");
        client.ask(CDS, &[]);
        let first = client.acked();
        client.set(CDS, "a", "2");
        let second = client.next().expect("a response");
        let stale = client.request(CDS, |request| {
            request.response_nonce.clone_from(&first.nonce);
            request.error_detail = refusal;
        });
        assert_eq!((stale, client.next()), (None, None));
        assert!(!client.hub.is_acked("node", &CDS.into(), "a", client.hub.changed_at(&CDS.into(), "a")));
        assert!(client.hub.types(client.id)[0].rejected.is_empty());
        assert!(client.ack(&second).is_some());
    }
}

/// A client that wants `a` and has answered a response with it; `a` has changed since.
fn with_a_response_answered() -> (Sotw, DiscoveryResponse) {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.set(EDS, "b", "b1");
    client.ask(EDS, &["a"], "");
    let first = client.acked(&["a"]);
    client.set(EDS, "a", "a2");
    (client, first)
}

#[test]
fn the_names_of_a_request_with_a_stale_nonce_count_and_it_acknowledges_nothing_and_gets_no_response() {
    for refuses in [false, true] {
        let (mut client, first) = with_a_response_answered();
        let second = client.next().expect("a response");
        let answer = match refuses {
            false => client.ask(EDS, &["a", "b"], &first.nonce),
            true => client.refuse(&first, &["a", "b"], "on second thoughts"),
        };
        assert_eq!((answer, client.next()), (None, None), "the newest response is unanswered");
        let status = &client.hub.types(client.id)[0];
        assert_eq!((status.names, status.rejected.len()), (2, 0));
        client.ask(EDS, &["a", "b"], &second.nonce).expect("an answer");
        assert_eq!(contents(&client.acked(&["a", "b"])), ["b1"]);
    }
}

#[test]
fn a_request_with_the_nonce_of_an_older_response_is_ignored_once_the_newest_is_answered() {
    let (mut client, first) = with_a_response_answered();
    client.acked(&["a"]);
    assert_eq!(client.ask(EDS, &["a", "b"], &first.nonce), None);
    assert_eq!((client.next(), client.hub.types(client.id)[0].names), (None, 1));
}

#[test]
fn a_client_that_has_forgotten_its_nonce_is_sent_what_it_asks_for() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.ask(EDS, &["a"], "");
    let first = client.acked(&["a"]);
    client.ask(EDS, &[], &first.nonce);
    client.acked(&[]);
    // As some gRPC clients do when they ask for a type again of which they had given up everything.
    assert_eq!(client.ask(EDS, &["a"], ""), None);
    assert_eq!(contents(&client.acked(&["a"])), ["a1"]);
}

#[test]
fn the_nonces_of_a_stream_are_its_own_and_none_comes_twice() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &["a"]);
    client.ask(EDS, &["a"]);
    let mut nonces = Vec::new();
    for content in ["1", "2", "3"] {
        client.hub.apply([CDS, EDS].map(|kind| set(kind, "a", content)));
        nonces.extend([client.acked().nonce, client.acked().nonce]);
    }
    nonces.dedup();
    let all: std::collections::BTreeSet<&String> = nonces.iter().collect();
    assert_eq!((nonces.len(), all.len()), (6, 6));
    let first = client.id;
    client.id = client.hub.open("other".into(), Variant::Delta, None).expect("room");
    client.ask(CDS, &["a"]);
    let others = client.next().expect("a response");
    assert_eq!(client.request(CDS, |request| request.response_nonce = "6".into()), None);
    assert!(!client.hub.is_acked("other", &CDS.into(), "a", u64::MAX), "it is a nonce of the first stream");
    client.ack(&others).expect("an answer");
    client.id = first;
    assert_eq!(client.next(), None);
}
