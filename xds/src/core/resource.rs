//! A resource: name, bytes, and a version that follows from the bytes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

/// A resource type's URL, as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeUrl(pub Arc<str>);

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The order in which types go out on an aggregated stream, so that nothing refers to what is not there yet; types
/// that Envoy does not know go last.
///
/// Source: Envoy's xDS protocol, "Eventual consistency considerations".
pub(super) fn rank(url: &TypeUrl) -> u8 {
    match url.0.rsplit('.').next() {
        Some("Cluster") => 0,
        Some("ClusterLoadAssignment") => 1,
        Some("Secret") => 2,
        Some("Listener") => 3,
        Some("RouteConfiguration") => 4,
        _ => 5,
    }
}

/// A content hash: replicas that serve the same bytes name the same version, whoever started when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub Arc<str>);

impl Version {
    /// The version of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(format!("{:032x}", xxh3_128(content)).into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bytes of a resource's message, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Of the content.
    pub version: Version,
    /// The encoded message, as it stands in `Any.value`.
    pub content: Bytes,
}

impl Resource {
    /// Hashes `content`, once.
    pub fn new(content: Bytes) -> Self {
        Self { version: Version::of(&content), content }
    }
}
