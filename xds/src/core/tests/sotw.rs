use super::*;

#[test]
fn an_empty_first_request_means_everything_until_names_are_given_then_nothing() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.set(CDS, "b", "b1");
    client.ask(CDS, &[], "");
    let all = client.acked(&[]);
    assert_eq!(contents(&all), ["a1", "b1"]);
    assert_eq!(client.next(), None, "a plain ACK gets no response");
    client.ask(CDS, &["a"], &all.nonce);
    let one = client.acked(&["a"]);
    assert_eq!(contents(&one), ["a1"]);
    client.ask(CDS, &[], &one.nonce);
    let none = client.acked(&[]);
    assert!(none.resources.is_empty());
    client.set(CDS, "a", "a2");
    assert_eq!(client.next(), None);
}

#[test]
fn clusters_and_listeners_are_sent_whole_routes_and_endpoints_in_part() {
    let mut client = Sotw::new();
    for (kind, full) in [(CDS, true), (LDS, true), (RDS, false), (EDS, false)] {
        client.set(kind, "a", "a1");
        client.set(kind, "b", "b1");
        client.ask(kind, &["a", "b"], "");
        assert_eq!(contents(&client.acked(&["a", "b"])), ["a1", "b1"]);
        client.set(kind, "a", "a2");
        let expected: &[&str] = if full { &["a2", "b1"] } else { &["a2"] };
        assert_eq!(contents(&client.acked(&["a", "b"])), expected, "{kind}");
    }
}

#[test]
fn what_is_removed_is_missing_from_the_full_state() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.set(CDS, "b", "b1");
    client.ask(CDS, &[], "");
    client.acked(&[]);
    client.remove(CDS, "a");
    assert_eq!(contents(&client.acked(&[])), ["b1"]);
    assert_eq!(client.next(), None);
}

#[test]
fn a_name_newly_asked_for_or_asked_for_again_is_sent_though_unchanged() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.set(EDS, "b", "b1");
    client.ask(EDS, &["a"], "");
    let first = client.acked(&["a"]);
    client.ask(EDS, &["a", "b"], &first.nonce);
    let second = client.acked(&["a", "b"]);
    assert_eq!(contents(&second), ["b1"]);
    client.ask(EDS, &["b"], &second.nonce);
    let third = client.acked(&["b"]);
    assert!(third.resources.is_empty(), "only the version moves on");
    client.ask(EDS, &["a", "b"], &third.nonce);
    assert_eq!(contents(&client.acked(&["a", "b"])), ["a1"]);
}

#[test]
fn a_missing_name_does_not_keep_the_others_and_is_sent_when_it_appears() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.ask(EDS, &["a", "missing"], "");
    assert_eq!(contents(&client.acked(&["a", "missing"])), ["a1"]);
    assert_eq!(client.next(), None);
    client.set(EDS, "missing", "m1");
    assert_eq!(contents(&client.acked(&["a", "missing"])), ["m1"]);
}

#[test]
fn a_client_that_comes_back_with_the_version_that_is_served_is_sent_nothing() {
    let mut client = Sotw::new();
    for (kind, names) in [(CDS, &[][..]), (EDS, &["a", "b"][..])] {
        client.set(kind, "a", "a1");
        client.set(kind, "b", "b1");
        client.ask(kind, names, "");
        let version = client.acked(names).version_info;
        client.come_back(kind, names, &version);
        assert_eq!(client.next(), None);
        assert!(client.hub.is_acked("node", &kind.into(), "a", u64::MAX));
        client.set(kind, "a", "a2");
        client.come_back(kind, names, &version);
        assert_eq!(contents(&client.acked(names)), ["a2", "b1"]);
    }
}

#[test]
fn a_version_that_the_caller_names_stands_for_all_of_the_type() {
    let mut client = Sotw::new();
    let named = |version: &str| Some(Version(version.into()));
    client.hub.apply(ChangeSet::default().with_type_version(CDS, named("one")));
    client.set(CDS, "a", "a1");
    client.ask(CDS, &[], "");
    let version = client.acked(&[]).version_info;
    assert_eq!(version, "one");
    client.come_back(CDS, &[], &version);
    assert_eq!(client.next(), None);
    let changes = ChangeSet::from([set(CDS, "a", "a2")]).with_type_version(CDS, named("two"));
    client.hub.apply(changes);
    client.come_back(CDS, &[], &version);
    let changed = client.acked(&[]);
    assert_eq!((changed.version_info.as_str(), contents(&changed)), ("two", vec!["a2".to_owned()]));
}

#[test]
fn the_version_of_names_given_up_does_not_stand_for_them_later() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.ask(EDS, &["a"], "");
    let first = client.acked(&["a"]);
    client.ask(EDS, &[], &first.nonce);
    let version = client.acked(&[]).version_info;
    assert_ne!(version, first.version_info);
    client.come_back(EDS, &["a"], &version);
    assert_eq!(contents(&client.acked(&["a"])), ["a1"], "the client dropped it meanwhile");
}

#[test]
fn the_version_of_a_response_is_a_hash_of_what_its_client_subscribes_to() {
    let version = |names: &[&str], b: &str| {
        let mut client = Sotw::new();
        client.set(EDS, "b", b);
        client.set(EDS, "a", "a1");
        client.ask(EDS, names, "");
        client.acked(names).version_info
    };
    assert_eq!(version(&["a"], "b1"), version(&["a"], "b2"), "the other one is not its");
    assert_ne!(version(&["a", "b"], "b1"), version(&["a", "b"], "b2"));
    assert_eq!(version(&["a", "b"], "b1"), version(&["*"], "b1"), "that is the same");
}

#[test]
fn a_refusal_is_what_has_an_error_detail_whatever_version_it_names() {
    for (detail, version) in [(None, "older"), (refusal(""), "")] {
        let mut client = Sotw::new();
        client.set(CDS, "a", "a1");
        client.ask(CDS, &[], "");
        let first = client.next().expect("a response");
        let refuses = detail.is_some();
        let answer = client.request(CDS, |request| {
            request.version_info = version.into();
            request.response_nonce.clone_from(&first.nonce);
            request.error_detail = detail;
        });
        assert_eq!(answer.expect("an answer").refusal.is_some(), refuses);
        assert_eq!(client.hub.is_acked("node", &CDS.into(), "a", u64::MAX), !refuses);
    }
}

#[test]
fn a_rejected_set_is_not_sent_again_until_it_changes() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "bad");
    client.ask(CDS, &[], "");
    let bad = client.next().expect("a response");
    let answer = client.refuse(&bad, &[], "no").expect("an answer");
    assert_eq!((answer.refusal.as_deref(), answer.count), (Some("no"), 1));
    assert_eq!(client.next(), None);
    client.set(CDS, "b", "b1");
    assert_eq!(contents(&client.next().expect("a response")), ["b1", "bad"]);
    assert!(!client.hub.is_acked("node", &CDS.into(), "a", 1));
}

#[test]
fn one_bad_assignment_does_not_keep_the_others_of_its_response_from_the_client() {
    let mut client = Sotw::new();
    for name in ["a", "b", "c", "d"] {
        client.set(EDS, name, name);
    }
    let all = ["a", "b", "c", "d"];
    client.ask(EDS, &all, "");
    let mut applied = Vec::new();
    while let Some(response) = client.next() {
        if contents(&response).contains(&"c".to_owned()) {
            client.refuse(&response, &all, "no");
        } else {
            applied.extend(contents(&response));
            client.ask(EDS, &all, &response.nonce);
        }
    }
    applied.sort();
    assert_eq!(applied, ["a", "b", "d"]);
    assert_eq!(client.hub.types(client.id)[0].rejected.len(), 1);
}

#[test]
fn only_one_response_of_a_type_is_outstanding_and_the_newest_content_wins() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.ask(CDS, &[], "");
    let first = client.next().expect("a response");
    client.set(CDS, "a", "a2");
    client.set(CDS, "a", "a3");
    assert_eq!(client.next(), None);
    client.ask(CDS, &[], &first.nonce);
    assert_eq!(contents(&client.acked(&[])), ["a3"]);
}

#[test]
fn a_wildcard_and_names_live_together() {
    let mut client = Sotw::new();
    client.set(CDS, "a", "a1");
    client.ask(CDS, &["*", "missing"], "");
    let first = client.acked(&["*", "missing"]);
    assert_eq!(contents(&first), ["a1"]);
    client.ask(CDS, &["missing"], &first.nonce);
    assert!(client.acked(&["missing"]).resources.is_empty());
    client.set(CDS, "a", "a2");
    assert_eq!(client.next(), None);
    client.set(CDS, "missing", "m1");
    assert_eq!(contents(&client.acked(&["missing"])), ["m1"]);
}

#[test]
fn a_listener_that_does_not_exist_is_answered_at_once() {
    let mut client = Sotw::new();
    client.ask(LDS, &["missing"], "");
    assert!(client.acked(&["missing"]).resources.is_empty());
}

/// A client whose endpoints are being sent in parts, for it has refused one of them: the version it has applied last.
fn in_parts(client: &mut Sotw, refused: &[&str], until: usize) -> String {
    let all = ["a", "b", "c", "d"];
    client.hub.apply(all.map(|name| set(EDS, name, name)));
    client.ask(EDS, &all, "");
    let mut version = String::new();
    for _ in 0..until {
        let Some(response) = client.next() else { break };
        if contents(&response).iter().any(|content| refused.contains(&content.as_str())) {
            client.request(EDS, |request| {
                request.resource_names = all.map(String::from).into();
                request.version_info.clone_from(&version);
                request.response_nonce.clone_from(&response.nonce);
                request.error_detail = refusal("no");
            });
        } else {
            client.ask(EDS, &all, &response.nonce);
            version = response.version_info;
        }
    }
    version
}

#[test]
fn a_client_that_comes_back_while_it_is_sent_parts_is_sent_what_it_lacks() {
    let all = ["a", "b", "c", "d"];
    for until in 1..10 {
        let mut client = Sotw::new();
        let version = in_parts(&mut client, &["b"], until);
        client.come_back(EDS, &all, &version);
        assert_eq!(contents(&client.next().expect("what it lacks")), all, "{until}");
        assert!(!client.hub.is_acked("node", &EDS.into(), "b", 1), "{until}");
    }
}

#[test]
fn what_was_refused_has_no_part_in_a_version_until_it_is_mended() {
    let all = ["a", "b", "c", "d"];
    let mut client = Sotw::new();
    let without = in_parts(&mut client, &["b"], 20);
    assert_eq!(client.next(), None);
    client.come_back(EDS, &["a", "c", "d"], &without);
    assert_eq!(client.next(), None, "these it has");
    let mut client = Sotw::new();
    in_parts(&mut client, &["b"], 20);
    client.set(EDS, "b", "mended");
    let with = client.acked(&all).version_info;
    client.come_back(EDS, &all, &with);
    assert_eq!(client.next(), None);
    assert!(client.hub.is_acked("node", &EDS.into(), "b", u64::MAX));
}

#[test]
fn what_was_refused_with_a_cluster_that_is_kept_for_its_listeners_is_sent_again_with_another_one() {
    let mut client = Sotw::new();
    client.hub.apply([set(CDS, "a", "a1"), set(LDS, "listener", "1")]);
    client.ask(CDS, &[], "");
    client.acked(&[]);
    client.ask(LDS, &[], "");
    client.acked(&[]);
    client.set(CDS, "a", "bad");
    client.hub.apply([Change::remove(CDS, "a"), set(CDS, "b", "b1"), set(LDS, "listener", "bad")]);
    let kept = client.next().expect("a response");
    assert_eq!(contents(&kept), ["b1", "bad"], "in the last version there was");
    client.refuse(&kept, &[], "no");
    let listeners = client.next().expect("a response");
    client.refuse(&listeners, &[], "no");
    assert_eq!(client.next(), None);
    client.set(CDS, "a", "a1");
    assert_eq!(contents(&client.acked(&[])), ["a1", "b1"], "it has a1, and not b1");
    assert!(client.hub.is_acked("node", &CDS.into(), "b", u64::MAX));
}

#[test]
fn what_vanished_meanwhile_is_applied_only_when_the_full_state_without_it_is() {
    for names in [&[][..], &["gone", "a"][..]] {
        let mut client = Sotw::new();
        client.set(CDS, "a", "a1");
        client.come_back(CDS, names, "of another replica, with gone");
        let gone = |client: &Sotw| {
            let node = client.hub.is_acked("node", &CDS.into(), "gone", u64::MAX);
            (node, client.hub.is_acked_by_all(&CDS.into(), "gone", u64::MAX))
        };
        assert_eq!(gone(&client), (false, false));
        let response = client.next().expect("all there is");
        assert_eq!(gone(&client), (false, false), "the client has not answered");
        client.refuse(&response, names, "no");
        assert_eq!(gone(&client), (false, false), "it may still have it");
        client.set(CDS, "a", "a2");
        client.acked(names);
        assert_eq!(gone(&client), (true, true));
    }
}

#[test]
fn what_vanished_from_a_part_is_applied_only_when_a_full_state_is() {
    let mut client = Sotw::new();
    client.set(EDS, "a", "a1");
    client.ask(EDS, &["a"], "");
    let part = client.acked(&["a"]);
    client.hub.apply([Change::remove(EDS, "a"), set(EDS, "bad", "bad")]);
    assert_eq!(client.next(), None, "it cannot be told");
    client.ask(EDS, &["*", "a"], &part.nonce);
    let full = client.next().expect("all there is");
    client.refuse(&full, &["*", "a"], "no");
    assert!(!client.hub.is_acked("node", &EDS.into(), "a", u64::MAX), "it still has it");
    client.set(EDS, "bad", "mended");
    client.acked(&["*", "a"]);
    assert!(client.hub.is_acked("node", &EDS.into(), "a", u64::MAX));
}

#[test]
fn a_version_that_the_caller_names_does_not_stand_for_a_part() {
    let all = ["a", "b", "c", "d"];
    let mut client = Sotw::new();
    client.hub.apply(ChangeSet::default().with_type_version(EDS, Some(Version("one".into()))));
    let version = in_parts(&mut client, &["b"], 20);
    assert_ne!(version, "one");
    client.come_back(EDS, &all, &version);
    assert_eq!(client.next().expect("what it lacks").version_info, "one");
}

#[test]
fn a_version_that_the_caller_names_does_not_stand_for_a_removed_cluster_that_is_kept_for_its_routes() {
    let mut client = Sotw::new();
    client.hub.apply(ChangeSet::default().with_type_version(CDS, Some(Version("one".into()))));
    client.hub.apply([set(CDS, "a", "a1"), set(CDS, "b", "b1"), set(RDS, "routes", "to a")]);
    client.ask(CDS, &[], "");
    client.acked(&[]);
    client.ask(RDS, &["routes"], "");
    client.acked(&["routes"]);
    client.hub.apply([Change::remove(CDS, "a"), set(CDS, "c", "c1"), set(RDS, "routes", "to c")]);
    let kept = client.acked(&[]);
    assert_eq!(contents(&kept), ["a1", "b1", "c1"]);
    client.come_back(CDS, &[], &kept.version_info);
    assert_eq!(contents(&client.next().expect("without it")), ["b1", "c1"]);
}

#[test]
fn a_client_without_a_version_has_nothing_whatever_the_caller_names() {
    let mut client = Sotw::new();
    client.hub.apply(ChangeSet::default().with_type_version(CDS, Some(Version("".into()))));
    client.set(CDS, "a", "a1");
    client.ask(CDS, &[], "");
    assert_eq!(contents(&client.acked(&[])), ["a1"]);
}
