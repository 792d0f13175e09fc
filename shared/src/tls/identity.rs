//! Who a certificate is for, by its SAN URI (SPIFFE ID, section 2): `spiffe://<trust-domain>/zenvoy/…`. Pure.

use std::fmt;
use std::str::FromStr;

use crate::id::{NodeId, is_name};

/// The first segment of the path of all names that are ours.
const OURS: &str = "zenvoy";
/// Source: SPIFFE ID, 2.1.
const LONGEST_DOMAIN: usize = 255;

/// The names of one installation: its authority signs none for others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        if (1..=LONGEST_DOMAIN).contains(&text.len()) && text.chars().all(fits) {
            return Ok(Self(text.into()));
        }
        Err(IdentityError::Domain(text.into()))
    }
}

/// Who, within an installation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    /// A controller: `zenvoy/controller`.
    Controller,
    /// One node: `zenvoy/node/<node>`.
    Node(NodeId),
    /// Any node called `<class>-…`: `zenvoy/nodes/<class>`. For nodes whose names are not known before they start.
    Nodes(String),
}

/// A name in a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Whose authority vouches for it.
    pub domain: TrustDomain,
    /// Who.
    pub name: Name,
}

/// A certificate does not say who it is for, in a form that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No URI of it is ours.
    #[error(
        "the certificate is for no part of zenvoy: it needs one SAN URI like spiffe://example.org/zenvoy/node/node-1 or \
         spiffe://example.org/zenvoy/controller"
    )]
    None,
    /// More than one is: which of them counts would be a guess.
    #[error("the certificate has several SAN URIs of zenvoy; give it one")]
    Several,
    /// One has another form.
    #[error(
        "{0:?} is no name of zenvoy: known are spiffe://DOMAIN/zenvoy/controller, …/zenvoy/node/NODE and \
         …/zenvoy/nodes/CLASS"
    )]
    Form(String),
    /// A trust domain has another form.
    #[error("{0:?} is no trust domain: give lower-case letters, digits, '-', '.' and '_', as example.org")]
    Domain(String),
}

impl Identity {
    /// A name in a trust domain.
    pub fn new(domain: TrustDomain, name: Name) -> Self {
        Self { domain, name }
    }

    /// The one among a certificate's SAN URIs that is ours; URIs of others are passed over.
    ///
    /// # Errors
    /// When there is none or more than one, or it has an unknown form.
    pub fn among<'a>(uris: impl IntoIterator<Item = &'a str>) -> Result<Self, IdentityError> {
        let mut ours = uris.into_iter().filter(|uri| is_ours(uri));
        match (ours.next(), ours.next()) {
            (Some(uri), None) => uri.parse(),
            (Some(_), Some(_)) => Err(IdentityError::Several),
            (None, _) => Err(IdentityError::None),
        }
    }

    /// Whether its holder may speak for `node`.
    pub fn may_be(&self, node: &NodeId) -> bool {
        match &self.name {
            Name::Controller => false,
            Name::Node(named) => named == node,
            Name::Nodes(class) => node
                .0
                .strip_prefix(class.as_str())
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

fn is_ours(uri: &str) -> bool {
    let path = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).map(|(_, path)| path);
    path.and_then(|path| path.split('/').next()) == Some(OURS)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{OURS}/", self.domain)?;
        match &self.name {
            Name::Controller => f.write_str("controller"),
            Name::Node(node) => write!(f, "node/{node}"),
            Name::Nodes(class) => write!(f, "nodes/{class}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(text.into());
        let rest = text.strip_prefix("spiffe://").ok_or_else(form)?;
        let (domain, path) = rest.split_once('/').ok_or_else(form)?;
        let segments: Vec<&str> = path.split('/').collect();
        let name = match segments.as_slice() {
            [OURS, "controller"] => Name::Controller,
            [OURS, "node", node] if is_name(node) => Name::Node(NodeId((*node).into())),
            [OURS, "nodes", class] if is_name(class) => Name::Nodes((*class).into()),
            _ => return Err(form()),
        };
        Ok(Self { domain: domain.parse()?, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Identity {
        text.parse().expect(text)
    }

    #[test]
    fn a_name_reads_back_what_it_prints() {
        for text in [
            "spiffe://example.org/zenvoy/controller",
            "spiffe://example.org/zenvoy/node/node-1.zone_a",
            "spiffe://prod/zenvoy/nodes/gateway",
        ] {
            assert_eq!(identity(text).to_string(), text);
        }
    }

    #[test]
    fn what_has_another_form_is_nobody() {
        for text in [
            "spiffe://example.org/zenvoy",
            "spiffe://example.org/zenvoy/node",
            "spiffe://example.org/zenvoy/node/",
            "spiffe://example.org/zenvoy/node/..",
            "spiffe://example.org/zenvoy/node/a/b",
            "spiffe://example.org/zenvoy/node/a%2fb",
            "spiffe://example.org/zenvoy/controller/",
            "spiffe://example.org/zenvoy/operator",
            "spiffe:///zenvoy/controller",
            "spiffe://Example.org/zenvoy/controller",
            "https://example.org/zenvoy/controller",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_node_is_itself_and_nobody_else() {
        let node = identity("spiffe://d/zenvoy/node/node-1");
        assert!(node.may_be(&NodeId("node-1".into())));
        for other in ["node-2", "node-11", "node", "Node-1", ""] {
            assert!(!node.may_be(&NodeId(other.into())), "{other}");
        }
        assert!(!identity("spiffe://d/zenvoy/controller").may_be(&NodeId("controller".into())));
    }

    #[test]
    fn a_class_is_all_nodes_whose_names_begin_with_it_and_a_hyphen() {
        let class = identity("spiffe://d/zenvoy/nodes/gateway");
        assert!(class.may_be(&NodeId("gateway-7c9d-x2x4z".into())));
        for other in ["gateway", "gateway-", "gateways-1", "edge-gateway-1"] {
            assert!(!class.may_be(&NodeId(other.into())), "{other}");
        }
    }

    #[test]
    fn a_certificate_has_one_name_of_ours_beside_those_of_others() {
        let of_others = ["https://example.org", "spiffe://d/ns/shop/sa/cart"];
        assert_eq!(Identity::among(of_others), Err(IdentityError::None));
        let one = "spiffe://d/zenvoy/node/a";
        assert_eq!(Identity::among(of_others.into_iter().chain([one])), Ok(identity(one)));
        assert_eq!(Identity::among([one, "spiffe://d/zenvoy/controller"]), Err(IdentityError::Several));
        assert!(matches!(Identity::among(["spiffe://d/zenvoy/x"]), Err(IdentityError::Form(_))));
    }
}
