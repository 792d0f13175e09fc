//! The crate's own client against its own server.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Pending, pending};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tower_service::Service;
use zenvoy_xds::client::{Backoff, Client, ClientState, Decoded, Names, Typed, run_stream};
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Event, Server};

use crate::peer::{CDS, listen, listen_to, set, soon};
use crate::replica::Replica;

/// Clusters by name, for all to see; refuses those without a name.
struct Clusters(watch::Sender<BTreeMap<String, Cluster>>);

impl Typed for Clusters {
    const TYPE_URL: &'static str = CDS;
    type Message = Cluster;
    type Refusal = &'static str;

    fn set(&mut self, name: &str, message: Cluster) -> Result<(), &'static str> {
        if message.name.is_empty() {
            return Err("has no name");
        }
        self.0.send_modify(|all| drop(all.insert(name.to_owned(), message)));
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.0.send_modify(|all| drop(all.remove(name)));
    }
}

fn cluster(name: &str) -> Change {
    let message = Cluster { name: name.into(), ..Cluster::default() };
    Change::set(CDS, name, message.encode_to_vec())
}

fn state() -> ClientState {
    ClientState::new(Node { id: "node".into(), ..Node::default() }).watch(CDS, Names::All)
}

fn names(clusters: &BTreeMap<String, Cluster>) -> Vec<&str> {
    clusters.keys().map(String::as_str).collect()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).expect("an address")
}

#[tokio::test]
async fn one_stream_over_a_given_channel_applies_and_acknowledges() {
    let server = Server::new();
    server.apply([cluster("a"), set("bad", ""), cluster("c")]);
    let mut events = server.subscribe();
    let address = listen(&server).await;
    let channel = endpoint(address).connect().await.expect("connect");
    let (sender, mut seen) = watch::channel(BTreeMap::new());
    let running = tokio::spawn(async move {
        let (mut state, mut handler) = (state(), Decoded(Clusters(sender)));
        run_stream(channel, &mut state, &mut handler).await
    });
    soon(seen.wait_for(|all| names(all) == ["a", "c"])).await.expect("the good ones");
    let nack = soon(async {
        loop {
            if let Event::Nacked { message, .. } = events.recv().await.expect("an event") {
                return message;
            }
        }
    });
    assert_eq!(nack.await, "bad: has no name");
    server.apply([cluster("d"), Change::remove(CDS, "a")]);
    soon(seen.wait_for(|all| names(all) == ["c", "d"])).await.expect("the change");
    assert!(soon(server.until_acked("node", CDS, "d")).await.is_applied());
    running.abort();
}

/// Takes streams, and says nothing to them.
#[derive(Clone)]
struct Mute;

impl NamedService for Mute {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<http::Request<Body>> for Mute {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn a_client_leaves_a_server_that_does_not_answer() {
    let server = Server::new();
    server.apply([cluster("a")]);
    let mute = listen_to(Routes::new(Mute)).await;
    let addresses = vec![endpoint(mute), endpoint(listen(&server).await)];
    let client = Client::new(addresses, state()).expect("addresses");
    let client = client.answer_within(Duration::from_millis(50)).backoff(quick());
    let (sender, mut seen) = watch::channel(BTreeMap::new());
    let running = tokio::spawn(async move { client.run(&mut Decoded(Clusters(sender))).await });
    soon(seen.wait_for(|all| names(all) == ["a"])).await.expect("the second server's");
    running.abort();
}

fn quick() -> Backoff {
    Backoff::new(Duration::from_millis(1), Duration::from_millis(10))
}

#[tokio::test]
async fn a_client_moves_to_another_replica_and_is_sent_only_what_differs() {
    let (one, two) = (Server::new(), Server::new());
    one.apply([cluster("same"), cluster("gone")]);
    two.apply([cluster("same"), cluster("new")]);
    let (first, second) = (Replica::start(&one), Replica::start(&two));
    let mut events = two.subscribe();
    let (sender, mut seen) = watch::channel(BTreeMap::new());
    let client =
        Client::new(vec![endpoint(first.address), endpoint(second.address)], state()).expect("addresses");
    let running = tokio::spawn(async move {
        client.backoff(quick()).run(&mut Decoded(Clusters(sender))).await;
    });
    soon(seen.wait_for(|all| names(all) == ["gone", "same"])).await.expect("the first replica's");
    first.end();
    soon(seen.wait_for(|all| names(all) == ["new", "same"])).await.expect("the second replica's");
    let mut sent = Vec::new();
    soon(async {
        while sent.len() < 2 {
            if let Event::Acked { resources, .. } = events.recv().await.expect("an event") {
                sent.extend(
                    resources.into_iter().map(|(name, version)| (name.to_string(), version.is_some())),
                );
            }
        }
    })
    .await;
    assert_eq!(sent, [("new".to_owned(), true), ("gone".to_owned(), false)]);
    running.abort();
    second.end();
}
