//! `zenvoy proxy`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use http::Uri;
use zenvoy_proxy::local::LocalAddress;
use zenvoy_proxy::transport::rules::RulesBy;
use zenvoy_proxy::{Goodbye, ProxyError, ProxyOptions, Transport};
use zenvoy_shared::duration::Span;
use zenvoy_shared::id::NodeId;
use zenvoy_shared::pool::PortPool;
use zenvoy_shared::proto::PodReference;
use zenvoy_shared::tls::Role;

use crate::exit::Failure;
use crate::logs::LogArgs;
use crate::pool::check_pool;
use crate::shutdown::{ShutdownArgs, run_until_signal};
use crate::tls::{self, TlsArgs};
use crate::value;

/// Run the proxy beside an Envoy: it holds connections to cold services until they are awake
///
/// One proxy and one Envoy make a node. Envoy reaches its controller through the proxy; `zenvoy bootstrap` prints the
/// configuration that Envoy needs for that.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name: the same as its Envoy's node.id, and unlike all other nodes'
    #[arg(long, value_name = "NAME", env = "ZENVOY_NODE", default_value_t = value::host_name())]
    node: NodeId,
    /// Controllers, as `https://zenvoy-controller.zenvoy:18000` (http without TLS); several are tried in turn
    #[arg(long, value_name = "URL,...", env = "ZENVOY_CONTROLLERS", required = true, value_delimiter = ',',
        value_parser = controller)]
    controllers: Vec<Uri>,
    /// How connections to activator addresses are accepted
    #[arg(long, env = "ZENVOY_MODE", default_value = "tproxy")]
    mode: Mode,
    /// For tproxy: where activator addresses lie; the same as the controllers'
    #[arg(long, value_name = "RANGES", env = "ZENVOY_PORT_POOL", default_value = "127.0.0.1:20000-32767")]
    port_pool: PortPool,
    /// For tproxy: who installs the kernel's rules: nft, iptables, or none (somebody else)
    #[arg(long, value_name = "PROGRAM", env = "ZENVOY_RULES", default_value = "nft")]
    rules: RulesBy,
    /// For tproxy: the port of the transparent socket; proxies in one network namespace need one each
    #[arg(long, value_name = "PORT", env = "ZENVOY_TPROXY_PORT", default_value_t = 15_001,
        value_parser = clap::value_parser!(u16).range(1..))]
    tproxy_port: u16,
    /// Where Envoy finds the proxy, for ADS and its statistics: ip:port, or unix:/path
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ENVOY_LISTEN", default_value = "127.0.0.1:18001")]
    envoy_listen: LocalAddress,
    /// Where health (/healthz, /readyz), status (/status) and metrics (/metrics) are served; `none` for none
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ADMIN", default_value = "127.0.0.1:18081",
        value_parser = value::address_or_none)]
    admin: value::AddressOrNone,
    /// Connections held at most, of all upstreams together; beyond, they are refused
    #[arg(long, value_name = "COUNT", env = "ZENVOY_MAX_HELD", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_held: u32,
    /// How often Envoy flushes its statistics; the same as in its bootstrap
    #[arg(long, value_name = "DURATION", env = "ZENVOY_STATS_FLUSH_INTERVAL", default_value = "1s",
        value_parser = value::flush_interval)]
    stats_flush_interval: Duration,
    /// At the end: how long held connections may still wait for their service; no longer than --relay-grace
    #[arg(long, value_name = "DURATION", env = "ZENVOY_HELD_GRACE", help_heading = "Ending", default_value = "10s",
        value_parser = value::duration)]
    held_grace: Duration,
    /// At the end: how long relayed connections may last; while some do and Envoy lives, further ones are accepted
    ///
    /// At least 6s shorter than --shutdown-timeout: the rest of the end needs its time too.
    #[arg(long, value_name = "DURATION", env = "ZENVOY_RELAY_GRACE", help_heading = "Ending", default_value = "20s",
        value_parser = value::duration)]
    relay_grace: Duration,
    /// At the end: when controllers are told that the node is gone for good
    #[arg(
        long,
        value_name = "WHEN",
        env = "ZENVOY_GOODBYE",
        help_heading = "Ending",
        default_value = "envoy-gone"
    )]
    goodbye: When,
    /// At the end: how long its Envoy is waited for and served, when `--goodbye envoy-gone`
    #[arg(long, value_name = "DURATION", env = "ZENVOY_ENVOY_GRACE", help_heading = "Ending", default_value = "5s",
        value_parser = value::duration)]
    envoy_grace: Duration,
    // A group's heading holds for all that follows without one: groups come last.
    #[command(flatten)]
    pod: PodArgs,
    #[command(flatten)]
    shutdown: ShutdownArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// From the downward API: metadata.namespace, metadata.name and metadata.uid.
///
/// The Pod must be the one that Envoy lives in too: once it is deleted, no controller waits for this node any more.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "The Pod it lives in with its Envoy; its deletion proves that the node is gone"
)]
struct PodArgs {
    /// The Pod's namespace
    #[arg(long, value_name = "NAME", env = "ZENVOY_POD_NAMESPACE", requires_all = ["pod_name", "pod_uid"])]
    pod_namespace: Option<String>,
    /// The Pod's name
    #[arg(long, value_name = "NAME", env = "ZENVOY_POD_NAME", requires_all = ["pod_namespace", "pod_uid"])]
    pod_name: Option<String>,
    /// The Pod's UID
    #[arg(long, value_name = "UID", env = "ZENVOY_POD_UID", requires_all = ["pod_namespace", "pod_name"])]
    pod_uid: Option<String>,
}

impl PodArgs {
    fn reference(self) -> Option<PodReference> {
        Some(PodReference { namespace: self.pod_namespace?, name: self.pod_name?, uid: self.pod_uid? })
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// One transparent socket for all; needs CAP_NET_ADMIN in Envoy's network namespace
    Tproxy,
    /// A socket for each upstream; needs no privilege
    Listen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum When {
    /// When its Envoy was here and is gone: for a pod that ends both
    EnvoyGone,
    /// Never: for a restart beside an Envoy that runs on
    Never,
    /// Always: the operator answers for Envoy
    Always,
}

impl Args {
    /// What the proxy itself listens on or dials on this machine, by flag.
    fn own_addresses(&self) -> Vec<(SocketAddr, String)> {
        let local = match &self.envoy_listen {
            LocalAddress::Tcp(address) => Some((*address, "--envoy-listen".into())),
            LocalAddress::Unix(_) => None,
        };
        let admin = self.admin.0.map(|address| (address, "--admin".into()));
        let transparent = match self.mode {
            Mode::Tproxy => Some(((Ipv4Addr::LOCALHOST, self.tproxy_port).into(), "--tproxy-port".into())),
            Mode::Listen => None,
        };
        let controllers = self.controllers.iter().filter_map(|controller| {
            let ip = match controller.host()?.trim_matches(['[', ']']) {
                "localhost" => Ipv4Addr::LOCALHOST.into(),
                host => host.parse().ok()?,
            };
            Some((SocketAddr::new(ip, controller.port_u16()?), "--controllers".into()))
        });
        local.into_iter().chain(admin).chain(transparent).chain(controllers).collect()
    }
}

/// A controller's URL.
fn controller(text: &str) -> Result<Uri, String> {
    let expected =
        || format!("{text:?} is not a controller's URL: give http://host:port or https://host:port");
    let uri: Uri = text.parse().map_err(|_| expected())?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    if scheme && bare && uri.host().is_some() && uri.port().is_some() { Ok(uri) } else { Err(expected()) }
}

/// The first controller to which bytes would leave this machine unprotected.
fn beyond(controllers: &[Uri]) -> Option<String> {
    let is_local = |uri: &Uri| {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let found = controllers.iter().find(|uri| uri.scheme_str() == Some("http") && !is_local(uri));
    found.map(|uri| format!("controller {uri}"))
}

/// Whether the graces leave the end as much time as it is given: else connections are cut before their grace is over, and no
/// controller is told that the node is gone.
fn check_ending(options: &ProxyOptions, timeout: Duration) -> anyhow::Result<()> {
    let takes = options.ends_within();
    if takes <= timeout {
        return Ok(());
    }
    let (flag, grace) = match options.goodbye {
        Goodbye::WhenEnvoyGone { within } if within > options.relay_grace => ("--envoy-grace", within),
        _ => ("--relay-grace", options.relay_grace),
    };
    bail!(
        "{flag} {} makes the end take up to {}, but --shutdown-timeout cuts it off after {}; give a shorter {flag}, or a longer \
         --shutdown-timeout (and in a Pod a terminationGracePeriodSeconds beyond that)",
        Span(grace),
        Span(takes),
        Span(timeout)
    )
}

pub(crate) fn run(args: Args, logs: &LogArgs) -> Result<(), Failure> {
    check_pool(&args.port_pool, &args.own_addresses()).map_err(Failure::configuration)?;
    let files = args.tls.check(beyond(&args.controllers).as_deref()).map_err(Failure::configuration)?;
    let transport = match args.mode {
        Mode::Listen => Transport::Listen,
        Mode::Tproxy => Transport::Tproxy { port: args.tproxy_port, pool: args.port_pool, rules: args.rules },
    };
    let options = ProxyOptions {
        pod: args.pod.reference(),
        transport,
        local: args.envoy_listen,
        admin: args.admin.0,
        max_held: args.max_held,
        stats_flush_interval: args.stats_flush_interval,
        held_grace: args.held_grace,
        relay_grace: args.relay_grace,
        goodbye: match args.goodbye {
            When::EnvoyGone => Goodbye::WhenEnvoyGone { within: args.envoy_grace },
            When::Never => Goodbye::Never,
            When::Always => Goodbye::Always,
        },
        ..ProxyOptions::new(args.node, args.controllers)
    };
    check_ending(&options, args.shutdown.timeout()).map_err(Failure::configuration)?;
    logs.init()?;
    run_until_signal(&args.shutdown, async |stop| {
        let tls = tls::open(files, Role::Node(options.node.clone())).await?;
        zenvoy_proxy::run(ProxyOptions { tls, ..options }, stop).await.map_err(failure)
    })
}

fn failure(error: ProxyError) -> Failure {
    match error {
        ProxyError::NoController | ProxyError::NoCertificate(_) | ProxyError::Plaintext(_) => {
            Failure::configuration(error)
        }
        other => other.into(),
    }
}
