//! Whom a connection may speak for. In: the certificate it proved, and the node it names; out: yes, or a refusal that says
//! what to do.

use std::sync::Arc;

use tonic::Status;
use tonic::transport::CertificateDer;
use tracing::warn;
use zenvoy_shared::id::NodeId;
use zenvoy_shared::tls::{Leaf, TrustDomain};

use super::count::Counts;

/// Decides for one port.
#[derive(Debug, Clone)]
pub struct Access {
    rule: Rule,
    counts: Arc<Counts>,
}

#[derive(Debug, Clone)]
enum Rule {
    /// Plaintext: a name is believed.
    Believe,
    /// A name must be proven, in this trust domain; without one, nobody is anybody.
    Prove(Option<TrustDomain>),
}

impl Access {
    pub(super) fn unproven(counts: Arc<Counts>) -> Self {
        Self { rule: Rule::Believe, counts }
    }

    pub(super) fn of(domain: Option<TrustDomain>, counts: Arc<Counts>) -> Self {
        Self { rule: Rule::Prove(domain), counts }
    }

    /// Whether who proved `certificates` (leaf first) may speak for `node`.
    ///
    /// # Errors
    /// `Unauthenticated` without a certificate of a node, `PermissionDenied` with that of another.
    pub fn check(&self, node: &NodeId, certificates: Option<&[CertificateDer<'_>]>) -> Result<(), Status> {
        let Rule::Prove(domain) = &self.rule else { return Ok(()) };
        judge(domain.as_ref(), node, certificates).inspect_err(|status| {
            self.counts.refused();
            warn!(%node, "refused: {}", status.message());
        })
    }
}

fn judge(
    domain: Option<&TrustDomain>,
    node: &NodeId,
    certificates: Option<&[CertificateDer<'_>]>,
) -> Result<(), Status> {
    let unproven = |why: String| Status::unauthenticated(format!("node {node} is not proven: {why}"));
    let certificate = certificates
        .and_then(<[_]>::first)
        .ok_or_else(|| unproven("the connection has no certificate of a client".into()))?;
    let leaf = Leaf::read(certificate).map_err(|error| unproven(error.to_string()))?;
    let identity = leaf.identity.map_err(|error| unproven(error.to_string()))?;
    if domain == Some(&identity.domain) && identity.may_be(node) {
        return Ok(());
    }
    let domain = domain.map_or_else(|| "DOMAIN".into(), ToString::to_string);
    Err(Status::permission_denied(format!(
        "the certificate is for {identity}, which may not speak for node {node}; that takes one for \
         spiffe://{domain}/zenvoy/node/{node}"
    )))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};
    use tonic::Code;

    use super::*;

    fn certificate(uris: &[&str]) -> [CertificateDer<'static>; 1] {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI"))).collect();
        let key = KeyPair::generate().expect("a key");
        [params.self_signed(&key).expect("a certificate").der().clone()]
    }

    fn judged(uris: &[&str]) -> Result<(), Status> {
        let domain: TrustDomain = "example.org".parse().expect("a domain");
        judge(Some(&domain), &NodeId("node-1".into()), Some(&certificate(uris)))
    }

    #[test]
    fn a_certificate_opens_the_node_it_is_for_and_nothing_else() {
        assert!(judged(&["spiffe://example.org/zenvoy/node/node-1"]).is_ok());
        assert!(judged(&["spiffe://example.org/zenvoy/nodes/node"]).is_ok());
        for (uri, code) in [
            ("spiffe://example.org/zenvoy/node/node-2", Code::PermissionDenied),
            ("spiffe://example.org/zenvoy/nodes/gateway", Code::PermissionDenied),
            ("spiffe://example.org/zenvoy/controller", Code::PermissionDenied),
            ("spiffe://example.com/zenvoy/node/node-1", Code::PermissionDenied),
            ("spiffe://example.org/ns/default/sa/node-1", Code::Unauthenticated),
        ] {
            let refused = judged(&[uri]).expect_err(uri);
            assert_eq!(refused.code(), code, "{uri}");
            assert!(refused.message().contains("node-1"), "{refused}");
        }
    }

    #[test]
    fn without_a_certificate_or_with_two_names_nobody_is_proven() {
        let both = ["spiffe://example.org/zenvoy/node/node-1", "spiffe://example.org/zenvoy/node/node-2"];
        assert_eq!(judged(&both).expect_err("two names").code(), Code::Unauthenticated);
        let domain: TrustDomain = "example.org".parse().expect("a domain");
        for none in [None, Some(&[][..])] {
            let refused = judge(Some(&domain), &NodeId("node-1".into()), none).expect_err("no certificate");
            assert_eq!(refused.code(), Code::Unauthenticated);
        }
    }
}
