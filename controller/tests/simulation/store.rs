//! A store whose every step is logged, so that each replica can watch it with a lag of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use zenvoy_controller::model::{DrainAck, DrainRecord, DrainState, Revision, WakeRecord};
use zenvoy_controller::store::{
    Compare, Entry, Key, LeaseId, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WatchEvent, Write,
    encode,
};
use zenvoy_shared::id::ControllerId;

use crate::api::turn;
use crate::rules::Rules;
use crate::watchdog::Watchdog;

#[derive(Debug, Default)]
pub(crate) struct State {
    revision: i64,
    records: BTreeMap<Key, (Bytes, Revision, Option<LeaseId>)>,
    leases: i64,
    live: std::collections::BTreeSet<LeaseId>,
    pub(crate) log: Vec<WatchEvent>,
    /// The next transactions are carried out, or not, and in either case not answered.
    pub(crate) unanswered: u32,
    watchdog: Watchdog,
}

/// One replica's way to the store.
#[derive(Debug, Clone)]
pub(crate) struct SimStore {
    state: Arc<Mutex<State>>,
    /// It leads nowhere.
    away: Arc<AtomicBool>,
    rules: Rules,
}

impl SimStore {
    pub(crate) fn new(rules: Rules, watchdog: Watchdog) -> Self {
        let state = State { watchdog, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), away: Arc::default(), rules }
    }

    /// Another replica's way.
    pub(crate) fn another(&self) -> Self {
        Self { away: Arc::default(), ..self.clone() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub(crate) fn goes(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn answers(&self) -> Result<(), StoreError> {
        if self.is_away() {
            self.state().watchdog.lacks_answers();
            return Err(StoreError::Unavailable("it is away".into()));
        }
        Ok(())
    }

    /// What of a transaction is compared, with the rules that hold.
    fn compared(&self, txn: &Txn) -> Vec<Compare> {
        let commits = txn.writes.iter().any(commits);
        let opens = txn.writes.iter().any(|write| matches!(write, Write::Put(Key::Wake(_), ..)));
        let leads = txn.compares.iter().any(|compare| matches!(compare, Compare::WrittenAt(Key::Leader, _)));
        let counts = |compare: &&Compare| match compare {
            Compare::WrittenAt(key, _) | Compare::Absent(key) => {
                let room = key.room();
                let blind_commit =
                    !self.rules.full_commit && commits && !matches!(room, Room::Leader | Room::Drains);
                let blind_wake = !self.rules.wake_compares && opens && !leads && room == Room::Wakes;
                let blind_leader =
                    !self.rules.decided_on && leads && matches!(room, Room::Wakes | Room::Drains);
                !blind_commit && !blind_wake && !blind_leader
            }
            Compare::UnchangedSince(..) => self.rules.full_commit || !commits,
        };
        txn.compares.iter().filter(counts).cloned().collect()
    }

    /// What a replica whose watch was compacted away is told.
    pub(crate) fn list(&self) -> Vec<WatchEvent> {
        let snapshot = self.snapshot(Room::All);
        if self.rules.lists_end {
            return vec![WatchEvent::Resync(snapshot)];
        }
        snapshot.entries.into_iter().map(WatchEvent::Put).collect()
    }

    /// A step as its watcher sees it. Without rule D4 another replica's word is for all nodes, as they are registered then.
    pub(crate) fn seen_by(&self, me: &ControllerId, mut step: WatchEvent) -> WatchEvent {
        if let WatchEvent::Put(Entry { key: Key::DrainAck(_, by), value, .. }) = &mut step
            && !self.rules.own_nodes_only
            && by != me
        {
            let mut ack: DrainAck = serde_json::from_slice(value).expect("an acknowledgement");
            let nodes = self.snapshot(Room::Nodes).entries.into_iter();
            ack.nodes = nodes
                .filter_map(|entry| match entry.key {
                    Key::Node(node) => Some((node.0, entry.mod_revision)),
                    _ => None,
                })
                .collect();
            *value = encode(&ack);
        }
        step
    }

    /// A transaction's writes, with the rules that hold.
    fn written(&self, writes: Vec<Write>) -> Vec<Write> {
        let write = |write| match write {
            Write::Put(key @ Key::Wake(_), value, lease) if !self.rules.names_pods => {
                let wake: WakeRecord = serde_json::from_slice(&value).expect("a wake");
                Write::Put(key, encode(&WakeRecord { ready: None, ..wake }), lease)
            }
            other => other,
        };
        writes.into_iter().map(write).collect()
    }

    /// Without rule N4: a record that a timer removes.
    pub(crate) fn delete(&self, key: Key) {
        self.state().write(vec![Write::Delete(key)]);
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
                    self.watchdog.put(&key, &value);
                    self.records.insert(key.clone(), (value.clone(), at, lease));
                    self.log.push(WatchEvent::Put(Entry { key, value, mod_revision: at }));
                }
                Write::Delete(key) => {
                    if self.records.remove(&key).is_some() {
                        self.watchdog.deleted(&key);
                        self.log.push(WatchEvent::Deleted(key, at));
                    }
                }
            }
        }
    }
}

/// Whether the write commits a drain.
fn commits(write: &Write) -> bool {
    let Write::Put(Key::Drain(_), value, _) = write else { return false };
    let record: DrainRecord = serde_json::from_slice(value).expect("a drain");
    matches!(record.state, DrainState::Committed { .. })
}

#[async_trait]
impl Store for SimStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        turn().await;
        self.answers()?;
        let compares = self.compared(&txn);
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
        let voids_itself = txn.voids_itself();
        let outcome = if lost {
            None
        } else if compares.iter().all(|compare| state.holds(compare)) {
            state.write(self.written(txn.writes));
            Some(TxnOutcome::Written(Revision(state.revision)))
        } else {
            Some(TxnOutcome::Refused(Revision(state.revision)))
        };
        match outcome {
            Some(outcome) if !silent => Ok(outcome),
            // Sent again at another member, which has carried it out.
            Some(TxnOutcome::Written(revision)) if voids_itself && revision.0 % 2 == 0 => {
                Ok(TxnOutcome::Refused(revision))
            }
            _ => {
                state.watchdog.lacks_answers();
                Err(StoreError::Unavailable("no answer".into()))
            }
        }
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        turn().await;
        self.answers()?;
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
