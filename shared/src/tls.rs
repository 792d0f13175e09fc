//! Where TLS material lies, and reading it.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, Identity};

/// Files of PEM text, in the layout cert-manager writes (`ca.crt`, `tls.crt`, `tls.key`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust.
    pub ca: Option<PathBuf>,
    /// Own certificate and key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// TLS material could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {path}: {source}; the process needs read access to it")]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

impl TlsFiles {
    /// The authorities to trust, if any are named.
    pub fn read_ca(&self) -> Result<Option<Certificate>, TlsError> {
        self.ca.as_deref().map(read).transpose().map(|pem| pem.map(Certificate::from_pem))
    }

    /// The own identity, if one is named.
    pub fn read_identity(&self) -> Result<Option<Identity>, TlsError> {
        let Some((certificate, key)) = &self.identity else { return Ok(None) };
        Ok(Some(Identity::from_pem(read(certificate)?, read(key)?)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError { path: path.into(), source })
}
