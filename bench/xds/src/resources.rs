//! What is served: N clusters with an endpoint each, and one route configuration of N virtual hosts. The Go server makes
//! the same.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::google::protobuf::Duration;
use prost::Message;
use zenvoy_xds::core::Change;

pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub(crate) const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// The name of the cluster with this number.
pub(crate) fn name(number: usize) -> String {
    format!("namespace-{}/service-{number}:8080", number % 100)
}

fn cluster(name: &str) -> Cluster {
    let source = ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    };
    Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(source), ..Default::default() }),
        connect_timeout: Some(Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    }
}

/// The endpoint of a cluster; `port` is what a change changes.
pub(crate) fn endpoints(name: &str, port: u32) -> ClusterLoadAssignment {
    let address = Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: "10.0.0.1".into(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    };
    let endpoint = Endpoint { address: Some(address), ..Default::default() };
    let endpoint =
        LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    }
}

fn host(name: &str) -> VirtualHost {
    let action =
        RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(name.into())), ..Default::default() };
    let prefix = RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".into())), ..Default::default() };
    VirtualHost {
        name: name.into(),
        domains: vec![format!("{name}.example")],
        routes: vec![Route {
            r#match: Some(prefix),
            action: Some(Action::Route(action)),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Everything.
pub(crate) fn all(count: usize) -> Vec<Change> {
    let names: Vec<String> = (0..count).map(name).collect();
    let hosts = names.iter().map(|name| host(name)).collect();
    let routes = RouteConfiguration { name: "routes".into(), virtual_hosts: hosts, ..Default::default() };
    let mut changes = vec![Change::set(RDS, "routes", routes.encode_to_vec())];
    for name in names {
        changes.push(Change::set(CDS, name.as_str(), cluster(&name).encode_to_vec()));
        changes.push(Change::set(EDS, name.as_str(), endpoints(&name, 1).encode_to_vec()));
    }
    changes
}
