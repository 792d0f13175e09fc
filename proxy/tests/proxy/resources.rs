//! What the controller serves: an upstream's row of the table, and its part of Envoy's configuration.

use std::net::SocketAddr;
use std::time::Duration;

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
    HttpConnectionManager, HttpFilter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier as TcpCluster;
use envoy_types::pb::google::protobuf::{Any, Duration as WireDuration};
use prost::{Message, Name};
use zenvoy_shared::proto::held_upstream::Verdict;
use zenvoy_shared::proto::{Fail, Forward, HELD_UPSTREAM, HeldUpstream, Hold, Limits, Protocol};
use zenvoy_xds::core::Change;

/// One upstream of a test.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) activator: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) wake_timeout: Duration,
    pub(crate) max_held: u32,
    /// Where Envoy listens for it.
    pub(crate) listener: SocketAddr,
}

pub(crate) fn hold() -> Verdict {
    Verdict::Hold(Hold::default())
}

pub(crate) fn hold_for(drain: &str) -> Verdict {
    Verdict::Hold(Hold { drain_id: drain.into(), lacks: String::new() })
}

pub(crate) fn forward(pods: &[SocketAddr]) -> Verdict {
    Verdict::Forward(Forward { endpoints: pods.iter().map(ToString::to_string).collect() })
}

pub(crate) fn fail() -> Verdict {
    Verdict::Fail(Fail {
        reason: "ImagePull".into(),
        message: "the image cannot be pulled".into(),
        retry_after_ms: 30_000,
    })
}

impl Upstream {
    pub(crate) fn http() -> Self {
        Self {
            name: "shop/cart:80",
            activator: SocketAddr::from(([127, 0, 0, 1], 20_000)),
            protocol: Protocol::Http,
            wake_timeout: Duration::from_secs(60),
            max_held: 100,
            listener: SocketAddr::from(([127, 0, 0, 1], 10_000)),
        }
    }

    pub(crate) fn tcp() -> Self {
        Self {
            name: "shop/db:5432",
            activator: SocketAddr::from(([127, 0, 0, 1], 20_001)),
            protocol: Protocol::Tcp,
            listener: SocketAddr::from(([127, 0, 0, 1], 10_001)),
            ..Self::http()
        }
    }

    /// Its row of the table.
    pub(crate) fn row(&self, verdict: Verdict) -> Change {
        let row = HeldUpstream {
            upstream: self.name.into(),
            activator_address: self.activator.to_string(),
            protocol: self.protocol.into(),
            verdict: Some(verdict),
            limits: Some(Limits {
                wake_timeout_ms: u64::try_from(self.wake_timeout.as_millis()).expect("short"),
                max_held: self.max_held,
            }),
            ..Default::default()
        };
        Change::set(HELD_UPSTREAM, self.name, row.encode_to_vec())
    }

    /// Where its cluster goes.
    pub(crate) fn endpoints(&self, to: &[SocketAddr]) -> Change {
        let endpoint = |to: &SocketAddr| LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(address(*to)),
                ..Default::default()
            })),
            ..Default::default()
        };
        let assignment = ClusterLoadAssignment {
            cluster_name: self.name.into(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: to.iter().map(endpoint).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        set(self.name, &assignment)
    }

    /// What does not change with its endpoints: its cluster, and a listener whose traffic all goes to it.
    pub(crate) fn structure(&self) -> [Change; 2] {
        let ads = ConfigSource {
            resource_api_version: ApiVersion::V3 as i32,
            config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
            ..Default::default()
        };
        let cluster = Cluster {
            name: self.name.into(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
            eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads), ..Default::default() }),
            connect_timeout: Some(WireDuration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        let filter = match self.protocol {
            Protocol::Tcp => any(&TcpProxy {
                stat_prefix: "zenvoy_tcp".into(),
                cluster_specifier: Some(TcpCluster::Cluster(self.name.into())),
                ..Default::default()
            }),
            _ => any(&self.manager()),
        };
        let listener = Listener {
            name: format!("to {}", self.name),
            address: Some(address(self.listener)),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    name: "all".into(),
                    config_type: Some(ConfigType::TypedConfig(filter)),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        [set(self.name, &cluster), set(&listener.name, &listener)]
    }

    fn manager(&self) -> HttpConnectionManager {
        let action = RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(self.name.into())),
            timeout: Some(WireDuration::default()),
            ..Default::default()
        };
        let prefix = Some(PathSpecifier::Prefix("/".into()));
        let route = Route {
            r#match: Some(RouteMatch { path_specifier: prefix, ..Default::default() }),
            action: Some(Action::Route(action)),
            ..Default::default()
        };
        let host = VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        };
        HttpConnectionManager {
            stat_prefix: "zenvoy_http".into(),
            route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
                name: self.name.into(),
                virtual_hosts: vec![host],
                ..Default::default()
            })),
            http_filters: vec![HttpFilter {
                name: "envoy.filters.http.router".into(),
                config_type: Some(HttpConfigType::TypedConfig(any(&Router::default()))),
                ..Default::default()
            }],
            ..Default::default()
        }
    }
}

fn set<M: Message + Name>(name: &str, message: &M) -> Change {
    Change::set(M::type_url().as_str(), name, message.encode_to_vec())
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
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
