//! The session: what is stated anew after a break, one fate of all streams, epochs.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use tokio_stream::wrappers::ReceiverStream;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until::some;
use zenvoy_proxy::{Goodbye, ProxyOptions};
use zenvoy_shared::proto::upstream_activity::State;
use zenvoy_shared::proto::{Activity, Demand};

use crate::backend::HttpPod;
use crate::controller::Controller;
use crate::envoy;
use crate::resources::{Upstream, forward};
use crate::world::{CONTROLLER, NODE, World, answered, begin, get, options, serve_cold, until};

/// The ids of the streams that Envoy and the proxy have open at a controller.
fn streams(controller: &Controller) -> Vec<u64> {
    let mut streams: Vec<u64> = controller.xds.streams().iter().map(|stream| stream.stream).collect();
    streams.sort_unstable();
    streams
}

#[test]
fn held_connections_wait_on_when_the_controller_dies_and_the_next_is_told_everything() {
    in_namespace(async || {
        let (cart, db) = (Upstream::http(), Upstream::tcp());
        let mut world = World::start(&[&cart, &db]).await;
        let _envoy = world.envoy(&[&cart]).await;
        let answer = tokio::spawn(get(cart.listener, "/"));
        let first = world.controller.until_demanded(&[cart.name]).await;
        world.controller.until_idle(db.name).await;
        let epoch = world.controller.hello(1).await.epoch;

        let next = Controller::start("127.0.0.1:0".parse().expect("an address"));
        std::mem::replace(&mut world.controller, next).kill();
        until("the break", || {
            let open = serde_json::to_value(world.handle.status().session).expect("JSON");
            (open["state"] == "opening").then_some(())
        })
        .await;
        assert_eq!(world.upstream(&cart).connections.held_now, 1);
        world.controller = Controller::start(CONTROLLER);
        serve_cold(&world.controller, &[&cart, &db]);

        let hello = world.controller.hello(1).await;
        assert_eq!(hello.demand, Some(first), "the same wake: the same trace");
        assert_eq!(hello.epoch, epoch);
        let activity = hello.activity.expect("activity").upstreams;
        let idle = activity.iter().find(|one| one.upstream == db.name).and_then(|one| one.state);
        assert!(matches!(idle, Some(State::IdleForMs(_))), "rule V1: {idle:?}");
        let pod = HttpPod::start("10.42.0.1:80").await;
        world.controller.xds.apply([cart.row(forward(&[pod.address])), cart.endpoints(&[pod.address])]);
        assert!(answered(answer).await.ends_with("pod"));
    });
}

#[test]
fn when_the_session_ends_all_streams_are_opened_anew() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let _envoy = world.envoy(&[&cart]).await;
        let before = streams(&world.controller);
        assert_eq!(before.len(), 2, "the proxy's and Envoy's");
        world.controller.end_session();
        world.controller.hello(2).await;
        until("two new streams", || {
            let now = streams(&world.controller);
            (now.len() == 2 && now.iter().all(|stream| !before.contains(stream))).then_some(())
        })
        .await;
        let (first, second) = (world.controller.hello(1).await, world.controller.hello(2).await);
        assert_eq!(first.epoch, second.epoch, "the same Envoy on the same connection");
    });
}

#[test]
fn another_envoy_begins_a_new_epoch_and_a_session_that_says_so() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let envoy = world.envoy(&[&cart]).await;
        let epoch = world.controller.hello(1).await.epoch;
        envoy.kill().await;
        let _envoy = envoy::start(NODE, &world.local);
        let hello = world.controller.hello(2).await;
        assert_ne!(hello.epoch, epoch);
        world.flushes(2).await;
        world.controller.until_idle(cart.name).await;
        assert_eq!(world.controller.hellos(), 2);
    });
}

#[test]
fn an_envoy_of_another_name_is_refused_and_told_why() {
    in_namespace(async || {
        let world = World::start(&[&Upstream::http()]).await;
        let envoy = envoy::start("node-2", &world.local);
        until("a refusal in Envoy's log", || {
            envoy.log().contains("zenvoy%20bootstrap%20--node%20node-1").then_some(())
        })
        .await;
        assert_eq!((world.handle.status().envoys, streams(&world.controller).len()), (0, 1));
    });
}

#[test]
fn envoy_reaches_the_proxy_by_a_unix_socket_too() {
    in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let local = format!("unix:{}/proxy.sock", folder.path().display()).parse().expect("an address");
        let cart = Upstream::http();
        let world = World::with(ProxyOptions { local, ..options() }, &[&cart]).await;
        let _envoy = world.envoy(&[&cart]).await;
        world.controller.until_idle(cart.name).await;
    });
}

#[test]
fn goodbye_is_said_when_envoy_is_gone_and_not_while_it_lives() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let envoy = world.envoy(&[&cart]).await;
        let controller = world.ended().await;
        assert!(!controller.said_goodbye(), "the node counts on: its Envoy may send traffic to pods");
        envoy.kill().await;
        drop(controller);

        let goodbye = Goodbye::WhenEnvoyGone { within: Duration::from_secs(30) };
        let world = World::with(ProxyOptions { goodbye, ..options() }, &[&cart]).await;
        let envoy = world.envoy(&[&cart]).await;
        world.stop();
        envoy.kill().await;
        assert!(world.ended().await.said_goodbye());
    });
}

#[test]
fn goodbye_is_said_without_an_envoy_only_when_asked_for() {
    in_namespace(async || {
        let cart = Upstream::http();
        assert!(!World::start(&[&cart]).await.ended().await.said_goodbye());
        let options = ProxyOptions { goodbye: Goodbye::Always, ..options() };
        assert!(World::with(options, &[&cart]).await.ended().await.said_goodbye());
    });
}

#[test]
fn a_controller_that_is_dead_is_passed_over() {
    in_namespace(async || {
        let dead = "http://127.0.0.1:18009".parse().expect("an address");
        let living = format!("http://{CONTROLLER}").parse().expect("an address");
        let cart = Upstream::http();
        World::with(ProxyOptions { controllers: vec![dead, living], ..options() }, &[&cart]).await;
    });
}

/// Two Envoys at once, as in a hot restart; the second is played by a client that speaks as one does.
#[test]
fn while_two_envoys_live_activity_is_unknown_and_the_epoch_is_new() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let _envoy = world.envoy(&[&cart]).await;
        world.controller.until_idle(cart.name).await;
        let (second, messages) = tokio::sync::mpsc::channel(1);
        let node = Some(Node { id: NODE.into(), ..Default::default() });
        let first = StreamMetricsMessage { identifier: Some(Identifier { node }), envoy_metrics: vec![] };
        second.send(first).await.expect("room");
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", world.local)).expect("it");
        let mut client = MetricsServiceClient::new(channel.connect().await.expect("a connection"));
        let speaking =
            tokio::spawn(async move { client.stream_metrics(ReceiverStream::new(messages)).await.is_ok() });
        let (before, after) = (world.controller.hello(1).await, world.controller.hello(2).await);
        assert_ne!(before.epoch, after.epoch);
        assert_eq!(after.activity, Some(Activity::default()), "unknown is not mentioned in the whole");
        assert_eq!(world.handle.status().envoys, 2);
        drop(second);
        assert!(speaking.await.expect("no panic"));
        world.controller.until_idle(cart.name).await;
        assert_eq!((world.handle.status().envoys, world.controller.hellos()), (1, 2));
    });
}

#[test]
fn demand_reaches_a_controller_that_has_not_welcomed_the_node() {
    in_namespace(async || {
        let cart = Upstream::http();
        let mut world = World::start(&[&cart]).await;
        let next = Controller::start("127.0.0.1:0".parse().expect("an address"));
        std::mem::replace(&mut world.controller, next).kill();
        world.controller = Controller::silent(CONTROLLER);
        assert_eq!(world.controller.hello(1).await.demand, Some(Demand::default()));
        let _held = begin(cart.activator, "/").await;
        world.controller.until_demanded(&[cart.name]).await;
        assert_eq!((world.controller.hellos(), streams(&world.controller).len()), (1, 0));
    });
}

const OTHER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 18_009);

fn of_both() -> ProxyOptions {
    let at = |address| format!("http://{address}").parse().expect("an address");
    ProxyOptions { controllers: vec![at(CONTROLLER), at(OTHER)], ..options() }
}

fn open_with(world: &World) -> Option<String> {
    let session = serde_json::to_value(world.handle.status().session).expect("JSON");
    session["controller"].as_str().map(str::to_owned)
}

#[test]
fn n2_a_controller_that_cannot_register_the_node_serves_nothing_before_all_others_were_asked() {
    in_namespace(async || {
        let cart = Upstream::http();
        let other = Controller::silent(OTHER);
        serve_cold(&other, &[&cart]);
        let world = World::begin(of_both(), Controller::relaying(CONTROLLER, "cut-off"), &[&cart]).await;
        let asked = async || {
            let hello = other.last_hello()?;
            (hello.unregistered_at == "cut-off").then_some(hello)
        };
        let hello = some("a question at the other controller", asked).await;
        assert_eq!(hello.node, NODE);
        assert_eq!((open_with(&world), world.handle.status().upstreams.len()), (None, 0));
        other.registers();
        until("a session there", || (open_with(&world)? == "controller-1").then_some(())).await;
        assert!(streams(&world.controller).is_empty(), "nothing was served by the one that is cut off");
    });
}

#[test]
fn n2_a_node_that_nobody_could_register_moves_to_the_first_that_can() {
    in_namespace(async || {
        let cart = Upstream::http();
        let other = Controller::relaying(OTHER, "other");
        serve_cold(&other, &[&cart]);
        let world = World::begin(of_both(), Controller::relaying(CONTROLLER, "one"), &[&cart]).await;
        let first = until("a session all the same: etcd is away for all", || open_with(&world)).await;
        until("the table", || (world.handle.status().upstreams.len() == 1).then_some(())).await;
        let (used, free) =
            if first == "one" { (&world.controller, &other) } else { (&other, &world.controller) };
        let _held = begin(cart.activator, "/").await;
        used.until_demanded(&[cart.name]).await;
        free.registers();
        until("a session with the one that can", || (open_with(&world)? != first).then_some(())).await;
        free.until_demanded(&[cart.name]).await;
        assert_eq!(world.upstream(&cart).connections.held_now, 1);
    });
}
