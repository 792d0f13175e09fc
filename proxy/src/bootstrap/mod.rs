//! The bootstrap of a node's Envoy. In: names and addresses; out: its configuration. Pure.
//!
//! Everything is found on the proxy beside it: one cluster, for incremental ADS and for the sink of statistics. All
//! listeners and clusters come by ADS.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use zenvoy_shared::id::NodeId;

use crate::activity::counters::NEEDED;
use crate::local::LocalAddress;

/// The cluster of the proxy.
const PROXY: &str = "zenvoy-proxy";

/// The largest response of ADS that Envoy takes, in bytes: a first answer holds everything.
const LARGEST: u32 = 256 << 20;

/// Statistics that tell of Envoy as a whole, whatever the number of clusters.
const OF_ENVOY: [&str; 6] = [
    "cluster_manager.",
    "listener_manager.",
    "control_plane.",
    "server.",
    "http.zenvoy_http.",
    "tcp.zenvoy_tcp.",
];

/// Which statistics Envoy keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Statistics {
    /// Those that zenvoy needs (five for each cluster), and those of Envoy as a whole.
    #[default]
    Needed,
    /// All of them. Each used cluster then costs about 4 KB in every flush.
    All,
}

/// What differs between nodes and installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapOptions {
    /// The node's name: the same as its proxy's.
    pub node: NodeId,
    /// Envoy's `node.cluster`, for people.
    pub cluster: String,
    /// Where the proxy is.
    pub proxy: LocalAddress,
    /// Envoy's admin interface, if it shall have one.
    pub admin: Option<SocketAddr>,
    /// How often Envoy flushes its statistics: the grain of idleness and of quiet proofs. The proxy must know it too.
    pub stats_flush_interval: Duration,
    /// Which statistics Envoy keeps.
    pub statistics: Statistics,
}

impl BootstrapOptions {
    /// The usual ones.
    pub fn new(node: NodeId, proxy: LocalAddress) -> Self {
        Self {
            node,
            cluster: "zenvoy".into(),
            proxy,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 9901))),
            stats_flush_interval: Duration::from_secs(1),
            statistics: Statistics::Needed,
        }
    }
}

/// The configuration, as YAML.
pub fn yaml(options: &BootstrapOptions) -> String {
    // A tree of strings and numbers has a form in YAML; JSON is YAML as well.
    serde_saphyr::to_string(&value(options)).unwrap_or_else(|_| value(options).to_string())
}

/// The configuration, as a value.
pub fn value(options: &BootstrapOptions) -> Value {
    let by_ads = json!({ "ads": {}, "resource_api_version": "V3" });
    let mut bootstrap = json!({
        "node": { "id": options.node.0, "cluster": options.cluster },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": {
                    "cluster_name": PROXY,
                    "max_receive_message_length": LARGEST,
                    "retry_policy": { "retry_back_off": { "base_interval": "0.1s", "max_interval": "1s" } },
                } }],
            },
            "cds_config": by_ads,
            "lds_config": by_ads,
        },
        "static_resources": { "clusters": [proxy_cluster(&options.proxy)] },
        "stats_flush_interval": seconds(options.stats_flush_interval),
        "stats_sinks": [{
            "name": "envoy.stat_sinks.metrics_service",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig",
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": PROXY } },
            },
        }],
    });
    if let Some(admin) = options.admin {
        bootstrap["admin"] = json!({ "address": socket(admin) });
    }
    if options.statistics == Statistics::Needed {
        let of_clusters = NEEDED.iter().map(|name| json!({ "suffix": format!(".{name}") }));
        let of_envoy = OF_ENVOY.iter().map(|prefix| json!({ "prefix": prefix }));
        let patterns: Vec<Value> = of_clusters.chain(of_envoy).collect();
        bootstrap["stats_config"] =
            json!({ "stats_matcher": { "inclusion_list": { "patterns": patterns } } });
    }
    bootstrap
}

fn proxy_cluster(proxy: &LocalAddress) -> Value {
    let address = match proxy {
        LocalAddress::Tcp(address) => socket(*address),
        LocalAddress::Unix(path) => json!({ "pipe": { "path": path } }),
    };
    json!({
        "name": PROXY,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": PROXY,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// A duration as protobuf's JSON writes it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_of_a_node() {
        let proxy = "127.0.0.1:18001".parse().unwrap();
        insta::assert_snapshot!(yaml(&BootstrapOptions::new(NodeId("node-1".into()), proxy)));
    }

    #[test]
    fn a_unix_socket_all_statistics_and_no_admin_interface() {
        let proxy = "unix:/run/zenvoy/proxy.sock".parse().unwrap();
        let options = BootstrapOptions {
            admin: None,
            stats_flush_interval: Duration::from_millis(250),
            statistics: Statistics::All,
            ..BootstrapOptions::new(NodeId("node-1".into()), proxy)
        };
        let value = value(&options);
        let endpoint =
            "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
        assert_eq!(value.pointer(endpoint), Some(&json!({ "pipe": { "path": "/run/zenvoy/proxy.sock" } })));
        assert_eq!(value["stats_flush_interval"], "0.25s");
        assert!(value.get("stats_config").is_none() && value.get("admin").is_none());
    }

    #[test]
    fn a_name_with_special_characters_stays_one_string() {
        let proxy = "127.0.0.1:18001".parse().unwrap();
        let name = "node: \"1\"\nadmin: {}";
        let text = yaml(&BootstrapOptions::new(NodeId(name.into()), proxy));
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back["node"]["id"], name);
    }
}
