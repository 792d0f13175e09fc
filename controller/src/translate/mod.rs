//! View -> what Envoy and the proxies are given. In: upstreams, routes, addresses; out: xDS resources. Pure.

mod cluster;
mod domains;
mod endpoints;
mod held;
mod listener;
mod part;
mod routes;
mod settle;

pub use cluster::cluster;
pub use domains::{Claim, Claims, LostHost, Names, claims};
pub use endpoints::assignment;
pub use held::held;
pub use listener::{ListenerOptions, LocalReplies, http_listener, tcp_listener, tls_listener};
pub use part::Part;
pub use routes::{ROUTE_CONFIGURATION, route_configuration};
pub use settle::{Settled, settle};

use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, address, socket_address,
};
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration, UInt32Value};
use prost::Message;

/// Type URLs of the resources that zenvoy serves to Envoy.
pub mod type_url {
    /// Clusters (CDS).
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Endpoints (EDS).
    pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Listeners (LDS).
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Routes (RDS).
    pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
}

fn any<M: Message>(type_url: &str, message: &M) -> Any {
    Any { type_url: type_url.into(), value: message.encode_to_vec() }
}

fn seconds(duration: std::time::Duration) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[allow(clippy::unnecessary_wraps)] // fields of messages are options
fn count(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// Everything is found on the one aggregated stream that the bootstrap names.
fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

fn address(ip: std::net::IpAddr, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: ip.to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}
