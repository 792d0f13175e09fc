//! Kubernetes as a source: Services with annotations or `Upstream` objects, EndpointSlices, and any workload with a scale
//! subresource. In: watches; out: facts, scale writes, and status and events on users' objects.
//!
//! A pure `board` turns single changes into facts; around it are thin tasks: one per watch (`follow`), discovery
//! and reads of further kinds (`further`), looks at pods that do not become ready (`inspect`).

mod api_server;
mod board;
mod client;
mod config;
pub mod crd;
mod endpoints;
mod follow;
mod further;
mod good;
mod inspect;
mod keep;
mod kinds;
mod lookup;
mod notice;
mod objects;
mod refusals;
mod relist;
mod report;
mod scaler;
mod target;
mod trouble;
mod urgency;
mod watches;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use kube::api::{Api, ApiResource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::client::{ConnectError, connect};
pub use self::report::{Desk, KubeReporter, ReportWriter};
pub use self::scaler::KubeScaler;
pub use self::urgency::Urgency;

use self::api_server::ApiServer;
use self::board::{Board, Change, Settled, Wants};
use self::watches::Ground;
use super::{Source, SourceError};
use crate::model::Fact;

/// How Kubernetes is read.
#[derive(Debug, Clone)]
pub struct KubeOptions {
    /// Only this namespace, so that a Role is enough; all when `None`.
    pub namespace: Option<String>,
    /// A pod that finds no node is a problem only after this long: a cluster that grows needs time.
    pub unschedulable_after: Duration,
    /// Who reports: the name of this replica's Pod, in events.
    pub instance: String,
    /// Status and event writes per second at most; bursts of twice as many.
    pub writes_per_second: u32,
}

impl Default for KubeOptions {
    fn default() -> Self {
        Self {
            namespace: None,
            unschedulable_after: Duration::from_secs(30),
            instance: "zenvoy-controller".into(),
            writes_per_second: 50,
        }
    }
}

/// For scale writes. Each takes some 100 at once.
const SCALE_CONNECTIONS: usize = 4;

/// Everything that a controller on Kubernetes needs.
pub struct Kube {
    /// Facts.
    pub source: KubeSource,
    /// Quorum reads and scale writes, on a connection of its own.
    pub scaler: KubeScaler,
    /// Takes what the leader says.
    pub reporter: KubeReporter,
    /// Writes it; to be run beside the source.
    pub writer: ReportWriter,
}

impl Kube {
    /// Connects: watches and reports share a connection, scale writes have four of their own.
    ///
    /// # Errors
    /// When certificates or credentials in `config` cannot be used. An API server that does not answer is no error: the
    /// source waits for it.
    pub async fn connect(config: &kube::Config, options: KubeOptions) -> Result<Self, ConnectError> {
        let clients = (0..=SCALE_CONNECTIONS).map(|_| connect(config));
        let mut clients = futures::future::try_join_all(clients).await?;
        let (watches, first) = (clients.remove(0), clients.remove(0));
        let (desk, urgency) = (Desk::default(), Urgency::default());
        Ok(Self {
            source: KubeSource {
                client: watches.clone(),
                server: Arc::new(ApiServer::new(config.cluster_url.to_string())),
                options: options.clone(),
                desk: desk.clone(),
            },
            scaler: KubeScaler::new(first, clients, urgency.clone()),
            reporter: KubeReporter::new(desk.clone()),
            writer: ReportWriter::new(watches, &options, desk, urgency),
        })
    }
}

/// Facts from the Kubernetes API.
pub struct KubeSource {
    client: Client,
    server: Arc<ApiServer>,
    options: KubeOptions,
    desk: Desk,
}

/// Which namespaces are looked at.
#[derive(Debug, Clone)]
struct Scope(Option<String>);

impl Scope {
    fn api_with<K>(&self, client: Client, resource: &ApiResource) -> Api<K>
    where
        K: kube::Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        }
    }

    fn api<K>(&self, client: Client) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }
}

/// Changes that wait to be taken in.
const CHANGES: usize = 1024;
/// Taken in before facts are said again.
const BATCH: usize = 256;
/// Further kinds that have not answered by then do not hold up the start.
const PATIENCE: Duration = Duration::from_secs(10);

#[async_trait]
impl Source for KubeSource {
    fn describe(&self) -> String {
        self.server.to_string()
    }

    async fn run(
        self: Box<Self>,
        facts: mpsc::Sender<Fact>,
        stop: CancellationToken,
    ) -> Result<(), SourceError> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.follow(&facts) => ended,
        }
    }
}

impl KubeSource {
    /// Until nobody listens. All tasks end with this future.
    async fn follow(&self, facts: &mpsc::Sender<Fact>) -> Result<(), SourceError> {
        let (changed, mut changes) = mpsc::channel(CHANGES);
        let (wanted, wants) = watch::channel(Wants::default());
        let mut around = Around::start(self, changed, wants);
        let mut board = Board::default();
        let mut batch = Vec::with_capacity(BATCH);
        // Further kinds are waited for until then, once all else has been listed.
        let mut patience: Option<Instant> = None;
        let mut is_complete = false;
        while !facts.is_closed() {
            let ends = patience.unwrap_or_else(Instant::now);
            let mut patience_is_over = false;
            tokio::select! {
                _ = changes.recv_many(&mut batch, BATCH) => {}
                () = tokio::time::sleep_until(ends), if patience.is_some() && !is_complete => patience_is_over = true,
                Some(ended) = around.tasks.join_next() => {
                    return Err(SourceError(format!("a task of the Kubernetes source ended: {ended:?}")));
                }
            }
            batch.drain(..).for_each(|change| board.apply(change));
            if board.is_listed() {
                patience = patience.or_else(|| Some(Instant::now() + PATIENCE));
            }
            let Settled { facts: new, notices, homes, starts } = board.settle(patience_is_over);
            self.desk.take(notices, homes);
            around.starts.leave(starts);
            around.want(board.wants(), &wanted);
            for fact in new {
                is_complete |= matches!(fact, Fact::Complete);
                if facts.send(fact).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The tasks around the board.
struct Around {
    tasks: JoinSet<()>,
    ground: Ground,
    kinds: kinds::Kinds,
    starts: inspect::Starts,
    followed: BTreeSet<String>,
}

impl Around {
    fn start(source: &KubeSource, changed: mpsc::Sender<Change>, wants: watch::Receiver<Wants>) -> Self {
        let client = source.client.clone();
        let ground = Ground {
            client: client.clone(),
            server: source.server.clone(),
            scope: Scope(source.options.namespace.clone()),
            out: changed.clone(),
        };
        let kinds = kinds::Kinds::new(client.clone());
        let mut tasks = JoinSet::new();
        watches::start(&mut tasks, &ground);
        tasks.spawn(further::reads(client.clone(), kinds.clone(), wants, changed.clone()));
        let patience = source.options.unschedulable_after;
        let starts = inspect::Starts::default();
        tasks.spawn(inspect::run(client, patience, starts.clone(), changed));
        Self { tasks, ground, kinds, starts, followed: BTreeSet::new() }
    }

    /// Sees to what the board wants to know.
    fn want(&mut self, wants: &Wants, wanted: &watch::Sender<Wants>) {
        wanted.send_if_modified(|known| {
            let differs = *known != *wants;
            if differs {
                known.clone_from(wants);
            }
            differs
        });
        for kind in &wants.kinds {
            if !self.followed.insert(kind.clone()) {
                continue;
            }
            self.tasks.spawn(further::kind(kind.clone(), self.kinds.clone(), self.ground.clone()));
        }
    }
}
