//! An Envoy moves to another replica: it is sent nothing, warms nothing, and no request fails.

use std::net::SocketAddr;

use zenvoy_xds::server::{Event, Variant};

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Load, Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{CDS, EDS, LDS, RDS, cluster, endpoints, listener, routes};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);

/// What Envoy counts of each type: accepted updates, and the version it has.
const SUCCESS: [&str; 4] = [
    "cluster_manager.cds.update_success",
    "listener_manager.lds.update_success",
    "cluster.a.update_success",
    "http.http.rds.routes.update_success",
];
const VERSION: [&str; 4] = [
    "cluster_manager.cds.version",
    "listener_manager.lds.version",
    "cluster.a.version",
    "http.http.rds.routes.version",
];

async fn stats(envoy: &Envoy, names: &[&str]) -> Vec<u64> {
    let mut all = Vec::new();
    for name in names {
        all.push(until::some(name, async || envoy.stat(name).await).await);
    }
    all
}

async fn moves(mode: Mode) {
    let (first, second) = (Replica::start().await, Replica::start().await);
    let at = backend("one").await;
    for replica in [&first, &second] {
        // In another order and by another way: the versions are the same.
        let older = replica.address == first.address;
        if older {
            replica.server.apply([endpoints("a", HTTP), cluster(mode, "gone", 1)]);
            replica.server.apply([zenvoy_xds::core::Change::remove(CDS, "gone")]);
        }
        replica.server.apply([cluster(mode, "a", 1), endpoints("a", at)]);
        replica.server.apply([routes("a"), listener(mode, HTTP)]);
    }
    let envoy = Envoy::start(mode, "node", &[first.address, second.address]);
    until::some("an answer", async || get(HTTP, "/").await).await;
    let (old, new) = until::some("all streams on one replica", async || {
        let streams = [first.server.streams().len(), second.server.streams().len()];
        (streams[0] + streams[1] == if mode.aggregated { 1 } else { 4 }).then_some(streams)
    })
    .await
    .into();
    // Single-type streams may be spread over both; the one with most ends.
    let (leaving, staying) = if old >= new { (first, second) } else { (second, first) };
    let (successes, versions) = (stats(&envoy, &SUCCESS).await, stats(&envoy, &VERSION).await);
    let load = Load::start(HTTP);
    let mut events = staying.server.subscribe();

    leaving.stop().await;
    let wanted = if mode.aggregated { 1 } else { 4 };
    until::some("all streams on the other replica", async || {
        (staying.server.streams().len() == wanted).then_some(())
    })
    .await;
    for (type_url, name) in [(CDS, "a"), (EDS, "a"), (LDS, "listener"), (RDS, "routes")] {
        until::done("to be known", staying.server.until_acked("node", &type_url.into(), name)).await;
    }
    let seen = load.good();
    until::some("requests", async || (load.good() > seen + 10).then_some(())).await;
    assert_eq!(load.stop().await, 0, "a request failed");
    assert_eq!(stats(&envoy, &VERSION).await, versions);
    assert_eq!(envoy.stat("cluster_manager.warming_clusters").await, Some(0));
    while let Ok(event) = events.try_recv() {
        if let Event::Acked { type_url, resources, .. } = event {
            assert!(resources.is_empty(), "{type_url}: {resources:?} was sent again");
        }
    }
    let after = stats(&envoy, &SUCCESS).await;
    match mode.variant {
        Variant::StateOfTheWorld => assert_eq!(after, successes, "no response at all"),
        // A wildcard subscription is answered, with nothing: at most one more of clusters and listeners each.
        Variant::Delta => {
            assert_eq!(after[2..], successes[2..]);
            assert!(after[0] <= successes[0] + 1 && after[1] <= successes[1] + 1, "{after:?} {successes:?}");
        }
    }
}

#[test]
fn an_envoy_on_one_delta_stream_moves_without_being_sent_anything() {
    in_namespace(|| moves(MODES[0]));
}

#[test]
fn an_envoy_on_one_state_of_the_world_stream_moves_without_being_sent_anything() {
    in_namespace(|| moves(MODES[1]));
}

#[test]
fn an_envoy_on_separate_delta_streams_moves_without_being_sent_anything() {
    in_namespace(|| moves(MODES[2]));
}

#[test]
fn an_envoy_on_separate_state_of_the_world_streams_moves_without_being_sent_anything() {
    in_namespace(|| moves(MODES[3]));
}
