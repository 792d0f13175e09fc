//! Wakes through a real Envoy, in both transports.

use std::collections::BTreeMap;
use std::process::Command;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use zenvoy_e2e::net::in_namespace;
use zenvoy_proxy::transport::rules::RulesBy;
use zenvoy_proxy::{ProxyOptions, Transport};

use crate::backend::{HttpPod, tcp_pod};
use crate::resources::{Upstream, forward, hold};
use crate::world::{World, answered, begin, get, options, read_until, until};

fn tproxy(rules: RulesBy) -> ProxyOptions {
    let pool = "127.0.0.1:20000-20999".parse().expect("a pool");
    ProxyOptions { transport: Transport::Tproxy { port: 15_001, pool, rules }, ..options() }
}

/// A held request is answered after the wake; then Envoy is switched, and nothing passes the proxy.
async fn wakes(options: ProxyOptions) {
    let cart = Upstream::http();
    let world = World::with(options, &[&cart]).await;
    let _envoy = world.envoy(&[&cart]).await;
    let answer = tokio::spawn(get(cart.listener, "/"));
    let demand = world.controller.until_demanded(&[cart.name]).await;
    let traceparent = demand.held[0].traceparent.clone();
    assert!(traceparent.starts_with("00-") && traceparent.len() == 55, "{traceparent}");
    world.controller.until_active(cart.name).await;
    assert_eq!(world.upstream(&cart).connections.held_now, 1);

    let pod = HttpPod::start("10.42.0.1:80").await;
    world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
    let answer = answered(answer).await;
    assert!(answer.ends_with("pod"), "{answer}");
    world.controller.until_demanded(&[]).await;
    until("the wake's timing", || {
        let timing = world.controller.timings().first().cloned()?;
        let in_order = timing.held_unix_nanos <= timing.forwarded_unix_nanos
            && timing.forwarded_unix_nanos <= timing.first_byte_unix_nanos;
        assert!(in_order && timing.upstream == cart.name, "{timing:?}");
        Some(())
    })
    .await;

    // Once Envoy has switched, it closes what it kept open to the activator.
    until("the end of the relay", || (world.upstream(&cart).connections.relayed_now == 0).then_some(()))
        .await;
    let before = (world.bytes(&cart), world.upstream(&cart).connections.arrived);
    assert!(before.0 > 0);
    for _ in 0..20 {
        assert!(get(cart.listener, "/").await.expect("an answer").ends_with("pod"));
    }
    assert_eq!((world.bytes(&cart), world.upstream(&cart).connections.arrived), before);
    world.ended().await;
}

#[test]
fn a_held_request_is_answered_and_a_warm_one_does_not_pass_the_proxy() {
    in_namespace(async || wakes(options()).await);
}

#[test]
fn the_same_by_transparent_accepting_with_nft() {
    in_namespace(async || wakes(tproxy(RulesBy::Nft)).await);
}

#[test]
fn the_same_by_transparent_accepting_with_iptables() {
    in_namespace(async || wakes(tproxy(RulesBy::Iptables)).await);
}

#[test]
fn the_same_by_rules_that_somebody_else_installed_as_documented() {
    in_namespace(async || {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deploy.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let rules = page.split("```\n").find(|block| block.starts_with("table ip ")).expect("the rules");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), rules).expect("written");
        let installed = Command::new("nft").arg("-f").arg(file.path()).status().expect("run nft");
        assert!(installed.success());
        wakes(tproxy(RulesBy::Nobody)).await;
        let left = Command::new("nft").args(["list", "tables"]).output().expect("run nft");
        assert_eq!(
            String::from_utf8_lossy(&left.stdout),
            "table ip activators\n",
            "the proxy's is not there"
        );
    });
}

#[test]
fn a_server_that_speaks_first_wakes_on_the_connection_alone() {
    in_namespace(async || {
        let db = Upstream::tcp();
        let world = World::start(&[&db]).await;
        let _envoy = world.envoy(&[&db]).await;
        // The connections that looked for the listener went on to the activator, and are gone by now.
        let mut client = TcpStream::connect(db.listener).await.expect("connect");
        world.controller.until_demanded(&[db.name]).await;
        let pod = tcp_pod("10.42.0.1:5432").await;
        world.controller.xds.apply([db.row(forward(&[pod])), db.endpoints(&[pod])]);
        read_until(&mut client, "hello").await;
        client.write_all(b"select 1").await.expect("a write");
        read_until(&mut client, "select 1").await;
    });
}

#[test]
fn two_hundred_clients_of_one_cold_upstream_are_one_demand_and_are_all_answered() {
    in_namespace(async || {
        let cart = Upstream { max_held: 1_000, ..Upstream::http() };
        let world = World::start(&[&cart]).await;
        let _envoy = world.envoy(&[&cart]).await;
        let clients: Vec<_> = (0..200).map(|_| tokio::spawn(get(cart.listener, "/"))).collect();
        until("all of them held", || (world.upstream(&cart).connections.held_now == 200).then_some(())).await;
        world.controller.until_demanded(&[cart.name]).await;
        let pods = [HttpPod::start("10.42.0.1:80").await, HttpPod::start("10.42.0.2:80").await];
        let pods = pods.map(|pod| pod.address);
        world.controller.xds.apply([cart.row(forward(&pods)), cart.endpoints(&pods)]);
        for client in clients {
            assert!(answered(client).await.ends_with("pod"));
        }
    });
}

#[test]
fn no_request_fails_while_its_upstream_sleeps_and_wakes_again_and_again() {
    in_namespace(async || {
        let cart = Upstream { max_held: 1_000, ..Upstream::http() };
        let world = World::start(&[&cart]).await;
        let _envoy = world.envoy(&[&cart]).await;
        let pod = HttpPod::start("10.42.0.1:80").await;
        let stop = CancellationToken::new();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (to, stop) = (cart.listener, stop.clone());
                tokio::spawn(async move {
                    let mut answered = 0_u32;
                    while !stop.is_cancelled() {
                        let answer = get(to, "/").await.expect("an answer");
                        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("pod"), "{answer}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for _ in 0..20 {
            world.controller.until_demanded(&[cart.name]).await;
            world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
            world.controller.until_demanded(&[]).await;
            until("all going directly", || {
                (world.upstream(&cart).connections.relayed_now == 0).then_some(())
            })
            .await;
            world.controller.xds.apply([cart.row(hold()), cart.endpoints(&[cart.activator])]);
        }
        world.controller.until_demanded(&[cart.name]).await;
        world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
        stop.cancel();
        for client in clients {
            assert!(client.await.expect("no failure") > 20);
        }
        assert_eq!(world.upstream(&cart).connections.failed, BTreeMap::new());
    });
}

async fn a_given_up_request_is_no_demand(options: ProxyOptions) {
    let cart = Upstream::http();
    let world = World::with(options, &[&cart]).await;
    let _envoy = world.envoy(&[&cart]).await;
    let client = begin(cart.listener, "/").await;
    world.controller.until_demanded(&[cart.name]).await;
    drop(client);
    world.controller.until_demanded(&[]).await;
    assert_eq!(world.upstream(&cart).connections.gone, 1);
}

#[test]
fn a_client_of_envoy_that_gives_its_request_up_demands_nothing_any_more() {
    in_namespace(async || a_given_up_request_is_no_demand(options()).await);
}

#[test]
fn the_same_for_a_request_that_was_accepted_transparently() {
    in_namespace(async || a_given_up_request_is_no_demand(tproxy(RulesBy::Nft)).await);
}
