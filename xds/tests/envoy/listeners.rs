//! Listeners change and go under load.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::google::protobuf::UInt32Value;
use tokio::net::TcpStream;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::Server;

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Load, Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{CDS, EDS, LDS, cluster, endpoints, listener_with, routes};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);
const OTHER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_001);

async fn acked(server: &Server, type_url: &str, name: &str) {
    until::applied(server.until_acked("node", type_url, name)).await;
}

async fn more(load: &Load) {
    let seen = load.good();
    until::some("more requests", async || (load.good() > seen + 10).then_some(())).await;
}

/// What Envoy takes over in place, and what it needs another listener for.
fn changed_in_place(listener: &mut Listener) {
    listener.filter_chains[0].name = "renamed".into();
}

fn changed(listener: &mut Listener) {
    listener.per_connection_buffer_limit_bytes = Some(UInt32Value { value: 1 << 16 });
}

async fn listens(mode: Mode) {
    let replica = Replica::start().await;
    let server = &replica.server;
    let envoy = Envoy::start(mode, "node", &[replica.address]);
    server.apply([
        cluster(mode, "a", 1),
        endpoints("a", backend("one").await),
        cluster(mode, "unused", 1),
        endpoints("unused", backend("unused").await),
        routes("a"),
        listener_with(mode, "listener", HTTP, |_| {}),
        listener_with(mode, "other", OTHER, |_| {}),
    ]);
    for at in [HTTP, OTHER] {
        until::some("an answer", async || get(at, "/").await).await;
    }
    let load = Load::start(HTTP);
    more(&load).await;
    for (times, differ) in [(1, changed_in_place as fn(&mut Listener)), (2, changed)] {
        server.apply([listener_with(mode, "listener", HTTP, differ)]);
        acked(server, LDS, "listener").await;
        envoy.until("listener_manager.listener_modified", times).await;
        more(&load).await;
    }
    server.apply([
        Change::remove(LDS, "other"),
        Change::remove(CDS, "unused"),
        Change::remove(EDS, "unused"),
    ]);
    acked(server, CDS, "unused").await;
    envoy.until("listener_manager.listener_removed", 1).await;
    until::some("nobody to listen", async || TcpStream::connect(OTHER).await.is_err().then_some(())).await;
    envoy.until("listener_manager.total_listeners_active", 1).await;
    until::some("the cluster's end", async || {
        envoy.stat("cluster.unused.membership_total").await.is_none().then_some(())
    })
    .await;
    more(&load).await;
    assert_eq!(load.stop().await, 0, "a request failed");
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, Some(0));
}

#[test]
fn listeners_on_one_delta_stream_change_and_go_under_load() {
    in_namespace(|| listens(MODES[0]));
}

#[test]
fn listeners_on_one_state_of_the_world_stream_change_and_go_under_load() {
    in_namespace(|| listens(MODES[1]));
}

#[test]
fn listeners_on_separate_delta_streams_change_and_go_under_load() {
    in_namespace(|| listens(MODES[2]));
}

#[test]
fn listeners_on_separate_state_of_the_world_streams_change_and_go_under_load() {
    in_namespace(|| listens(MODES[3]));
}
