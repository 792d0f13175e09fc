//! The aggregated and the single-type services, in both variants.

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::Code;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Discovery, Group, Server};

use crate::peer::{CDS, DELTA, Delta, EDS, Sotw, delta, listen, listen_to, node, set, soon};

/// Service, the word in its methods, type.
const SERVICES: [(&str, &str, &str); 10] = [
    ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources", CDS),
    ("cluster.v3.ClusterDiscoveryService", "Clusters", CDS),
    ("endpoint.v3.EndpointDiscoveryService", "Endpoints", EDS),
    (
        "listener.v3.ListenerDiscoveryService",
        "Listeners",
        "type.googleapis.com/envoy.config.listener.v3.Listener",
    ),
    (
        "route.v3.RouteDiscoveryService",
        "Routes",
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    ),
    (
        "secret.v3.SecretDiscoveryService",
        "Secrets",
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    ),
    ("runtime.v3.RuntimeDiscoveryService", "Runtime", "type.googleapis.com/envoy.service.runtime.v3.Runtime"),
    (
        "route.v3.ScopedRoutesDiscoveryService",
        "ScopedRoutes",
        "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
    ),
    (
        "route.v3.VirtualHostDiscoveryService",
        "VirtualHosts",
        "type.googleapis.com/envoy.config.route.v3.VirtualHost",
    ),
    (
        "extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
    ),
];

#[tokio::test]
async fn every_service_serves_its_type_in_both_variants() {
    let server = Server::new();
    let address = listen(&server).await;
    for (service, word, type_url) in SERVICES {
        server.apply([Change::set(type_url, "a", "content")]);
        let aggregated = service.contains("Aggregated");
        let named = if aggregated { type_url.to_owned() } else { String::new() };
        let first = DeltaDiscoveryRequest {
            node: node("node"),
            type_url: named.clone(),
            resource_names_subscribe: vec!["a".into()],
            ..DeltaDiscoveryRequest::default()
        };
        let path = format!("/envoy.service.{service}/Delta{word}");
        let mut delta = Delta::connect(address, &path, Some(first)).await.expect("a stream");
        let response = delta.next().await.expect("a response");
        assert_eq!((response.type_url.as_str(), response.resources.len()), (type_url, 1), "{path}");
        let first = DiscoveryRequest {
            node: node("node"),
            type_url: named,
            resource_names: vec!["a".into()],
            ..DiscoveryRequest::default()
        };
        let path = format!("/envoy.service.{service}/Stream{word}");
        let mut sotw = Sotw::connect(address, &path, Some(first)).await.expect("a stream");
        let response = sotw.next().await.expect("a response");
        assert_eq!((response.type_url.as_str(), response.resources.len()), (type_url, 1), "{path}");
        assert_eq!(response.resources[0].value, b"content");
    }
    // Of the aggregated service and that of clusters it is the same one.
    assert_eq!(server.snapshot(&Group::default()).encoded(), SERVICES.len() as u64 - 1);
}

/// A type of someone's own, on a service of its own.
enum Greetings {}

impl Discovery for Greetings {
    const SERVICE: &'static str = "acme.v1.GreetingDiscoveryService";
    const TYPE_URL: &'static str = "type.example/acme.v1.Greeting";
}

#[tokio::test]
async fn a_type_of_ones_own_is_served_on_the_aggregated_service_and_on_one_of_its_own() {
    let server = Server::new();
    server.apply([Change::set(Greetings::TYPE_URL, "a", "hello")]);
    let routes = server.routes().add_service(server.service_of::<Greetings>());
    let address = listen_to(routes).await;
    let own = "/acme.v1.GreetingDiscoveryService/DeltaGreetings";
    for path in [DELTA, own] {
        let first = delta(Greetings::TYPE_URL, &["a"]);
        let mut client = Delta::connect(address, path, Some(first)).await.expect("a stream");
        let content = client.next().await.expect("a response").resources.remove(0).resource.expect("content");
        assert_eq!((content.type_url.as_str(), content.value), (Greetings::TYPE_URL, b"hello".to_vec()));
    }
    let mut client = Delta::connect(address, own, Some(delta(CDS, &[]))).await.expect("a stream");
    assert_eq!(client.next().await.expect_err("another type").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn changes_may_be_made_of_what_is_served_while_they_are_applied() {
    let server = Server::new();
    server.apply([set("a", "1")]);
    let snapshot = server.snapshot(&Group::default());
    server.apply(["b", "c"].into_iter().map(|name| {
        let (_, content) = snapshot.get(CDS, "a").expect("served");
        Change::set(CDS, name, content)
    }));
    assert_eq!(snapshot.len(CDS), 3);
}

#[tokio::test]
async fn groups_may_be_made_first_and_filled_later() {
    let server = Server::new();
    let [one, two] = ["one", "two"].map(|name| server.snapshot(&Group::new(name)));
    one.apply([set("a", "1")]);
    two.apply([]);
    assert_eq!(server.snapshot(&Group::new("one")).len(CDS), 1);
}

#[tokio::test]
async fn an_aggregated_request_without_a_type_is_an_invalid_argument() {
    let address = listen(&Server::new()).await;
    let mut client = Delta::silent(address).await;
    client.send(DeltaDiscoveryRequest::default()).await;
    assert_eq!(client.next().await.expect_err("refused").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_single_fetch_is_not_implemented() {
    let address = listen(&Server::new()).await;
    let path = "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters";
    let status = Sotw::connect(address, path, None).await.err().expect("refused");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_client_that_ends_its_side_is_answered_with_ok() {
    let server = Server::new();
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    client.next().await.expect("a response");
    let mut events = server.subscribe();
    client.finish();
    client.end().await.expect("OK");
    soon(events.recv()).await.expect("it has left");
    assert!(server.streams().is_empty());
}

#[tokio::test]
async fn a_large_response_arrives_whole_and_a_change_meanwhile_follows() {
    let server = Server::new();
    let content = "x".repeat(1000);
    server.apply((0..3000).map(|n| set(&format!("r{n}"), &content)));
    let address = listen(&server).await;
    let mut client = Delta::open(address, "node").await;
    let all = client.next().await.expect("a response");
    assert_eq!(all.resources.len(), 3000);
    server.apply([set("r7", "changed")]);
    client.answer(&all, None).await;
    let one = client.next().await.expect("a response");
    assert_eq!((one.resources.len(), one.resources[0].name.as_str()), (1, "r7"));
}

#[tokio::test]
async fn a_group_that_was_never_filled_keeps_its_clients_waiting_and_a_removed_one_ends_them() {
    use std::sync::Arc;
    use tonic::Status;
    use zenvoy_xds::server::{Admit, Peer};

    struct ByCluster;

    #[tonic::async_trait]
    impl Admit for ByCluster {
        async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
            Ok(Group::new(peer.node.id.as_str()))
        }
    }

    let server = Server::builder().admit(Arc::new(ByCluster)).build();
    let (one, two) = (Group::new("one"), Group::new("two"));
    server.snapshot(&one).apply([set("a", "1")]);
    let address = listen(&server).await;
    let mut events = server.subscribe();
    let mut first = Delta::open(address, "one").await;
    let mut second = Delta::open(address, "two").await;
    assert_eq!(first.next().await.expect("a response").resources.len(), 1);
    soon(events.recv()).await.expect("connected");
    soon(events.recv()).await.expect("connected");
    server.snapshot(&two).apply([]);
    assert!(second.next().await.expect("a response").resources.is_empty(), "empty, and said so");
    server.remove(&one);
    assert_eq!(first.end().await.expect_err("ended").code(), Code::Unavailable);
    server.snapshot(&two).apply([set("b", "1")]);
    assert_eq!(server.streams().len(), 1);
}
