//! etcd is away: warm traffic is untouched, what sleeps still wakes with one write, and all goes on by itself afterwards.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use zenvoy_e2e::load::{self, Steady};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};

/// Whether Envoy goes to pods for all of them, or to the activator for all.
async fn goes(zenvoy: &Installation, backend: &Backend, to: impl Fn(&SocketAddr) -> bool) -> bool {
    let endpoints = zenvoy.node.envoy_endpoints(backend).await;
    !endpoints.is_empty() && endpoints.iter().all(to)
}

fn is_activator(to: &SocketAddr) -> bool {
    to.ip().is_loopback()
}

#[test]
fn while_etcd_does_not_answer_cold_services_wake_with_one_write_and_sleep_again_afterwards() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let warm = Backend::http("warm");
        let colds = ["cold-1", "cold-2"].map(|name| Backend::http(name).set("idle-after", "2s"));
        let queue = Backend::echo("queue", 5555).set("idle-after", "2s");
        for backend in colds.iter().chain([&warm, &queue]) {
            zenvoy.create(backend).await;
        }
        let load = Steady::start(&zenvoy.http(&warm, "/slow?ms=20"), 4);
        zenvoy.until_warm(&warm).await;
        zenvoy.etcd.process().signal(Signal::SIGSTOP);
        // The own lease lives still: the first try waits for an answer.
        load::once(&zenvoy.http(&colds[0], "/")).await.served();
        zenvoy.controller.until_not_ready().await;
        // It has ended: nothing is waited for.
        load::all([zenvoy.http(&colds[1], "/"), zenvoy.echo(5555)]).await.assert_all_served();
        for backend in [&colds[0], &colds[1], &queue] {
            zenvoy.until_warm(backend).await;
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
        zenvoy.etcd.process().signal(Signal::SIGCONT);
        zenvoy.controller.until_ready().await;
        for backend in [&colds[0], &colds[1], &queue] {
            zenvoy.until_cold(backend).await;
            zenvoy.audit().assert_effective(backend.name(), &[(0, 1), (1, 0)]);
        }
        load::once(&zenvoy.http(&colds[0], "/")).await.served();
        load.stop().await.assert_all_served();
        zenvoy.audit().assert_one_wake("warm", 1);
        zenvoy.node.assert_nothing_refused().await;
    });
}

#[test]
fn a_node_that_arrives_while_etcd_is_dead_relays_and_gets_direct_routes_when_it_is_back() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let [warm, cold] = ["warm", "cold"].map(Backend::http);
        for backend in [&warm, &cold] {
            zenvoy.create(backend).await;
        }
        load::once(&zenvoy.http(&warm, "/")).await.served();
        zenvoy.until_warm(&warm).await;
        zenvoy.etcd.process().kill().await;
        zenvoy.controller.until_not_ready().await;
        zenvoy.node.envoy().kill().await;
        zenvoy.node.proxy().kill().await;
        zenvoy.node.start_proxy_again();
        zenvoy.node.start_envoy_again();
        zenvoy.node.until_ready().await;
        load::all([zenvoy.http(&warm, "/"), zenvoy.http(&cold, "/")]).await.assert_all_served();
        for backend in [&warm, &cold] {
            assert!(goes(&zenvoy, backend, is_activator).await, "no direct route for a node nobody can know");
            assert!(zenvoy.node.relayed_bytes(backend).await > 0);
        }
        let load = Steady::start(&zenvoy.http(&warm, "/slow?ms=20"), 2);
        zenvoy.etcd.restart().await;
        zenvoy.controller.until_ready().await;
        for backend in [&warm, &cold] {
            until::so("Envoy goes to the pods itself", async || {
                goes(&zenvoy, backend, |to| !is_activator(to)).await
            })
            .await;
        }
        load.stop().await.assert_all_served();
        for backend in [&warm, &cold] {
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
        zenvoy.node.assert_nothing_refused().await;
    });
}
