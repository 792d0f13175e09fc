//! In which order the types of an aggregated stream go out, so that nothing refers to what is not there yet or not there
//! any more (make before break). Source: Envoy's xDS protocol, "Eventual consistency considerations".

use super::TypeUrl;

/// A type's place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Clusters,
    Endpoints,
    Secrets,
    Listeners,
    Routes,
    /// Types that Envoy does not refer to from the others, or that are not Envoy's.
    Others,
}

impl Rank {
    pub(super) fn of(url: &TypeUrl) -> Self {
        match message(url) {
            "envoy.config.cluster.v3.Cluster" => Self::Clusters,
            "envoy.config.endpoint.v3.ClusterLoadAssignment" => Self::Endpoints,
            "envoy.extensions.transport_sockets.tls.v3.Secret" => Self::Secrets,
            "envoy.config.listener.v3.Listener" => Self::Listeners,
            "envoy.config.route.v3.RouteConfiguration"
            | "envoy.config.route.v3.VirtualHost"
            | "envoy.config.route.v3.ScopedRouteConfiguration" => Self::Routes,
            _ => Self::Others,
        }
    }

    /// Refers to clusters: sent only when the clusters of the same change, and their endpoints, have been answered.
    /// Envoy answers a response with clusters when they have warmed.
    pub(super) fn follows_clusters(self) -> bool {
        matches!(self, Self::Listeners | Self::Routes)
    }

    /// Is referred to: removed only when what referred to it has been answered.
    pub(super) fn removed_last(self) -> bool {
        matches!(self, Self::Clusters | Self::Endpoints)
    }
}

/// In state of the world, a response of these types is everything that the client is to have.
pub(super) fn is_full_state(url: &TypeUrl) -> bool {
    matches!(Rank::of(url), Rank::Clusters | Rank::Listeners)
}

/// Whether an empty first subscription means everything. Types that clients only ask for by name are left out: an Envoy
/// that has no cluster with endpoints left asks for no endpoints.
pub(super) fn has_legacy_wildcard(url: &TypeUrl) -> bool {
    const BY_NAME: [&str; 7] = [
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "envoy.config.endpoint.v3.LbEndpoint",
        "envoy.config.route.v3.RouteConfiguration",
        "envoy.config.route.v3.VirtualHost",
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        "envoy.service.runtime.v3.Runtime",
        "envoy.config.core.v3.TypedExtensionConfig",
    ];
    !BY_NAME.contains(&message(url))
}

/// The full name of the message: a type of someone else's that is called `Listener` too has none of these rules.
fn message(url: &TypeUrl) -> &str {
    url.0.rsplit('/').next().unwrap_or_default()
}
