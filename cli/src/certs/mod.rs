//! `zenvoy certs`.

mod authority;
mod folder;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use zenvoy_shared::id::NodeId;
use zenvoy_shared::tls::{Identity, Name, TrustDomain};

use self::authority::{Authority, Subject};
use self::folder::{Existing, Folder};
use crate::exit::Failure;
use crate::{out, value};

/// Make certificates for development: an authority, a controller's and nodes' certificates, and etcd's
///
/// Each folder has the layout of cert-manager's secrets (tls.crt, tls.key, ca.crt) and is what --tls-dir takes:
/// FOLDER/controller, and FOLDER/nodes/NAME for each node. With --etcd-host also FOLDER/etcd/server and FOLDER/etcd/peer for
/// etcd's members, and FOLDER/etcd/client for controllers (--etcd-ca, --etcd-cert, --etcd-key), from authorities of their own.
/// The authorities (FOLDER/ca, FOLDER/etcd/ca, FOLDER/etcd/peer-ca) are made once and used again by later calls, for further
/// nodes or, with --renew, for new certificates. Keep their keys to yourself; in production let cert-manager keep them
/// (docs/tls.md).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write
    #[arg(long, value_name = "FOLDER", env = "ZENVOY_CERTS_OUT")]
    out: PathBuf,
    /// A node to make a certificate for, as `--node` of its proxy; may be given several times
    #[arg(long = "node", value_name = "NAME", env = "ZENVOY_CERTS_NODES", value_delimiter = ',')]
    nodes: Vec<NodeId>,
    /// A class of nodes to make one common certificate for: all whose names begin with CLASS and a hyphen
    ///
    /// Whoever has it may act as any of them.
    #[arg(
        long = "node-class",
        value_name = "CLASS",
        env = "ZENVOY_CERTS_NODE_CLASSES",
        value_delimiter = ',',
        value_parser = value::class
    )]
    classes: Vec<String>,
    /// Hosts and IP addresses by which proxies reach controllers, as in their --controllers
    #[arg(long = "controller-host", value_name = "HOST", env = "ZENVOY_CERTS_CONTROLLER_HOSTS",
        value_delimiter = ',', value_parser = value::host, default_values = ["localhost", "127.0.0.1", "::1"])]
    hosts: Vec<String>,
    /// Hosts and IP addresses of etcd's members, for its clients and among themselves; without, nothing is made for etcd
    #[arg(long = "etcd-host", value_name = "HOST", env = "ZENVOY_CERTS_ETCD_HOSTS", value_delimiter = ',',
        value_parser = value::host)]
    etcd_hosts: Vec<String>,
    /// The trust domain in all names: one for each installation
    #[arg(long, value_name = "DOMAIN", env = "ZENVOY_CERTS_TRUST_DOMAIN", default_value = "zenvoy.local")]
    trust_domain: TrustDomain,
    /// How many days the certificates hold; the authority holds for ten years
    #[arg(long, value_name = "DAYS", env = "ZENVOY_CERTS_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Replace the certificates of the controller, of etcd and of the given nodes, where there are some
    #[arg(long, env = "ZENVOY_CERTS_RENEW")]
    renew: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let existing = if args.renew { Existing::Replaced } else { Existing::Refused };
    let certificates = certificates(args).map_err(Failure::configuration)?;
    check(&certificates, existing).map_err(Failure::configuration)?;
    Ok(make(args, certificates, existing)?)
}

/// Whether each can be written: nothing is when something would be refused.
fn check(certificates: &[Certificate], existing: Existing) -> anyhow::Result<()> {
    let mut folders = BTreeSet::new();
    for folder in certificates.iter().map(|one| &one.folder) {
        let path = folder.path();
        if !folders.insert(path) {
            bail!("two certificates would be in {}; give each --node and --node-class once", path.display());
        }
        if existing == Existing::Refused && folder.is_written() {
            bail!("{} holds a certificate already; give --renew to replace it", path.display());
        }
    }
    Ok(())
}

fn make(args: &Args, certificates: Vec<Certificate>, existing: Existing) -> anyhow::Result<()> {
    for Certificate { folder, subject, by } in certificates {
        let (at, name) = by.place();
        let authority = Authority::in_folder(&Folder::new(args.out.join(at)), name)?;
        folder.write(&authority.sign(&subject, args.days)?, existing)?;
        out::print(&format!("{:<40} {}\n", subject.to_string(), folder.path().display()))?;
    }
    Ok(())
}

/// One that is to be made.
struct Certificate {
    folder: Folder,
    subject: Subject,
    by: By,
}

/// Which authority signs it. etcd lets in whoever has a certificate of one that it trusts, so it has its own; and a client's
/// opens no member's port to its peers.
#[derive(Debug, Clone, Copy)]
enum By {
    Zenvoy,
    Etcd,
    EtcdPeers,
}

impl By {
    /// Its folder and its name.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Zenvoy => ("ca", "zenvoy development authority"),
            Self::Etcd => ("etcd/ca", "zenvoy development authority of etcd"),
            Self::EtcdPeers => ("etcd/peer-ca", "zenvoy development authority of etcd's members"),
        }
    }
}

/// Who gets a certificate, and where. A controller and an etcd that have theirs keep them, unless all are renewed.
fn certificates(args: &Args) -> anyhow::Result<Vec<Certificate>> {
    let of_zenvoy = |folder: String, name, hosts| {
        let identity = Identity::new(args.trust_domain.clone(), name);
        // As those who check it will read it.
        let identity = identity.to_string().parse::<Identity>().map_err(anyhow::Error::from)?;
        let subject = Subject::of_zenvoy(identity, hosts);
        Ok(Certificate { folder: Folder::new(args.out.join(folder)), subject, by: By::Zenvoy })
    };
    let of_etcd = |folder, subject, by| {
        let folder = Folder::new(args.out.join("etcd").join(folder));
        Certificate { folder, subject, by }
    };
    let mut kept = vec![of_zenvoy("controller".into(), Name::Controller, args.hosts.clone())?];
    if !args.etcd_hosts.is_empty() {
        let members = |name| Subject::of_etcd(name, args.etcd_hosts.clone());
        kept.extend([
            of_etcd("server", members("zenvoy-etcd-server"), By::Etcd),
            of_etcd("peer", members("zenvoy-etcd-peer"), By::EtcdPeers),
            of_etcd("client", Subject::at_etcd(), By::Etcd),
        ]);
    }
    kept.retain(|one| args.renew || !one.folder.is_written());
    let nodes = args
        .nodes
        .iter()
        .map(|name| of_zenvoy(format!("nodes/{name}"), Name::Node(name.clone()), Vec::new()));
    let classes = args
        .classes
        .iter()
        .map(|class| of_zenvoy(format!("nodes/{class}-class"), Name::Nodes(class.clone()), Vec::new()));
    let given: anyhow::Result<Vec<Certificate>> = nodes.chain(classes).collect();
    kept.extend(given?);
    Ok(kept)
}
