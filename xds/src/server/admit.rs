//! Who may take a stream, and of which group's resources. In: the first request of a stream; out: a group or a refusal.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::CertificateDer;

use crate::core::{TypeUrl, Variant};

/// The key of a set of resources: all nodes of a group are served the same. The default group has the empty key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Arc<str>);

impl Group {
    /// The group with this key.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who opened a stream, as its first request and its connection say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The node, as the client describes itself; nothing of it is proven.
    pub node: Node,
    /// How the stream speaks.
    pub variant: Variant,
    /// The type of a single-type service; `None` on the aggregated one.
    pub service: Option<TypeUrl>,
    /// The type that the first request asks for.
    pub first_type: TypeUrl,
    /// Where the connection comes from, where the transport knows.
    pub remote_addr: Option<SocketAddr>,
    /// The metadata of the stream's request, as a token is sent in; nothing of it is proven.
    pub metadata: MetadataMap,
    /// The certificates that the client proved, leaf first; `None` without mutual TLS.
    pub certificates: Option<Arc<Vec<CertificateDer<'static>>>>,
}

/// Decides on each stream before anything of it is answered. Where a plain function can say it, so can
/// [`ServerBuilder::group_by`](super::ServerBuilder::group_by).
///
/// ```
/// use std::sync::Arc;
/// use zenvoy_xds::server::{Admit, Group, Peer, Server};
/// use zenvoy_xds::tonic::{self, Status};
///
/// struct ByCluster;
///
/// #[tonic::async_trait]
/// impl Admit for ByCluster {
///     async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
///         match peer.node.cluster.as_str() {
///             "" => Err(Status::invalid_argument("node.cluster is empty: it names the group of resources")),
///             cluster => Ok(Group::new(cluster)),
///         }
///     }
/// }
///
/// let server = Server::builder().admit(Arc::new(ByCluster)).build();
/// server.snapshot(&Group::new("east")).apply([]);
/// ```
#[tonic::async_trait]
pub trait Admit: Send + Sync + 'static {
    /// The group whose resources this peer is served. It may take its time, up to
    /// [`ServerBuilder::admission_within`](super::ServerBuilder::admission_within): nothing is sent until it returns, and
    /// it is dropped when the client goes away meanwhile.
    ///
    /// # Errors
    /// The status with which the stream is ended.
    async fn admit(&self, peer: &Peer) -> Result<Group, Status>;
}

/// Admits everyone to the default group.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmitAll;

#[tonic::async_trait]
impl Admit for AdmitAll {
    async fn admit(&self, _: &Peer) -> Result<Group, Status> {
        Ok(Group::default())
    }
}

/// Admits by what a function says: [`ServerBuilder::group_by`](super::ServerBuilder::group_by).
pub(super) struct GroupBy<F>(pub(super) F);

#[tonic::async_trait]
impl<F: Fn(&Peer) -> Result<Group, Status> + Send + Sync + 'static> Admit for GroupBy<F> {
    async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
        (self.0)(peer)
    }
}
