//! An Envoy moves to another replica, or to the same one after a restart: it is sent nothing, warms nothing, and no
//! request fails.

use std::net::SocketAddr;

use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Event, Server, Variant};

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Load, Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{CDS, EDS, LDS, RDS, cluster, endpoints, listener, routes};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);

/// Where Envoy counts what it is sent of each type.
const APIS: [&str; 4] = ["cluster_manager.cds", "listener_manager.lds", "cluster.a", "http.http.rds.routes"];

/// What moves when anything is taken in anew, and so may warm.
const CHURN: [&str; 7] = [
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "cluster.a.membership_change",
    "http.http.rds.routes.config_reload",
];

/// Envoy's own account of what it was sent.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    versions: [u64; 4],
    /// Updates that were accepted, and those that were attempted but for the ends of streams.
    successes: [u64; 4],
    attempts: [u64; 4],
    churn: [u64; 7],
}

async fn stat(envoy: &Envoy, name: &str) -> u64 {
    until::some(name, async || envoy.stat(name).await).await
}

async fn of_each(envoy: &Envoy, what: &str) -> [u64; 4] {
    let mut all = [0; 4];
    for (of_one, api) in all.iter_mut().zip(APIS) {
        *of_one = stat(envoy, &format!("{api}.{what}")).await;
    }
    all
}

impl Account {
    async fn of(envoy: &Envoy) -> Self {
        let mut churn = [0; 7];
        for (of_one, name) in churn.iter_mut().zip(CHURN) {
            *of_one = stat(envoy, name).await;
        }
        let (all, failures) =
            (of_each(envoy, "update_attempt").await, of_each(envoy, "update_failure").await);
        let attempts = std::array::from_fn(|at| all[at] - failures[at]);
        let (versions, successes) = (of_each(envoy, "version").await, of_each(envoy, "update_success").await);
        Self { versions, successes, attempts, churn }
    }

    /// # Panics
    /// When `self` holds more than `before` says.
    fn says_nothing_was_sent(&self, mode: Mode, before: &Self) {
        assert_eq!((&self.versions, &self.churn), (&before.versions, &before.churn));
        let more = |now: &[u64; 4], then: &[u64; 4]| std::array::from_fn(|at| now[at] - then[at]);
        let (successes, attempts): ([u64; 4], [u64; 4]) =
            (more(&self.successes, &before.successes), more(&self.attempts, &before.attempts));
        assert_eq!(attempts, successes, "nothing was refused");
        match mode.variant {
            Variant::StateOfTheWorld => assert_eq!(successes, [0; 4], "no response at all"),
            // A wildcard subscription is answered, with nothing: at most one more of clusters and listeners each.
            Variant::Delta => {
                assert!(successes[0] <= 1 && successes[1] <= 1 && successes[2..] == [0; 2], "{successes:?}");
            }
        }
    }
}

/// The same resources, put together `anew` in another order and by another way: the versions are the same.
fn fill(server: &Server, mode: Mode, at: SocketAddr, anew: bool) {
    if anew {
        server.apply([endpoints("a", HTTP), cluster(mode, "gone", 1)]);
        server.apply([Change::remove(CDS, "gone")]);
    }
    server.apply([cluster(mode, "a", 1), endpoints("a", at)]);
    server.apply([routes("a"), listener(mode, HTTP)]);
}

/// Under load, the Envoy comes to `server` by `coming`, and is sent nothing.
async fn comes_to_another(mode: Mode, envoy: &Envoy, server: Server, coming: impl AsyncFnOnce() -> Replica) {
    let before = Account::of(envoy).await;
    let load = Load::start(HTTP);
    let mut events = server.subscribe();
    let _replica = coming().await;
    let wanted = if mode.aggregated { 1 } else { 4 };
    until::some("all streams on the other replica", async || {
        (server.streams().len() == wanted).then_some(())
    })
    .await;
    for (type_url, name) in [(CDS, "a"), (EDS, "a"), (LDS, "listener"), (RDS, "routes")] {
        until::applied(server.until_acked("node", type_url, name)).await;
    }
    let seen = load.good();
    until::some("requests", async || (load.good() > seen + 10).then_some(())).await;
    assert_eq!(load.stop().await, 0, "a request failed");
    assert_eq!(envoy.stat("cluster_manager.warming_clusters").await, Some(0));
    while let Ok(event) = events.try_recv() {
        if let Event::Acked { type_url, resources, .. } = event {
            assert!(resources.is_empty(), "{type_url}: {resources:?} was sent again");
        }
    }
    Account::of(envoy).await.says_nothing_was_sent(mode, &before);
}

async fn moves(mode: Mode) {
    let (first, second) = (Replica::start().await, Replica::start().await);
    let at = backend("one").await;
    fill(&first.server, mode, at, false);
    fill(&second.server, mode, at, true);
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
    comes_to_another(mode, &envoy, staying.server.clone(), async || {
        drop(leaving);
        staying
    })
    .await;
}

async fn restarts(mode: Mode) {
    let (replica, at) = (Replica::start().await, backend("one").await);
    fill(&replica.server, mode, at, false);
    let envoy = Envoy::start(mode, "node", &[replica.address]);
    until::some("an answer", async || get(HTTP, "/").await).await;
    for (type_url, name) in [(CDS, "a"), (EDS, "a"), (LDS, "listener"), (RDS, "routes")] {
        until::applied(replica.server.until_acked("node", type_url, name)).await;
    }
    let server = Server::new();
    fill(&server, mode, at, true);
    comes_to_another(mode, &envoy, server.clone(), async || replica.restarted(server).await).await;
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

#[test]
fn an_envoy_on_one_delta_stream_outlives_a_restart_of_its_server_without_being_sent_anything() {
    in_namespace(|| restarts(MODES[0]));
}

#[test]
fn an_envoy_on_one_state_of_the_world_stream_outlives_a_restart_of_its_server_without_being_sent_anything() {
    in_namespace(|| restarts(MODES[1]));
}

#[test]
fn an_envoy_on_separate_delta_streams_outlives_a_restart_of_its_server_without_being_sent_anything() {
    in_namespace(|| restarts(MODES[2]));
}

#[test]
fn an_envoy_on_separate_state_of_the_world_streams_outlives_a_restart_of_its_server_without_being_sent_anything()
 {
    in_namespace(|| restarts(MODES[3]));
}
