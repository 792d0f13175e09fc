//! `zenvoy bootstrap`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use zenvoy_proxy::bootstrap::{BootstrapOptions, Statistics, yaml};
use zenvoy_proxy::local::LocalAddress;
use zenvoy_shared::id::NodeId;

use crate::exit::Failure;
use crate::{out, value};

/// Print the bootstrap configuration of a node's Envoy
///
/// Everything Envoy needs comes from the proxy beside it: listeners, clusters, routes and endpoints by ADS.
/// For a start: zenvoy bootstrap --node node-1 > envoy.yaml; envoy -c envoy.yaml
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name: the same as its proxy's --node
    #[arg(long, value_name = "NAME", env = "ZENVOY_NODE", default_value_t = value::host_name())]
    node: NodeId,
    /// Envoy's node.cluster, for people who look at Envoy
    #[arg(long, value_name = "NAME", env = "ZENVOY_ENVOY_CLUSTER", default_value = "zenvoy",
        value_parser = NonEmptyStringValueParser::new())]
    cluster: String,
    /// The proxy beside Envoy: its --envoy-listen, as 127.0.0.1:18001 or unix:/run/zenvoy/proxy.sock
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ENVOY_LISTEN", default_value = "127.0.0.1:18001")]
    proxy: LocalAddress,
    /// Envoy's admin interface; `none` for none
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ENVOY_ADMIN", default_value = "127.0.0.1:9901",
        value_parser = value::address_or_none)]
    admin: value::AddressOrNone,
    /// How often Envoy flushes its statistics: the grain of idleness; the same as the proxy's
    #[arg(long, value_name = "DURATION", env = "ZENVOY_STATS_FLUSH_INTERVAL", default_value = "1s",
        value_parser = value::flush_interval)]
    stats_flush_interval: Duration,
    /// Keep all of Envoy's statistics, at about 4 KB a used cluster and flush, instead of those that zenvoy needs
    #[arg(long, env = "ZENVOY_ALL_STATISTICS")]
    all_statistics: bool,
    /// Write to this file; else to standard output. For containers without a shell
    #[arg(long, value_name = "FILE", env = "ZENVOY_BOOTSTRAP_OUT")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let admin: Option<SocketAddr> = args.admin.0;
    let options = BootstrapOptions {
        node: args.node,
        cluster: args.cluster,
        proxy: args.proxy,
        admin,
        stats_flush_interval: args.stats_flush_interval,
        statistics: if args.all_statistics { Statistics::All } else { Statistics::Needed },
    };
    let text = yaml(&options);
    match args.out {
        Some(file) => {
            let written = std::fs::write(&file, text);
            Ok(written.with_context(|| format!("--out: write {}", file.display()))?)
        }
        None => Ok(out::print(&text)?),
    }
}
