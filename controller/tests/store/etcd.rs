//! A real etcd of one member on loopback, and a store on it; both end with the test.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::mpsc;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{
    EtcdOptions, EtcdStore, LeaseId, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WatchEvent,
};

pub(crate) struct Etcd {
    process: Child,
    _folder: TempDir,
    endpoint: String,
    store: EtcdStore,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ip = address();
        let (endpoint, peer) = (format!("http://{ip}:2379"), format!("http://{ip}:2380"));
        let process = Command::new(binary())
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .args(["--unsafe-no-fsync"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start etcd");
        let options = EtcdOptions {
            endpoints: vec![endpoint.clone()],
            cluster: "test".into(),
            ..EtcdOptions::default()
        };
        let ready = async {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                if let Ok(store) = EtcdStore::connect(&options).await
                    && store.read(Room::All).await.is_ok()
                {
                    return store;
                }
            }
        };
        let store =
            tokio::time::timeout(Duration::from_secs(60), ready).await.expect("etcd is ready within 60 s");
        Self { process, _folder: folder, endpoint, store }
    }

    pub(crate) async fn compact(&self, at: Revision) {
        let mut client = etcd_client::Client::connect([&self.endpoint], None).await.expect("connect");
        client.compact(at.0, None).await.expect("compact");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A loopback address that no other test of this machine uses now, so that ports need no search.
fn address() -> Ipv4Addr {
    static STARTED: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, STARTED.fetch_add(1, Ordering::Relaxed))
}

fn binary() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/parts");
    let output =
        Command::new(script).arg("etcd").stderr(Stdio::inherit()).output().expect("run scripts/parts");
    assert!(output.status.success(), "scripts/parts etcd failed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[async_trait]
impl Store for Etcd {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.store.txn(txn).await
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        self.store.read(room).await
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        self.store.watch(after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}
