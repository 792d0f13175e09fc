//! A store whose every step is logged, so that each replica can watch it with a lag of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{
    Compare, Entry, Key, LeaseId, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WatchEvent, Write,
};

use crate::api::turn;

#[derive(Debug, Default)]
pub(crate) struct State {
    revision: i64,
    records: BTreeMap<Key, (Bytes, Revision, Option<LeaseId>)>,
    leases: i64,
    live: std::collections::BTreeSet<LeaseId>,
    pub(crate) log: Vec<WatchEvent>,
    /// The next transactions are carried out, or not, and in either case not answered.
    pub(crate) unanswered: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SimStore(Arc<Mutex<State>>);

impl SimStore {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    pub(crate) fn lease(&self) -> LeaseId {
        let mut state = self.state();
        state.leases += 1;
        let lease = LeaseId(state.leases);
        state.live.insert(lease);
        lease
    }

    pub(crate) fn end_lease(&self, lease: LeaseId) {
        let mut state = self.state();
        state.live.remove(&lease);
        let hanging = state.records.iter().filter(|(_, (_, _, on))| *on == Some(lease));
        let writes: Vec<Write> = hanging.map(|(key, _)| Write::Delete(key.clone())).collect();
        if !writes.is_empty() {
            state.write(writes);
        }
    }

    pub(crate) fn snapshot(&self, room: Room) -> Snapshot {
        let state = self.state();
        let entries = state.records.iter().filter(|(key, _)| room.holds(key));
        Snapshot {
            revision: Revision(state.revision),
            entries: entries
                .map(|(key, (value, at, _))| Entry {
                    key: key.clone(),
                    value: value.clone(),
                    mod_revision: *at,
                })
                .collect(),
        }
    }
}

impl State {
    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.records.contains_key(key),
            Compare::WrittenAt(key, at) => self.records.get(key).is_some_and(|(_, known, _)| known == at),
            Compare::UnchangedSince(room, at) => {
                self.records.iter().filter(|(key, _)| room.holds(key)).all(|(_, (_, known, _))| known <= at)
            }
        }
    }

    fn write(&mut self, writes: Vec<Write>) {
        self.revision += 1;
        let at = Revision(self.revision);
        for write in writes {
            match write {
                Write::Put(key, value, lease) => {
                    self.records.insert(key.clone(), (value.clone(), at, lease));
                    self.log.push(WatchEvent::Put(Entry { key, value, mod_revision: at }));
                }
                Write::Delete(key) => {
                    if self.records.remove(&key).is_some() {
                        self.log.push(WatchEvent::Deleted(key, at));
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Store for SimStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        turn().await;
        let mut state = self.state();
        for write in &txn.writes {
            if let Write::Put(_, _, Some(lease)) = write
                && !state.live.contains(lease)
            {
                return Err(StoreError::LeaseEnded(*lease));
            }
        }
        let silent = state.unanswered > 0;
        state.unanswered = state.unanswered.saturating_sub(1);
        let lost = silent && state.unanswered.is_multiple_of(2);
        let outcome = if lost {
            None
        } else if txn.compares.iter().all(|compare| state.holds(compare)) {
            state.write(txn.writes);
            Some(TxnOutcome::Written(Revision(state.revision)))
        } else {
            Some(TxnOutcome::Refused(Revision(state.revision)))
        };
        match outcome {
            Some(outcome) if !silent => Ok(outcome),
            _ => Err(StoreError::Unavailable("no answer".into())),
        }
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        turn().await;
        Ok(self.snapshot(room))
    }

    async fn watch(&self, _: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        unreachable!("replicas of this world watch through the log")
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        Ok(self.lease())
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.end_lease(lease);
        Ok(())
    }
}
