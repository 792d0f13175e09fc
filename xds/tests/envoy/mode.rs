//! The four ways in which an Envoy can take its resources.

use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, GrpcService,
};
use zenvoy_xds::server::Variant;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) variant: Variant,
    /// All types on one stream, or a stream for each.
    pub(crate) aggregated: bool,
}

pub(crate) const MODES: [Mode; 4] = [
    Mode { variant: Variant::Delta, aggregated: true },
    Mode { variant: Variant::StateOfTheWorld, aggregated: true },
    Mode { variant: Variant::Delta, aggregated: false },
    Mode { variant: Variant::StateOfTheWorld, aggregated: false },
];

impl Mode {
    fn api_type(self) -> ApiType {
        match self.variant {
            Variant::Delta => ApiType::DeltaGrpc,
            Variant::StateOfTheWorld => ApiType::Grpc,
        }
    }

    /// Where a resource is to be found that another one refers to.
    pub(crate) fn source(self) -> ConfigSource {
        let specifier = if self.aggregated {
            ConfigSourceSpecifier::Ads(AggregatedConfigSource {})
        } else {
            let target = EnvoyGrpc { cluster_name: "xds".into(), ..Default::default() };
            ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
                api_type: self.api_type() as i32,
                transport_api_version: ApiVersion::V3 as i32,
                grpc_services: vec![GrpcService {
                    target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
                    ..Default::default()
                }],
                ..Default::default()
            })
        };
        ConfigSource {
            resource_api_version: ApiVersion::V3 as i32,
            config_source_specifier: Some(specifier),
            ..Default::default()
        }
    }

    /// As [`Self::source`], as text of a bootstrap.
    pub(crate) fn source_text(self) -> String {
        if self.aggregated {
            return "{ ads: {}, resource_api_version: V3 }".into();
        }
        format!("{{ resource_api_version: V3, {} }}", self.api("api_config_source"))
    }

    fn api(self, name: &str) -> String {
        let kind = match self.variant {
            Variant::Delta => "DELTA_GRPC",
            Variant::StateOfTheWorld => "GRPC",
        };
        format!(
            "{name}: {{ api_type: {kind}, transport_api_version: V3, \
             grpc_services: [{{ envoy_grpc: {{ cluster_name: xds }} }}] }}"
        )
    }

    /// The `dynamic_resources` of a bootstrap.
    pub(crate) fn bootstrap(self) -> String {
        let source = self.source_text();
        let clusters_and_listeners = format!("cds_config: {source}, lds_config: {source}");
        if self.aggregated {
            format!("{{ {}, {clusters_and_listeners} }}", self.api("ads_config"))
        } else {
            format!("{{ {clusters_and_listeners} }}")
        }
    }
}
