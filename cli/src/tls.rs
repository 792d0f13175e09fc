//! Flags for TLS between controllers and proxies.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use zenvoy_shared::tls::{Live, Role, TlsFiles};

use crate::exit::Failure;

use crate::value;

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS between proxies and controllers")]
pub(crate) struct TlsArgs {
    /// A folder with tls.crt, tls.key and ca.crt, as cert-manager writes it; changes are taken in while running
    ///
    /// `zenvoy certs` makes such folders for development.
    #[arg(long, value_name = "FOLDER", env = "ZENVOY_TLS_DIR")]
    tls_dir: Option<PathBuf>,
    /// The authorities to trust, where that is not ca.crt in --tls-dir
    #[arg(long, value_name = "FILE", env = "ZENVOY_TLS_CA", requires = "tls_dir",
        value_parser = value::file)]
    tls_ca: Option<PathBuf>,
    /// Do without TLS beyond this machine: whoever reaches a controller may then act as any node
    #[arg(long, env = "ZENVOY_PLAINTEXT", conflicts_with = "tls_dir")]
    plaintext: bool,
}

impl TlsArgs {
    /// Whether the flags fit to where bytes go: `beyond` names an address that other machines see or serve.
    pub(crate) fn check(self, beyond: Option<&str>) -> anyhow::Result<Option<TlsFiles>> {
        match (self.tls_dir, beyond) {
            (Some(folder), _) => {
                let files = TlsFiles::in_folder(&folder);
                Ok(Some(TlsFiles { ca: self.tls_ca.or(files.ca), ..files }))
            }
            (None, Some(what)) if !self.plaintext => bail!(
                "{what} is beyond this machine, and nothing protects it: give --tls-dir (`zenvoy certs` makes certificates for \
                 development), or --plaintext where the network is to be trusted"
            ),
            (None, _) => Ok(None),
        }
    }
}

/// Opens the files that are given. What is wrong with them is the user's to mend.
pub(crate) async fn open(files: Option<TlsFiles>, role: Role) -> Result<Option<Live>, Failure> {
    match files {
        Some(files) => Live::open(files, role).await.map(Some).map_err(Failure::configuration),
        None => Ok(None),
    }
}
