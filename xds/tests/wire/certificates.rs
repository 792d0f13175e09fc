//! A node's id is what the client says; its certificate is what the connection has proven. Who admits sees both.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};
use tonic::{Code, Status};
use zenvoy_xds::server::{Admit, Group, Peer, Server, incoming, transport};

use crate::peer::{Delta, set, soon};

/// An authority that both sides trust.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        Self(issuer.expect("an authority"))
    }

    /// Proves to be called `name`; with the certificate as it goes over the wire.
    fn identity(&self, name: &str) -> (Identity, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (Identity::from_pem(certificate.pem(), key.serialize_pem()), certificate.der().to_vec())
    }

    fn trusted(&self) -> Certificate {
        Certificate::from_pem(self.0.pem())
    }
}

/// Admits a node whose certificate is the one that is known of it.
struct Known(Vec<(&'static str, Vec<u8>)>);

#[tonic::async_trait]
impl Admit for Known {
    async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
        let certificates = peer.certificates.as_ref().ok_or_else(|| Status::unauthenticated("prove it"))?;
        let known = self.0.iter().find(|(node, _)| *node == peer.node.id);
        match known {
            Some((_, leaf)) if certificates.first().is_some_and(|first| **first == **leaf) => {
                Ok(Group::default())
            }
            _ => Err(Status::permission_denied("that is someone else's name")),
        }
    }
}

/// Serves over TLS; clients may prove who they are, and need not.
async fn listen(server: &Server, authority: &Authority) -> SocketAddr {
    let (identity, _) = authority.identity("localhost");
    let tls = ServerTlsConfig::new().identity(identity);
    let tls = tls.client_ca_root(authority.trusted()).client_auth_optional(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let router = transport().tls_config(tls).expect("a good identity").add_routes(server.routes());
    tokio::spawn(router.serve_with_incoming(incoming(listener)));
    address
}

/// A stream over TLS that asks for all clusters as `node`.
async fn open(
    at: SocketAddr,
    authority: &Authority,
    identity: Option<Identity>,
    node: &str,
) -> Result<Delta, Status> {
    let tls = ClientTlsConfig::new().ca_certificate(authority.trusted()).domain_name("localhost");
    let tls = match identity {
        Some(identity) => tls.identity(identity),
        None => tls,
    };
    let endpoint = Endpoint::from_shared(format!("https://{at}")).expect("an address");
    let channel = soon(endpoint.tls_config(tls).expect("a good identity").connect()).await.expect("connect");
    Delta::open_over(channel, at, node).await
}

#[tokio::test]
async fn a_node_is_admitted_by_the_certificate_that_its_connection_has_proven() {
    let authority = Authority::new();
    let (one, two) = (authority.identity("one"), authority.identity("two"));
    let known = Known(vec![("one", one.1), ("two", two.1)]);
    let server = Server::builder().admit(Arc::new(known)).build();
    server.apply([set("a", "1")]);
    let address = listen(&server, &authority).await;
    for (identity, node) in [(one.0.clone(), "one"), (two.0, "two")] {
        let mut stream = open(address, &authority, Some(identity), node).await.expect("a stream");
        assert_eq!(stream.next().await.expect("sent").resources[0].name, "a");
    }
    let mut other = open(address, &authority, Some(one.0), "two").await.expect("a stream");
    assert_eq!(other.end().await.expect_err("not admitted").code(), Code::PermissionDenied);
    let mut unproven = open(address, &authority, None, "one").await.expect("a stream");
    assert_eq!(unproven.end().await.expect_err("not admitted").code(), Code::Unauthenticated);
}
