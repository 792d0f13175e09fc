use bytes::Bytes;
use envoy_types::pb::google::rpc::Status;

use super::super::Change;
use super::*;

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

#[derive(Default)]
struct Pair {
    catalog: Catalog,
    stream: DeltaStream,
}

impl Pair {
    fn set(&mut self, type_url: &str, name: &str, content: Option<&'static str>) {
        let change = Change {
            type_url: type_url.into(),
            name: name.into(),
            content: content.map(|text| Bytes::from_static(text.as_bytes())),
        };
        if self.catalog.apply(change) {
            self.stream.on_change(&type_url.into(), &name.into());
        }
    }

    fn ask(&mut self, type_url: &str, names: &[&str]) {
        self.request(type_url, |request| {
            request.resource_names_subscribe = names.iter().map(ToString::to_string).collect();
        });
    }

    fn request(&mut self, type_url: &str, fill: impl FnOnce(&mut DeltaDiscoveryRequest)) -> Option<Event> {
        let mut request = DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() };
        fill(&mut request);
        self.stream.on_request(request, &self.catalog)
    }

    fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.stream.poll(&self.catalog)
    }

    fn acked(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().expect("a response");
        let nonce = response.nonce.clone();
        self.request(&response.type_url, |request| request.response_nonce = nonce);
        response
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[test]
fn an_empty_first_subscription_means_everything() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.ask(CDS, &[]);
    assert_eq!(names(&pair.acked()), ["a"]);
    pair.set(CDS, "b", Some("1"));
    assert_eq!(names(&pair.acked()), ["b"]);
    assert_eq!(pair.next(), None);
}

#[test]
fn the_first_wildcard_request_is_answered_even_when_there_is_nothing() {
    let mut pair = Pair::default();
    pair.ask(CDS, &["*"]);
    let response = pair.acked();
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    assert_eq!(pair.next(), None);
}

#[test]
fn a_name_that_does_not_exist_is_said_to_be_removed_and_sent_when_it_appears() {
    let mut pair = Pair::default();
    pair.ask(EDS, &["a"]);
    assert_eq!(pair.acked().removed_resources, ["a"]);
    pair.set(EDS, "a", Some("1"));
    assert_eq!(names(&pair.acked()), ["a"]);
}

#[test]
fn only_one_response_of_a_type_is_outstanding_and_the_newest_content_wins() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.ask(CDS, &[]);
    let first = pair.next().expect("a response");
    pair.set(CDS, "a", Some("2"));
    pair.set(CDS, "a", Some("3"));
    assert_eq!(pair.next(), None);
    pair.request(CDS, |request| request.response_nonce = first.nonce);
    let second = pair.acked();
    assert_eq!(second.resources[0].version, Version::of(b"3").to_string());
    assert_eq!(pair.next(), None);
}

#[test]
fn a_rejected_version_is_not_sent_again_until_the_content_changes() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("bad"));
    pair.ask(CDS, &[]);
    let bad = pair.next().expect("a response");
    let event = pair.request(CDS, |request| {
        request.response_nonce = bad.nonce;
        request.error_detail = Some(Status { message: "no such thing".into(), ..Default::default() });
    });
    assert!(matches!(event, Some(Event::Nacked { message, .. }) if message == "no such thing"));
    assert_eq!(pair.next(), None);
    pair.set(CDS, "b", Some("good"));
    assert_eq!(names(&pair.acked()), ["b"]);
    pair.set(CDS, "a", Some("mended"));
    assert_eq!(names(&pair.acked()), ["a"]);
}

#[test]
fn a_client_that_comes_back_is_sent_only_what_differs() {
    let mut pair = Pair::default();
    pair.set(CDS, "same", Some("1"));
    pair.set(CDS, "changed", Some("2"));
    pair.request(CDS, |request| {
        request.initial_resource_versions = [("same", "1"), ("changed", "1"), ("vanished", "1")]
            .map(|(name, content)| (name.to_owned(), Version::of(content.as_bytes()).to_string()))
            .into();
    });
    let response = pair.acked();
    assert_eq!(names(&response), ["changed"]);
    assert_eq!(response.removed_resources, ["vanished"]);
}

#[test]
fn a_name_asked_for_again_is_sent_again_though_unchanged() {
    let mut pair = Pair::default();
    pair.set(EDS, "a", Some("1"));
    pair.ask(EDS, &["a"]);
    pair.acked();
    pair.ask(EDS, &["a"]);
    assert_eq!(names(&pair.acked()), ["a"]);
}

#[test]
fn nothing_more_is_sent_of_an_unsubscribed_name() {
    let mut pair = Pair::default();
    pair.set(EDS, "a", Some("1"));
    pair.ask(EDS, &["a"]);
    pair.acked();
    pair.request(EDS, |request| request.resource_names_unsubscribe = vec!["a".into(), "never".into()]);
    pair.set(EDS, "a", Some("2"));
    assert_eq!(pair.next(), None);
}

#[test]
fn a_name_unsubscribed_under_a_wildcard_is_answered_with_the_resource() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.ask(CDS, &["*", "a"]);
    pair.acked();
    pair.request(CDS, |request| request.resource_names_unsubscribe = vec!["a".into()]);
    assert_eq!(names(&pair.acked()), ["a"]);
}

#[test]
fn a_changed_cluster_brings_its_endpoints_again() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.set(EDS, "a", Some("1"));
    pair.ask(CDS, &[]);
    pair.acked();
    pair.ask(EDS, &["a"]);
    pair.acked();
    pair.set(CDS, "a", Some("2"));
    assert_eq!(pair.acked().type_url, CDS);
    let endpoints = pair.acked();
    assert_eq!((endpoints.type_url.as_str(), names(&endpoints)), (EDS, vec!["a"]));
}

#[test]
fn a_cluster_is_removed_only_after_the_routes_that_used_it() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.set(RDS, "routes", Some("to a"));
    pair.ask(CDS, &[]);
    pair.acked();
    pair.ask(RDS, &["routes"]);
    pair.acked();
    pair.set(CDS, "a", None);
    pair.set(RDS, "routes", Some("to none"));
    assert_eq!(pair.acked().type_url, RDS);
    assert_eq!(pair.acked().removed_resources, ["a"]);
}

#[test]
fn a_stale_nonce_acknowledges_nothing() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.ask(CDS, &[]);
    pair.next().expect("a response");
    assert_eq!(pair.request(CDS, |request| request.response_nonce = "0".into()), None);
    assert_eq!(pair.stream.acked(&CDS.into(), "a"), None);
}

#[test]
fn what_the_client_applied_is_known() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.ask(CDS, &[]);
    pair.acked();
    assert_eq!(pair.stream.acked(&CDS.into(), "a"), Some(&Some(Version::of(b"1"))));
}

#[test]
fn an_assignment_sent_alone_carries_its_own_version_as_the_systems() {
    let mut pair = Pair::default();
    pair.set(EDS, "a", Some("1"));
    pair.set(EDS, "b", Some("1"));
    pair.ask(EDS, &["a", "b"]);
    let both = pair.acked().system_version_info;
    pair.set(EDS, "a", Some("2"));
    let one = pair.acked();
    assert_eq!(one.system_version_info, one.resources[0].version);
    assert_ne!(both, Version::of(b"1").to_string());
}

#[test]
fn what_the_client_already_had_counts_as_applied() {
    let mut pair = Pair::default();
    pair.set(CDS, "a", Some("1"));
    pair.request(CDS, |request| {
        request.initial_resource_versions = [("a".to_owned(), Version::of(b"1").to_string())].into();
    });
    pair.acked();
    assert_eq!(pair.stream.acked(&CDS.into(), "a"), Some(&Some(Version::of(b"1"))));
}
