//! One EDS cluster per upstream. It never changes with the endpoints: switches are EDS only.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::Http2ProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use zenvoy_shared::id::{Protocol, UpstreamId};

use super::{ads, any, count, seconds};
use crate::model::UpstreamSpec;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Envoy's default of 1,024 would refuse a storm on a cold service before the proxy's own caps speak.
const BREAKER: u32 = 1_000_000;

/// The cluster named like `id`.
pub fn cluster(id: &UpstreamId, spec: &UpstreamSpec) -> Cluster {
    let breaker = count(BREAKER.max(spec.max_held));
    Cluster {
        name: id.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), ..Default::default() }),
        connect_timeout: Some(seconds(Duration::from_secs(1))),
        lb_policy: LbPolicy::RoundRobin as i32,
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: breaker,
                max_pending_requests: breaker,
                max_requests: breaker,
                max_retries: breaker,
                ..Default::default()
            }],
            ..Default::default()
        }),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        typed_extension_protocol_options: http_options(spec.protocol),
        ..Default::default()
    }
}

fn http_options(protocol: Protocol) -> HashMap<String, envoy_types::pb::google::protobuf::Any> {
    if protocol != Protocol::Http2 {
        return HashMap::new();
    }
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())),
        })),
        ..Default::default()
    };
    HashMap::from([(HTTP_OPTIONS.into(), any(&format!("type.googleapis.com/{HTTP_OPTIONS}"), &options))])
}
