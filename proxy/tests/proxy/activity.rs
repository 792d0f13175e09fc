//! What the controller hears about traffic that does not pass the proxy, and quiet proofs, with a real Envoy.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use zenvoy_e2e::envoy::Envoy;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until::done;
use zenvoy_shared::proto::ProveQuiet;
use zenvoy_shared::proto::WithdrawProof;
use zenvoy_shared::proto::controller_message::Message as ToNode;
use zenvoy_shared::proto::upstream_activity::State;

use crate::backend::{HttpPod, tcp_pod};
use crate::resources::{Upstream, forward, hold_for};
use crate::world::{World, answered, begin, get, read_until, until};

const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A warm HTTP upstream, to which Envoy goes directly.
async fn warm() -> (World, Envoy, Upstream, HttpPod) {
    let cart = Upstream::http();
    let world = World::start(&[&cart]).await;
    let pod = HttpPod::start("10.42.0.1:80").await;
    world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
    let envoy = world.envoy(&[&cart]).await;
    assert!(get(cart.listener, "/").await.expect("an answer").ends_with("pod"));
    (world, envoy, cart, pod)
}

/// Switches Envoy and the proxy for a drain, waits for Envoy's ACK, and asks for the proof.
async fn offer(world: &World, cart: &Upstream, drain: &str) {
    let before = world.upstream(cart);
    world.controller.xds.apply([cart.row(hold_for(drain)), cart.endpoints(&[cart.activator])]);
    let acked = world.controller.xds.until_acked(crate::world::NODE, EDS, cart.name);
    assert!(done("Envoy's ACK", acked).await.is_applied());
    world.until_verdict_is_new(cart, &before).await;
    let request = ProveQuiet { drain_id: drain.into(), upstreams: vec![cart.name.into()] };
    world.controller.say(ToNode::ProveQuiet(request)).await;
}

async fn until_quiet(world: &World, drain: &str) {
    until("the proof", || world.controller.quiet().iter().any(|quiet| quiet.drain_id == drain).then_some(()))
        .await;
}

#[test]
fn a_kept_alive_http_connection_is_idle_between_requests() {
    in_namespace(async || {
        let (world, _envoy, cart, _pod) = warm().await;
        let mut client = begin(cart.listener, "/").await;
        read_until(&mut client, "pod").await;
        world.controller.until_active(cart.name).await;
        world.controller.until_idle(cart.name).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: cart\r\n\r\n").await.expect("a request");
        read_until(&mut client, "pod").await;
        world.controller.until_active(cart.name).await;
        world.controller.until_idle(cart.name).await;
    });
}

#[test]
fn a_long_answer_is_activity_until_it_ends() {
    in_namespace(async || {
        let (world, _envoy, cart, pod) = warm().await;
        world.controller.until_idle(cart.name).await;
        let mut client = begin(cart.listener, "/stream").await;
        read_until(&mut client, "begin").await;
        world.controller.until_active(cart.name).await;
        world.flushes(10).await;
        assert_eq!(world.controller.activity(cart.name), Some(State::Active(true)));
        pod.end_stream();
        read_until(&mut client, "end").await;
        world.controller.until_idle(cart.name).await;
    });
}

#[test]
fn an_open_tcp_connection_is_activity_until_it_closes() {
    in_namespace(async || {
        let db = Upstream::tcp();
        let world = World::start(&[&db]).await;
        let pod = tcp_pod("10.42.0.1:5432").await;
        world.controller.xds.apply([db.row(forward(&[pod])), db.endpoints(&[pod])]);
        let _envoy = world.envoy(&[&db]).await;
        world.controller.until_idle(db.name).await;
        let mut client = TcpStream::connect(db.listener).await.expect("connect");
        read_until(&mut client, "hello").await;
        world.controller.until_active(db.name).await;
        world.flushes(10).await;
        assert_eq!(world.controller.activity(db.name), Some(State::Active(true)));
        drop(client);
        world.controller.until_idle(db.name).await;
    });
}

#[test]
fn without_an_envoy_nothing_is_known() {
    in_namespace(async || {
        let (world, envoy, cart, _pod) = warm().await;
        world.controller.until_idle(cart.name).await;
        envoy.kill().await;
        until("unknown", || (world.controller.activity(cart.name)? == State::Unknown(true)).then_some(()))
            .await;
    });
}

#[test]
fn a_quiet_node_is_proven_so_after_the_switch() {
    in_namespace(async || {
        let (world, _envoy, cart, _pod) = warm().await;
        offer(&world, &cart, "drain-1").await;
        until_quiet(&world, "drain-1").await;
        let quiet = world.controller.quiet();
        assert_eq!(quiet[0].epoch, world.controller.hello(1).await.epoch);
        world.flushes(5).await;
        assert_eq!(world.controller.quiet().len(), 1, "once");
    });
}

#[test]
fn an_open_answer_keeps_the_proof_away_until_it_ends() {
    in_namespace(async || {
        let (world, _envoy, cart, pod) = warm().await;
        let mut client = begin(cart.listener, "/stream").await;
        read_until(&mut client, "begin").await;
        offer(&world, &cart, "drain-1").await;
        world.flushes(10).await;
        assert_eq!(world.controller.quiet(), [], "a request runs on a host that Envoy no longer has");
        pod.end_stream();
        read_until(&mut client, "end").await;
        until_quiet(&world, "drain-1").await;
    });
}

#[test]
fn a_request_that_is_held_keeps_the_proof_away() {
    in_namespace(async || {
        let (world, _envoy, cart, pod) = warm().await;
        let before = world.upstream(&cart);
        world.controller.xds.apply([cart.row(hold_for("drain-1")), cart.endpoints(&[cart.activator])]);
        world.until_verdict_is_new(&cart, &before).await;
        let acked = world.controller.xds.until_acked(crate::world::NODE, EDS, cart.name);
        assert!(done("Envoy's ACK", acked).await.is_applied());
        let answer = tokio::spawn(get(cart.listener, "/"));
        world.controller.until_demanded(&[cart.name]).await;
        offer(&world, &cart, "drain-2").await;
        world.flushes(10).await;
        assert_eq!(world.controller.quiet(), []);
        // The drain is cancelled (rule D11): the request is served by the pod that is still there.
        world.controller.say(ToNode::WithdrawProof(WithdrawProof { drain_id: "drain-2".into() })).await;
        world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
        assert!(answered(answer).await.ends_with("pod"));
        world.flushes(5).await;
        assert_eq!(world.controller.quiet(), []);
    });
}
