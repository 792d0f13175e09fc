//! A real Envoy takes a runtime layer (RTDS), and routes by what is in it.

use std::collections::HashMap;
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::Route;
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use zenvoy_xds::core::Change;

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Replica, backend};
use crate::process::{Envoy, get};
use crate::resources::{change, cluster, endpoints, listener, route, route_configuration};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);
const RTDS: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
const KEY: &str = "routing.two";

/// So many percent of the requests are to go to cluster "two".
fn layer(percent: f64) -> Change {
    let fields = HashMap::from([(KEY.to_owned(), Value { kind: Some(Kind::NumberValue(percent)) })]);
    let message = Runtime { name: "layer".into(), layer: Some(Struct { fields }) };
    change(RTDS, "layer", &message)
}

/// Requests go to cluster "two" as the runtime has it.
fn two() -> Route {
    let mut route = route("two");
    let fraction = RuntimeFractionalPercent {
        default_value: Some(FractionalPercent::default()),
        runtime_key: KEY.into(),
    };
    route.r#match.as_mut().expect("made so").runtime_fraction = Some(fraction);
    route
}

async fn answers(word: &str) {
    until::some(word, async || get(HTTP, "/").await.filter(|answer| answer.ends_with(word))).await;
}

async fn follows(mode: Mode) {
    let replica = Replica::start().await;
    let server = &replica.server;
    for name in ["one", "two"] {
        server.apply([cluster(mode, name, 1), endpoints(name, backend(name).await)]);
    }
    server.apply([route_configuration(vec![two(), route("one")]), listener(mode, HTTP), layer(0.0)]);
    let runtime = format!(
        "layered_runtime: {{ layers: [{{ name: served, rtds_layer: {{ name: layer, rtds_config: {} }} }}] }}\n",
        mode.source_text()
    );
    let _envoy = Envoy::start_with(mode, "node", &[replica.address], &runtime);
    answers("one").await;
    for (percent, word) in [(100.0, "two"), (0.0, "one")] {
        server.apply([layer(percent)]);
        until::applied(server.until_acked("node", RTDS, "layer")).await;
        answers(word).await;
    }
}

#[test]
fn an_envoy_on_one_delta_stream_follows_its_runtime_layer() {
    in_namespace(|| follows(MODES[0]));
}

#[test]
fn an_envoy_on_one_state_of_the_world_stream_follows_its_runtime_layer() {
    in_namespace(|| follows(MODES[1]));
}

#[test]
fn an_envoy_on_separate_delta_streams_follows_its_runtime_layer() {
    in_namespace(|| follows(MODES[2]));
}

#[test]
fn an_envoy_on_separate_state_of_the_world_streams_follows_its_runtime_layer() {
    in_namespace(|| follows(MODES[3]));
}
