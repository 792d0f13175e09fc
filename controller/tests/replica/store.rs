//! A store that can fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{
    LeaseId, MemoryStore, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WatchEvent,
};

#[derive(Clone, Default)]
pub(crate) struct Switched {
    store: MemoryStore,
    silent: Arc<AtomicBool>,
}

impl Switched {
    pub(crate) fn falls_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    fn answers(&self) -> Result<&MemoryStore, StoreError> {
        match self.silent.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("it is away".into())),
            false => Ok(&self.store),
        }
    }
}

#[async_trait]
impl Store for Switched {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.answers()?.txn(txn).await
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        self.answers()?.read(room).await
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        self.answers()?.watch(after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.answers()?.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.answers()?.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.answers()?.revoke(lease).await
    }
}
