//! A replica alone, on a store in memory and a cluster where nothing exists.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zenvoy_controller::leader::Electing;
use zenvoy_controller::model::{Fact, WorkloadFacts};
use zenvoy_controller::replica::{self, Parts, ReplicaError, ReplicaOptions};
use zenvoy_controller::report::{Occasion, Reporter, Status};
use zenvoy_controller::session::DemandQuota;
use zenvoy_controller::source::{Pod, ScaleError, ScaleWrite, Scaler, Source, SourceError};
use zenvoy_controller::store::MemoryStore;
use zenvoy_controller::translate::{ListenerOptions, Names};
use zenvoy_e2e::http::get;
use zenvoy_e2e::pki::{Authority, Issued};
use zenvoy_e2e::until;
use zenvoy_shared::id::{UpstreamId, WorkloadId};
use zenvoy_shared::tls::{Live, Role, TlsFiles};

pub(crate) const MOST_DEMANDED: u32 = 3;

pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
    _replica: AbortOnDropHandle<Result<(), ReplicaError>>,
}

impl World {
    /// Starts it with a certificate of its own authority.
    pub(crate) async fn start() -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
        authority.controller().mount(folder.path());
        let tls = Live::open(TlsFiles::in_folder(folder.path()), Role::Controller).await.expect("material");
        let (address, admin) = (free(), free());
        let options = ReplicaOptions {
            listen: address,
            tls: Some(tls),
            advertise: String::new(),
            admin: Some(admin),
            pool: "127.0.0.1:20000-20099".parse().expect("a pool"),
            quarantine: Duration::from_secs(600),
            listeners: ListenerOptions { bind: address.ip(), http_port: 10_000, tls_port: 10_443 },
            names: Names::default(),
            max_offers: 8,
            lease_ttl: Duration::from_secs(10),
            quota: DemandQuota { upstreams: MOST_DEMANDED, ..DemandQuota::default() },
        };
        let parts = Parts {
            store: Arc::new(MemoryStore::default()),
            source: Box::new(Nothing),
            scaler: Arc::new(Nothing),
            reporter: Arc::new(Nothing),
            electing: Electing::Alone,
        };
        let running: JoinHandle<_> = tokio::spawn(replica::run(options, parts, CancellationToken::new()));
        let world = Self { authority, address, admin, folder, _replica: AbortOnDropHandle::new(running) };
        until::so("the replica is ready", async || {
            get(admin, "admin", "/readyz").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        world
    }

    /// Replaces its files.
    pub(crate) fn mount(&self, issued: &Issued) {
        issued.mount(self.folder());
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What its status says of the port.
    pub(crate) async fn port(&self) -> Value {
        let answer = get(self.admin, "admin", "/status").await.expect("a status");
        let mut status: Value = serde_json::from_str(&answer.body).expect("JSON");
        status["port"].take()
    }

    pub(crate) async fn metrics(&self) -> String {
        get(self.admin, "admin", "/metrics").await.expect("metrics").body
    }
}

/// A port that nobody uses now.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address")
}

struct Nothing;

#[async_trait]
impl Source for Nothing {
    fn describe(&self) -> String {
        "nothing".into()
    }

    async fn run(
        self: Box<Self>,
        facts: mpsc::Sender<Fact>,
        stop: CancellationToken,
    ) -> Result<(), SourceError> {
        let _ = facts.send(Fact::Complete).await;
        stop.cancelled().await;
        Ok(())
    }
}

#[async_trait]
impl Scaler for Nothing {
    async fn read(&self, _: &WorkloadId) -> Result<Option<WorkloadFacts>, ScaleError> {
        Ok(None)
    }

    async fn scale(&self, workload: &WorkloadId, _: &ScaleWrite) -> Result<String, ScaleError> {
        Err(ScaleError::Missing(workload.clone()))
    }

    async fn pods(&self, _: &WorkloadId) -> Result<Vec<Pod>, ScaleError> {
        Ok(Vec::new())
    }
}

impl Reporter for Nothing {
    fn status(&self, _: &UpstreamId, _: Status) {}

    fn gone(&self, _: &UpstreamId) {}

    fn happened(&self, _: Occasion) {}

    fn leading(&self, _: bool) {}
}
