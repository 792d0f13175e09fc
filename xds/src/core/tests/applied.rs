use super::*;

#[test]
fn a_resource_is_acknowledged_by_what_was_served_then_or_later() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    let since = client.hub.changed_at(&CDS.into(), "a");
    assert!(!client.hub.is_acked("node", &CDS.into(), "a", since));
    let first = client.next().expect("a response");
    client.set(CDS, "a", "2");
    client.ack(&first);
    assert!(
        client.hub.is_acked("node", &CDS.into(), "a", since),
        "content has moved on, but this was applied"
    );
    assert!(!client.hub.is_acked("node", &CDS.into(), "a", client.hub.changed_at(&CDS.into(), "a")));
    let now = client.hub.changed_at(&CDS.into(), "a");
    assert!(client.hub.is_acked_by_all(&CDS.into(), "a", since));
    assert!(!client.hub.is_acked_by_all(&CDS.into(), "a", now));
    client.acked();
    assert!(client.hub.is_acked_by_all(&CDS.into(), "a", now));
}

#[test]
fn all_have_acknowledged_when_each_stream_that_wants_it_has_whatever_came_later() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    let since = client.hub.changed_at(&CDS.into(), "a");
    let by_all = |client: &Delta| client.hub.is_acked_by_all(&CDS.into(), "a", since);
    assert!(by_all(&client), "nobody wants it");
    client.ask(CDS, &[]);
    let first = client.id;
    client.id = client.hub.open("other".into(), Variant::Delta, None).expect("room");
    client.ask(CDS, &["a"]);
    let second = std::mem::replace(&mut client.id, first);
    for (id, done) in [(first, false), (second, true)] {
        client.id = id;
        let response = client.next().expect("a response");
        client.set(CDS, "a", if done { "3" } else { "2" });
        client.ack(&response);
        assert_eq!(by_all(&client), done);
    }
    client.id = client.hub.open("elsewhere".into(), Variant::Delta, None).expect("room");
    client.ask(CDS, &["b"]);
    assert!(by_all(&client), "this one does not want it");
}

#[test]
fn a_removal_is_acknowledged_when_the_client_says_so() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    client.acked();
    client.remove(CDS, "a");
    let since = client.hub.changed_at(&CDS.into(), "a");
    let removal = client.next().expect("a response");
    assert!(!client.hub.is_acked("node", &CDS.into(), "a", since));
    client.ack(&removal);
    assert!(client.hub.is_acked("node", &CDS.into(), "a", since));
}

#[test]
fn a_node_that_does_not_subscribe_has_not_acknowledged() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["b"]);
    client.acked();
    assert!(!client.hub.is_acked("node", &EDS.into(), "a", 0));
    assert!(!client.hub.is_acked("stranger", &EDS.into(), "b", 0));
    assert!(client.hub.is_acked("node", &EDS.into(), "b", 0), "it knows that there is none");
}

#[test]
fn the_versions_that_nodes_have_applied_are_known() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    let version = |client: &Delta| client.hub.acked(&CDS.into(), "a").remove(0).1;
    assert_eq!(version(&client), None);
    client.acked();
    client.set(CDS, "a", "2");
    assert_eq!(version(&client), Some(Version::of(b"1")));
    client.acked();
    assert_eq!(version(&client), Some(Version::of(b"2")));
}

#[test]
fn an_answer_lists_what_was_sent_even_if_it_has_changed_since() {
    let mut client = Delta::new();
    client.hub.apply([set(CDS, "a", "1"), set(CDS, "b", "1")]);
    client.ask(CDS, &[]);
    let first = client.next().expect("a response");
    client.set(CDS, "a", "2");
    client.remove(CDS, "b");
    let answer = client.ack(&first).expect("an answer");
    let one = Some(Version::of(b"1"));
    assert_eq!(answer.resources, [("a".into(), one.clone()), ("b".into(), one)]);
    assert_eq!(client.acked().removed_resources, ["b"]);
}

#[test]
fn a_change_names_each_stream_once_until_it_has_been_asked() {
    let mut client = Delta::new();
    client.ask(CDS, &["*", "a"]);
    client.acked();
    assert_eq!(client.next(), None);
    let id = client.id;
    assert_eq!(client.hub.apply([set(CDS, "a", "1"), set(CDS, "b", "1")]), [id]);
    assert_eq!(client.hub.apply([set(CDS, "a", "2")]), []);
    let response = client.acked();
    assert_eq!(client.hub.apply([set(CDS, "a", "3")]), [], "it is still being asked");
    assert_eq!(names(&response), ["a", "b"]);
    client.acked();
    assert_eq!(client.next(), None);
    assert_eq!(client.hub.apply([set(CDS, "a", "4")]), [id]);
    assert_eq!(client.hub.apply([set(EDS, "a", "4")]), []);
}

#[test]
fn a_closed_stream_frees_everything_of_its_node() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.has(CDS, &[], &[("vanished", "1")]);
    client.next().expect("a response");
    client.ask(EDS, &["missing", "other"]);
    client.next().expect("a response");
    client.unask(EDS, &["other"]);
    client.remove(CDS, "a");
    assert!(!client.hub.is_empty());
    client.hub.close(client.id);
    assert!(client.hub.is_empty());
}

#[test]
fn to_replace_a_type_removes_what_is_not_named() {
    let mut client = Delta::new();
    client.hub.apply([set(CDS, "a", "1"), set(CDS, "b", "1")]);
    client.ask(CDS, &[]);
    client.acked();
    client.hub.replace(&CDS.into(), [set(CDS, "b", "1"), set(CDS, "c", "1")]);
    let response = client.acked();
    assert_eq!(told(&response), (vec!["c"], vec!["a"]));
    assert_eq!(client.hub.len(&CDS.into()), 2);
}

#[test]
fn a_whole_snapshot_replaces_another_one_without_a_break() {
    let mut client = Delta::new();
    client.hub.replace_all([set(CDS, "old", "1"), set(RDS, "routes", "to old"), set(LDS, "stays", "1")]);
    client.ask(CDS, &[]);
    client.acked();
    client.ask(LDS, &[]);
    client.acked();
    client.ask(RDS, &["routes"]);
    client.acked();
    client.hub.replace_all([set(CDS, "new", "1"), set(RDS, "routes", "to new"), set(LDS, "stays", "1")]);
    let made = client.acked();
    assert_eq!((made.type_url.as_str(), told(&made)), (CDS, (vec!["new"], vec![])));
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(told(&client.acked()), (vec![], vec!["old"]));
    assert_eq!(client.next(), None, "the listener is the same");
}
