//! The port of a real replica, over real sockets: who is let in as whom, and what those are told who are not.

mod client;
mod world;

use tonic::Code;
use zenvoy_controller::translate::type_url;
use zenvoy_e2e::pki::{Authority, Validity};
use zenvoy_e2e::until;

use crate::client::Client;
use crate::world::World;

#[tokio::test]
async fn a_node_may_open_a_session_and_subscribe_as_itself() {
    let world = World::start().await;
    let client = Client::connect(&world, Some(&world.authority.node("node-1")), &world.authority).await;
    let mut session = client.session("node-1").await.expect("a session");
    session.until_welcome().await;
    client.subscribe("node-1").await.expect("resources");
}

#[tokio::test]
async fn n2_a_node_that_asks_others_to_register_it_gets_no_second_session_from_the_one_it_has() {
    let world = World::start().await;
    let client = Client::connect(&world, Some(&world.authority.node("node-1")), &world.authority).await;
    let mut standing = client.session("node-1").await.expect("a session");
    let controller = standing.until_welcome().await;
    let refused = client.session_beside("node-1", &controller).await.expect_err("the same controller");
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    client.subscribe("node-1").await.expect("the session stands");
    client.session_beside("node-1", "another").await.expect("a session").until_welcome().await;
}

#[tokio::test]
async fn a_class_certificate_is_for_each_node_of_the_class() {
    let world = World::start().await;
    let class = world.authority.issue("nodes/gateway", Validity::Now);
    let client = Client::connect(&world, Some(&class), &world.authority).await;
    client.session("gateway-7c9d-x2x4z").await.expect("a session").until_welcome().await;
    assert_eq!(client.session("node-1").await.expect_err("not of the class").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_nodes_certificate_opens_no_other_node() {
    let world = World::start().await;
    let client = Client::connect(&world, Some(&world.authority.node("node-1")), &world.authority).await;
    client.session("node-1").await.expect("a session").until_welcome().await;
    // The other node has its session, so that nothing but the certificate is in the way.
    let other = Client::connect(&world, Some(&world.authority.node("node-2")), &world.authority).await;
    let mut standing = other.session("node-2").await.expect("a session");
    standing.until_welcome().await;
    for refused in [
        client.session("node-2").await.map(drop).expect_err("a session as another"),
        client.subscribe("node-2").await.expect_err("resources as another"),
    ] {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        for word in ["spiffe://test.zenvoy/zenvoy/node/node-1", "may not speak for node node-2"] {
            assert!(refused.message().contains(word), "{refused}, but not {word}");
        }
    }
    other.subscribe("node-2").await.expect("the other was not disturbed");
    assert_eq!(world.port().await["identities_refused"], 2);
}

#[tokio::test]
async fn a_controllers_certificate_is_no_nodes() {
    let world = World::start().await;
    let client = Client::connect(&world, Some(&world.authority.controller()), &world.authority).await;
    let refused = client.session("node-1").await.map(drop).expect_err("a session");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("spiffe://test.zenvoy/zenvoy/controller"), "{refused}");
    let refused = client.subscribe("controller").await.expect_err("resources");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
}

#[tokio::test]
async fn a_handshake_takes_a_valid_certificate_of_a_known_authority() {
    let world = World::start().await;
    let stranger = Authority::new();
    let expired = world.authority.issue("node/node-1", Validity::Over);
    let refused = [
        (None, "CertificateRequired"),
        (Some(stranger.node("node-1")), "UnknownCA"),
        (Some(world.authority.namesake().node("node-1")), "DecryptError"),
        (Some(expired), "CertificateExpired"),
    ];
    for (failed, (own, alert)) in (1..).zip(refused) {
        let client = Client::connect(&world, own.as_ref(), &world.authority).await;
        client.session("node-1").await.map(drop).expect_err("no session");
        assert_eq!(client.alert().as_deref(), Some(alert));
        until::so("it is counted", async || world.port().await["handshakes_failed"] == failed).await;
    }
    assert_eq!(world.port().await["handshakes"], 0);
}

#[tokio::test]
async fn plaintext_is_refused_where_tls_is_served() {
    let world = World::start().await;
    let client = Client::plain(&world).await;
    client.session("node-1").await.map(drop).expect_err("no session");
    until::so("it is counted", async || world.port().await["handshakes_failed"] == 1).await;
}

#[tokio::test]
async fn new_certificates_serve_new_handshakes_and_sessions_that_stand_go_on() {
    let world = World::start().await;
    let own = world.authority.node("node-1");
    let before = Client::connect(&world, Some(&own), &world.authority).await;
    let mut standing = before.session("node-1").await.expect("a session");
    standing.until_welcome().await;

    // The controller gets a certificate of another authority, and trusts both meanwhile.
    let next = Authority::new();
    world.mount(&next.controller().trusting(&[&world.authority, &next]));
    until::so("it is taken in", async || world.port().await["tls"]["reloads"] == 1).await;
    let after = Client::connect(&world, Some(&next.node("node-2")), &next).await;
    assert_ne!(before.serial(), after.serial());
    assert_eq!(world.port().await["tls"]["serial"], after.serial());
    after.session("node-2").await.expect("a session").until_welcome().await;
    before.subscribe("node-1").await.expect("the connection that stands serves new streams too");

    // The old authority is no longer trusted: that is asked at handshakes.
    world.mount(&next.controller());
    until::so("it is taken in", async || world.port().await["tls"]["reloads"] == 2).await;
    let late = Client::connect(&world, Some(&own), &next).await;
    late.session("node-1").await.map(drop).expect_err("its authority is not known any more");
    assert_eq!(late.alert().as_deref(), Some("UnknownCA"));
    // A session that stands is not asked again: both ways are open.
    standing.demand(world::MOST_DEMANDED + 1).await;
    standing.until_refused().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_and_the_old_ones_serve_on() {
    let world = World::start().await;
    let good = world.authority.controller();
    let torn = zenvoy_e2e::pki::Issued { key: world.authority.controller().key, ..good.clone() };
    world.mount(&torn);
    until::so("it is refused", async || world.port().await["tls"]["refusals"] == 1).await;
    let why = world.port().await["tls"]["refused"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("tls.key: the key is not that of the certificate"), "{why}");
    let metrics = world.metrics().await;
    for line in ["zenvoy_controller_tls_files_refused 1", "zenvoy_controller_tls_reload_failures_total 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let client = Client::connect(&world, Some(&world.authority.node("node-1")), &world.authority).await;
    client.session("node-1").await.expect("a session").until_welcome().await;

    world.mount(&good);
    until::so("it is taken in", async || {
        let tls = world.port().await["tls"].clone();
        tls["reloads"] == 1 && tls["refused"].is_null()
    })
    .await;
}

#[tokio::test]
async fn demand_beyond_a_nodes_quota_is_refused_with_the_reason() {
    let world = World::start().await;
    let client = Client::connect(&world, Some(&world.authority.node("node-1")), &world.authority).await;
    let mut session = client.session("node-1").await.expect("a session");
    session.until_welcome().await;
    session.demand(world::MOST_DEMANDED + 1).await;
    let refused = session.until_refused().await;
    assert_eq!(refused.len(), 1, "the rest counts: {refused:?}");
    assert_eq!(refused[0].reason, "NodeDemandQuota");
    assert!(refused[0].message.contains("--node-max-demand"), "{refused:?}");
    let metrics = world.metrics().await;
    let line = "zenvoy_controller_demands_refused_total{reason=\"NodeDemandQuota\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

/// Whether a line of the metrics is this.
async fn counted(world: &World, line: &str) {
    until::so(line, async || world.metrics().await.lines().any(|found| found == line)).await;
}

#[tokio::test]
async fn what_nodes_apply_and_refuse_is_counted_by_type() {
    let world = World::start().await;
    let client = Client::connect(&world, Some(&world.authority.node("node-1")), &world.authority).await;
    let mut session = client.session("node-1").await.expect("a session");
    session.until_welcome().await;
    counted(&world, "zenvoy_controller_xds_streams{type=\"envoy.config.cluster.v3.Cluster\"} 0").await;

    let mut clusters = client.stream("node-1", type_url::CLUSTER).await.expect("a stream");
    let response = clusters.next().await.expect("clusters");
    counted(&world, "zenvoy_controller_xds_streams{type=\"envoy.config.cluster.v3.Cluster\"} 1").await;
    clusters.answer(&response, Some("no such cluster")).await;
    counted(&world, "zenvoy_controller_xds_nacks_total{type=\"envoy.config.cluster.v3.Cluster\"} 1").await;

    let mut listeners = client.stream("node-1", type_url::LISTENER).await.expect("a stream");
    let response = listeners.next().await.expect("listeners");
    listeners.answer(&response, None).await;
    let listener = "type=\"envoy.config.listener.v3.Listener\"";
    counted(&world, &format!("zenvoy_controller_xds_ack_seconds_count{{{listener}}} 1")).await;
    counted(&world, &format!("zenvoy_controller_xds_ack_seconds_bucket{{le=\"+Inf\",{listener}}} 1")).await;
    let metrics = world.metrics().await;
    assert!(
        !metrics.contains("xds_ack_seconds_count{type=\"envoy.config.cluster"),
        "it was refused: {metrics}"
    );

    // A type that a client makes up is no label of its own.
    let mut made_up = client.stream("node-1", "type.example/made.up").await.expect("a stream");
    let response = made_up.next().await.expect("nothing of it");
    made_up.answer(&response, None).await;
    counted(&world, "zenvoy_controller_xds_ack_seconds_count{type=\"other\"} 1").await;
    assert!(!world.metrics().await.contains("made.up"));

    drop((clusters, listeners, made_up));
    counted(&world, "zenvoy_controller_xds_streams{type=\"envoy.config.cluster.v3.Cluster\"} 0").await;
}
