//! Ids and addresses as types of their own, so that the compiler tells them apart.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An id's text did not have the form its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    /// The text as given.
    pub text: String,
    /// The form that was expected, with an example.
    pub expected: &'static str,
}

/// One Service port that clients reach through Envoy: `namespace/service:port`. The unit of routing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamId {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service port's number, 1-65535.
    pub port: u16,
}

impl UpstreamId {
    /// `namespace/service:port` from its parts.
    pub fn new(namespace: impl Into<String>, service: impl Into<String>, port: u16) -> Self {
        Self { namespace: namespace.into(), service: service.into(), port }
    }
}

impl fmt::Display for UpstreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

impl FromStr for UpstreamId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { text: text.into(), expected: "an upstream like shop/cart:8080" };
        let (namespace, rest) = text.split_once('/').ok_or_else(invalid)?;
        let (service, port) = rest.rsplit_once(':').ok_or_else(invalid)?;
        let port: u16 = port.parse().map_err(|_| invalid())?;
        if namespace.is_empty() || service.is_empty() || service.contains('/') || port == 0 {
            return Err(invalid());
        }
        Ok(Self::new(namespace, service, port))
    }
}

/// The scalable object behind upstreams: `namespace/Kind.group/name`. The unit of scaling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadId {
    /// The object's namespace.
    pub namespace: String,
    /// The object's kind with its API group, as `Deployment.apps`; `Process.zenvoy.dev` for a local command.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

impl WorkloadId {
    /// `namespace/kind/name` from its parts.
    pub fn new(namespace: impl Into<String>, kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

impl FromStr for WorkloadId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [namespace, kind, name] if parts.iter().all(|p| !p.is_empty()) => {
                Ok(Self::new(*namespace, *kind, *name))
            }
            _ => Err(InvalidId { text: text.into(), expected: "a workload like shop/Deployment.apps/cart" }),
        }
    }
}

macro_rules! string_serde {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}
string_serde!(UpstreamId);
string_serde!(WorkloadId);

/// `ip:port` on loopback that stands in for a cold upstream; IPv4 by rule, the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActivatorAddress(pub SocketAddrV4);

impl fmt::Display for ActivatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ActivatorAddress {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self).map_err(|_| InvalidId {
            text: text.into(),
            expected: "an activator address like 127.0.0.1:20000",
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// One proxy together with its Envoy.
    NodeId
}
impl NodeId {
    /// The longest name that a node may be given, in letters: that of a Pod.
    pub const LONGEST: usize = 253;
}

/// The one way in which people give a node its name.
impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if is_name(text) && text.len() <= Self::LONGEST {
            return Ok(Self(text.into()));
        }
        let expected = "a node's name: give 1 to 253 letters (a-z, A-Z), digits, '-', '.' and '_', unlike all other nodes'";
        Err(InvalidId { text: text.into(), expected })
    }
}

/// Whether a node, or a class of nodes, may be called so: a certificate can hold it (SPIFFE ID, 2.2), and it is one segment of
/// a path.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !matches!(text, "" | "." | "..") && text.chars().all(fits)
}

name! {
    /// One start of a node: changes whenever its proxy or its Envoy starts anew (rule N5).
    NodeEpoch
}
name! {
    /// One incarnation of a controller replica (rule N2), a ulid.
    ControllerId
}
name! {
    /// One wake of a workload, a ulid.
    Episode
}
name! {
    /// One drain of a workload, a ulid.
    DrainId
}
name! {
    /// A Kubernetes object's UID, or the like for a local process.
    Uid
}

macro_rules! fresh {
    ($($name:ident),*) => { $(impl $name {
        /// A new one, unlike all others.
        pub fn fresh() -> Self {
            Self(ulid::Ulid::new().to_string())
        }
    })* };
}
fresh!(NodeEpoch, ControllerId, Episode, DrainId);

/// The application protocol clients speak to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 to the pods.
    #[default]
    Http,
    /// HTTP/2 without TLS to the pods (gRPC too).
    Http2,
    /// Bytes; either side may speak first.
    Tcp,
    /// TLS passed through by server name.
    Tls,
}

impl Protocol {
    /// Whether the protocol says that the client sends the first byte.
    pub fn client_speaks_first(self) -> bool {
        !matches!(self, Self::Tcp)
    }

    /// Whether Envoy routes it by HTTP host.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }
}

impl FromStr for Protocol {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "http" => Ok(Self::Http),
            "http2" => Ok(Self::Http2),
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            _ => Err(InvalidId { text: text.into(), expected: "a protocol: http, http2, tcp or tls" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_reads_back_what_it_prints() {
        let id = UpstreamId::new("shop", "cart", 8080);
        assert_eq!(id.to_string(), "shop/cart:8080");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_malformed_upstream_names_the_expected_form() {
        for text in ["", "cart:80", "shop/cart", "shop/cart:0", "shop/cart:70000", "a/b/c:1", "/c:1"] {
            let error = text.parse::<UpstreamId>().expect_err(text);
            assert!(error.to_string().contains("shop/cart:8080"), "{error}");
        }
    }

    #[test]
    fn a_workload_reads_back_what_it_prints() {
        let id = WorkloadId::new("shop", "Deployment.apps", "cart");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("shop/cart".parse::<WorkloadId>().is_err());
    }

    #[test]
    fn a_node_has_a_name_that_fits_into_a_certificate_and_a_path() {
        let longest = "n".repeat(NodeId::LONGEST);
        for text in ["node-1", "ip-10-0-0-1.eu_west", "N", "...", &longest] {
            assert_eq!(text.parse(), Ok(NodeId(text.into())));
        }
        for text in ["", ".", "..", "../x", "a/b", "a b", "a:1", "knöten", &format!("{longest}n")] {
            let error = text.parse::<NodeId>().expect_err(text).to_string();
            assert!(error.contains("give 1 to 253 letters (a-z, A-Z), digits, '-', '.' and '_'"), "{error}");
        }
    }
}
