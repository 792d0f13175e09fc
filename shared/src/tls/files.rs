//! Where TLS material lies, and its bytes.

use std::fmt;
use std::path::{Path, PathBuf};

use super::TlsError;

/// Files of PEM text, in the layout that cert-manager writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust.
    pub ca: Option<PathBuf>,
    /// Own certificate with those between it and its authority, and own key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// `ca.crt`, `tls.crt` and `tls.key` in one folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            ca: Some(folder.join("ca.crt")),
            identity: Some((folder.join("tls.crt"), folder.join("tls.key"))),
        }
    }

    /// What they hold now.
    ///
    /// # Errors
    /// When one that is named cannot be read.
    pub async fn read(&self) -> Result<Contents, TlsError> {
        let mut contents = Contents::default();
        if let Some(path) = &self.ca {
            contents.ca = Some(read(path).await?);
        }
        if let Some((certificate, key)) = &self.identity {
            contents.identity = Some((read(certificate).await?, read(key).await?));
        }
        Ok(contents)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: std::io::Error| TlsError::Read { path: path.into(), why: error.to_string() };
    tokio::fs::read(path).await.map_err(failed)
}

/// The bytes of all files at one look.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Of the authorities.
    pub ca: Option<Vec<u8>>,
    /// Of the own certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Contents {
    // Keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}
