use super::*;

#[test]
fn an_empty_first_subscription_means_everything() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    assert_eq!(names(&client.acked()), ["a"]);
    client.set(CDS, "b", "1");
    assert_eq!(names(&client.acked()), ["b"]);
    assert_eq!(client.next(), None);
}

#[test]
fn an_empty_first_subscription_to_what_is_only_asked_for_by_name_means_nothing() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &[]);
    assert_eq!(client.next(), None);
    client.ask(EDS, &["a"]);
    assert_eq!(names(&client.acked()), ["a"]);
}

#[test]
fn the_first_wildcard_request_is_answered_even_when_there_is_nothing() {
    let mut client = Delta::new();
    client.ask(CDS, &["*"]);
    let response = client.acked();
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    assert_eq!(client.next(), None);
}

#[test]
fn the_legacy_wildcard_ends_when_names_are_given() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.set(CDS, "b", "1");
    client.ask(CDS, &[]);
    client.acked();
    client.ask(CDS, &["a"]);
    assert_eq!(names(&client.acked()), ["a"]);
    client.set(CDS, "b", "2");
    assert_eq!(client.next(), None);
}

#[test]
fn a_wildcard_and_names_live_together() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &["*", "missing"]);
    let response = client.acked();
    assert_eq!(told(&response), (vec!["a"], vec!["missing"]));
    client.unask(CDS, &["*"]);
    client.set(CDS, "a", "2");
    assert_eq!(client.next(), None, "only the name is left");
    client.set(CDS, "missing", "1");
    assert_eq!(names(&client.acked()), ["missing"]);
}

#[test]
fn a_name_that_does_not_exist_is_said_to_be_removed_and_sent_when_it_appears() {
    let mut client = Delta::new();
    client.ask(EDS, &["a"]);
    assert_eq!(client.acked().removed_resources, ["a"]);
    client.set(EDS, "a", "1");
    assert_eq!(names(&client.acked()), ["a"]);
}

#[test]
fn only_one_response_of_a_type_is_outstanding_and_the_newest_content_wins() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    let first = client.next().expect("a response");
    client.set(CDS, "a", "2");
    client.set(CDS, "a", "3");
    assert_eq!(client.next(), None);
    client.ack(&first);
    let second = client.acked();
    assert_eq!(second.resources[0].version, Version::of(b"3").to_string());
    assert_eq!(client.next(), None);
}

#[test]
fn content_that_returns_to_what_the_client_has_is_not_sent() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    client.acked();
    client.set(CDS, "a", "2");
    client.set(CDS, "a", "1");
    client.set(CDS, "b", "1");
    client.remove(CDS, "b");
    assert_eq!(client.next(), None);
    assert!(client.hub.is_acked("node", &CDS.into(), "a", 5));
}

#[test]
fn content_that_returned_while_its_change_was_on_its_way_is_sent_again() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    client.acked();
    client.set(CDS, "a", "2");
    let second = client.next().expect("a response");
    client.set(CDS, "a", "1");
    client.ack(&second);
    assert_eq!(client.acked().resources[0].version, Version::of(b"1").to_string());
}

#[test]
fn a_rejected_version_is_not_sent_again_until_the_content_changes() {
    let mut client = Delta::new();
    client.set(CDS, "a", "bad");
    client.ask(CDS, &[]);
    let bad = client.next().expect("a response");
    let answer = client.nack(&bad, "no such thing").expect("an answer");
    assert_eq!(answer.refusal.as_deref(), Some("no such thing"));
    assert_eq!(client.next(), None);
    client.set(CDS, "b", "good");
    assert_eq!(names(&client.acked()), ["b"]);
    client.set(CDS, "a", "worse");
    client.set(CDS, "a", "bad");
    assert_eq!(client.next(), None, "bad again");
    client.set(CDS, "a", "mended");
    assert_eq!(names(&client.acked()), ["a"]);
    assert!(client.hub.types(client.id)[0].rejected.is_empty());
}

#[test]
fn the_removal_of_a_rejected_resource_is_told_since_its_client_may_have_applied_it() {
    let mut client = Delta::new();
    client.set(CDS, "a", "bad");
    client.ask(CDS, &[]);
    let bad = client.next().expect("a response");
    client.nack(&bad, "bad");
    client.remove(CDS, "a");
    assert_eq!(client.acked().removed_resources, ["a"]);
}

/// Answers all responses as a client that refuses every response with one of `bad` in it, in `words`.
fn applied_by_a_client_that_refuses(client: &mut Delta, bad: &[&str], words: &str) -> (Vec<String>, usize) {
    let (mut applied, mut responses) = (Vec::new(), 0);
    while let Some(response) = client.next() {
        responses += 1;
        if names(&response).iter().any(|name| bad.contains(name)) {
            client.nack(&response, words);
        } else {
            applied.extend(names(&response).into_iter().map(str::to_owned));
            client.ack(&response);
        }
    }
    applied.sort();
    (applied, responses)
}

#[test]
fn one_bad_resource_does_not_keep_the_others_of_its_response_from_the_client() {
    let all: Vec<String> = (0..64).map(|n| format!("r{n:02}")).collect();
    for words in ["something is wrong", "r07: r41: both are wrong"] {
        let mut client = Delta::new();
        client.hub.apply(all.iter().map(|name| set(EDS, name, "1")));
        client.ask(EDS, &all.iter().map(String::as_str).collect::<Vec<_>>());
        let (applied, responses) = applied_by_a_client_that_refuses(&mut client, &["r07", "r41"], words);
        let good: Vec<String> =
            all.iter().filter(|name| !["r07", "r41"].contains(&name.as_str())).cloned().collect();
        assert_eq!(applied, good);
        assert!(responses <= 25, "{responses}");
        let parked: Vec<_> =
            client.hub.types(client.id)[0].rejected.iter().map(|bad| bad.name.to_string()).collect();
        assert_eq!(parked, ["r07", "r41"]);
        assert!(client.hub.is_acked("node", &EDS.into(), "r08", u64::MAX));
        assert!(!client.hub.is_acked("node", &EDS.into(), "r07", 1));
    }
}

#[test]
fn words_that_name_the_bad_resource_find_it_at_once() {
    let mut client = Delta::new();
    client.hub.apply((0..10).map(|n| set(EDS, &format!("r{n}"), "1")));
    client.ask(EDS, &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"]);
    let (applied, responses) = applied_by_a_client_that_refuses(&mut client, &["r3"], "r3: no");
    assert_eq!((applied.len(), responses), (9, 3));
}

#[test]
fn a_client_that_comes_back_is_sent_only_what_differs() {
    let mut client = Delta::new();
    client.set(CDS, "same", "1");
    client.set(CDS, "changed", "2");
    client.has(CDS, &[], &[("same", "1"), ("changed", "1"), ("vanished", "1")]);
    assert_eq!(told(&client.acked()), (vec!["changed"], vec![]));
    assert_eq!(told(&client.acked()), (vec![], vec!["vanished"]));
    assert_eq!(client.next(), None);
}

#[test]
fn a_client_that_comes_back_with_all_its_names_as_they_are_is_sent_nothing() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.has(EDS, &["a"], &[("a", "1")]);
    assert_eq!(client.next(), None);
    assert!(client.hub.is_acked("node", &EDS.into(), "a", 1));
}

#[test]
fn a_name_asked_for_again_is_sent_again_though_unchanged() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["a"]);
    client.acked();
    client.ask(EDS, &["a"]);
    assert_eq!(names(&client.acked()), ["a"]);
    client.unask(EDS, &["a"]);
    client.ask(EDS, &["a"]);
    assert_eq!(names(&client.acked()), ["a"]);
}

#[test]
fn a_name_given_up_and_asked_for_again_while_it_is_on_its_way_is_sent_again() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["a"]);
    let first = client.next().expect("a response");
    client.unask(EDS, &["a"]);
    client.ask(EDS, &["a"]);
    client.ack(&first);
    assert_eq!(names(&client.acked()), ["a"]);
}

#[test]
fn nothing_more_is_sent_of_an_unsubscribed_name() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.ask(EDS, &["a"]);
    client.acked();
    client.unask(EDS, &["a", "never"]);
    client.set(EDS, "a", "2");
    assert_eq!(client.next(), None);
}

#[test]
fn a_name_unsubscribed_under_a_wildcard_is_answered_with_the_resource_or_its_removal() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &["*", "a", "missing"]);
    client.acked();
    client.unask(CDS, &["a", "missing"]);
    let response = client.acked();
    assert_eq!(told(&response), (vec!["a"], vec!["missing"]));
}

#[test]
fn an_assignment_sent_alone_carries_its_own_version_as_the_systems() {
    let mut client = Delta::new();
    client.set(EDS, "a", "1");
    client.set(EDS, "b", "1");
    client.ask(EDS, &["a", "b"]);
    assert_ne!(client.acked().system_version_info, Version::of(b"1").to_string());
    client.set(EDS, "a", "2");
    let one = client.acked();
    assert_eq!(one.system_version_info, one.resources[0].version);
}

#[test]
fn the_system_version_of_a_response_is_a_hash_of_what_is_served_whatever_the_way_there() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &[]);
    let first = client.acked().system_version_info;
    client.set(CDS, "b", "1");
    assert_ne!(client.acked().system_version_info, first);
    client.remove(CDS, "b");
    assert_eq!(client.acked().system_version_info, first);
    let mut other = Delta::new();
    other.set(CDS, "a", "0");
    other.set(CDS, "a", "1");
    other.ask(CDS, &[]);
    assert_eq!(other.acked().system_version_info, first);
}

#[test]
fn a_caller_may_name_versions_itself() {
    let mut client = Delta::new();
    let content = |text: &str, version: &str| Content::versioned(text.to_owned(), Version(version.into()));
    client.hub.apply([Change::set(CDS, "a", content("1", "v1"))]);
    client.hub.apply(ChangeSet::default().with_type_version(CDS, Some(Version("t1".into()))));
    client.ask(CDS, &[]);
    let response = client.acked();
    assert_eq!((response.resources[0].version.as_str(), response.system_version_info.as_str()), ("v1", "t1"));
    client.hub.apply([Change::set(CDS, "a", content("other", "v1"))]);
    assert_eq!(client.next(), None, "the same version is the same content");
}

#[test]
fn a_resource_refused_with_one_that_was_given_up_is_tried_alone() {
    let mut client = Delta::new();
    client.hub.apply([set(EDS, "a", "1"), set(EDS, "bad", "1")]);
    client.ask(EDS, &["a", "bad"]);
    let both = client.next().expect("a response");
    client.unask(EDS, &["bad"]);
    client.nack(&both, "no");
    assert_eq!(names(&client.acked()), ["a"]);
    assert!(client.hub.is_acked("node", &EDS.into(), "a", 1));
}

#[test]
fn a_resource_refused_with_one_that_was_given_up_and_asked_for_again_is_tried_alone() {
    let mut client = Delta::new();
    client.hub.apply([set(EDS, "a", "1"), set(EDS, "bad", "1")]);
    client.ask(EDS, &["*", "a"]);
    let both = client.next().expect("a response");
    client.unask(EDS, &["*"]);
    client.ask(EDS, &["*"]);
    client.nack(&both, "no");
    let (applied, _) = applied_by_a_client_that_refuses(&mut client, &["bad"], "no");
    assert_eq!(applied, ["a"]);
}

#[test]
fn a_client_that_gives_everything_up_and_asks_again_is_told_what_vanished_meanwhile() {
    let mut client = Delta::new();
    client.set(CDS, "a", "1");
    client.ask(CDS, &["*"]);
    let first = client.next().expect("a response");
    client.unask(CDS, &["*"]);
    client.remove(CDS, "a");
    client.ask(CDS, &["*"]);
    client.ack(&first);
    assert_eq!(
        client.acked().removed_resources,
        ["a"],
        "it read the first response after it had asked again"
    );
}
