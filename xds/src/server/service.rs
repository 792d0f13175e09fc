//! The gRPC services: the aggregated one and those of single types. In: HTTP requests; out: streams.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::Server;
use super::conversation::Conversation;
use crate::core::{TypeUrl, Variant};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A discovery service of xDS, as its proto file names it. Implement it to serve a type of your own on a service of its
/// own; on the aggregated service every type is served as it is.
pub trait Discovery: Send + Sync + 'static {
    /// The full name of the gRPC service. Its methods must begin with `Stream` and `Delta`, as Envoy's do.
    const SERVICE: &'static str;
    /// The URL of its type; empty: of any type, named in each request.
    const TYPE_URL: &'static str;
}

macro_rules! discovery {
    ($($(#[$doc:meta])* $name:ident: $service:literal, $type_url:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl Discovery for $name {
            const SERVICE: &'static str = $service;
            const TYPE_URL: &'static str = $type_url;
        }
    )*};
}

discovery! {
    /// The aggregated service (ADS): all types on one stream, in order.
    Aggregated: "envoy.service.discovery.v3.AggregatedDiscoveryService", "";
    /// Clusters (CDS).
    Clusters: "envoy.service.cluster.v3.ClusterDiscoveryService",
        "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Endpoints (EDS).
    Endpoints: "envoy.service.endpoint.v3.EndpointDiscoveryService",
        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Listeners (LDS).
    Listeners: "envoy.service.listener.v3.ListenerDiscoveryService",
        "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Route configurations (RDS).
    RouteConfigurations: "envoy.service.route.v3.RouteDiscoveryService",
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Scoped route configurations (SRDS).
    ScopedRouteConfigurations: "envoy.service.route.v3.ScopedRoutesDiscoveryService",
        "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
    /// Virtual hosts on demand (VHDS).
    VirtualHosts: "envoy.service.route.v3.VirtualHostDiscoveryService",
        "type.googleapis.com/envoy.config.route.v3.VirtualHost";
    /// Secrets (SDS).
    Secrets: "envoy.service.secret.v3.SecretDiscoveryService",
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    /// Runtime layers (RTDS).
    Runtime: "envoy.service.runtime.v3.RuntimeDiscoveryService",
        "type.googleapis.com/envoy.service.runtime.v3.Runtime";
    /// Extension configurations (ECDS).
    ExtensionConfigs: "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
}

/// One of the services, to be added to a tonic server.
pub struct DiscoveryService<D> {
    server: Server,
    kind: PhantomData<fn() -> D>,
}

impl<D> fmt::Debug for DiscoveryService<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryService").finish_non_exhaustive()
    }
}

impl<D> Clone for DiscoveryService<D> {
    fn clone(&self) -> Self {
        Self::new(self.server.clone())
    }
}

impl<D> DiscoveryService<D> {
    pub(super) fn new(server: Server) -> Self {
        Self { server, kind: PhantomData }
    }
}

impl<D: Discovery> NamedService for DiscoveryService<D> {
    const NAME: &'static str = D::SERVICE;
}

impl<D, B> Service<Request<B>> for DiscoveryService<D>
where
    D: Discovery,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let conversation = variant(&request).and_then(|variant| {
            let service = (!D::TYPE_URL.is_empty()).then(|| TypeUrl::from(D::TYPE_URL));
            Conversation::open(&self.server, variant, service, request)
        });
        ready(Ok(match conversation {
            Ok(conversation) => {
                let mut response = Response::new(Body::new(conversation));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                response
            }
            Err(status) => status.into_http(),
        }))
    }
}

/// The variant that a request asks for by its method.
fn variant<B>(request: &Request<B>) -> Result<Variant, Status> {
    let encoding = request.headers().get("grpc-encoding");
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented(
            "compressed requests are not taken: grpc-encoding must be identity",
        ));
    }
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    if method.starts_with("Stream") {
        Ok(Variant::StateOfTheWorld)
    } else if method.starts_with("Delta") {
        Ok(Variant::Delta)
    } else {
        Err(Status::unimplemented(format!("{method} is not served: use a stream, of either variant")))
    }
}
