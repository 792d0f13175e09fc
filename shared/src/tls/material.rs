//! TLS material that was read and checked, ready for handshakes. In: bytes, what the process is, and `now`; out:
//! configurations. No I/O.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{Contents, Identity, Leaf, Name, TlsError, TlsFiles};
use crate::id::NodeId;

/// gRPC is HTTP/2.
const ALPN: &[u8] = b"h2";

/// What the process is, and so what its certificate must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A controller: serves nodes, by mutual TLS.
    Controller,
    /// This node: speaks to controllers, by mutual TLS.
    Node(NodeId),
    /// A client of something that is not ours; what is given may be less, and names nobody.
    Stranger,
}

/// Material in use.
#[derive(Clone)]
pub struct Material {
    contents: Contents,
    own: Option<Leaf>,
    ours: Option<Ours>,
    client: Option<Arc<ClientConfig>>,
}

/// What a controller or a node is.
#[derive(Clone)]
struct Ours {
    identity: Identity,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Material {
    // Keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Material {
    /// Checks what files hold.
    ///
    /// # Errors
    /// When a handshake with it could not succeed: malformed, key and certificate of two kinds, out of its time, or not for
    /// this role.
    pub fn check(
        contents: Contents,
        files: &TlsFiles,
        role: &Role,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let roots = match (&contents.ca, &files.ca) {
            (Some(pem), Some(path)) => {
                Some(Arc::new(roots(pem).map_err(|why| TlsError::unusable(path, why))?))
            }
            _ => None,
        };
        let own = match (&contents.identity, &files.identity) {
            (Some((certificate, key)), Some((certificate_file, key_file))) => {
                let chain = chain(certificate).map_err(|why| TlsError::unusable(certificate_file, why))?;
                let leaf = leaf(&chain, now).map_err(|why| TlsError::unusable(certificate_file, why))?;
                let key = certified(chain, key)
                    .map_err(|why| TlsError::Unusable { path: key_file.clone(), why })?;
                Some((leaf, Arc::new(key), certificate_file))
            }
            _ => None,
        };
        let ours = match role {
            Role::Stranger => None,
            Role::Controller | Role::Node(_) => {
                let roots = roots.as_ref().ok_or(TlsError::Missing("the authorities' ca.crt"))?;
                let (leaf, key, path) =
                    own.as_ref().ok_or(TlsError::Missing("the own tls.crt and tls.key"))?;
                let identity = is_for(leaf, role).map_err(|why| TlsError::unusable(*path, why))?;
                let server =
                    server(roots.clone(), key.clone()).map_err(|why| TlsError::unusable(*path, why))?;
                Some(Ours { identity, server: Arc::new(server) })
            }
        };
        let client = match (roots, &files.ca) {
            (Some(roots), Some(path)) => {
                let key = own.as_ref().map(|(_, key, _)| key.clone());
                Some(Arc::new(client(roots, key).map_err(|why| TlsError::unusable(path, why))?))
            }
            _ => None,
        };
        Ok(Self { contents, own: own.map(|(leaf, _, _)| leaf), ours, client })
    }

    /// The bytes it was made of.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The own certificate, if there is one.
    pub fn own(&self) -> Option<&Leaf> {
        self.own.as_ref()
    }

    /// Who the process is, for a controller or a node.
    pub fn identity(&self) -> Option<&Identity> {
        self.ours.as_ref().map(|ours| &ours.identity)
    }

    /// For handshakes with clients, for a controller or a node.
    pub fn server(&self) -> Option<Arc<ServerConfig>> {
        self.ours.as_ref().map(|ours| ours.server.clone())
    }

    /// For handshakes with servers, where there are authorities to trust.
    pub fn client(&self) -> Option<Arc<ClientConfig>> {
        self.client.clone()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("it is no PEM text: {error}"))?;
    if read.is_empty() { Err("it holds no certificate in PEM form".into()) } else { Ok(read) }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("an authority cannot be used: {error}"))?;
    }
    Ok(roots)
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(pem)
}

fn leaf(chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Leaf, String> {
    let first = chain.first().ok_or_else(|| "it holds no certificate".to_owned())?;
    let leaf = Leaf::read(first).map_err(|error| error.to_string())?;
    if now > leaf.not_after {
        return Err("the certificate has expired; have it renewed".into());
    }
    if now < leaf.not_before {
        return Err(
            "the certificate does not hold yet; compare the clocks of this machine and of its authority"
                .into(),
        );
    }
    Ok(leaf)
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<CertifiedKey, String> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("it holds no key in PEM form: {error}"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key is not that of the certificate; give both of one pair".into()
        }
        error => format!("the key cannot be used: {error}"),
    })
}

fn is_for(leaf: &Leaf, role: &Role) -> Result<Identity, String> {
    let identity = leaf.identity.clone().map_err(|error| error.to_string())?;
    match role {
        Role::Controller if identity.name != Name::Controller => Err(format!(
            "the certificate is for {identity}, and this is a controller; give it one for …/zenvoy/controller"
        )),
        Role::Node(node) if !identity.may_be(node) => Err(format!(
            "the certificate is for {identity}, and this is node {node}; give it one for …/zenvoy/node/{node}, or start it \
             with the name in the certificate (--node)"
        )),
        _ => Ok(identity),
    }
}

fn server(roots: Arc<RootCertStore>, key: Arc<CertifiedKey>) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| error.to_string())?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    server.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not be asked for its certificate, which may have been replaced.
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(server)
}

fn client(roots: Arc<RootCertStore>, key: Option<Arc<CertifiedKey>>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut client = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = rustls::client::Resumption::disabled();
    Ok(client)
}
