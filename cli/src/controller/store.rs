//! Flags for where decisions are kept.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use zenvoy_controller::store::{EtcdOptions, EtcdStore, MemoryStore, Store};
use zenvoy_shared::tls::TlsFiles;

use crate::value;

#[derive(Debug, Args)]
#[command(next_help_heading = "Where decisions are kept")]
pub(crate) struct StoreArgs {
    /// The store
    #[arg(long, env = "ZENVOY_STORE", default_value = "etcd")]
    store: Kind,
    #[command(flatten)]
    etcd: EtcdArgs,
}

/// How etcd is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where decisions are kept")]
pub(crate) struct EtcdArgs {
    /// All members of etcd, as http://etcd-0:2379,http://etcd-1:2379 (https with TLS)
    #[arg(long, value_name = "URL,...", env = "ZENVOY_ETCD_ENDPOINTS", value_delimiter = ',')]
    etcd_endpoints: Vec<String>,
    /// Certificates of the authorities that etcd's certificates come from; PEM
    #[arg(long, value_name = "FILE", env = "ZENVOY_ETCD_CA",
        value_parser = value::file)]
    etcd_ca: Option<PathBuf>,
    /// Own certificate for etcd; PEM
    #[arg(long, value_name = "FILE", env = "ZENVOY_ETCD_CERT", requires = "etcd_key",
        value_parser = value::file)]
    etcd_cert: Option<PathBuf>,
    /// Own key for etcd; PEM
    #[arg(long, value_name = "FILE", env = "ZENVOY_ETCD_KEY", requires = "etcd_cert",
        value_parser = value::file)]
    etcd_key: Option<PathBuf>,
    /// Own name at etcd, where authentication is on
    #[arg(long, value_name = "NAME", env = "ZENVOY_ETCD_USER", requires = "etcd_password_file")]
    etcd_user: Option<String>,
    /// A file that holds the password
    #[arg(long, value_name = "FILE", env = "ZENVOY_ETCD_PASSWORD_FILE", requires = "etcd_user",
        value_parser = value::file)]
    etcd_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// For any number of replicas
    Etcd,
    /// For one replica; port mappings and open wakes are forgotten with it
    Memory,
}

/// A store that can be opened.
#[derive(Debug)]
pub(crate) enum Chosen {
    /// For one replica.
    Memory,
    /// For any number.
    Etcd(EtcdOptions),
}

impl StoreArgs {
    /// Whether the flags fit together, and what files say can be read.
    pub(crate) fn check(self) -> anyhow::Result<Chosen> {
        match (self.store, self.etcd.given()) {
            (Kind::Memory, None) => Ok(Chosen::Memory),
            (Kind::Memory, Some(flag)) => {
                bail!("{flag} has no meaning with --store memory; leave out one of the two")
            }
            (Kind::Etcd, _) if self.etcd.etcd_endpoints.is_empty() => bail!(
                "--store etcd needs --etcd-endpoints, as http://etcd:2379; for a single replica --store memory will do"
            ),
            (Kind::Etcd, _) => self.etcd.check().map(Chosen::Etcd),
        }
    }
}

impl EtcdArgs {
    /// The first flag given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            (!self.etcd_endpoints.is_empty(), "--etcd-endpoints"),
            (self.etcd_ca.is_some(), "--etcd-ca"),
            (self.etcd_cert.is_some(), "--etcd-cert"),
            (self.etcd_user.is_some(), "--etcd-user"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// Whether the flags say how etcd is reached, and what files say can be read.
    pub(crate) fn check(self) -> anyhow::Result<EtcdOptions> {
        if self.etcd_endpoints.is_empty() {
            bail!("--etcd-endpoints is missing: give those of the controllers' etcd, as http://etcd:2379");
        }
        if let Some(bad) = self.etcd_endpoints.iter().find(|url| !is_url(url)) {
            bail!("--etcd-endpoints: {bad:?} is not a URL: give http://host:port or https://host:port");
        }
        let user = match (self.etcd_user, self.etcd_password_file) {
            (Some(name), Some(file)) => {
                let password = std::fs::read_to_string(&file)
                    .with_context(|| format!("--etcd-password-file: read {}", file.display()))?;
                Some((name, password.trim_end_matches(['\r', '\n']).to_owned()))
            }
            _ => None,
        };
        Ok(EtcdOptions {
            endpoints: self.etcd_endpoints,
            cluster: String::new(),
            tls: TlsFiles { ca: self.etcd_ca, identity: self.etcd_cert.zip(self.etcd_key) },
            user,
        })
    }
}

fn is_url(text: &str) -> bool {
    let uri = text.parse::<http::Uri>();
    uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some())
}

impl Chosen {
    /// Whether several replicas may share it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Etcd(_))
    }

    /// Opens it for one cluster.
    pub(crate) async fn open(self, cluster: &str) -> anyhow::Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::default()),
            Self::Etcd(options) => {
                let options = EtcdOptions { cluster: cluster.into(), ..options };
                Arc::new(EtcdStore::connect(&options).await?)
            }
        })
    }
}
