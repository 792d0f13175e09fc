//! Make before break for an Envoy that was away while its routes moved to another cluster and the old one went.

use std::net::SocketAddr;

use zenvoy_xds::server::Server;

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Load, Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{cluster, endpoints, listener, routes};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);

/// All requests go to this cluster, the only one there is.
fn server(mode: Mode, name: &str, at: SocketAddr) -> Server {
    let server = Server::new();
    server.apply([cluster(mode, name, 1), endpoints(name, at), routes(name), listener(mode, HTTP)]);
    server
}

async fn returns(mode: Mode) {
    let at = backend("one").await;
    let first = server(mode, "a", at);
    let mut replica = Replica::at(SocketAddr::from(([127, 0, 0, 1], 0)), first).await;
    let envoy = Envoy::start(mode, "node", &[replica.address]);
    until::some("an answer", async || get(HTTP, "/").await).await;
    let load = Load::start(HTTP);
    for (old, new) in [("a", "b"), ("b", "c"), ("c", "a")] {
        replica = replica.restarted(server(mode, new, at)).await;
        let gone = async || envoy.stat(&format!("cluster.{old}.membership_total")).await.is_none();
        until::some("the old cluster's end", async || gone().await.then_some(())).await;
    }
    let seen = load.good();
    until::some("requests after the last change", async || (load.good() > seen + 10).then_some(())).await;
    assert_eq!(load.stop().await, 0, "a request failed");
}

#[test]
fn an_envoy_whose_routes_left_a_cluster_while_it_was_away_loses_no_request() {
    in_namespace(|| returns(MODES[0]));
}
