//! Requests as no honest client would send them.

use std::time::{Duration, Instant};

use super::*;

/// So many times what it took to ask may be taken to undo it: what grows with the square of the names takes more.
const TIMES: u32 = 20;
const MANY: usize = 100_000;

fn many() -> Vec<String> {
    (0..MANY).map(|n| format!("name-{n}")).collect()
}

/// A client that has asked for very many names, the answer on its way, and how long what follows may take.
fn with_many_names() -> (Delta, DeltaDiscoveryResponse, Duration) {
    let start = Instant::now();
    let mut client = Delta::new();
    client.request(EDS, |request| request.resource_names_subscribe = many());
    let response = client.next().expect("a response");
    assert_eq!(response.removed_resources.len(), MANY);
    (client, response, start.elapsed() * TIMES)
}

#[test]
fn a_stream_with_very_many_names_on_their_way_ends_quickly() {
    let (mut client, _, most) = with_many_names();
    let start = Instant::now();
    client.hub.close(client.id);
    assert!(client.hub.is_empty() && start.elapsed() < most);
}

#[test]
fn a_stream_with_very_many_names_refused_ends_quickly() {
    let (mut client, response, most) = with_many_names();
    client.nack(&response, "all of it");
    let start = Instant::now();
    client.hub.close(client.id);
    assert!(client.hub.is_empty() && start.elapsed() < most);
}

#[test]
fn very_many_names_are_given_up_quickly_on_their_way_or_refused() {
    for refused in [false, true] {
        let (mut client, response, most) = with_many_names();
        if refused {
            client.nack(&response, "all of it");
        }
        let start = Instant::now();
        client.request(EDS, |request| request.resource_names_unsubscribe = many());
        assert!(start.elapsed() < most);
        assert_eq!(client.hub.types(client.id)[0].unsettled, 0);
    }
}

#[test]
fn very_many_changes_of_what_was_refused_are_taken_in_quickly() {
    let (mut client, response, most) = with_many_names();
    client.nack(&response, "all of it");
    let start = Instant::now();
    client.hub.apply(many().iter().map(|name| set(EDS, name, "1")));
    assert!(start.elapsed() < most);
    assert_eq!(client.acked().resources.len(), MANY);
}

#[test]
fn very_many_removed_clusters_are_kept_quickly_in_a_full_state() {
    let start = Instant::now();
    let mut client = Sotw::new();
    client.hub.apply(many().iter().map(|name| set(CDS, name, "1")));
    client.ask(CDS, &["*"], "");
    let most = start.elapsed() * TIMES;
    client.acked(&["*"]);
    client.set(RDS, "routes", "bad");
    client.ask(RDS, &["routes"], "");
    let routes = client.next().expect("a response");
    client.refuse(&routes, &["routes"], "no");
    let start = Instant::now();
    client.hub.replace(&CDS.into(), [set(CDS, "new", "1")]);
    let kept = client.next().expect("a response");
    assert_eq!((kept.resources.len(), client.hub.len(&CDS.into())), (MANY + 1, 1));
    assert!(start.elapsed() < most);
}

#[test]
fn names_never_asked_for_are_given_up_without_a_trace() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &["*"]);
    client.acked();
    client.request(CDS, |request| {
        request.resource_names_unsubscribe = many();
        request.resource_names_unsubscribe.push("a".into());
    });
    assert_eq!(client.next(), None);
    client.set(CDS, "a", "2");
    assert_eq!(names(&client.acked()), ["a"], "everything is still wanted");
}

#[test]
fn a_name_given_twice_is_one_name() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.request(EDS, |request| {
        request.resource_names_subscribe = vec!["a".into(), "a".into(), "a".into()];
        request.resource_names_unsubscribe = vec!["b".into(), "b".into()];
    });
    assert_eq!(names(&client.acked()), ["a"]);
    assert_eq!(client.next(), None);
    assert_eq!(client.hub.types(client.id)[0].names, 1);
    let mut client = Sotw::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["a", "a"], "");
    assert_eq!(contents(&client.acked(&["a", "a"])), ["1"]);
    assert_eq!(client.next(), None);
}

#[test]
fn a_name_that_is_asked_for_and_given_up_in_one_request_is_not_wanted() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.request(EDS, |request| {
        request.resource_names_subscribe = vec!["a".into()];
        request.resource_names_unsubscribe = vec!["a".into()];
    });
    assert_eq!(client.next(), None);
    client.hub.close(client.id);
    client.remove(EDS, "a");
    assert!(client.hub.is_empty());
}

#[test]
fn a_made_up_nonce_answers_nothing_in_either_variant() {
    let nines = "9".repeat(1000);
    let made_up = ["", "0", "-1", "2", "18446744073709551615", "18446744073709551616", "1.0", "0x1", &nines];
    for nonce in made_up {
        for refusal in [None, refusal("no")] {
            let mut client = Delta::new();
            client.set(CDS, "a", "1");
            client.ask(CDS, &[]);
            let response = client.next().expect("a response");
            let answer = client.request(CDS, |request| {
                request.response_nonce = nonce.to_owned();
                request.error_detail.clone_from(&refusal);
            });
            assert_eq!((answer, client.next()), (None, None), "{nonce}");
            assert!(client.ack(&response).is_some(), "the true one still counts");

            let mut client = Sotw::new();
            client.set(CDS, "a", "1");
            client.ask(CDS, &[], "");
            let response = client.next().expect("a response");
            let answer = client.request(CDS, |request| {
                request.response_nonce = nonce.to_owned();
                request.error_detail.clone_from(&refusal);
            });
            assert_eq!((answer, client.next()), (None, None), "{nonce}");
            assert!(client.ask(CDS, &[], &response.nonce).is_some(), "the true one still counts");
        }
    }
}

#[test]
fn a_nonce_of_another_type_or_one_answered_already_answers_nothing() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set(EDS, "a", "1");
    client.ask(CDS, &["a"]);
    client.ask(EDS, &["a"]);
    let (clusters, endpoints) = (client.next().expect("clusters"), client.next().expect("endpoints"));
    let crossed = client.request(CDS, |request| request.response_nonce.clone_from(&endpoints.nonce));
    assert_eq!(crossed, None);
    assert!(!client.hub.is_acked("node", &CDS.into(), "a", 1));
    assert!(client.ack(&clusters).is_some());
    assert_eq!(client.ack(&clusters), None);
    assert_eq!(client.nack(&clusters, "on second thoughts"), None);
    assert!(client.hub.is_acked("node", &CDS.into(), "a", 1));
}

#[test]
fn a_refusal_in_the_first_request_of_a_stream_is_only_a_subscription() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.request(CDS, |request| {
        request.response_nonce = "1".into();
        request.error_detail = refusal("of a stream that is no more");
    });
    assert_eq!(names(&client.acked()), ["a"]);
    let mut client = Sotw::new();
    client.set(CDS, "a", "1");
    client.request(CDS, |request| {
        request.response_nonce = "1".into();
        request.error_detail = refusal("of a stream that is no more");
    });
    assert_eq!(contents(&client.acked(&[])), ["1"]);
}

#[test]
fn a_clients_words_are_cut_to_four_kibibytes_everywhere() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    let response = client.next().expect("a response");
    let answer = client.nack(&response, &"é".repeat(1 << 20)).expect("an answer");
    let words = answer.refusal.expect("words");
    assert_eq!((words.len(), words.chars().all(|letter| letter == 'é')), (4096, true));
    assert_eq!(&*client.hub.types(client.id)[0].rejected[0].message, words);
    let response = {
        client.set(CDS, "a", "2");
        client.next().expect("a response")
    };
    let answer = client.nack(&response, &format!("x{}", "é".repeat(1 << 20))).expect("an answer");
    assert_eq!(answer.refusal.expect("words").len(), 4095, "no letter is cut in two");
}

#[test]
fn a_type_that_only_sounds_like_envoys_has_none_of_its_rules() {
    const OWN: &str = "type.example/acme.v1.Listener";
    let mut client = Sotw::new();
    client.set(OWN, "a", "a1");
    client.set(OWN, "b", "b1");
    client.ask(OWN, &["a", "b"], "");
    client.acked(&["a", "b"]);
    client.set(OWN, "a", "a2");
    assert_eq!(contents(&client.acked(&["a", "b"])), ["a2"], "no full state");
}
