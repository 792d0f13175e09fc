//! The store of one process: the same semantics as etcd's, nothing kept beyond the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::{
    Compare, Entry, Key, LeaseId, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WATCH_BUFFER,
    WatchEvent, Write,
};
use crate::model::Revision;

/// Decisions in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    revision: i64,
    records: BTreeMap<Key, Record>,
    leases: BTreeMap<LeaseId, Lease>,
    granted: i64,
    steps: broadcast::Sender<WatchEvent>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            revision: 0,
            records: BTreeMap::new(),
            leases: BTreeMap::new(),
            granted: 0,
            steps: broadcast::Sender::new(WATCH_BUFFER),
        }
    }
}

#[derive(Debug)]
struct Record {
    value: Bytes,
    mod_revision: Revision,
    lease: Option<LeaseId>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end_leases(Instant::now());
        state
    }
}

impl State {
    fn end_leases(&mut self, now: Instant) {
        let ended: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect();
        for lease in ended {
            self.end_lease(lease);
        }
    }

    fn end_lease(&mut self, lease: LeaseId) -> bool {
        let known = self.leases.remove(&lease).is_some();
        let keys = self.records.iter().filter(|(_, record)| record.lease == Some(lease));
        let writes: Vec<Write> = keys.map(|(key, _)| Write::Delete(key.clone())).collect();
        if !writes.is_empty() {
            self.write(writes);
        }
        known
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.records.contains_key(key),
            Compare::WrittenAt(key, revision) => {
                self.records.get(key).is_some_and(|record| record.mod_revision == *revision)
            }
            Compare::UnchangedSince(room, revision) => {
                let mut records = self.records.iter().filter(|(key, _)| room.holds(key));
                records.all(|(_, record)| record.mod_revision <= *revision)
            }
        }
    }

    fn write(&mut self, writes: Vec<Write>) {
        self.revision += 1;
        let revision = Revision(self.revision);
        for write in writes {
            match write {
                Write::Put(key, value, lease) => {
                    let record = Record { value: value.clone(), mod_revision: revision, lease };
                    self.records.insert(key.clone(), record);
                    self.tell(WatchEvent::Put(Entry { key, value, mod_revision: revision }));
                }
                Write::Delete(key) => {
                    if self.records.remove(&key).is_some() {
                        self.tell(WatchEvent::Deleted(key, revision));
                    }
                }
            }
        }
    }

    fn tell(&self, step: WatchEvent) {
        // Nobody listening is no fault.
        let _ = self.steps.send(step);
    }

    fn snapshot(&self, room: Room) -> Snapshot {
        let records = self.records.iter().filter(|(key, _)| room.holds(key));
        let entries = records.map(|(key, record)| Entry {
            key: key.clone(),
            value: record.value.clone(),
            mod_revision: record.mod_revision,
        });
        Snapshot { revision: Revision(self.revision), entries: entries.collect() }
    }
}

/// Passes steps on until nobody listens. A watcher that lagged gets all there is instead of what it missed.
async fn forward(
    store: MemoryStore,
    mut steps: broadcast::Receiver<WatchEvent>,
    to: mpsc::Sender<WatchEvent>,
) {
    let mut seen = Revision(0);
    loop {
        let step = tokio::select! {
            step = steps.recv() => step,
            () = to.closed() => return,
        };
        let step = match step {
            Ok(step) if step.revision() <= seen => continue,
            Ok(step) => step,
            Err(RecvError::Lagged(_)) => {
                let now = store.lock().snapshot(Room::All);
                seen = now.revision;
                WatchEvent::Resync(now)
            }
            Err(RecvError::Closed) => return,
        };
        if to.send(step).await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let mut state = self.lock();
        for write in &txn.writes {
            if let Write::Put(_, _, Some(lease)) = write
                && !state.leases.contains_key(lease)
            {
                return Err(StoreError::LeaseEnded(*lease));
            }
        }
        if !txn.compares.iter().all(|compare| state.holds(compare)) {
            return Ok(TxnOutcome::Refused(Revision(state.revision)));
        }
        state.write(txn.writes);
        Ok(TxnOutcome::Written(Revision(state.revision)))
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        Ok(self.lock().snapshot(room))
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let state = self.lock();
        let (to, receiver) = mpsc::channel(WATCH_BUFFER);
        // No history is kept: who asks for the past gets the present.
        if after < Revision(state.revision) {
            let _ = to.try_send(WatchEvent::Resync(state.snapshot(Room::All)));
        }
        tokio::spawn(forward(self.clone(), state.steps.subscribe(), to));
        Ok(receiver)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let mut state = self.lock();
        state.granted += 1;
        let id = LeaseId(state.granted);
        state.leases.insert(id, Lease { ttl, ends: Instant::now() + ttl });
        Ok(id)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut state = self.lock();
        let known = state.leases.get_mut(&lease).ok_or(StoreError::LeaseEnded(lease))?;
        known.ends = Instant::now() + known.ttl;
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        if self.lock().end_lease(lease) { Ok(()) } else { Err(StoreError::LeaseEnded(lease)) }
    }
}
