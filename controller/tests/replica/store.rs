//! A store that can fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use zenvoy_controller::model::{Revision, WakeRecord, WakeState};
use zenvoy_controller::store::{
    Key, LeaseId, MemoryStore, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WatchEvent, Write,
};

#[derive(Clone, Default)]
pub(crate) struct Switched {
    store: MemoryStore,
    silent: Arc<AtomicBool>,
    /// How often a wake was to be opened.
    intents: Arc<AtomicUsize>,
}

impl Switched {
    pub(crate) fn falls_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    pub(crate) fn intents(&self) -> usize {
        self.intents.load(Ordering::Relaxed)
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
        let opens = |write: &Write| match write {
            Write::Put(Key::Wake(_), wake, _) => {
                serde_json::from_slice::<WakeRecord>(wake).is_ok_and(|wake| wake.state == WakeState::Created)
            }
            _ => false,
        };
        if txn.writes.iter().any(opens) {
            self.intents.fetch_add(1, Ordering::Relaxed);
        }
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
