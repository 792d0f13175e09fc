//! Which endpoints a cluster is fed by, as its message says. Of the rest of the message nothing is looked at.

use std::sync::Arc;

use prost::Message;

/// The field that matters of `envoy.config.cluster.v3.Cluster`.
#[derive(Clone, PartialEq, Message)]
struct Cluster {
    #[prost(message, optional, tag = "3")]
    eds_cluster_config: Option<EdsClusterConfig>,
}

/// The same of `envoy.config.cluster.v3.Cluster.EdsClusterConfig`.
#[derive(Clone, PartialEq, Message)]
struct EdsClusterConfig {
    #[prost(string, tag = "2")]
    service_name: String,
}

/// The name of a cluster's endpoints, if that is another one than its own.
pub(super) fn endpoints_of(name: &str, cluster: &[u8]) -> Option<Arc<str>> {
    let service = Cluster::decode(cluster).ok()?.eds_cluster_config?.service_name;
    (!service.is_empty() && service != name).then(|| service.into())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::cluster;
    use envoy_types::pb::envoy::config::cluster::v3::{self as v3, CircuitBreakers};
    use envoy_types::pb::envoy::config::core::v3::ConfigSource;
    use envoy_types::pb::google::protobuf::Duration;

    use super::*;

    fn cluster(service_name: Option<&str>) -> Vec<u8> {
        let eds = service_name.map(|service_name| cluster::EdsClusterConfig {
            eds_config: Some(ConfigSource::default()),
            service_name: service_name.into(),
        });
        let message = v3::Cluster {
            name: "a".into(),
            connect_timeout: Some(Duration { seconds: 1, nanos: 0 }),
            circuit_breakers: Some(CircuitBreakers::default()),
            eds_cluster_config: eds,
            ..v3::Cluster::default()
        };
        message.encode_to_vec()
    }

    #[test]
    fn a_clusters_endpoints_are_named_by_its_service_name_else_by_its_own() {
        assert_eq!(endpoints_of("a", &cluster(Some("service"))).as_deref(), Some("service"));
        assert_eq!(endpoints_of("a", &cluster(Some("a"))), None);
        assert_eq!(endpoints_of("a", &cluster(Some(""))), None);
        assert_eq!(endpoints_of("a", &cluster(None)), None);
        assert_eq!(endpoints_of("a", b"no message"), None);
    }
}
