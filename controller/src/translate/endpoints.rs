//! Where an upstream's cluster goes: the pods, or the activator address.

use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use zenvoy_shared::id::{ActivatorAddress, UpstreamId};

use super::address;
use crate::model::Route;

/// The endpoints of the cluster named like `id`. Failures are answered by the proxy, so they go to the activator too;
/// without an activator address only pods can be reached.
pub fn assignment(
    id: &UpstreamId,
    route: &Route,
    activator: Option<ActivatorAddress>,
) -> ClusterLoadAssignment {
    let addresses = match route {
        Route::Pods(pods) => pods.clone(),
        Route::Activator { .. } | Route::Fail(_) => {
            activator.into_iter().map(|activator| activator.0.into()).collect()
        }
    };
    let lb_endpoints = addresses
        .into_iter()
        .map(|to| LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(address(to.ip(), to.port())),
                ..Default::default()
            })),
            ..Default::default()
        })
        .collect();
    ClusterLoadAssignment {
        cluster_name: id.to_string(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints, ..Default::default() }],
        ..Default::default()
    }
}
