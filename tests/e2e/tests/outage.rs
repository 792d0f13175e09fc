//! etcd or the API server is away: warm traffic is untouched, what sleeps still wakes with one write or is told why not, and all
//! goes on by itself afterwards.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use zenvoy_e2e::http::get;
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

/// How long each of these may be held.
const HELD: Duration = Duration::from_secs(4);

#[test]
fn what_is_held_past_its_deadline_while_the_api_server_is_away_is_told_why_and_served_once_it_is_back() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let timeout = format!("{}s", HELD.as_secs());
        let warm = Backend::http("warm");
        let web = Backend::http("web").set("wake-timeout", &timeout);
        let queue = Backend::echo("queue", 5555).set("wake-timeout", &timeout);
        for backend in [&warm, &web, &queue] {
            zenvoy.create(backend).await;
        }
        let load = Steady::start(&zenvoy.http(&warm, "/slow?ms=20"), 2);
        zenvoy.until_warm(&warm).await;
        zenvoy.cluster.api().kill().await;

        let (asked, echo, host) = (Instant::now(), zenvoy.echo(5555), web.host());
        let (answer, echoed) = tokio::join!(get(zenvoy.node.http(), &host, "/"), load::once(&echo));
        assert!(asked.elapsed() >= HELD, "given up after {:?}", asked.elapsed());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
        let body: Value = serde_json::from_str(&answer.body).expect("the reason is JSON");
        assert_eq!((&body["reason"], &body["upstream"]), (&"WakeDeadline".into(), &web.upstream().into()));
        assert!(echoed.took() >= HELD && echoed.result.is_err(), "a TCP client is reset: {echoed:?}");

        zenvoy.cluster.start_api_again();
        zenvoy.cluster.until_serving().await;
        // kube-controller-manager takes its time to notice that the API server is back.
        for request in [zenvoy.http(&web, "/"), echo] {
            until::so("it is served again", async || load::once(&request).await.result.is_ok()).await;
        }
        load.stop().await.assert_all_served();
        for backend in [&warm, &web, &queue] {
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
    });
}
