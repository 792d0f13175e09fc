use super::*;

#[test]
fn what_was_refused_is_sent_again_when_asked_for_and_only_to_those_who_refused_it() {
    let mut client = Delta::new();
    client.set(LDS, "a", "1");
    client.set(LDS, "b", "1");
    client.ask(LDS, &["*"]);
    assert_eq!(names(&client.acked()), ["a", "b"]);
    let taken = client.id;
    client.id = client.hub.open("other".into(), Variant::Delta, None).expect("room");
    client.ask(LDS, &["*"]);
    let both = client.next().expect("a response");
    client.nack(&both, "a: the port is in use");
    for _ in ["a", "b"] {
        let part = client.next().expect("a part");
        match names(&part)[..] {
            ["a"] => client.nack(&part, "a: the port is in use"),
            _ => client.ack(&part),
        };
    }
    assert!(client.next().is_none(), "it is parked");
    assert_eq!(client.hub.offer_again(&LDS.into(), "a"), [client.id]);
    let again = client.next().expect("the refused one");
    assert_eq!(names(&again), ["a"]);
    assert!(client.hub.offer_again(&LDS.into(), "a").is_empty(), "it is on its way");
    client.nack(&again, "still in use");
    assert!(client.next().is_none());
    client.hub.offer_again(&LDS.into(), "a");
    client.acked();
    assert!(client.hub.offer_again(&LDS.into(), "a").is_empty(), "it is taken");
    assert!(client.hub.offer_again(&LDS.into(), "nobody's").is_empty());
    client.id = taken;
    assert!(client.next().is_none());
}

#[test]
fn a_refused_full_state_is_sent_again_when_asked_for() {
    let mut client = Sotw::new();
    client.set(LDS, "a", "1");
    client.set(LDS, "b", "1");
    client.ask(LDS, &[], "");
    let both = client.next().expect("a response");
    client.refuse(&both, &[], "a: the port is in use");
    assert!(client.next().is_none());
    assert_eq!(client.hub.offer_again(&LDS.into(), "a"), [client.id]);
    assert_eq!(client.next().expect("all of it").resources.len(), 2);
}

#[test]
fn what_waits_in_a_part_when_everything_is_given_up_is_sent_once_and_nothing_of_it_is_kept() {
    let mut client = Sotw::new();
    client.set(RDS, "a", "1 of a");
    client.set(RDS, "b", "1 of b");
    client.ask(RDS, &["a", "b"], "");
    let both = client.next().expect("a response");
    client.refuse(&both, &["a", "b"], "one of them is bad");
    let one = client.next().expect("a part");
    client.ask(RDS, &["a", "b", "*"], &one.nonce);
    client.ask(RDS, &["a", "b"], &one.nonce);
    let other = client.acked(&["a", "b"]);
    assert_eq!((one.resources.len(), other.resources.len()), (1, 1));
    assert_ne!(contents(&one), contents(&other));
    assert_eq!(client.next(), None, "it is applied");
    client.hub.close(client.id);
    client.hub.replace_all([]);
    assert!(client.hub.is_empty());
}

#[test]
fn what_was_given_up_and_asked_for_again_before_the_newest_response_was_read_is_sent_again() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.set(EDS, "b", "b1");
    client.ask(EDS, &["a", "b"], "");
    let first = client.acked(&["a", "b"]);
    client.set(EDS, "b", "b2");
    let second = client.next().expect("a response");
    client.ask(EDS, &["b"], &first.nonce);
    client.ask(EDS, &["a", "b"], &first.nonce);
    assert_eq!(client.next(), None, "the last response is not answered");
    client.ask(EDS, &["a", "b"], &second.nonce);
    assert_eq!(contents(&client.acked(&["a", "b"])), ["a1"], "the client has dropped it");
    assert_eq!(client.next(), None);
}

#[test]
fn what_was_given_up_and_asked_for_again_in_a_full_state_that_is_refused_is_not_taken_to_be_applied() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.ask(CDS, &["a", "b"], "");
    let first = client.acked(&["a", "b"]);
    client.set(CDS, "b", "bad");
    let second = client.next().expect("a response");
    client.ask(CDS, &["b"], &first.nonce);
    client.ask(CDS, &["*"], &first.nonce);
    client.refuse(&second, &["*"], "b is bad");
    let third = client.next().expect("the client asked for it again since");
    client.refuse(&third, &["*"], "b is bad");
    assert_eq!(client.next(), None, "it refused that, too");
    let since = client.hub.changed_at(&CDS.into(), "a");
    assert!(!client.hub.is_acked("node", &CDS.into(), "a", since), "the client has dropped it");
    client.set(CDS, "b", "good");
    client.acked(&["*"]);
    assert!(client.hub.is_acked("node", &CDS.into(), "a", since));
}

#[test]
fn a_refused_full_state_that_was_given_up_is_sent_when_it_is_asked_for_again() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.set(EDS, "b", "bad");
    client.ask(EDS, &["*"], "");
    let both = client.next().expect("a response");
    client.refuse(&both, &["*"], "b is bad");
    assert_eq!(client.next(), None);
    client.ask(EDS, &[], &both.nonce);
    client.ask(EDS, &["*"], &both.nonce);
    assert_eq!(
        contents(&client.next().expect("all of it")),
        ["a1", "bad"],
        "it may have dropped what it took"
    );
}

#[test]
fn a_cluster_given_up_and_asked_for_again_while_a_full_state_with_it_is_on_its_way_goes_after_the_routes() {
    let mut client = Sotw::new();
    client.hub.apply([set(CDS, "a", "a1"), set(CDS, "b", "b1"), set(RDS, "routes", "to a")]);
    client.ask(CDS, &["a", "b"], "");
    let first = client.acked(&["a", "b"]);
    client.ask(RDS, &["routes"], "");
    client.acked(&["routes"]);
    client.set(CDS, "b", "b2");
    let second = client.next().expect("a response");
    client.ask(CDS, &["b"], &first.nonce);
    client.ask(CDS, &["a", "b"], &first.nonce);
    client.hub.apply([Change::remove(CDS, "a"), set(RDS, "routes", "to b")]);
    client.ask(CDS, &["a", "b"], &second.nonce);
    let third = client.acked(&["a", "b"]);
    assert_eq!((third.type_url.as_str(), contents(&third)), (CDS, vec!["a1".into(), "b2".into()]));
    assert_eq!(client.acked(&["routes"]).type_url, RDS);
    assert_eq!(contents(&client.acked(&["a", "b"])), ["b2"]);
}

#[test]
fn names_given_before_the_newest_response_was_read_end_everything() {
    let mut client = Sotw::new();
    client.set(LDS, "a", "a1");
    client.ask(LDS, &[], "");
    let first = client.acked(&[]);
    client.set(LDS, "a", "a2");
    let second = client.next().expect("a response");
    client.ask(LDS, &["a"], &first.nonce);
    client.ask(LDS, &[], &second.nonce);
    assert!(client.acked(&[]).resources.is_empty(), "naming nothing means nothing since");
}

#[test]
fn a_cluster_that_was_kept_in_a_version_that_the_client_did_not_have_is_sent_when_it_is_back() {
    let mut client = Sotw::new();
    client.hub.apply([set(CDS, "a", "a1"), set(RDS, "routes", "to a")]);
    client.ask(CDS, &["*"], "");
    client.acked(&["*"]);
    client.ask(RDS, &["routes"], "");
    client.acked(&["routes"]);
    client.set(CDS, "a", "a2");
    client.hub.apply([Change::remove(CDS, "a"), set(CDS, "b", "b1"), set(RDS, "routes", "to b")]);
    let kept = client.next().expect("a response");
    assert_eq!(contents(&kept), ["a2", "b1"], "it is kept for the routes");
    client.set(CDS, "a", "a1");
    client.ask(CDS, &["*"], &kept.nonce);
    assert_eq!(contents(&client.acked(&["*"])), ["a1", "b1"]);
}

#[test]
fn what_is_gone_and_was_in_a_full_state_that_was_given_up_is_not_taken_to_be_removed_before_the_next_is_applied()
 {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.set(CDS, "b", "b1");
    client.ask(CDS, &["*"], "");
    let first = client.acked(&["*"]);
    client.set(CDS, "b", "b2");
    let second = client.next().expect("a response with both");
    client.remove(CDS, "a");
    client.set(CDS, "b", "bad");
    let since = client.hub.changed_at(&CDS.into(), "a");
    client.ask(CDS, &[], &first.nonce);
    client.ask(CDS, &["*"], &first.nonce);
    client.ask(CDS, &["*"], &second.nonce);
    let third = client.next().expect("a response without it");
    client.refuse(&third, &["*"], "b is bad");
    assert!(
        !client.hub.is_acked("node", &CDS.into(), "a", since),
        "the client has it from the second response"
    );
    client.set(CDS, "b", "b3");
    client.acked(&["*"]);
    assert!(client.hub.is_acked("node", &CDS.into(), "a", since));
}

#[test]
fn what_was_refused_in_a_full_state_is_sent_alone_when_everything_was_given_up_before_it_was_read() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.ask(EDS, &["*", "b"], "");
    let first = client.acked(&["*", "b"]);
    client.set(EDS, "b", "b1");
    let second = client.next().expect("a response");
    client.ask(EDS, &["b"], &first.nonce);
    client.refuse(&second, &["b"], "of the whole");
    assert_eq!(contents(&client.acked(&["b"])), ["b1"], "it may be that another one was refused");
    assert_eq!(client.next(), None);
}
