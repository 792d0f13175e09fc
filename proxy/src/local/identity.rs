//! Who speaks: an Envoy must be this node's, under this node's name.

use prost::Message;
use tonic::{Extensions, Status};
use zenvoy_shared::id::NodeId;

use crate::node::EnvoyId;

/// Of `envoy.config.core.v3.Node`, what is needed here.
#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    id: String,
}

/// Of `DiscoveryRequest`, what is needed here.
#[derive(Clone, PartialEq, Message)]
struct Sotw {
    #[prost(message, optional, tag = "2")]
    node: Option<Name>,
}

/// Of `DeltaDiscoveryRequest`, what is needed here.
#[derive(Clone, PartialEq, Message)]
struct Delta {
    #[prost(message, optional, tag = "1")]
    node: Option<Name>,
}

/// The two forms of ADS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    StateOfTheWorld,
    Delta,
}

impl Variant {
    /// The node that the first request of a stream names.
    pub(super) fn node_of(self, request: &[u8]) -> Result<String, Status> {
        let node = match self {
            Self::StateOfTheWorld => Sotw::decode(request).map(|request| request.node),
            Self::Delta => Delta::decode(request).map(|request| request.node),
        };
        match node {
            Ok(node) => Ok(node.unwrap_or_default().id),
            Err(error) => {
                Err(Status::invalid_argument(format!("the first request cannot be decoded: {error}")))
            }
        }
    }
}

/// Refuses an Envoy of another name: two Envoys must never share a node id, nor one Envoy have two.
pub(super) fn verify(own: &NodeId, named: &str) -> Result<(), Status> {
    if own.0 == named {
        return Ok(());
    }
    let what = format!(
        "this proxy's node is {own:?}, and Envoy's node.id is {named:?}: start both with the same name; `zenvoy \
         bootstrap --node {own}` prints the configuration for Envoy",
        own = own.0
    );
    Err(Status::permission_denied(what))
}

/// The connection that a request came on.
pub(super) fn envoy(extensions: &Extensions) -> Result<EnvoyId, Status> {
    extensions.get().copied().ok_or_else(|| Status::internal("the request has no connection"))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

    use super::*;

    #[test]
    fn the_node_is_found_in_both_forms_of_a_first_request() {
        let node = Some(Node { id: "node-1".into(), cluster: "edge".into(), ..Default::default() });
        let sotw = DiscoveryRequest { node: node.clone(), type_url: "t".into(), ..Default::default() };
        let delta = DeltaDiscoveryRequest { node, type_url: "t".into(), ..Default::default() };
        assert_eq!(Variant::StateOfTheWorld.node_of(&sotw.encode_to_vec()).unwrap(), "node-1");
        assert_eq!(Variant::Delta.node_of(&delta.encode_to_vec()).unwrap(), "node-1");
        assert_eq!(Variant::Delta.node_of(&[]).unwrap(), "");
        assert!(Variant::Delta.node_of(&[0xff]).is_err());
    }

    #[test]
    fn an_envoy_of_another_name_is_told_what_to_do() {
        let own = NodeId("node-1".into());
        assert!(verify(&own, "node-1").is_ok());
        let refused = verify(&own, "node-2").unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(refused.message().contains("zenvoy bootstrap --node node-1"), "{refused}");
    }
}
