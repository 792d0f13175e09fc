//! A resource: encoded once, for both variants, with a version that follows from its content.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::order::Rank;
use super::{cluster, wire};

/// A resource type's URL, as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeUrl(pub Arc<str>);

impl TypeUrl {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl From<String> for TypeUrl {
    fn from(url: String) -> Self {
        Self(url.into())
    }
}

impl From<&Self> for TypeUrl {
    fn from(url: &Self) -> Self {
        url.clone()
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version, compared and never ordered. By default a content hash: replicas that serve the same bytes name the same
/// version, whoever started when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub Arc<str>);

impl Version {
    /// The version of `content`: its XXH3 hash of 128 bits, in 32 hexadecimal digits.
    pub fn of(content: &[u8]) -> Self {
        Self::hash(xxh3_128(content))
    }

    /// The version's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(hash: u128) -> Self {
        Self(format!("{hash:032x}").into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a resource is set to: its encoded message, and its version if that is not to be a hash of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Bytes,
    version: Option<Version>,
}

impl Content {
    /// With a version of the caller's. The same version is taken for the same content: nothing is sent.
    pub fn versioned(bytes: impl Into<Bytes>, version: Version) -> Self {
        Self { bytes: bytes.into(), version: Some(version) }
    }

    /// The encoded message.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), version: None }
    }
}

/// One resource set or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: Arc<str>,
    /// `None` removes it.
    pub content: Option<Content>,
}

impl Change {
    /// Sets a resource to an encoded message.
    pub fn set(type_url: impl Into<TypeUrl>, name: impl Into<Arc<str>>, content: impl Into<Content>) -> Self {
        Self { type_url: type_url.into(), name: name.into(), content: Some(content.into()) }
    }

    /// Removes a resource.
    pub fn remove(type_url: impl Into<TypeUrl>, name: impl Into<Arc<str>>) -> Self {
        Self { type_url: type_url.into(), name: name.into(), content: None }
    }
}

/// Changes that are taken in at once. Most are made of the changes alone: `Hub::apply` and the like take an array, a vector
/// or any other iterator of them.
///
/// ```
/// use zenvoy_xds::core::{Change, ChangeSet, Version};
/// use zenvoy_xds::server::Server;
///
/// const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
///
/// # let encoded = Vec::new();
/// let changes = ChangeSet::from([Change::set(CLUSTER, "a", encoded)]);
/// Server::new().apply(changes.with_type_version(CLUSTER, Some(Version("42".into()))));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Of resources, in order.
    pub changes: Vec<Change>,
    /// Of the versions of types; `None` is the hash again.
    pub type_versions: Vec<(TypeUrl, Option<Version>)>,
}

impl ChangeSet {
    /// Also names the version of a type from now on, instead of a hash of what a client is served of it; `None` returns to
    /// the hash. In state of the world, a client that comes back with this version is taken to have all: name another one
    /// with each change.
    #[must_use]
    pub fn with_type_version(mut self, type_url: impl Into<TypeUrl>, version: Option<Version>) -> Self {
        self.type_versions.push((type_url.into(), version));
        self
    }
}

impl<I: IntoIterator<Item = Change>> From<I> for ChangeSet {
    fn from(changes: I) -> Self {
        Self { changes: changes.into_iter().collect(), type_versions: Vec::new() }
    }
}

/// A resource as it is served.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) version: Version,
    /// Stands for name and version in hashes over sets.
    pub(super) mark: u128,
    /// Of a cluster: the name of its endpoints, if that is not its own.
    endpoints: Option<Arc<str>>,
    /// Shared by all responses.
    pub(super) encoded: Arc<wire::Encoded>,
}

impl Resource {
    /// Encodes `content`, unless its version is `served` already.
    pub(super) fn new(
        type_url: &TypeUrl,
        name: &str,
        content: Content,
        served: Option<&Version>,
    ) -> Option<Self> {
        let version = content.version.unwrap_or_else(|| Version::of(&content.bytes));
        if served == Some(&version) {
            return None;
        }
        let version_mark = mark(name, &version.0);
        let endpoints = match Rank::of(type_url) {
            Rank::Clusters => cluster::endpoints_of(name, &content.bytes),
            _ => None,
        };
        let encoded = Arc::new(wire::Encoded::new(&type_url.0, name, &version.0, &content.bytes));
        Some(Self { mark: version_mark, version, endpoints, encoded })
    }

    /// Of a cluster that is called `name`: the name of its endpoints.
    pub(super) fn endpoints<'a>(&'a self, name: &'a Arc<str>) -> &'a Arc<str> {
        self.endpoints.as_ref().unwrap_or(name)
    }

    /// The encoded message.
    pub(super) fn content(&self) -> Bytes {
        self.encoded.content()
    }
}

/// Marks of a set are added up, so that a set's hash follows a change without a look at the rest.
fn mark(name: &str, version: &str) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(version.as_bytes());
    hasher.digest128()
}
