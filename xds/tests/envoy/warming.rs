//! A cluster that changes warms with the endpoints that its Envoy had, at once: whether it changes while the Envoy is away,
//! after it has come back with all that it had, or later.

use std::net::SocketAddr;

use zenvoy_xds::server::Server;

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Load, Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{CDS, EDS, LDS, RDS, cluster_of, endpoints, listener, routes};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);

/// Where the cluster's endpoints are.
#[derive(Clone, Copy)]
struct Served {
    mode: Mode,
    /// The service name of the cluster; may be empty.
    service: &'static str,
    at: SocketAddr,
}

impl Served {
    fn name(self) -> &'static str {
        if self.service.is_empty() { "a" } else { self.service }
    }

    /// A server whose cluster differs from others' by `timeout_s`.
    fn server(self, timeout_s: i64) -> Server {
        let server = Server::new();
        server.apply([cluster_of(self.mode, "a", self.service, timeout_s), endpoints(self.name(), self.at)]);
        server.apply([routes("a"), listener(self.mode, HTTP)]);
        server
    }

    /// Waits until the Envoy has all that is served.
    async fn taken(self, server: &Server) {
        for (type_url, name) in [(CDS, "a"), (EDS, self.name()), (LDS, "listener"), (RDS, "routes")] {
            until::applied(server.until_acked("node", type_url, name)).await;
        }
    }
}

/// The cluster has changed for this time, and warmed because its endpoints came.
async fn warmed(envoy: &Envoy, times: u64) {
    envoy.until("cluster_manager.cluster_modified", times).await;
    envoy.until("cluster_manager.warming_clusters", 0).await;
    assert_eq!(envoy.stat("cluster.a.init_fetch_timeout").await, Some(0), "nothing was waited for in vain");
}

async fn warms(mode: Mode, service: &'static str) {
    let served = Served { mode, service, at: backend("one").await };
    let replica = Replica::at(SocketAddr::from(([127, 0, 0, 1], 0)), served.server(1)).await;
    let envoy = Envoy::start(mode, "node", &[replica.address]);
    until::some("an answer", async || get(HTTP, "/").await).await;
    served.taken(&replica.server).await;
    let load = Load::start(HTTP);

    let replica = replica.restarted(served.server(2)).await;
    warmed(&envoy, 1).await;
    served.taken(&replica.server).await;

    let replica = replica.restarted(served.server(2)).await;
    served.taken(&replica.server).await;
    assert_eq!(envoy.stat("cluster_manager.cluster_modified").await, Some(1), "it had all of it");
    for (times, timeout_s) in [(2, 3), (3, 4)] {
        replica.server.apply([cluster_of(mode, "a", service, timeout_s)]);
        warmed(&envoy, times).await;
    }
    served.taken(&replica.server).await;
    assert_eq!(load.stop().await, 0, "a request failed");
}

#[test]
fn a_changed_cluster_warms_at_once_on_one_delta_stream() {
    in_namespace(|| warms(MODES[0], ""));
}

#[test]
fn a_changed_cluster_warms_at_once_on_one_state_of_the_world_stream() {
    in_namespace(|| warms(MODES[1], ""));
}

#[test]
fn a_changed_cluster_warms_at_once_on_separate_delta_streams() {
    in_namespace(|| warms(MODES[2], ""));
}

#[test]
fn a_changed_cluster_warms_at_once_on_separate_state_of_the_world_streams() {
    in_namespace(|| warms(MODES[3], ""));
}

#[test]
fn a_changed_cluster_with_a_service_name_warms_at_once_on_one_delta_stream() {
    in_namespace(|| warms(MODES[0], "service"));
}

#[test]
fn a_changed_cluster_with_a_service_name_warms_at_once_on_one_state_of_the_world_stream() {
    in_namespace(|| warms(MODES[1], "service"));
}

#[test]
fn a_changed_cluster_with_a_service_name_warms_at_once_on_separate_delta_streams() {
    in_namespace(|| warms(MODES[2], "service"));
}

#[test]
fn a_changed_cluster_with_a_service_name_warms_at_once_on_separate_state_of_the_world_streams() {
    in_namespace(|| warms(MODES[3], "service"));
}
