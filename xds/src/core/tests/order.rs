use super::*;

#[test]
fn a_changed_cluster_brings_its_endpoints_again() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set(EDS, "a", "1");
    client.ask(CDS, &[]);
    client.acked();
    client.ask(EDS, &["a"]);
    client.acked();
    client.set(CDS, "a", "2");
    assert_eq!(client.acked().type_url, CDS);
    let endpoints = client.acked();
    assert_eq!((endpoints.type_url.as_str(), names(&endpoints)), (EDS, vec!["a"]));
}

/// A cluster that gets its endpoints under the name of a service.
fn cluster_of(service: &str, timeout_s: i64) -> Change {
    use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
    let eds = EdsClusterConfig { service_name: service.into(), ..EdsClusterConfig::default() };
    let timeout = envoy_types::pb::google::protobuf::Duration { seconds: timeout_s, nanos: 0 };
    let message = Cluster {
        name: "a".into(),
        connect_timeout: Some(timeout),
        eds_cluster_config: Some(eds),
        ..Cluster::default()
    };
    Change::set(CDS, "a", message.encode_to_vec())
}

#[test]
fn a_changed_cluster_brings_the_endpoints_of_its_service_name_again() {
    for away in [false, true] {
        let mut client = Delta::new();
        client.set(EDS, "service", "1");
        client.set(EDS, "a", "1");
        client.hub.apply([cluster_of("service", 1)]);
        if away {
            client.has(CDS, &["*"], &[("a", "1")]);
            client.acked();
            client.has(EDS, &["a", "service"], &[("a", "1"), ("service", "1")]);
        } else {
            client.ask(CDS, &[]);
            client.acked();
            client.ask(EDS, &["a", "service"]);
            client.acked();
            client.hub.apply([cluster_of("service", 2)]);
            assert_eq!(client.acked().type_url, CDS);
        }
        assert_eq!(names(&client.acked()), ["service"]);
        assert_eq!(client.next(), None);
    }
}

#[test]
fn a_cluster_that_changed_while_its_client_was_away_brings_endpoints_that_the_client_has() {
    for endpoints_asked_first in [true, false] {
        let mut client = Delta::new();
        client.set(CDS, "a", "2");
        client.set(EDS, "a", "1");
        if endpoints_asked_first {
            client.has(CDS, &["*"], &[("a", "1")]);
            client.has(EDS, &["a"], &[("a", "1")]);
            assert_eq!(client.acked().type_url, CDS);
        } else {
            client.has(CDS, &["*"], &[("a", "1")]);
            assert_eq!(client.acked().type_url, CDS);
            client.has(EDS, &["a"], &[("a", "1")]);
        }
        let endpoints = client.acked();
        assert_eq!((endpoints.type_url.as_str(), names(&endpoints)), (EDS, vec!["a"]));
        assert_eq!(client.next(), None);
    }
}

#[test]
fn a_cluster_that_changes_after_its_client_came_back_brings_endpoints_that_the_client_has() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set(EDS, "a", "1");
    client.has(CDS, &["*"], &[("a", "1")]);
    client.acked();
    client.has(EDS, &["a"], &[("a", "1")]);
    assert_eq!(client.next(), None, "it has all");
    client.set(CDS, "a", "2");
    assert_eq!(client.acked().type_url, CDS);
    assert_eq!(names(&client.acked()), ["a"]);
}

#[test]
fn the_same_holds_in_state_of_the_world() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "1");
    client.set(EDS, "a", "1");
    client.ask(CDS, &[], "");
    client.acked(&[]);
    client.ask(EDS, &["a"], "");
    let version = client.acked(&["a"]).version_info;
    client.set(CDS, "a", "2");
    client.come_back(CDS, &[], "of another time");
    assert_eq!(client.acked(&[]).type_url, CDS);
    client.request(EDS, |request| {
        request.resource_names = vec!["a".into()];
        request.version_info.clone_from(&version);
    });
    assert_eq!(contents(&client.acked(&["a"])), ["1"]);
}

#[test]
fn a_cluster_is_removed_only_after_the_routes_that_used_it() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set(RDS, "routes", "to a");
    client.ask(CDS, &[]);
    client.acked();
    client.ask(RDS, &["routes"]);
    client.acked();
    client.hub.apply([Change::remove(CDS, "a"), set(RDS, "routes", "to none")]);
    let routes = client.next().expect("a response");
    assert_eq!(routes.type_url, RDS);
    assert_eq!(client.next(), None, "until the client has answered");
    client.ack(&routes);
    assert_eq!(client.acked().removed_resources, ["a"]);
}

#[test]
fn a_cluster_stays_while_the_routes_without_it_are_refused() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set(RDS, "routes", "to a");
    client.ask(CDS, &[]);
    client.acked();
    client.ask(RDS, &["routes"]);
    client.acked();
    client.hub.apply([Change::remove(CDS, "a"), set(RDS, "routes", "bad")]);
    let routes = client.next().expect("a response");
    client.nack(&routes, "no");
    assert_eq!(client.next(), None, "the client still routes to it");
    client.set(RDS, "routes", "to none");
    assert_eq!(client.acked().type_url, RDS);
    assert_eq!(client.acked().removed_resources, ["a"]);
}

#[test]
fn routes_wait_until_the_clusters_of_the_same_change_have_warmed() {
    let mut client = Delta::new();
    client.ask(CDS, &[]);
    client.acked();
    client.ask(RDS, &["routes"]);
    client.acked();
    client.hub.apply([set(RDS, "routes", "to a"), set(CDS, "a", "1"), set(EDS, "a", "1")]);
    let clusters = client.next().expect("a response");
    assert_eq!(clusters.type_url, CDS);
    assert_eq!(client.next(), None);
    client.ask(EDS, &["a"]);
    let endpoints = client.next().expect("a response");
    assert_eq!(
        endpoints.type_url, EDS,
        "endpoints do not wait for the answer: Envoy gives it when they have come"
    );
    assert_eq!(client.next(), None);
    client.ack(&endpoints);
    client.ack(&clusters);
    assert_eq!(client.acked().type_url, RDS);
}

/// The types of all responses there are to send, in order, each applied before the next.
fn applied(client: &mut Delta) -> Vec<String> {
    let mut types = Vec::new();
    while let Some(response) = client.next() {
        client.ack(&response);
        types.push(response.type_url);
    }
    types
}

#[test]
fn all_of_one_change_goes_out_before_what_refers_to_it_and_goes_away_after_it() {
    let mut client = Delta::new();
    for (kind, name) in [(RDS, "a"), (LDS, "*"), (EDS, "a"), (CDS, "*")] {
        client.ask(kind, &[name]);
    }
    applied(&mut client);
    client.hub.apply([RDS, LDS, EDS, CDS].map(|kind| set(kind, "a", "1")));
    assert_eq!(applied(&mut client), [CDS, EDS, LDS, RDS]);
    client.hub.apply([CDS, EDS, RDS, LDS].map(|kind| Change::remove(kind, "a")));
    assert_eq!(applied(&mut client), [LDS, RDS, CDS, EDS]);
}

#[test]
fn listeners_wait_until_the_clusters_of_the_same_change_have_warmed() {
    let mut client = Delta::new();
    client.ask(CDS, &[]);
    client.acked();
    client.ask(LDS, &[]);
    client.acked();
    client.hub.apply([set(LDS, "listener", "to a"), set(CDS, "a", "1")]);
    let clusters = client.next().expect("a response");
    assert_eq!((clusters.type_url.as_str(), client.next()), (CDS, None));
    client.ack(&clusters);
    assert_eq!(client.acked().type_url, LDS);
}

#[test]
fn routes_wait_for_a_cluster_of_the_same_change_that_has_changed_again_since() {
    for on_its_way in [false, true] {
        let mut client = Delta::new();
        client.ask(CDS, &[]);
        client.acked();
        client.ask(RDS, &["routes"]);
        client.acked();
        client.hub.apply([set(CDS, "a", "1"), set(RDS, "routes", "to a")]);
        let first = on_its_way.then(|| client.next().expect("a response"));
        client.set(CDS, "a", "2");
        let clusters = first.unwrap_or_else(|| client.next().expect("a response"));
        assert_eq!((clusters.type_url.as_str(), client.next()), (CDS, None), "the routes need it");
        client.ack(&clusters);
        if on_its_way {
            let again = client.next().expect("a response");
            assert_eq!(again.type_url, CDS);
        }
        assert_eq!(client.acked().type_url, RDS, "the client has it, in one version or the other");
    }
}

#[test]
fn routes_do_not_wait_for_later_changes_of_endpoints() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["a"]);
    client.acked();
    client.ask(RDS, &["routes"]);
    client.acked();
    client.set(RDS, "routes", "1");
    client.set(EDS, "a", "2");
    assert_eq!(client.next().expect("a response").type_url, EDS);
    assert_eq!(client.next().expect("a response").type_url, RDS);
}

#[test]
fn secrets_go_out_after_the_clusters_and_before_the_listeners_that_name_them() {
    let mut delta = Delta::new();
    let mut sotw = Sotw::new();
    for (kind, name) in [(LDS, "*"), (SDS, "a"), (EDS, "a"), (CDS, "*")] {
        delta.ask(kind, &[name]);
        sotw.ask(kind, &[name], "");
    }
    applied(&mut delta);
    while let Some(response) = sotw.next() {
        let names = if response.type_url == SDS || response.type_url == EDS { ["a"] } else { ["*"] };
        sotw.ask(&response.type_url, &names, &response.nonce);
    }
    let all = [LDS, SDS, EDS, CDS].map(|kind| set(kind, "a", "1"));
    delta.hub.apply(all.clone());
    sotw.hub.apply(all);
    assert_eq!(applied(&mut delta), [CDS, EDS, SDS, LDS]);
    for kind in [CDS, EDS, SDS, LDS] {
        let names = if kind == SDS || kind == EDS { ["a"] } else { ["*"] };
        assert_eq!(sotw.acked(&names).type_url, kind);
    }
}

#[test]
fn a_secret_is_asked_for_and_sent_while_the_listener_or_cluster_that_names_it_is_unanswered() {
    // Envoy answers for what it has warmed, and that waits for the secret.
    for kind in [CDS, LDS] {
        let mut client = Delta::new();
        client.ask(kind, &["*"]);
        client.acked();
        client.hub.apply([set(kind, "a", "names the secret"), set(SDS, "secret", "1")]);
        let unanswered = client.next().expect("a response");
        client.ask(SDS, &["secret"]);
        let secret = client.next().expect("it waits for nothing");
        assert_eq!((secret.type_url.as_str(), names(&secret)), (SDS, vec!["secret"]));
        client.set(SDS, "secret", "2");
        client.ack(&secret);
        assert_eq!(names(&client.acked()), ["secret"], "a new one does not wait either");
        client.ack(&unanswered);
        assert_eq!(client.next(), None);
    }
}

#[test]
fn a_changed_secret_goes_to_those_who_asked_for_it_and_brings_nothing_else() {
    let mut client = Delta::new();
    client.hub.apply([set(CDS, "a", "1"), set(LDS, "a", "1"), set(SDS, "secret", "1")]);
    for (kind, name) in [(CDS, "*"), (LDS, "*"), (SDS, "secret")] {
        client.ask(kind, &[name]);
    }
    applied(&mut client);
    client.set(SDS, "secret", "2");
    client.set(SDS, "another's", "1");
    let secret = client.acked();
    assert_eq!((secret.type_url.as_str(), told(&secret)), (SDS, (vec!["secret"], vec![])));
    assert_eq!(client.next(), None);
}

#[test]
fn types_that_refer_to_nothing_wait_for_nothing() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set("custom.Type", "x", "1");
    client.ask("custom.Type", &[]);
    client.ask(CDS, &[]);
    assert_eq!(client.next().expect("a response").type_url, CDS);
    assert_eq!(client.next().expect("a response").type_url, "custom.Type");
}

#[test]
fn a_full_state_keeps_a_removed_cluster_until_the_routes_have_left_it() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.set(CDS, "b", "b1");
    client.set(RDS, "routes", "to a");
    client.ask(CDS, &[], "");
    let both = client.acked(&[]).version_info;
    client.ask(RDS, &["routes"], "");
    client.acked(&["routes"]);
    client.hub.apply([Change::remove(CDS, "a"), set(CDS, "c", "c1"), set(RDS, "routes", "to c")]);
    let added = client.acked(&[]);
    assert_eq!(contents(&added), ["a1", "b1", "c1"]);
    assert_ne!(added.version_info, both);
    assert_eq!(client.next().expect("a response").type_url, RDS);
    assert_eq!(client.next(), None);
    client.ask(RDS, &["routes"], "4");
    let last = client.acked(&[]);
    assert_eq!(contents(&last), ["b1", "c1"]);
    assert_ne!(last.version_info, added.version_info);
}

#[test]
fn a_full_state_brings_the_endpoints_of_changed_clusters_again() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.set(CDS, "b", "b1");
    client.hub.apply([set(EDS, "a", "a"), set(EDS, "b", "b")]);
    client.ask(CDS, &[], "");
    client.acked(&[]);
    client.ask(EDS, &["a", "b"], "");
    client.acked(&["a", "b"]);
    client.set(CDS, "a", "a2");
    client.acked(&[]);
    assert_eq!(contents(&client.acked(&["a", "b"])), ["a"]);
}
