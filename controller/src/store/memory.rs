//! The store of one process: the same semantics as etcd's, nothing kept beyond the process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    /// The last steps, for who asks for the past; at most [`WATCH_BUFFER`].
    history: VecDeque<WatchEvent>,
    /// Steps up to this revision are no longer in the history.
    forgotten: Revision,
}

impl Default for State {
    fn default() -> Self {
        Self {
            revision: 0,
            records: BTreeMap::new(),
            leases: BTreeMap::new(),
            granted: 0,
            steps: broadcast::Sender::new(WATCH_BUFFER),
            history: VecDeque::new(),
            forgotten: Revision(0),
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

    /// What hangs on a lease is written only while that lives.
    fn check_leases(&self, writes: &[Write]) -> Result<(), StoreError> {
        for write in writes {
            if let Write::Put(_, _, Some(lease)) = write
                && !self.leases.contains_key(lease)
            {
                return Err(StoreError::LeaseEnded(*lease));
            }
        }
        Ok(())
    }

    fn write(&mut self, writes: Vec<Write>) {
        let changes = |write: &Write| match write {
            Write::Put(..) => true,
            Write::Delete(key) => self.records.contains_key(key),
        };
        if !writes.iter().any(changes) {
            return;
        }
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

    fn tell(&mut self, step: WatchEvent) {
        if self.history.len() == WATCH_BUFFER
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.revision();
        }
        self.history.push_back(step.clone());
        // Nobody listening is no fault.
        let _ = self.steps.send(step);
    }

    /// What happened after a revision; all there is when that is no longer known.
    fn since(&self, after: Revision) -> Vec<WatchEvent> {
        if after < self.forgotten {
            return vec![WatchEvent::Resync(self.snapshot(Room::All))];
        }
        self.history.iter().filter(|step| step.revision() > after).cloned().collect()
    }

    /// When the next lease ends if nobody prolongs it.
    fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.ends).min()
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

/// Passes steps on until nobody listens: what happened `before`, then what comes. A watcher that lagged gets all there
/// is instead of what it missed. Leases end here too, as somebody must notice.
async fn forward(
    store: MemoryStore,
    before: Vec<WatchEvent>,
    mut steps: broadcast::Receiver<WatchEvent>,
    to: mpsc::Sender<WatchEvent>,
) {
    for step in before {
        if to.send(step).await.is_err() {
            return;
        }
    }
    let mut seen = Revision(0);
    loop {
        let next_end = store.lock().next_end();
        let step = tokio::select! {
            step = steps.recv() => step,
            () = ended(next_end) => continue,
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

async fn ended(next_end: Option<Instant>) {
    match next_end {
        Some(end) => tokio::time::sleep_until(end).await,
        // What hangs on a later lease is written first, and that is a step.
        None => std::future::pending().await,
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let mut keys = BTreeSet::new();
        for write in &txn.writes {
            let (Write::Put(key, ..) | Write::Delete(key)) = write;
            if !keys.insert(key) {
                return Err(StoreError::Refused(format!("{key} occurs twice in a transaction")));
            }
        }
        let mut state = self.lock();
        if !txn.compares.iter().all(|compare| state.holds(compare)) {
            return Ok(TxnOutcome::Refused(Revision(state.revision)));
        }
        state.check_leases(&txn.writes)?;
        state.write(txn.writes);
        Ok(TxnOutcome::Written(Revision(state.revision)))
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        Ok(self.lock().snapshot(room))
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let state = self.lock();
        let (to, receiver) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(forward(self.clone(), state.since(after), state.steps.subscribe(), to));
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
