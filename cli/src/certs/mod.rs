//! `zenvoy certs`.

mod authority;
mod folder;

use std::path::PathBuf;

use anyhow::bail;
use zenvoy_shared::id::NodeId;
use zenvoy_shared::tls::{Identity, Name, TrustDomain};

use self::authority::{Authority, Subject};
use self::folder::{Existing, Folder};
use crate::exit::Failure;
use crate::{out, value};

/// Make certificates for development: an authority, a controller's and nodes' certificates
///
/// Each folder has the layout of cert-manager's secrets (tls.crt, tls.key, ca.crt) and is what --tls-dir takes:
/// FOLDER/controller, and FOLDER/nodes/NAME for each node. The authority in FOLDER/ca is made once and used again by later
/// calls, for further nodes or, with --renew, for new certificates. Keep its key to yourself; in production let cert-manager
/// keep it (docs/tls.md).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write
    #[arg(long, value_name = "FOLDER", env = "ZENVOY_CERTS_OUT")]
    out: PathBuf,
    /// A node to make a certificate for, as `--node` of its proxy; may be given several times
    #[arg(long = "node", value_name = "NAME", env = "ZENVOY_CERTS_NODES", value_delimiter = ',',
        value_parser = value::node)]
    nodes: Vec<NodeId>,
    /// A class of nodes to make one common certificate for: all whose names begin with CLASS and a hyphen
    ///
    /// Whoever has it may act as any of them.
    #[arg(
        long = "node-class",
        value_name = "CLASS",
        env = "ZENVOY_CERTS_NODE_CLASSES",
        value_delimiter = ','
    )]
    classes: Vec<String>,
    /// Hosts and IP addresses by which proxies reach controllers, as in their --controllers
    #[arg(long = "controller-host", value_name = "HOST", env = "ZENVOY_CERTS_CONTROLLER_HOSTS",
        value_delimiter = ',', default_values = ["localhost", "127.0.0.1", "::1"])]
    hosts: Vec<String>,
    /// The trust domain in all names: one for each installation
    #[arg(long, value_name = "DOMAIN", env = "ZENVOY_CERTS_TRUST_DOMAIN", default_value = "zenvoy.local")]
    trust_domain: TrustDomain,
    /// How many days the certificates hold; the authority holds for ten years
    #[arg(long, value_name = "DAYS", env = "ZENVOY_CERTS_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Replace the certificates of the controller and of the given nodes, where there are some
    #[arg(long, env = "ZENVOY_CERTS_RENEW")]
    renew: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    Ok(make(args)?)
}

fn make(args: &Args) -> anyhow::Result<()> {
    let subjects = subjects(args)?;
    let existing = if args.renew { Existing::Replaced } else { Existing::Refused };
    // Nothing is written when something would be refused.
    for (folder, _) in subjects.iter().filter(|(folder, _)| folder.is_written()) {
        if existing == Existing::Refused {
            bail!("{} holds a certificate already; give --renew to replace it", folder.path().display());
        }
    }
    let authority = Authority::in_folder(&Folder::new(args.out.join("ca")))?;
    for (folder, subject) in subjects {
        folder.write(&authority.sign(&subject, args.days)?, existing)?;
        out::print(&format!("{:<40} {}\n", subject.identity.to_string(), folder.path().display()))?;
    }
    Ok(())
}

/// Who gets a certificate, and where. A controller that has one keeps it, unless all are renewed.
fn subjects(args: &Args) -> anyhow::Result<Vec<(Folder, Subject)>> {
    let identity = |name| {
        let identity = Identity::new(args.trust_domain.clone(), name);
        // As those who check it will read it.
        identity.to_string().parse::<Identity>().map_err(anyhow::Error::from)
    };
    let node = |folder: &str| Folder::new(args.out.join("nodes").join(folder));
    let mut subjects = Vec::new();
    let controller = Folder::new(args.out.join("controller"));
    if args.renew || !controller.is_written() {
        subjects
            .push((controller, Subject { identity: identity(Name::Controller)?, hosts: args.hosts.clone() }));
    }
    for name in &args.nodes {
        let subject = Subject { identity: identity(Name::Node(name.clone()))?, hosts: Vec::new() };
        subjects.push((node(&name.0), subject));
    }
    for class in &args.classes {
        let subject = Subject { identity: identity(Name::Nodes(class.clone()))?, hosts: Vec::new() };
        subjects.push((node(&format!("{class}-class")), subject));
    }
    Ok(subjects)
}
