//! The parts of `zenvoy up`, put together: each runs until `stop`, and when one fails all end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::leader::Electing;
use zenvoy_controller::replica::{self, Parts, ReplicaOptions};
use zenvoy_controller::session::DemandQuota;
use zenvoy_controller::source::process::{self, ProcessScaler, ProcessSource};
use zenvoy_controller::store::MemoryStore;
use zenvoy_controller::translate::{ListenerOptions, Names};
use zenvoy_proxy::bootstrap::{self, BootstrapOptions};
use zenvoy_proxy::{Goodbye, Handle, Proxy, ProxyOptions};
use zenvoy_shared::id::{NodeId, UpstreamId};
use zenvoy_shared::pool::PortPool;

use super::board::Board;
use super::{envoy, ports, reach, show};
use crate::exit::Failure;
use crate::keep;

/// At the end, connections may last so long: whoever presses Ctrl-C does not want to wait.
const CONNECTIONS_LAST: Duration = Duration::from_secs(1);
/// Memory outlives nothing, so an address need not rest long.
const QUARANTINE: Duration = Duration::from_secs(30);

/// Everything that was decided before the start.
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) source: ProcessSource,
    pub(super) scaler: ProcessScaler,
    pub(super) listeners: ListenerOptions,
    pub(super) pool: PortPool,
    pub(super) admin: Option<SocketAddr>,
    pub(super) envoy_admin: Option<SocketAddr>,
    pub(super) stats_flush_interval: Duration,
}

/// Runs all of it.
pub(super) async fn up(plan: Plan, board: Board, stop: CancellationToken) -> Result<(), Failure> {
    let controller = ports::free()?;
    let node = NodeId("up".into());
    let proxy = Proxy::bind(proxy_options(&plan, node.clone(), controller)?).await?;
    let bootstrap = bootstrap::yaml(&BootstrapOptions {
        admin: plan.envoy_admin,
        stats_flush_interval: plan.stats_flush_interval,
        ..BootstrapOptions::new(node, proxy.local_address().clone())
    });
    let (config, listeners) = (plan.source.config(), plan.listeners);
    let wanted = reach::listeners(&config.borrow(), listeners)
        .into_iter()
        .map(|(address, _)| address.port())
        .collect();

    let view_stop = CancellationToken::new();
    let reached = move || reach::reached(&config.borrow(), listeners);
    let (handle, shown) = (proxy.handle(), board.clone());
    let view = tokio::spawn(show::show(shown, reached, move || held(&handle), view_stop.clone()));

    let mut parts = JoinSet::new();
    let replica = replica_options(&plan, controller);
    let on = Parts {
        store: Arc::new(MemoryStore::default()),
        source: Box::new(plan.source),
        scaler: Arc::new(plan.scaler),
        reporter: Arc::new(board.clone()),
        electing: Electing::Alone,
    };
    let (of_proxy, of_envoy) = (stop.clone(), stop.clone());
    // Connections that are still held may need the controller: it ends when the proxy has.
    let of_replica = CancellationToken::new();
    let proxy_ended = of_replica.clone().drop_guard();
    parts.spawn(async move { replica::run(replica, on, of_replica).await.context("the controller failed") });
    parts.spawn(async move {
        let _proxy_ended = proxy_ended;
        proxy.run(of_proxy).await.context("the proxy failed")
    });
    let (listens, listened) = watch::channel(false);
    let program = plan.program;
    parts.spawn(async move { envoy::run(&keep::keeper(), &program, &bootstrap, listened, of_envoy).await });
    parts.spawn(announce(board, wanted, listens, stop.clone()));
    let result = all(parts, &stop).await;
    view_stop.cancel();
    view.await.context("the view failed")??;
    Ok(result?)
}

/// Says when clients may come.
async fn announce(
    board: Board,
    ports: BTreeSet<u16>,
    listened: watch::Sender<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        seen = envoy::listens(&ports) => {
            seen?;
            listened.send_replace(true);
            board.ready();
            stop.cancelled().await;
        }
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// Waits for all parts. The first that ends takes the others with it; the first fault is the result.
async fn all(mut parts: JoinSet<anyhow::Result<()>>, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(ended) = parts.join_next().await {
        stop.cancel();
        let ended = ended.context("a part of zenvoy failed").flatten();
        if result.is_ok() {
            result = ended;
        }
    }
    result
}

fn proxy_options(plan: &Plan, node: NodeId, controller: SocketAddr) -> anyhow::Result<ProxyOptions> {
    let controllers = vec![format!("http://{controller}").parse()?];
    Ok(ProxyOptions {
        local: "127.0.0.1:0".parse()?,
        admin: plan.admin,
        stats_flush_interval: plan.stats_flush_interval,
        held_grace: CONNECTIONS_LAST,
        relay_grace: CONNECTIONS_LAST,
        goodbye: Goodbye::Never,
        ..ProxyOptions::new(node, controllers)
    })
}

fn replica_options(plan: &Plan, listen: SocketAddr) -> ReplicaOptions {
    ReplicaOptions {
        listen,
        // On loopback, within one process.
        tls: None,
        advertise: String::new(),
        admin: None,
        pool: plan.pool.clone(),
        quarantine: QUARANTINE,
        listeners: plan.listeners,
        names: names(),
        max_offers: 4,
        lease_ttl: Duration::from_secs(10),
        quota: DemandQuota::default(),
    }
}

/// How upstreams are called, beside their hosts.
pub(super) fn names() -> Names {
    Names { bare_namespace: Some(process::LOCAL.into()), ..Names::default() }
}

fn held(proxy: &Handle) -> BTreeMap<UpstreamId, u32> {
    let upstreams = proxy.status().upstreams.into_iter();
    upstreams.map(|upstream| (upstream.upstream, upstream.connections.held_now)).collect()
}
