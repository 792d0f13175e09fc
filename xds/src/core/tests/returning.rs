//! Make before break for clients that come back.

use super::*;

/// A client that comes back with a cluster that has vanished, and with the routes that used it.
fn with_a_vanished_cluster() -> Delta {
    let mut client = Delta::new();
    client.hub.apply([set(CDS, "b", "1"), set(RDS, "routes", "to b"), set(LDS, "listener", "1")]);
    client
}

#[test]
fn a_cluster_that_vanished_meanwhile_goes_after_the_routes_that_used_it() {
    let mut client = with_a_vanished_cluster();
    client.has(CDS, &["*"], &[("a", "1")]);
    let clusters = client.next().expect("a response");
    assert_eq!(told(&clusters), (vec!["b"], vec![]));
    client.has(LDS, &["*"], &[("listener", "1")]);
    client.has(RDS, &["routes"], &[("routes", "to a")]);
    let listeners = client.next().expect("a wildcard is answered");
    assert_eq!(told(&listeners), (vec![], vec![]));
    client.ack(&listeners);
    client.ack(&clusters);
    let routes = client.next().expect("a response");
    assert_eq!((routes.type_url.as_str(), client.next()), (RDS, None), "the routes are not applied yet");
    client.ack(&routes);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
    assert_eq!(client.next(), None);
}

#[test]
fn a_cluster_that_vanished_meanwhile_stays_until_the_client_may_have_said_which_routes_it_has() {
    let mut client = with_a_vanished_cluster();
    client.has(CDS, &["*"], &[("a", "1"), ("b", "1")]);
    let nothing = client.next().expect("a wildcard is answered");
    assert_eq!(told(&nothing), (vec![], vec![]));
    client.has(RDS, &["routes"], &[("routes", "to b")]);
    client.ack(&nothing);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]), "the routes are as they are served");
}

#[test]
fn endpoints_that_vanished_meanwhile_go_last_too_and_are_asked_after_if_there_is_nothing_else_to_say() {
    let mut client = with_a_vanished_cluster();
    client.has(EDS, &["a"], &[("a", "1")]);
    let nothing = client.next().expect("a response, so that there is an answer");
    assert_eq!(told(&nothing), (vec![], vec![]));
    assert_eq!(client.next(), None);
    client.has(RDS, &["routes"], &[("routes", "to a")]);
    client.ack(&nothing);
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
}

#[test]
fn what_vanishes_after_its_client_came_back_and_before_it_answered_anything_goes_last_too() {
    let mut client = Delta::new();
    client.hub.apply([set(EDS, "a", "1"), set(RDS, "routes", "to a")]);
    client.has(EDS, &["a"], &[("a", "1")]);
    assert_eq!(client.next(), None, "it has it");
    client.hub.apply([Change::remove(EDS, "a"), set(RDS, "routes", "to b")]);
    let nothing = client.next().expect("a response, so that there is an answer");
    client.has(RDS, &["routes"], &[("routes", "to a")]);
    client.ack(&nothing);
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
}

#[test]
fn a_cluster_that_vanished_meanwhile_stays_while_the_routes_without_it_are_refused() {
    let mut client = with_a_vanished_cluster();
    client.has(CDS, &["*"], &[("a", "1"), ("b", "1")]);
    client.has(RDS, &["routes"], &[("routes", "to a")]);
    client.acked();
    let routes = client.next().expect("a response");
    client.nack(&routes, "no");
    assert_eq!(client.next(), None, "the client still routes to it");
    client.set(RDS, "routes", "to b, well said");
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
}

#[test]
fn a_cluster_that_vanished_goes_late_also_when_another_client_has_asked_for_it_by_name_before() {
    let mut client = Delta::new();
    client.ask(CDS, &["a"]);
    client.acked();
    client.hub.apply([set(CDS, "b", "1"), set(RDS, "routes", "to b")]);
    client.id = client.hub.open("other".into(), Variant::Delta, None).expect("room");
    client.has(CDS, &["*"], &[("a", "1"), ("b", "1")]);
    client.has(RDS, &["routes"], &[("routes", "to a")]);
    client.acked();
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
}

#[test]
fn a_service_of_clusters_alone_tells_at_once_what_vanished() {
    let mut client = with_a_vanished_cluster();
    client.id = client.hub.open("node".into(), Variant::Delta, Some(CDS.into())).expect("room");
    client.has(CDS, &["*"], &[("a", "1")]);
    assert_eq!(told(&client.acked()), (vec!["b"], vec!["a"]));
}

#[test]
fn too_much_that_vanished_is_told_at_once() {
    let limits = Limits { removals: 1, ..Limits::default() };
    let mut client = Delta::over(Hub::new(limits, String::new()));
    client.set(RDS, "routes", "to b");
    client.has(CDS, &["*"], &[("a", "1"), ("c", "1")]);
    client.has(RDS, &["routes"], &[("routes", "to a")]);
    assert_eq!(client.acked().removed_resources.len(), 2);
}

#[test]
fn a_cluster_stays_while_routes_that_use_it_are_on_their_way() {
    let mut client = Delta::new();
    client.hub.apply([set(CDS, "a", "1"), set(RDS, "routes", "to a")]);
    client.ask(CDS, &[]);
    client.acked();
    client.ask(RDS, &["routes"]);
    let old = client.next().expect("a response");
    client.hub.apply([Change::remove(CDS, "a"), set(RDS, "routes", "to none")]);
    assert_eq!(client.next(), None, "the client is about to use it");
    client.ack(&old);
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
}

#[test]
fn a_cluster_given_up_and_asked_for_again_while_it_is_on_its_way_goes_after_the_routes_too() {
    let mut client = Delta::new();
    client.hub.apply([set(CDS, "a", "1"), set(RDS, "routes", "to a")]);
    client.ask(RDS, &["routes"]);
    client.acked();
    client.ask(CDS, &["a"]);
    let first = client.next().expect("a response");
    client.unask(CDS, &["a"]);
    client.ask(CDS, &["a"]);
    client.ack(&first);
    client.hub.apply([Change::remove(CDS, "a"), set(RDS, "routes", "to none")]);
    assert_eq!(client.acked().type_url, RDS, "it read the first response after it had asked again");
    assert_eq!(told(&client.acked()), (vec![], vec!["a"]));
}

#[test]
fn routes_that_do_not_exist_are_said_to_be_removed_while_clusters_are_on_their_way() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    let clusters = client.next().expect("a response");
    client.ask(RDS, &["missing"]);
    assert_eq!(told(&client.acked()), (vec![], vec!["missing"]));
    client.ack(&clusters);
}
