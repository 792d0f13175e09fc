//! Resources for an Envoy: a listener whose route leads to a cluster whose endpoints are elsewhere.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::Message;
use zenvoy_xds::core::Change;

use crate::mode::Mode;

pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub(crate) const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub(crate) const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

pub(crate) fn change(type_url: &str, name: &str, message: &impl Message) -> Change {
    Change::set(type_url, name, message.encode_to_vec())
}

pub(crate) fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn address(at: SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(at.port().into())),
            ..Default::default()
        })),
    }
}

/// A cluster whose endpoints come by EDS; `timeout_s` is what a change changes.
pub(crate) fn cluster(mode: Mode, name: &str, timeout_s: i64) -> Change {
    cluster_of(mode, name, "", timeout_s)
}

/// A cluster whose endpoints come under the name of `service`, or of its own when that is empty.
pub(crate) fn cluster_of(mode: Mode, name: &str, service: &str, timeout_s: i64) -> Change {
    let config = EdsClusterConfig { eds_config: Some(mode.source()), service_name: service.into() };
    let message = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(config),
        connect_timeout: Some(Duration { seconds: timeout_s, nanos: 0 }),
        ..Default::default()
    };
    change(CDS, name, &message)
}

/// A cluster that no Envoy takes: its load balancer needs another kind of cluster.
pub(crate) fn bad_cluster(name: &str) -> Change {
    let message = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        ..Default::default()
    };
    change(CDS, name, &message)
}

pub(crate) fn endpoints(cluster: &str, at: SocketAddr) -> Change {
    let endpoint = Endpoint { address: Some(address(at)), ..Default::default() };
    let endpoint =
        LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    let locality = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() };
    let message = ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![locality],
        ..Default::default()
    };
    change(EDS, cluster, &message)
}

/// All requests go to `cluster`.
pub(crate) fn routes(cluster: &str) -> Change {
    route_configuration(vec![route(cluster)])
}

/// Of all requests.
pub(crate) fn route(cluster: &str) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}

/// The routes of all listeners; the first that matches counts.
pub(crate) fn route_configuration(routes: Vec<Route>) -> Change {
    let host = VirtualHost { name: "all".into(), domains: vec!["*".into()], routes, ..Default::default() };
    let message =
        RouteConfiguration { name: "routes".into(), virtual_hosts: vec![host], ..Default::default() };
    change(RDS, "routes", &message)
}

pub(crate) fn listener(mode: Mode, at: SocketAddr) -> Change {
    listener_with(mode, "listener", at, |_| {})
}

/// A listener that differs from the usual one.
pub(crate) fn listener_with(
    mode: Mode,
    name: &str,
    at: SocketAddr,
    differ: impl FnOnce(&mut Listener),
) -> Change {
    let manager = HttpConnectionManager {
        stat_prefix: "http".into(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(mode.source()),
            route_config_name: "routes".into(),
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(HttpConfigType::TypedConfig(any(
                "envoy.extensions.filters.http.router.v3.Router",
                &Router::default(),
            ))),
            ..Default::default()
        }],
        ..Default::default()
    };
    let filter = Filter {
        name: "http".into(),
        config_type: Some(ConfigType::TypedConfig(any(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            &manager,
        ))),
    };
    let mut message = Listener {
        name: name.into(),
        address: Some(address(at)),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    };
    differ(&mut message);
    change(LDS, name, &message)
}
