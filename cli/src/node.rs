//! `zenvoy node`.

use std::fmt::Write;

use clap::Subcommand;
use zenvoy_controller::admin::nodes;
use zenvoy_controller::store::{EtcdOptions, EtcdStore, Store};
use zenvoy_shared::id::NodeId;

use crate::controller::EtcdArgs;
use crate::exit::Failure;
use crate::{out, value};

/// Show the nodes that count, or forget one that is gone
///
/// A node is an Envoy with the proxy beside it. It counts until it said goodbye: no workload is scaled down before each
/// node has proven that nothing runs on it. A node that died without a word (its machine is lost, its proxy was killed)
/// keeps everything up until it comes back, the Pod that it lived in is deleted, or it is forgotten here.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Where {
    /// Separates installations that share one etcd
    #[arg(long, value_name = "NAME", env = "ZENVOY_CLUSTER", default_value = "default",
        value_parser = value::label)]
    cluster: String,
    #[command(flatten)]
    etcd: EtcdArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print each node with the controller that had its last session, and whether that lives
    List(Where),
    /// Forget a node whose proxy and Envoy are gone for good
    Forget {
        /// The node's name, as `--node` of its proxy
        name: String,
        /// Also when a live controller had its last session: you know that proxy and Envoy are gone
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let (place, forget) = match args.command {
        Command::List(place) => (place, None),
        Command::Forget { name, force, place } => (place, Some((NodeId(name), force))),
    };
    let etcd = place.etcd.check().map_err(Failure::configuration)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = EtcdStore::open(&EtcdOptions { cluster: place.cluster, ..etcd }).await?;
        let Some((node, force)) = forget else { return list(&store).await };
        nodes::forget(&store, &node, force).await?;
        Ok(out::print(&format!("node {node} is forgotten\n"))?)
    })
}

async fn list(store: &dyn Store) -> Result<(), Failure> {
    let known = nodes::list(store).await?;
    let mut table = format!("{:<32} {:<28} {:<8} POD\n", "NODE", "CONTROLLER", "SERVED");
    for node in known {
        let pod = node.record.as_ref().and_then(|record| record.pod.as_ref()).map(ToString::to_string);
        let (pod, served) = (pod.unwrap_or_else(|| "-".into()), if node.served { "yes" } else { "no" });
        let controller = node.record.map_or_else(|| "?".into(), |record| record.controller.0);
        let _ = writeln!(table, "{:<32} {controller:<28} {served:<8} {pod}", node.id.0);
    }
    Ok(out::print(&table)?)
}
