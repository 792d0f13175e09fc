//! Certificates for tests, made afresh.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use zenvoy_shared::tls::TlsFiles;

/// An authority and the files of what it signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority for a test");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder.path().join("ca.crt"), &issuer.pem());
        Self { issuer, folder }
    }

    /// Its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A certificate for an address, and its key.
    pub(crate) fn sign(&self, ip: Ipv4Addr) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![ip.to_string()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |kind| self.folder.path().join(format!("{ip}.{kind}"));
        write(&path("crt"), &certificate.pem());
        write(&path("key"), &key.serialize_pem());
        (path("crt"), path("key"))
    }

    /// Trusts this authority, with no identity.
    pub(crate) fn trust(&self) -> TlsFiles {
        TlsFiles { ca: Some(self.ca()), identity: None }
    }
}

/// Writes a file that tests need.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}
