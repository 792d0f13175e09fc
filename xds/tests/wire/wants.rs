//! A running client subscribes to other names, against the crate's own server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use zenvoy_xds::client::{Backoff, Client, ClientState, Handler, Names, Wants};
use zenvoy_xds::core::{Change, TypeUrl};
use zenvoy_xds::server::{Event, Server};

use crate::peer::{CDS, EDS, listen, set, soon};
use crate::replica::Replica;

/// Type and name, and the content.
type Kept = BTreeMap<(String, String), String>;

/// Keeps what it is given, for all to see; with `wants`, asks for the endpoints of each cluster.
struct Keeps {
    kept: watch::Sender<Kept>,
    follow: Option<Wants>,
}

impl Handler for Keeps {
    fn set(&mut self, type_url: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String> {
        let content = String::from_utf8_lossy(content).into_owned();
        self.kept.send_modify(|kept| drop(kept.insert((type_url.to_string(), name.into()), content)));
        if let Some(wants) = self.follow.as_ref().filter(|_| type_url.as_str() == CDS) {
            wants.subscribe(EDS, [name]);
        }
        Ok(())
    }

    fn remove(&mut self, type_url: &TypeUrl, name: &str) {
        self.kept.send_modify(|kept| drop(kept.remove(&(type_url.to_string(), name.into()))));
        if let Some(wants) = self.follow.as_ref().filter(|_| type_url.as_str() == CDS) {
            wants.unsubscribe(EDS, [name]);
        }
    }
}

fn endpoints(name: &str, content: &str) -> Change {
    Change::set(EDS, name, content.to_owned())
}

fn client(servers: &[std::net::SocketAddr], state: ClientState) -> Client {
    let address = |at| Endpoint::from_shared(format!("http://{at}")).expect("an address");
    let client = Client::new(servers.iter().map(address).collect(), state).expect("an address");
    client.backoff(Backoff::new(Duration::from_millis(1), Duration::from_millis(10)))
}

fn state() -> ClientState {
    ClientState::new(Node { id: "node".into(), ..Node::default() })
}

/// The names and contents that are kept of the endpoints.
fn of_endpoints(kept: &Kept) -> Vec<(&str, &str)> {
    let endpoints = kept.iter().filter(|((type_url, _), _)| type_url == EDS);
    endpoints.map(|((_, name), content)| (name.as_str(), content.as_str())).collect()
}

#[tokio::test]
async fn names_come_and_go_while_the_client_runs_and_outlive_its_stream() {
    let (one, two) = (Server::new(), Server::new());
    for server in [&one, &two] {
        server.apply([endpoints("a", "1"), endpoints("b", "1"), endpoints("c", "1")]);
    }
    let (first, second) = (Replica::start(&one), Replica::start(&two));
    let names = Names::Only(["a".into()].into());
    let client = client(&[first.address, second.address], state().watch(EDS, names));
    let wants = client.wants();
    let (kept, mut seen) = watch::channel(Kept::new());
    let running = tokio::spawn(async move { client.run(&mut Keeps { kept, follow: None }).await });
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("a", "1")])).await.expect("the first name's");

    wants.subscribe(EDS, ["b", "missing"]);
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("a", "1"), ("b", "1")])).await.expect("the second's");
    wants.unsubscribe(EDS, ["a", "never"]);
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("b", "1")])).await.expect("the first is given up");
    one.apply([endpoints("a", "2"), endpoints("missing", "1")]);
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("b", "1"), ("missing", "1")])).await.expect("no a");
    assert!(soon(one.until_acked("node", EDS, "missing")).await.is_applied());
    let names: usize = one.streams()[0].types.iter().map(|status| status.names).sum();
    assert_eq!(names, 2, "the server knows what is wanted");

    // What is said while there is no stream counts with the next one, which brings only what differs.
    let mut events = two.subscribe();
    first.end();
    wants.subscribe(EDS, ["c"]);
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("b", "1"), ("c", "1")]))
        .await
        .expect("the other replica's");
    let mut told = BTreeSet::new();
    soon(async {
        while !told.contains("c") || !told.contains("missing") {
            if let Event::Acked { resources, .. } = events.recv().await.expect("an event") {
                told.extend(resources.into_iter().map(|(name, _)| name.to_string()));
            }
        }
    })
    .await;
    assert!(!told.contains("b"), "{told:?}");
    running.abort();
    second.end();
}

#[tokio::test]
async fn a_handler_asks_for_what_its_resources_name() {
    let server = Server::new();
    server.apply([set("a", "1"), endpoints("a", "ea"), endpoints("b", "eb")]);
    let address = listen(&server).await;
    let client = client(&[address], state().watch(CDS, Names::All));
    let (kept, mut seen) = watch::channel(Kept::new());
    let mut handler = Keeps { kept, follow: Some(client.wants()) };
    let running = tokio::spawn(async move { client.run(&mut handler).await });
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("a", "ea")])).await.expect("of the first cluster");
    server.apply([set("b", "1"), Change::remove(CDS, "a")]);
    soon(seen.wait_for(|kept| of_endpoints(kept) == [("b", "eb")])).await.expect("of the second alone");
    running.abort();
}

#[tokio::test]
async fn very_many_words_at_once_become_few_requests() {
    const MANY: usize = 20_000;
    let server = Server::new();
    server.apply((0..MANY).map(|n| endpoints(&n.to_string(), "1")));
    let address = listen(&server).await;
    let client = client(&[address], state().watch(EDS, Names::Only(BTreeSet::new())));
    let wants = client.wants();
    let (kept, mut seen) = watch::channel(Kept::new());
    let running = tokio::spawn(async move { client.run(&mut Keeps { kept, follow: None }).await });
    let saying = tokio::task::spawn_blocking(move || {
        for n in 0..MANY {
            wants.subscribe(EDS, [Arc::<str>::from(n.to_string())]);
            // What is taken back before it was sent costs nothing.
            wants.subscribe(EDS, ["passing"]);
            wants.unsubscribe(EDS, ["passing"]);
        }
    });
    soon(saying).await.expect("said");
    soon(seen.wait_for(|kept| kept.len() == MANY)).await.expect("all of them");
    running.abort();
}
