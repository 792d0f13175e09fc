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
