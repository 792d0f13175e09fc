//! Where decisions are kept and replicas meet: guarded transactions, linearisable reads, watches, leases.
//! In: keys and records; out: entries with revisions. One conformance suite runs on every implementation.

mod etcd;
mod history;
mod key;
mod lease;
mod memory;

pub use etcd::{EtcdOptions, EtcdStore};
pub use history::{History, NoHistory};
pub use key::{Key, Room, UnknownKey};
pub use lease::{Heard, keep as keep_lease};
pub use memory::MemoryStore;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::model::Revision;

/// A record as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub key: Key,
    /// Its JSON.
    pub value: Bytes,
    /// The last write of it.
    pub mod_revision: Revision,
}

/// The JSON of a record.
pub fn encode(record: &impl Serialize) -> Bytes {
    serde_json::to_vec(record).expect("records are plain data with string keys: JSON holds them all").into()
}

/// What must hold for a transaction to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key has no record.
    Absent(Key),
    /// The record was last written then.
    WrittenAt(Key, Revision),
    /// No record that is in the room was written after then. A deletion is not seen by this: compare what covers it.
    UnchangedSince(Room, Revision),
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a record; with a lease, until that ends.
    Put(Key, Bytes, Option<LeaseId>),
    /// Removes a record, if there is one.
    Delete(Key),
}

/// Writes that happen all at once, if all comparisons hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is written.
    pub writes: Vec<Write>,
}

impl Txn {
    /// Whether it rests on a record that it writes: once it was carried out, it is refused. So one that was not answered may be
    /// sent again, and is carried out once at most; but for one that creates a record which somebody removes meanwhile.
    pub fn voids_itself(&self) -> bool {
        self.compares.iter().any(|compare| {
            self.writes.iter().any(|write| match (compare, write) {
                (Compare::Absent(compared) | Compare::WrittenAt(compared, _), Write::Put(written, ..))
                | (Compare::WrittenAt(compared, _), Write::Delete(written)) => compared == written,
                _ => false,
            })
        })
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Written, at this revision.
    Written(Revision),
    /// A comparison failed at this revision. What was compared is no longer so; perhaps because of this very transaction, if it
    /// voids itself: a store may send such a one again when it is not answered. Look at what there is.
    Refused(Revision),
}

/// What a room holds at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the store.
    pub revision: Revision,
    /// Sorted by key.
    pub entries: Vec<Entry>,
}

/// One step of a watch. Steps come in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A record was set.
    Put(Entry),
    /// A record was removed, at this revision.
    Deleted(Key, Revision),
    /// Steps were lost: this is all there is now. Compare with what was known, and drop every quiet proof (rule G3).
    Resync(Snapshot),
}

impl WatchEvent {
    /// When it happened.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Deleted(_, revision) => *revision,
            Self::Resync(snapshot) => snapshot.revision,
        }
    }
}

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer: a write may have happened or not (rule G2).
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// The lease has ended: register anew.
    #[error("the lease {0:?} has ended")]
    LeaseEnded(LeaseId),
    /// etcd lets this process not in, or one does not trust the other: a person must help.
    #[error("etcd denies access: {reason}; {remedy}")]
    Denied {
        /// Where, and what was said.
        reason: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The call does not fit the store's limits, or its rules.
    #[error("the store refuses the call: {0}")]
    Refused(String),
    /// The store is not what it was when it was read before: everything known of it is void.
    #[error(
        "etcd is not what it was: seen at {seen} (cluster@revision), and now at {found}; it was restored from a backup, or the \
         endpoints are of more than one etcd"
    )]
    Restored {
        /// How far it had come.
        seen: History,
        /// Where it is.
        found: History,
    },
    /// The store cannot be reached with these options.
    #[error("etcd cannot be used: {0}")]
    Options(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    pub fn could_retry(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// How many steps a watcher may lag behind before it is resynchronised instead.
pub const WATCH_BUFFER: usize = 1024;

/// The decisions of a cluster.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Where it is, as a person knows it.
    fn describe(&self) -> String {
        "the store".into()
    }

    /// Carries out a transaction.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// The same for one that somebody waits for, and that can be done without (rule W4): a store of which nothing is heard is
    /// given up sooner.
    async fn urgent_txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.txn(txn).await
    }

    /// Reads a room, linearisably.
    async fn read(&self, room: Room) -> Result<Snapshot, StoreError>;

    /// Which store this is, and how far it has come, linearisably.
    async fn history(&self) -> Result<History, StoreError> {
        Ok(History { cluster: 0, revision: self.read(Room::Leader).await?.revision })
    }

    /// All steps after `after`, until the receiver is dropped.
    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError>;

    /// A lease that ends `ttl` after the last [`Store::keep_alive`].
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Prolongs a lease by its whole time.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease and removes its records at once.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}
