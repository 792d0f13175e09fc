//! Add, change, make before break, refuse, remove, under load.

use std::net::SocketAddr;

use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Event, Server};

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Load, Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{CDS, EDS, RDS, bad_cluster, cluster, endpoints, listener, routes};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);

async fn answers(word: &str) {
    let what = format!("an answer of {word}");
    until::some(&what, async || get(HTTP, "/").await.filter(|answer| answer.ends_with(word))).await;
}

async fn acked(server: &Server, type_url: &str, name: &str) {
    until::applied(server.until_acked("node", type_url, name)).await;
}

async fn lives(mode: Mode) {
    let replica = Replica::start().await;
    let server = &replica.server;
    let (one, two) = (backend("one").await, backend("two").await);
    let envoy = Envoy::start(mode, "node", &[replica.address]);
    server.apply([cluster(mode, "a", 1), endpoints("a", one), routes("a"), listener(mode, HTTP)]);
    answers("one").await;

    let load = Load::start(HTTP);
    server.apply([endpoints("a", two)]);
    acked(server, EDS, "a").await;
    answers("two").await;

    // Make before break, in one change: the routes move to a new cluster while the old one goes.
    for (old, new, to) in [("a", "b", one), ("b", "c", two), ("c", "a", one)] {
        server.apply([
            routes(new),
            Change::remove(CDS, old),
            Change::remove(EDS, old),
            cluster(mode, new, 1),
            endpoints(new, to),
        ]);
        acked(server, RDS, "routes").await;
        let gone = || async { envoy.stat(&format!("cluster.{old}.membership_total")).await.is_none() };
        until::some("the old cluster's end", async || gone().await.then_some(())).await;
    }

    // A changed cluster warms with its old endpoints, and does not stay warming.
    server.apply([cluster(mode, "a", 2)]);
    acked(server, CDS, "a").await;
    envoy.until("cluster_manager.warming_clusters", 0).await;

    refuses_one(mode, &replica, &envoy, two).await;

    let seen = load.good();
    until::some("requests after the last change", async || (load.good() > seen + 10).then_some(())).await;
    if mode.aggregated {
        // Separate streams know nothing of each other's order.
        assert_eq!(load.stop().await, 0, "a request failed");
    }
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, Some(0));
}

/// One bad cluster among good ones is refused and known to be; the others go on.
async fn refuses_one(mode: Mode, replica: &Replica, envoy: &Envoy, to: SocketAddr) {
    let server = &replica.server;
    let mut events = server.subscribe();
    server.apply([bad_cluster("bad"), cluster(mode, "good", 1), endpoints("good", to)]);
    let refused = until::done("a refusal", async {
        loop {
            if let Event::Nacked { message, .. } = events.recv().await.expect("an event") {
                return message;
            }
        }
    });
    assert!(refused.await.contains("bad"), "Envoy's words name the cluster");
    until::some("the good cluster", async || envoy.stat("cluster.good.membership_total").await).await;
    let parked = || {
        let streams = server.streams();
        let types = streams.into_iter().flat_map(|stream| stream.types);
        types.flat_map(|status| status.rejected).map(|bad| bad.name.to_string()).collect::<Vec<_>>()
    };
    until::some("the bad one to be parked", async || parked().contains(&"bad".to_owned()).then_some(()))
        .await;
    server.apply([Change::remove(CDS, "bad")]);
    until::some("nothing to be parked", async || parked().is_empty().then_some(())).await;
    acked(server, CDS, "good").await;
}

#[test]
fn an_envoy_on_one_delta_stream_lives_through_every_change() {
    in_namespace(|| lives(MODES[0]));
}

#[test]
fn an_envoy_on_one_state_of_the_world_stream_lives_through_every_change() {
    in_namespace(|| lives(MODES[1]));
}

#[test]
fn an_envoy_on_separate_delta_streams_lives_through_every_change() {
    in_namespace(|| lives(MODES[2]));
}

#[test]
fn an_envoy_on_separate_state_of_the_world_streams_lives_through_every_change() {
    in_namespace(|| lives(MODES[3]));
}
