//! Mutual TLS from files that may change under a running process. In: files of PEM text, and what the process is; out:
//! configurations for handshakes, of which new ones use what the files say now.

mod files;
mod identity;
mod leaf;
mod live;
mod material;
mod reload;

pub use files::{Contents, TlsFiles};
pub use identity::{Identity, IdentityError, Name, TrustDomain};
pub use leaf::{InvalidCertificate, Leaf};
pub use live::{Live, TlsStatus};
pub use material::{Material, Role};

use std::path::PathBuf;

/// TLS files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// One could not be read.
    #[error("read {path}: {why}; the process needs read access to it")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// One does not say what it should.
    #[error("{path}: {why}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// One that is needed is not named.
    #[error("{0} is needed for mutual TLS and is not given")]
    Missing(&'static str),
}

impl TlsError {
    fn unusable(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::Unusable { path: path.into(), why: why.into() }
    }
}
