//! Flags for TLS between controllers and proxies.

use std::path::PathBuf;

use clap::Args;
use zenvoy_shared::tls::TlsFiles;

use crate::value;

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS (files of PEM text, as cert-manager writes them)")]
pub(crate) struct TlsArgs {
    /// Certificates of the authorities to trust
    #[arg(long, value_name = "FILE", env = "ZENVOY_TLS_CA", value_parser = value::file)]
    tls_ca: Option<PathBuf>,
    /// Own certificate
    #[arg(long, value_name = "FILE", env = "ZENVOY_TLS_CERT", requires = "tls_key",
        value_parser = value::file)]
    tls_cert: Option<PathBuf>,
    /// Own key
    #[arg(long, value_name = "FILE", env = "ZENVOY_TLS_KEY", requires = "tls_cert",
        value_parser = value::file)]
    tls_key: Option<PathBuf>,
}

impl From<TlsArgs> for TlsFiles {
    fn from(args: TlsArgs) -> Self {
        Self { ca: args.tls_ca, identity: args.tls_cert.zip(args.tls_key) }
    }
}
