//! `zenvoy controller`.

mod kubernetes;
mod store;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::replica::{self, Parts, ReplicaOptions};
use zenvoy_controller::session::DemandQuota;
use zenvoy_controller::source::kube::ReportWriter;
use zenvoy_controller::translate::{ListenerOptions, Names};
use zenvoy_shared::pool::PortPool;
use zenvoy_shared::tls::Role;

use self::kubernetes::KubernetesArgs;
pub(crate) use self::store::EtcdArgs;
use self::store::StoreArgs;
use crate::exit::Failure;
use crate::logs::LogArgs;
use crate::pool::check_pool;
use crate::shutdown::{ShutdownArgs, run_until_signal};
use crate::tls::{self, TlsArgs};
use crate::value;

/// Run a controller replica: it serves Envoys and proxies, and scales workloads from zero and back
///
/// Any number of replicas may run on one etcd; each serves, one leads. It watches Kubernetes for Services annotated with
/// zenvoy.dev/enabled: "true" and for Upstream objects (`zenvoy crd` prints their definition).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where xDS and the sessions of proxies are served
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_LISTEN", default_value = "0.0.0.0:18000",
        value_parser = value::address)]
    listen: SocketAddr,
    /// The address under which nodes reach that, as host:port; else --listen
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ZENVOY_ADVERTISE",
        value_parser = value::host_and_port
    )]
    advertise: Option<String>,
    /// Where health (/healthz, /readyz), status (/status) and metrics (/metrics) are served; `none` for none
    ///
    /// For probes of the kubelet it must be reachable from the node: 0.0.0.0:18080.
    #[arg(long, value_name = "ADDRESS", env = "ZENVOY_ADMIN", default_value = "127.0.0.1:18080",
        value_parser = value::address_or_none)]
    admin: value::AddressOrNone,
    /// Separates installations that share one etcd or one Kubernetes namespace
    #[arg(long, value_name = "NAME", env = "ZENVOY_CLUSTER", default_value = "default",
        value_parser = value::label)]
    cluster: String,
    /// Addresses that may stand in for cold upstreams, the same on every node
    ///
    /// Ranges of ports on loopback addresses, separated by commas; one address holds one upstream. A further loopback
    /// address extends the pool: 127.0.0.1:20000-32767,127.0.0.2:20000-32767.
    #[arg(long, value_name = "RANGES", env = "ZENVOY_PORT_POOL", default_value = "127.0.0.1:20000-32767")]
    port_pool: PortPool,
    /// How long an address rests after its upstream is gone
    #[arg(long, value_name = "DURATION", env = "ZENVOY_PORT_QUARANTINE", default_value = "10m",
        value_parser = value::duration)]
    port_quarantine: Duration,
    /// How long this replica may be silent before another takes over what it did; at least 3s
    #[arg(long, value_name = "DURATION", env = "ZENVOY_LEASE_TTL", default_value = "15s",
        value_parser = value::lease_ttl)]
    lease_ttl: Duration,
    /// Workloads that may be on their way to zero at once
    #[arg(long, value_name = "COUNT", env = "ZENVOY_MAX_DRAINS", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..))]
    max_drains: u16,
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    listeners: ListenerArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    #[command(flatten)]
    shutdown: ShutdownArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What one node may demand")]
struct NodeArgs {
    /// Upstreams demanded at once; what is beyond is refused, and its clients are told
    #[arg(long, value_name = "COUNT", env = "ZENVOY_NODE_MAX_DEMAND",
        default_value_t = DemandQuota::default().upstreams, value_parser = clap::value_parser!(u32).range(1..))]
    node_max_demand: u32,
    /// Wakes begun a minute, as many at once; what is beyond is refused, and its clients are told
    #[arg(long, value_name = "COUNT", env = "ZENVOY_NODE_WAKES_PER_MINUTE",
        default_value_t = DemandQuota::default().wakes_per_minute, value_parser = clap::value_parser!(u32).range(1..))]
    node_wakes_per_minute: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What Envoys serve")]
struct ListenerArgs {
    /// The address on which Envoys listen
    #[arg(long, value_name = "IP", env = "ZENVOY_LISTENER_BIND", default_value = "0.0.0.0",
        value_parser = value::ip)]
    listener_bind: IpAddr,
    /// The port of the HTTP listener, which all http and http2 upstreams share
    #[arg(long, value_name = "PORT", env = "ZENVOY_HTTP_PORT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u16).range(1..))]
    http_port: u16,
    /// The port of the TLS listener, which all tls upstreams share by server name
    #[arg(long, value_name = "PORT", env = "ZENVOY_TLS_PORT", default_value_t = 10_443,
        value_parser = clap::value_parser!(u16).range(1..))]
    tls_port: u16,
    /// The cluster's DNS domain: Services are reached as NAME.NAMESPACE.svc.DOMAIN too
    #[arg(long, value_name = "DOMAIN", env = "ZENVOY_CLUSTER_DOMAIN", default_value = "cluster.local",
        value_parser = value::domain)]
    cluster_domain: String,
    /// Services in this namespace are reached by their bare name too
    #[arg(long, value_name = "NAMESPACE", env = "ZENVOY_BARE_NAMESPACE", value_parser = value::label)]
    bare_namespace: Option<String>,
}

impl Args {
    /// What is listened on, here or by Envoys, by flag.
    fn own_addresses(&self) -> Vec<(SocketAddr, String)> {
        let envoy = |port| SocketAddr::new(self.listeners.listener_bind, port);
        let fixed = [
            (self.listen, "--listen".into()),
            (envoy(self.listeners.http_port), "--http-port".into()),
            (envoy(self.listeners.tls_port), "--tls-port".into()),
        ];
        fixed.into_iter().chain(self.admin.0.map(|address| (address, "--admin".into()))).collect()
    }
}

pub(crate) fn run(args: Args, logs: &LogArgs) -> Result<(), Failure> {
    check_pool(&args.port_pool, &args.own_addresses()).map_err(Failure::configuration)?;
    let store = args.store.check().map_err(Failure::configuration)?;
    let beyond = (!args.listen.ip().is_loopback()).then(|| format!("--listen {}", args.listen));
    let files = args.tls.check(beyond.as_deref()).map_err(Failure::configuration)?;
    logs.init()?;
    let options = ReplicaOptions {
        listen: args.listen,
        tls: None,
        advertise: args.advertise.unwrap_or_default(),
        admin: args.admin.0,
        pool: args.port_pool,
        quarantine: args.port_quarantine,
        listeners: ListenerOptions {
            bind: args.listeners.listener_bind,
            http_port: args.listeners.http_port,
            tls_port: args.listeners.tls_port,
        },
        names: Names {
            cluster_domain: args.listeners.cluster_domain,
            bare_namespace: args.listeners.bare_namespace,
        },
        max_offers: args.max_drains.into(),
        lease_ttl: args.lease_ttl,
        quota: DemandQuota {
            upstreams: args.nodes.node_max_demand,
            wakes_per_minute: args.nodes.node_wakes_per_minute,
        },
    };
    let (cluster, kubernetes) = (args.cluster, args.kubernetes);
    run_until_signal(&args.shutdown, async |stop| {
        let options = ReplicaOptions { tls: tls::open(files, Role::Controller).await?, ..options };
        let config = kubernetes.config().await.map_err(Failure::configuration)?;
        let electing = kubernetes.electing(&config, &store, &cluster, options.lease_ttl).await?;
        let kube = kubernetes.connect(&config).await?;
        let parts = Parts {
            store: store.open(&cluster).await?,
            source: Box::new(kube.source),
            scaler: Arc::new(kube.scaler),
            reporter: Arc::new(kube.reporter),
            electing,
        };
        replica_and_writer(options, parts, kube.writer, stop).await
    })
}

/// What the replica reports is written until it has ended.
async fn replica_and_writer(
    options: ReplicaOptions,
    parts: Parts,
    writer: ReportWriter,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut beside = JoinSet::new();
    let ended = CancellationToken::new();
    beside.spawn(writer.run(ended.clone()));
    let result = replica::run(options, parts, stop).await;
    ended.cancel();
    while let Some(written) = beside.join_next().await {
        written.context("what the controller reports is not written any more")?;
    }
    Ok(result?)
}
