use envoy_types::pb::google::protobuf::Any;

use super::*;

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// Holds what it is given; refuses what is "bad".
#[derive(Default)]
struct Kept(BTreeMap<String, String>);

impl Handler for Kept {
    fn set(&mut self, _: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(content).into_owned();
        if text == "bad" {
            return Err("is bad".into());
        }
        self.0.insert(name.into(), text);
        Ok(())
    }

    fn remove(&mut self, _: &TypeUrl, name: &str) {
        self.0.remove(name);
    }
}

impl Kept {
    fn all(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
    }
}

fn node() -> Node {
    Node { id: "node".into(), ..Node::default() }
}

fn response(resources: &[(&str, &str)], removed: &[&str]) -> DeltaDiscoveryResponse {
    let resource = |(name, text): &(&str, &str)| WireResource {
        name: (*name).into(),
        version: Version::of(text.as_bytes()).to_string(),
        resource: Some(Any { type_url: CDS.into(), value: text.as_bytes().to_vec() }),
        ..WireResource::default()
    };
    DeltaDiscoveryResponse {
        type_url: CDS.into(),
        nonce: "n".into(),
        resources: resources.iter().map(resource).collect(),
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn only(names: &[&str]) -> Names {
    Names::Only(names.iter().map(|name| Arc::from(*name)).collect())
}

#[test]
fn the_first_request_of_a_stream_names_the_node_and_the_others_do_not() {
    let mut state = ClientState::new(node()).watch("a", Names::All).watch("b", Names::All);
    for _ in 0..2 {
        let requests = state.open();
        let named: Vec<bool> = requests.iter().map(|request| request.node.is_some()).collect();
        assert_eq!(named, [true, false]);
        assert_eq!(requests[0].resource_names_subscribe, ["*"]);
    }
}

#[test]
fn what_was_applied_is_acknowledged_and_stated_on_the_next_stream() {
    let (mut state, mut kept) = (ClientState::new(node()).watch(CDS, Names::All), Kept::default());
    state.open();
    assert!(!state.synced(&CDS.into()));
    let answer = state.on_response(response(&[("a", "1"), ("b", "1")], &[]), &mut kept);
    assert_eq!((answer.response_nonce.as_str(), &answer.error_detail, &answer.node), ("n", &None, &None));
    assert!(state.synced(&CDS.into()));
    state.on_response(response(&[("a", "2")], &["b"]), &mut kept);
    assert_eq!(kept.all(), [("a", "2")]);
    let request = state.open().remove(0);
    let version = Version::of(b"2").to_string();
    assert_eq!(request.initial_resource_versions, [("a".to_owned(), version)].into());
    assert!(!state.synced(&CDS.into()), "a new stream has not answered yet");
}

#[test]
fn a_bad_resource_is_refused_by_name_while_the_others_are_applied() {
    let (mut state, mut kept) = (ClientState::new(node()).watch(CDS, Names::All), Kept::default());
    state.open();
    state.on_response(response(&[("b", "good")], &[]), &mut kept);
    let answer = state.on_response(response(&[("a", "1"), ("b", "bad"), ("c", "1")], &[]), &mut kept);
    assert_eq!(answer.error_detail.expect("a refusal").message, "b: is bad");
    assert_eq!(kept.all(), [("a", "1"), ("b", "good"), ("c", "1")]);
    let held: Vec<_> = state.held(&CDS.into()).map(|(_, version)| version.clone()).collect();
    assert_eq!(held, [Version::of(b"1"), Version::of(b"good"), Version::of(b"1")]);
}

#[test]
fn content_that_is_missing_or_of_another_type_is_refused() {
    let (mut state, mut kept) = (ClientState::new(node()).watch(CDS, Names::All), Kept::default());
    state.open();
    let mut wrong = response(&[("a", "1"), ("b", "1")], &[]);
    wrong.resources[0].resource = None;
    wrong.resources[1].resource = Some(Any { type_url: "other".into(), value: Vec::new() });
    let message = state.on_response(wrong, &mut kept).error_detail.expect("a refusal").message;
    assert_eq!(message, format!("a: has no content; b: is of type other, not of {CDS}"));
    assert!(kept.all().is_empty());
}

#[test]
fn a_refusal_of_very_many_resources_stays_short() {
    let (mut state, mut kept) = (ClientState::new(node()).watch(CDS, Names::All), Kept::default());
    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let bad: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "bad")).collect();
    let message = state.on_response(response(&bad, &[]), &mut kept).error_detail.expect("a refusal").message;
    assert!(message.ends_with("; and 980 more") && message.len() < 500, "{message}");
}

#[test]
fn names_come_and_go_while_a_stream_is_open() {
    let (mut state, mut kept) = (ClientState::new(node()).watch(CDS, only(&[])), Kept::default());
    assert!(state.open().is_empty(), "an empty first request would ask for everything");
    assert!(state.wants_nothing());
    let more = state.change(&CDS.into(), &["a".into(), "b".into()], &[]).expect("a request");
    assert_eq!((more.node.is_some(), more.resource_names_subscribe), (true, vec!["a".into(), "b".into()]));
    state.on_response(response(&[("a", "1"), ("b", "1"), ("stray", "1")], &[]), &mut kept);
    assert_eq!(kept.all(), [("a", "1"), ("b", "1")]);
    let fewer = state.change(&CDS.into(), &["b".into()], &["a".into(), "never".into()]).expect("a request");
    assert_eq!(fewer.resource_names_unsubscribe, ["a"]);
    assert!(fewer.resource_names_subscribe.is_empty() && fewer.node.is_none());
    assert_eq!(state.change(&CDS.into(), &["b".into()], &[]), None);
    assert_eq!(state.held(&CDS.into()).count(), 1);
}

#[test]
fn a_type_is_watched_from_the_first_name_on_and_on_later_streams_too() {
    let mut state = ClientState::new(node());
    assert!(state.open().is_empty());
    assert_eq!(state.change(&CDS.into(), &[], &["a".into()]), None);
    let first = state.change(&CDS.into(), &["a".into()], &[]).expect("a request");
    assert!(first.node.is_some(), "the first of the stream");
    assert!(!state.wants_nothing());
    let again = state.open().remove(0);
    assert_eq!((again.type_url.as_str(), again.resource_names_subscribe), (CDS, vec!["a".to_owned()]));
}

#[test]
fn a_response_of_a_type_that_nobody_asked_for_is_refused() {
    let (mut state, mut kept) = (ClientState::new(node()), Kept::default());
    let answer = state.on_response(response(&[("a", "1")], &[]), &mut kept);
    assert!(answer.error_detail.is_some() && kept.all().is_empty());
}
