//! Held connections without an Envoy: refusals, deadlines, dials, and the proxy's end.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until::{done, some};
use zenvoy_proxy::ProxyOptions;
use zenvoy_shared::proto::Protocol;
use zenvoy_xds::core::Change;

use crate::backend::{HttpPod, tcp_pod};
use crate::resources::{Upstream, fail, forward, hold};
use crate::world::{World, answered, begin, get, options, read_until, until};

fn body(answer: &str) -> serde_json::Value {
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON")
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = done("the end", stream.read_u8()).await;
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

async fn until_held(world: &World, upstream: &Upstream, count: u32) {
    until("held connections", || (world.upstream(upstream).connections.held_now == count).then_some(()))
        .await;
}

/// A request that is held, the only one.
async fn held(world: &World, upstream: &Upstream) -> JoinHandle<std::io::Result<String>> {
    let request = tokio::spawn(get(upstream.activator, "/"));
    world.controller.until_demanded(&[upstream.name]).await;
    request
}

/// A connection that is relayed to a pod of its own.
async fn relayed(world: &World, upstream: &Upstream) -> TcpStream {
    let pod = tcp_pod("10.42.0.2:5432").await;
    world.controller.xds.apply([upstream.row(forward(&[pod]))]);
    let mut client = TcpStream::connect(upstream.activator).await.expect("connect");
    read_until(&mut client, "hello").await;
    client
}

#[test]
fn a_verdict_to_fail_answers_what_is_held_and_what_arrives() {
    in_namespace(async || {
        let (cart, db) = (Upstream::http(), Upstream::tcp());
        let world = World::start(&[&cart, &db]).await;
        let request = tokio::spawn(get(cart.activator, "/"));
        let mut connection = TcpStream::connect(db.activator).await.expect("connect");
        world.controller.until_demanded(&[cart.name, db.name]).await;
        world.controller.xds.apply([cart.row(fail()), db.row(fail())]);
        let failed = body(&answered(request).await);
        assert_eq!(
            (failed["reason"].as_str(), failed["upstream"].as_str()),
            (Some("ImagePull"), Some(cart.name))
        );
        assert!(is_reset(&mut connection).await);
        world.controller.until_demanded(&[]).await;
        let fast = body(&get(cart.activator, "/").await.expect("an answer"));
        assert_eq!(fast["message"], "the image cannot be pulled");
        assert_eq!(world.upstream(&cart).connections.failed["ImagePull"], 2);
    });
}

#[test]
fn a_connection_that_nobody_wakes_fails_at_its_deadline() {
    in_namespace(async || {
        let cart = Upstream { wake_timeout: Duration::from_millis(300), ..Upstream::http() };
        let world = World::start(&[&cart]).await;
        let failed = body(&get(cart.activator, "/").await.expect("an answer"));
        assert_eq!(failed["reason"], "WakeDeadline");
        world.controller.until_demanded(&[]).await;
    });
}

#[test]
fn beyond_the_cap_clients_are_refused_and_the_held_ones_stay() {
    in_namespace(async || {
        let (cart, db) =
            (Upstream { max_held: 2, ..Upstream::http() }, Upstream { max_held: 1, ..Upstream::tcp() });
        let world = World::start(&[&cart, &db]).await;
        let _held = (begin(cart.activator, "/").await, begin(cart.activator, "/").await);
        until_held(&world, &cart, 2).await;
        let refused = body(&get(cart.activator, "/").await.expect("an answer"));
        assert_eq!(refused["reason"], "TooManyHeld");
        let _connection = TcpStream::connect(db.activator).await.expect("connect");
        until_held(&world, &db, 1).await;
        assert!(is_reset(&mut TcpStream::connect(db.activator).await.expect("connect")).await);
        let refused = (world.upstream(&cart).connections.refused, world.upstream(&db).connections.refused);
        assert_eq!((refused, world.upstream(&cart).connections.held_now), ((1, 1), 2));
    });
}

#[test]
fn the_cap_of_the_node_holds_over_all_upstreams() {
    in_namespace(async || {
        let (cart, db) = (Upstream::http(), Upstream::tcp());
        let world = World::with(ProxyOptions { max_held: 1, ..options() }, &[&cart, &db]).await;
        let _held = begin(cart.activator, "/").await;
        until_held(&world, &cart, 1).await;
        assert!(is_reset(&mut TcpStream::connect(db.activator).await.expect("connect")).await);
        assert_eq!(world.upstream(&db).connections.refused, 1);
    });
}

#[test]
fn a_connection_that_closes_without_a_byte_is_no_demand() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        drop(TcpStream::connect(cart.activator).await.expect("connect"));
        until("its end", || {
            let connections = world.upstream(&cart).connections;
            (connections.arrived == 1 && connections.silent_now == 0).then_some(())
        })
        .await;
        assert_eq!(world.controller.demand(), world.controller.hello(1).await.demand);
    });
}

#[test]
fn ready_is_not_yet_accepting_and_the_dials_go_on() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let answer = held(&world, &cart).await;
        let pod = "10.42.0.1:80".parse().expect("an address");
        world.controller.xds.apply([cart.row(forward(&[pod]))]);
        until("a dial", || (world.upstream(&cart).connections.releasing_now == 1).then_some(())).await;
        world.controller.until_demanded(&[]).await;
        let _pod = HttpPod::start("10.42.0.1:80").await;
        assert!(answered(answer).await.contains("\r\n\r\npod"));
    });
}

#[test]
fn a_verdict_back_to_hold_while_dialling_keeps_the_connection_and_its_demand() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let answer = held(&world, &cart).await;
        let gone = "10.42.0.1:80".parse().expect("an address");
        world.controller.xds.apply([cart.row(forward(&[gone]))]);
        world.controller.until_demanded(&[]).await;
        world.controller.xds.apply([cart.row(hold())]);
        world.controller.until_demanded(&[cart.name]).await;
        let pod = HttpPod::start("10.42.0.2:80").await;
        world.controller.xds.apply([cart.row(forward(&[gone, pod.address]))]);
        assert!(answered(answer).await.contains("\r\n\r\npod"));
    });
}

#[test]
fn a_pod_with_an_ipv6_address_is_reached() {
    in_namespace(async || {
        let db = Upstream::tcp();
        let world = World::start(&[&db]).await;
        let mut client = TcpStream::connect(db.activator).await.expect("connect");
        world.controller.until_demanded(&[db.name]).await;
        let pod = tcp_pod("[::1]:5432").await;
        world.controller.xds.apply([db.row(forward(&[pod]))]);
        read_until(&mut client, "hello").await;
    });
}

#[test]
fn http2_and_tls_wait_for_a_byte_and_are_reset_when_they_fail() {
    in_namespace(async || {
        for protocol in [Protocol::Http2, Protocol::Tls] {
            let secure = Upstream { protocol, ..Upstream::http() };
            let world = World::start(&[&secure]).await;
            let mut client = TcpStream::connect(secure.activator).await.expect("connect");
            until("its arrival", || (world.upstream(&secure).connections.silent_now == 1).then_some(()))
                .await;
            client.write_all(b"\x16\x03\x01 or PRI").await.expect("a write");
            world.controller.until_demanded(&[secure.name]).await;
            world.controller.xds.apply([secure.row(fail())]);
            assert!(is_reset(&mut client).await);
            world.ended().await;
        }
    });
}

#[test]
fn an_address_is_unbound_with_its_upstream_and_what_is_relayed_lives_on() {
    in_namespace(async || {
        let db = Upstream::tcp();
        let world = World::start(&[&db]).await;
        let mut client = relayed(&world, &db).await;
        world.controller.xds.apply([Change::remove(zenvoy_shared::proto::HELD_UPSTREAM, db.name)]);
        some("a refused connection", async || TcpStream::connect(db.activator).await.err()).await;
        client.write_all(b"still here").await.expect("a write");
        read_until(&mut client, "still here").await;
    });
}

#[test]
fn at_its_end_the_proxy_fails_what_is_held_and_lets_what_is_relayed_finish() {
    in_namespace(async || {
        let (cart, db) = (Upstream::http(), Upstream::tcp());
        let world = World::start(&[&cart, &db]).await;
        let held = held(&world, &cart).await;
        let mut relayed = relayed(&world, &db).await;
        world.stop();
        let failed = body(&answered(held).await);
        assert_eq!(failed["reason"], "ProxyStopping");
        relayed.write_all(b"still here").await.expect("a write");
        read_until(&mut relayed, "still here").await;
        assert!(TcpStream::connect(cart.activator).await.is_err(), "no more are accepted");
        assert!(is_reset(&mut relayed).await, "after the grace");
        world.ended().await;
    });
}

#[test]
fn told_to_end_under_a_living_envoy_the_proxy_goes_on_until_nothing_is_open() {
    in_namespace(async || {
        let (cart, db) = (Upstream::http(), Upstream::tcp());
        let options = ProxyOptions { relay_grace: Duration::from_secs(120), ..options() };
        let world = World::with(options, &[&cart, &db]).await;
        let _envoy = world.envoy(&[&cart]).await;
        let relayed = relayed(&world, &db).await;
        world.stop();
        let answer = tokio::spawn(get(cart.listener, "/"));
        world.controller.until_demanded(&[cart.name]).await;
        let pod = HttpPod::start("10.42.0.1:80").await;
        world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
        assert!(answered(answer).await.ends_with("pod"));
        drop(relayed);
        world.ended().await;
    });
}

#[test]
fn told_to_end_under_a_living_envoy_the_proxy_ends_in_time_whatever_is_open() {
    in_namespace(async || {
        let (cart, db) = (Upstream::http(), Upstream::tcp());
        let world = World::start(&[&cart, &db]).await;
        let _envoy = world.envoy(&[&cart]).await;
        let mut relayed = relayed(&world, &db).await;
        world.stop();
        let held = held(&world, &cart).await;
        let failed = body(&answered(held).await);
        assert_eq!(failed["reason"], "ProxyStopping");
        assert!(is_reset(&mut relayed).await, "after the grace");
        world.ended().await;
    });
}
